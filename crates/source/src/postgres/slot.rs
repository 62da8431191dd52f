//! The replication slot at the server: what became of it, and its end. It is made by the replication connection, because
//! only that gives the snapshot that fits.

use super::answer::{self, Row};
use super::settings::OUR_PREFIX;
use super::{Lsn, Settings};
use postgres_protocol::escape::escape_literal;
use serde::Deserialize;
use tokio_postgres::Client;
use viewfeed_change::{Error, ErrorKind, Result};

/// The plugin whose messages we read.
const PLUGIN: &str = "pgoutput";

/// What the server says of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// There is none of this name.
    Missing,
    /// It is of no use to us, and not to be touched.
    Foreign {
        /// Why.
        why: String,
    },
    /// The server has thrown away what it needs: the tables must be copied anew, with another slot.
    Lost {
        /// Why, in the server's word.
        why: String,
    },
    /// Somebody reads it now.
    InUse {
        /// Who.
        reader: SlotReader,
        /// How far.
        slot: Slot,
    },
    /// It can be read.
    Free(Slot),
}

/// Who reads a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReader {
    /// The server process.
    pub process: i32,
    /// The `application_name` of its client.
    pub application: String,
}

/// A slot that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Up to where a client has said that it needs nothing any more.
    pub confirmed: Lsn,
    /// From where the server keeps its log for it.
    pub restart: Lsn,
    /// How well the server keeps it.
    pub wal_status: WalStatus,
    /// Bytes of log that can be written before it may be lost; None: there is no limit.
    pub safe_wal_bytes: Option<i64>,
    /// Whether it is there on the standbys too (Postgres 17).
    pub is_failover: bool,
}

/// How well the server keeps the log that a slot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalStatus {
    /// Within `max_wal_size`.
    Reserved,
    /// Beyond it, but within `max_slot_wal_keep_size`.
    Extended,
    /// Beyond that too: gone with the next checkpoint.
    Unreserved,
    /// Gone.
    Lost,
    /// A word of a later version.
    Unknown,
}

/// A slot with a name like ours that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanSlot {
    /// Its name.
    pub name: String,
    /// Bytes of log that the server keeps for it.
    pub kept_bytes: u64,
}

/// A row of `pg_replication_slots`, as JSON: what a version does not have is None.
#[derive(Deserialize)]
struct Listed {
    plugin: Option<String>,
    slot_type: String,
    database: Option<String>,
    #[serde(default)]
    temporary: bool,
    active_pid: Option<i32>,
    restart_lsn: Option<String>,
    confirmed_flush_lsn: Option<String>,
    wal_status: Option<String>,
    safe_wal_size: Option<i64>,
    #[serde(default)]
    two_phase: bool,
    conflicting: Option<bool>,
    failover: Option<bool>,
    /// It came from a primary; which may be what this server is by now.
    synced: Option<bool>,
    #[serde(default)]
    in_recovery: bool,
    invalidation_reason: Option<String>,
}

/// A slot `s` of the server's list as [`state_of`] reads it.
pub(super) const LISTED: &str = "pg_catalog.to_jsonb(s)
    || pg_catalog.jsonb_build_object('in_recovery', pg_catalog.pg_is_in_recovery())";

/// The state of the slot of the settings.
pub async fn slot_state(client: &Client, settings: &Settings) -> Result<SlotState> {
    let sql = format!(
        "SELECT {LISTED} AS slot, pg_catalog.current_database() AS here, a.application_name
        FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
        WHERE s.slot_name = {}",
        escape_literal(&settings.slot)
    );
    let rows = answer::rows(client, "reading the replication slot", &sql).await?;
    match rows.first() {
        None => Ok(SlotState::Missing),
        Some(row) => state_of(row, &row.name("here")?),
    }
}

/// The state that the columns `slot` and `application_name` of `row` say; `here` is the database of the connection.
pub(super) fn state_of(row: &Row, here: &str) -> Result<SlotState> {
    let listed: Listed = serde_json::from_str(row.text("slot").unwrap_or_default()).map_err(|error| {
        Error::new(
            ErrorKind::Precondition,
            "POSTGRES_CATALOG",
            "the server's list of slots cannot be read",
        )
        .because(error)
        .hint("viewfeed knows Postgres 13 and later; report the server's version if it is one of these")
    })?;
    listed.state(here, row.text("application_name").unwrap_or_default())
}

impl Listed {
    fn state(self, here: &str, application: &str) -> Result<SlotState> {
        if let Some(why) = self.foreign(here) {
            return Ok(SlotState::Foreign { why });
        }
        if let Some(why) = self.lost() {
            return Ok(SlotState::Lost { why });
        }
        let lsn = |text: &Option<String>| text.as_deref().unwrap_or("0/0").parse::<Lsn>();
        let slot = Slot {
            confirmed: lsn(&self.confirmed_flush_lsn)?,
            restart: lsn(&self.restart_lsn)?,
            wal_status: wal_status(self.wal_status.as_deref()),
            safe_wal_bytes: self.safe_wal_size,
            is_failover: self.failover == Some(true),
        };
        Ok(match self.active_pid {
            None => SlotState::Free(slot),
            Some(process) => {
                let application = application.to_owned();
                let reader = SlotReader { process, application };
                SlotState::InUse { reader, slot }
            }
        })
    }

