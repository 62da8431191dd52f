//! The replication protocol of Postgres: commands about slots, and the stream of changes.
//!
//! Commands go over `channel`; the stream is read by a task of its own (`pump`), so that the server is answered in time however
//! slow its consumer is (`stream`). What the bytes of the stream say is left to `pgoutput`.

mod channel;
mod frame;
mod pump;
mod stream;

use super::Lsn;
use super::connection::Connector;
use channel::{Channel, TextRow};
use std::time::Duration;
use viewfeed_change::{Error, ErrorKind, Result};

pub use stream::{Received, ReplicationStream};

/// From here on commands take their options in parentheses.
const OPTIONS_MAJOR: u32 = 15;
/// From here on slots can go over to a standby.
const FAILOVER_MAJOR: u32 = 17;
/// How long the server may be silent, though asked, before the connection is given up.
const SILENCE_MS_MAX: u64 = 120_000;
/// How often the server is told where we are, at least.
const STATUS_MS: u64 = 10_000;
/// How many times it is told before it would give the connection up.
const STATUS_PER_TIMEOUT: u64 = 3;

/// A connection that takes replication commands. Closed when dropped.
pub struct Replication {
    channel: Channel,
    server_major: u32,
}

/// Which server and database this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Of the cluster and its standbys; another after `initdb`.
    pub system_id: String,
    /// One more after each promotion of a standby.
    pub timeline: u32,
    /// How far the log is on the server's disk.
    pub flushed: Lsn,
    /// The database.
    pub database: String,
}

/// A replication slot to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSlot {
    /// Its name: lower-case letters, digits and underscores.
    pub name: String,
    /// Whether it goes with the connection.
    pub is_temporary: bool,
    /// Whether others can read what was there when the slot began, as long as this connection is open and nothing else is
    /// said over it.
    pub exports_snapshot: bool,
    /// Whether it goes over to standbys (Postgres 17).
    pub is_failover: bool,
}

/// A slot that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// The stream has every transaction committed from here on, and the snapshot has all others.
    pub consistent_point: Lsn,
    /// What `SET TRANSACTION SNAPSHOT` takes.
    pub snapshot: Option<String>,
}

/// Which stream is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOptions {
    /// The slot, of the plugin `pgoutput`.
    pub slot: String,
    /// Up to where we have everything durable. The server starts there, or where the slot is if that is later.
    pub from: Lsn,
    /// The publication.
    pub publication: String,
    /// Of `pgoutput`, 1 to 4.
    pub protocol_version: u32,
    /// Whether large transactions are sent while they run (needs version 2).
    pub streams_running: bool,
    /// Whether values come in their binary form (Postgres 14).
    pub is_binary: bool,
    /// Whether messages written with `pg_logical_emit_message` are sent (Postgres 14).
    pub has_messages: bool,
    /// How long the server may be silent, though asked, before the connection is given up.
    pub silence_ms_max: u64,
}

impl StartOptions {
    /// The most that a server of this major version can do, from `from` on.
    pub fn for_server(major: u32, slot: &str, publication: &str, from: Lsn) -> Self {
        Self {
            slot: slot.to_owned(),
            from,
            publication: publication.to_owned(),
            protocol_version: match major {
                ..=13 => 1,
                14 => 2,
                15 => 3,
                _ => 4,
            },
            streams_running: major >= 14,
            is_binary: major >= 14,
            has_messages: major >= 14,
            silence_ms_max: SILENCE_MS_MAX,
        }
    }
}

impl Replication {
    /// Connects. The role needs REPLICATION.
    pub async fn open(connector: &Connector, application_name: &str) -> Result<Self> {
        let (stream, server_major) = connector.replication(application_name).await?;
        Ok(Self {
            channel: Channel::new(stream),
            server_major,
        })
    }

    /// The server's major version, for example 17.
    pub fn server_major(&self) -> u32 {
        self.server_major
    }

    /// Who is at the other end.
    pub async fn identify(&mut self) -> Result<SystemIdentity> {
        let row = self.one_row("identifying the server", "IDENTIFY_SYSTEM").await?;
        match row.as_slice() {
            [Some(system_id), Some(timeline), Some(flushed), Some(database), ..] => Ok(SystemIdentity {
                system_id: system_id.clone(),
                timeline: timeline.parse().map_err(|_| misunderstood("a timeline"))?,
                flushed: flushed.parse()?,
                database: database.clone(),
            }),
            _ => Err(misunderstood("who the server is")),
        }
    }

