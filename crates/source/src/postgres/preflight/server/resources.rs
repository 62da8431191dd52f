//! What the server has for us: slots, senders, disk for its log, memory, time.

use super::super::super::settings::shown_bytes;
use super::{Finding, Server, Settings, VERSION_OF_FAILOVER_SLOTS};

/// Slots a source uses at most at once: its own, and one for a while when a table is added.
const SLOTS_USED: i64 = 2;
/// Connections that send the log, likewise.
const SENDERS_USED: i64 = 2;
/// A shorter `wal_sender_timeout` takes a slow network for a dead one.
const SENDER_TIMEOUT_MIN_MS: i64 = 10_000;
/// With less than this, transactions of any size go by way of the server's disk.
const DECODING_MEMORY_MIN_BYTES: i64 = 16 << 20;

/// All that is to say of them.
pub(super) fn findings(server: &Server, settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![senders(server)];
    findings.extend(kept_wal(server, settings));
    findings.extend(sender_timeout(server));
    findings.extend(decoding_memory(server));
    findings.extend(asynchronous_commit(server));
    findings.extend(idle_timeout(server));
    findings.extend(standbys(server));
    findings.extend(encoding(server));
    findings
}

/// Of replication slots; whether ours exists already is known to the caller.
pub(in super::super) fn slots(server: &Server, ours_exists: bool) -> Finding {
    let max = server.number("max_replication_slots").unwrap_or_default();
    let free = max - server.slots;
    let missing = SLOTS_USED - i64::from(ours_exists) - free;
    free_of(
        server,
        "max_replication_slots",
        max,
        free,
        missing,
        "replication slots",
    )
}

fn senders(server: &Server) -> Finding {
    let max = server.number("max_wal_senders").unwrap_or_default();
    let free = max - server.senders;
    let missing = SENDERS_USED - free;
    free_of(server, "max_wal_senders", max, free, missing, "WAL senders")
}

/// `missing` are more than the source needs at most; when none is free it may need one.
fn free_of(server: &Server, name: &str, max: i64, free: i64, missing: i64, what: &str) -> Finding {
    let shown = format!("{} of {max} {what} are free", free.max(0));
    if missing <= 0 {
        return Finding::good(shown);
    }
    let run = server.to_set(name, &(max + missing).to_string(), true);
    match missing >= SLOTS_USED {
        true => Finding::error(
            shown,
            "the source needs one, and another while a table is added",
            run,
        ),
        false => Finding::warning(shown, "adding a table later needs another one for a while", run),
    }
}

fn kept_wal(server: &Server, settings: &Settings) -> Option<Finding> {
    const NAME: &str = "max_slot_wal_keep_size";
    let limit = server.number(NAME)?;
    let ours = i64::try_from(settings.wal_bytes_max).unwrap_or(i64::MAX);
    // The server counts in MB.
    let shown = |bytes: i64| shown_bytes((bytes.max(1 << 20) as u64) >> 20 << 20);
    let run = server.to_set(NAME, &shown(ours.saturating_mul(2)), false);
    Some(match limit {
        ..0 => Finding::warning(
            format!("{NAME} is -1"),
            "if viewfeed is stopped for long, the log it still needs fills the server's disk",
            run,
        ),
        limit if limit < ours => Finding::warning(
            format!("{NAME} is {}", shown(limit)),
            format!(
                "the server drops the slot before viewfeed's own wal_limit ({}) is reached; the tables are then copied anew",
                shown(ours)
            ),
            run,
        ),
        limit => Finding::good(format!("{NAME} is {}", shown(limit))),
    })
}

fn sender_timeout(server: &Server) -> Option<Finding> {
    const NAME: &str = "wal_sender_timeout";
    let timeout_ms = server.number(NAME)?;
    Some(match timeout_ms {
        0 => Finding::new(
            super::super::Severity::Note,
            format!("{NAME} is 0"),
            "a connection that is cut is noticed only by TCP; until then the slot stays in use",
            Some(server.to_set(NAME, "60s", false)),
        ),
        1..SENDER_TIMEOUT_MIN_MS => Finding::warning(
            format!("{NAME} is {timeout_ms} ms"),
            "a short delay of the network already costs the connection",
            server.to_set(NAME, "60s", false),
        ),
        _ => Finding::good(format!("{NAME} is {} s", timeout_ms / 1000)),
    })
}

fn decoding_memory(server: &Server) -> Option<Finding> {
    const NAME: &str = "logical_decoding_work_mem";
    let bytes = server.number(NAME)?;
    let what = format!("{NAME} is {}", shown_bytes(bytes.max(0) as u64));
    Some(match bytes < DECODING_MEMORY_MIN_BYTES {
        true => Finding::warning(
            what,
            "transactions larger than this are sent in pieces or by way of the server's disk, more slowly",
            server.to_set(NAME, "64MB", false),
        ),
        false => Finding::good(what),
    })
}

fn asynchronous_commit(server: &Server) -> Option<Finding> {
    const NAME: &str = "synchronous_commit";
    let is_off = server.text(NAME)? == "off";
    if !is_off && server.asynchronous_roles == 0 {
        return None;
    }
    let delay_ms = server.number("wal_writer_delay").unwrap_or_default();
    let why = format!(
        "what is committed so is sent only when the server's WAL writer comes by, every {delay_ms} ms"
    );
    let run = match is_off {
        true => format!(
            "{} -- or SET {NAME} = on where latency matters",
            server.to_set(NAME, "on", false)
        ),
        false => {
            format!(
                "SELECT * FROM pg_db_role_setting; -- and ALTER ROLE … RESET {NAME} where latency matters"
            )
        }
    };
    let whom = if is_off {
        ""
    } else {
        " for some roles or for the database"
    };
    Some(Finding::warning(format!("{NAME} is off{whom}"), why, run))
}

fn idle_timeout(server: &Server) -> Option<Finding> {
    const NAME: &str = "idle_replication_slot_timeout";
    let timeout_ms = server.number(NAME).filter(|timeout_ms| *timeout_ms > 0)?;
    Some(Finding::warning(
        format!("{NAME} is {} s", timeout_ms / 1000),
        "if viewfeed is stopped for longer, the slot is lost and the tables are copied anew",
        server.to_set(NAME, "0", false),
    ))
}

fn standbys(server: &Server) -> Option<Finding> {
    const NAME: &str = "synchronized_standby_slots";
    let is_unset = server.major() >= VERSION_OF_FAILOVER_SLOTS && server.text(NAME) == Some("");
    (is_unset && server.standbys > 0).then(|| {
        Finding::warning(
            format!("{NAME} is empty, but there are standbys"),
            "a standby that is promoted may lack what viewfeed has read already",
            server.to_set(NAME, "the slots of the standbys", false),
        )
    })
}

fn encoding(server: &Server) -> Option<Finding> {
    let encoding = server.text("server_encoding")?;
    (encoding == "SQL_ASCII").then(|| {
        Finding::warning(
            "the database's encoding is SQL_ASCII",
            "texts may be in any encoding; one that is not UTF-8 stops the source",
            "convert the database: dump it, and restore it into one made with ENCODING 'UTF8'",
        )
    })
}