    fn foreign(&self, here: &str) -> Option<String> {
        if self.slot_type != "logical" {
            return Some(format!("it is a {} slot, not a logical one", self.slot_type));
        }
        let database = self.database.as_deref().unwrap_or_default();
        let plugin = self.plugin.as_deref().unwrap_or_default();
        match () {
            () if database != here => Some(format!("it is of the database {database}")),
            () if plugin != PLUGIN => Some(format!("its output plugin is {plugin}, not {PLUGIN}")),
            () if self.temporary => Some("it is a temporary slot of another session".to_owned()),
            () if self.two_phase => Some("it sends prepared transactions before their commit".to_owned()),
            () if self.synced == Some(true) && self.in_recovery => {
                Some("it is a copy of the primary's slot".to_owned())
            }
            () => None,
        }
    }

    fn lost(&self) -> Option<String> {
        match (&self.invalidation_reason, self.conflicting, &self.wal_status) {
            (Some(reason), ..) => Some(reason.clone()),
            // Version 16 calls every invalidated slot conflicting, but only one without log has no place to start from.
            _ if self.restart_lsn.is_none() => Some("wal_removed".to_owned()),
            (None, Some(true), _) => Some("a conflict with recovery".to_owned()),
            (None, _, Some(status)) if status == "lost" => Some("wal_removed".to_owned()),
            _ => None,
        }
    }
}

fn wal_status(text: Option<&str>) -> WalStatus {
    match text {
        Some("reserved") => WalStatus::Reserved,
        Some("extended") => WalStatus::Extended,
        Some("unreserved") => WalStatus::Unreserved,
        Some("lost") => WalStatus::Lost,
        _ => WalStatus::Unknown,
    }
}

/// Drops the slot of the settings; says whether there was one. One of another plugin or database is not touched, one that is
/// being read is an error. Only for a slot that the source made itself.
pub async fn drop_slot(client: &Client, settings: &Settings) -> Result<bool> {
    match slot_state(client, settings).await? {
        SlotState::Missing | SlotState::Foreign { .. } => return Ok(false),
        SlotState::InUse { reader, .. } => return Err(in_use(&settings.slot, &reader)),
        SlotState::Lost { .. } | SlotState::Free(_) => {}
    }
    let sql = format!(
        "SELECT pg_catalog.pg_drop_replication_slot({})",
        escape_literal(&settings.slot)
    );
    answer::run(client, "dropping the replication slot", &sql).await?;
    Ok(true)
}

/// Slots of this database with names like ours that nobody reads, without that of the settings. Another viewfeed that is
/// stopped may need them.
pub async fn orphan_slots(client: &Client, settings: &Settings) -> Result<Vec<OrphanSlot>> {
    let sql = format!(
        "SELECT slot_name, pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn) AS kept
        FROM pg_catalog.pg_replication_slots
        WHERE pg_catalog.starts_with(slot_name::text, {}) AND slot_name <> {} AND NOT active AND NOT temporary
            AND database = pg_catalog.current_database() ORDER BY slot_name",
        escape_literal(OUR_PREFIX),
        escape_literal(&settings.slot)
    );
    let rows = answer::rows(client, "reading the replication slots", &sql).await?;
    let orphan = |row: &Row| {
        Ok(OrphanSlot {
            name: row.name("slot_name")?,
            kept_bytes: row.optional::<i64>("kept")?.unwrap_or(0).max(0) as u64,
        })
    };
    rows.iter().map(orphan).collect()
}

fn in_use(slot: &str, reader: &SlotReader) -> Error {
    let message = format!(
        "replication slot {slot} is being read by process {} ({})",
        reader.process, reader.application
    );
    Error::new(ErrorKind::Precondition, "SLOT_IN_USE", message).hint(format!(
        "stop that client, or run SELECT pg_terminate_backend({}), then retry",
        reader.process
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The state of our slot in the database `shop`, with these columns of the server's list.
    fn state(columns: Value) -> SlotState {
        let mut slot = json!({"slot_name": "viewfeed", "plugin": PLUGIN, "slot_type": "logical", "database": "shop",
            "restart_lsn": "0/10", "confirmed_flush_lsn": "0/20", "wal_status": "reserved"});
        let columns = columns.as_object().unwrap().clone();
        slot.as_object_mut().unwrap().extend(columns);
        serde_json::from_value::<Listed>(slot)
            .unwrap()
            .state("shop", "")
            .unwrap()
    }

    #[test]
    fn a_slot_that_came_from_a_primary_is_used_once_its_server_is_one() {
        let on_standby = state(json!({"synced": true, "failover": true, "in_recovery": true}));
        assert!(matches!(on_standby, SlotState::Foreign { .. }), "{on_standby:?}");
        let promoted = state(json!({"synced": true, "failover": true, "in_recovery": false}));
        assert!(
            matches!(&promoted, SlotState::Free(slot) if slot.is_failover),
            "{promoted:?}"
        );
    }

    #[test]
    fn why_a_slot_was_lost_is_said_as_far_as_the_version_knows() {
        let lost = |columns| match state(columns) {
            SlotState::Lost { why } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(lost(json!({"wal_status": "lost"})), "wal_removed");
        assert_eq!(lost(json!({"restart_lsn": null})), "wal_removed");
        // Version 16 calls each of them conflicting.
        let version_16 = json!({"wal_status": "lost", "restart_lsn": null, "conflicting": true});
        assert_eq!(lost(version_16), "wal_removed");
        assert_eq!(
            lost(json!({"wal_status": "lost", "conflicting": true})),
            "a conflict with recovery"
        );
        assert_eq!(
            lost(json!({"invalidation_reason": "idle_timeout"})),
            "idle_timeout"
        );
    }
}