    /// Makes a slot. It waits until every transaction that now runs has ended, however long that takes.
    pub async fn create_slot(&mut self, slot: &NewSlot) -> Result<CreatedSlot> {
        let command = self.create_command(slot)?;
        let row = self.one_row("making the replication slot", &command).await?;
        match row.as_slice() {
            [_, Some(consistent_point), snapshot, ..] => Ok(CreatedSlot {
                consistent_point: consistent_point.parse()?,
                snapshot: snapshot.clone(),
            }),
            _ => Err(misunderstood("the new slot")),
        }
    }

    fn create_command(&self, slot: &NewSlot) -> Result<String> {
        if slot.is_failover && self.server_major < FAILOVER_MAJOR {
            return Err(Error::new(
                ErrorKind::Precondition,
                "NO_FAILOVER_SLOTS",
                format!(
                    "slots go over to a standby from Postgres {FAILOVER_MAJOR} on, this is {}",
                    self.server_major
                ),
            )
            .hint("make the slot without failover"));
        }
        let temporary = if slot.is_temporary { " TEMPORARY" } else { "" };
        let options = match (self.server_major >= OPTIONS_MAJOR, slot.exports_snapshot) {
            (true, true) if slot.is_failover => "(SNAPSHOT 'export', FAILOVER)",
            (true, true) => "(SNAPSHOT 'export')",
            (true, false) if slot.is_failover => "(SNAPSHOT 'nothing', FAILOVER)",
            (true, false) => "(SNAPSHOT 'nothing')",
            (false, true) => "EXPORT_SNAPSHOT",
            (false, false) => "NOEXPORT_SNAPSHOT",
        };
        let name = identifier(&slot.name);
        Ok(format!(
            "CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL pgoutput {options}"
        ))
    }

    /// Drops a slot. With `waits` it waits until nobody uses it, else that is an error.
    pub async fn drop_slot(&mut self, name: &str, waits: bool) -> Result<()> {
        let wait = if waits { " WAIT" } else { "" };
        let command = format!("DROP_REPLICATION_SLOT {}{wait}", identifier(name));
        self.channel
            .query("dropping the replication slot", &command)
            .await?;
        Ok(())
    }

    /// Begins the stream; the connection is used up by it.
    pub async fn start(mut self, options: &StartOptions) -> Result<ReplicationStream> {
        let setting = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";
        let row = self.one_row("reading wal_sender_timeout", setting).await?;
        let timeout_ms: Option<u64> = row.first().cloned().flatten().and_then(|text| text.parse().ok());
        let status_ms = match timeout_ms {
            // Zero is never.
            None | Some(0) => STATUS_MS,
            Some(timeout_ms) => STATUS_MS.min(timeout_ms / STATUS_PER_TIMEOUT).max(1),
        };
        self.channel
            .begin_copy("starting the replication stream", &start_command(options))
            .await?;
        let (stream, input) = self.channel.into_parts();
        let times = pump::Times {
            status: Duration::from_millis(status_ms),
            silence_max: Duration::from_millis(options.silence_ms_max),
        };
        Ok(ReplicationStream::new(stream, input, options.from, times))
    }

    async fn one_row(&mut self, doing: &str, command: &str) -> Result<TextRow> {
        let rows = self.channel.query(doing, command).await?;
        rows.into_iter().next().ok_or_else(|| misunderstood("a command"))
    }
}

fn start_command(options: &StartOptions) -> String {
    let publications = literal(&identifier(&options.publication));
    let mut command = format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '{}', publication_names {publications}",
        identifier(&options.slot),
        options.from,
        options.protocol_version,
    );
    for (is_wanted, option) in [
        (options.streams_running, ", streaming 'on'"),
        (options.is_binary, ", binary 'true'"),
        (options.has_messages, ", messages 'true'"),
    ] {
        if is_wanted {
            command.push_str(option);
        }
    }
    command.push(')');
    command
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// As the parser of replication commands reads it: a backslash means itself there.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn misunderstood(what: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "POSTGRES_PROTOCOL",
        format!("what the server says of {what} is not understood"),
    )
    .hint("check that it is Postgres itself, without a pooler in front")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_in_commands() {
        let mut options = StartOptions::for_server(16, "a\"b", "it's \"p\"", Lsn(0x1_0000_0002));
        assert_eq!(
            start_command(&options),
            "START_REPLICATION SLOT \"a\"\"b\" LOGICAL 1/2 (proto_version '4', publication_names '\"it''s \"\"p\"\"\"', \
             streaming 'on', binary 'true', messages 'true')"
        );
        options = StartOptions::for_server(13, "s", "p", Lsn(0));
        assert_eq!(
            start_command(&options),
            "START_REPLICATION SLOT \"s\" LOGICAL 0/0 (proto_version '1', publication_names '\"p\"')"
        );
    }
}
