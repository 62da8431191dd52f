//! What is stored of a source beside the rows of its tables: its settings, how far it has been read, and of each table what
//! it looks like and in which phase it is. All of it moves with the epoch's transaction.
//!
//! ```text
//! source/<name>                the settings, JSON                      (a catalog entry, like the others)
//! source/<name>/progress       the slot and the position, JSON
//! source/<name>/table/<oid>    a table, JSON
//! ```

use super::pgoutput::Oid;
use super::{Lsn, Membership, ReadPages, Settings, TableShape};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use viewfeed_change::{Error, Relation, RelationId, Result};
use viewfeed_store::{Reader, Txn, keys};

/// Where a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The slot it reads; None before there is one.
    pub slot: Option<SlotIdentity>,
    /// The end of the last commit that is durable here, or further if nothing came behind it.
    pub position: Lsn,
}

/// What makes a slot the one that was read before: a position means nothing in another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotIdentity {
    /// The cluster.
    pub system_id: String,
    /// The database.
    pub database: String,
    /// The slot's name.
    pub name: String,
    /// Where the slot began.
    pub began: Lsn,
}

/// A table of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTable {
    /// The table here.
    pub relation: RelationId,
    /// What it looks like at the server; while it is copied, what the copy looks like.
    pub shape: TableShape,
    /// Whether it is complete.
    pub phase: Phase,
    /// While it is copied beside: the columns of the rows that can be read meanwhile, to which changes are applied too. None if
    /// they stand still because changes do not fit, and while it is not copied.
    #[serde(default)]
    pub flows: Option<TableShape>,
    /// How it was in the publication when that was looked at last.
    #[serde(default)]
    pub membership: Option<Membership>,
    /// Counts the copies that were begun, so that rows of one that was given up are known.
    pub attempt: u64,
}

/// In which phase a table is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// It must be copied. Changes are kept until then.
    Wanted {
        /// Why it is copied again; None for the first time.
        again: Option<String>,
        /// A copy that was interrupted: the next one goes on with it, if that can be.
        #[serde(default)]
        begun: Option<BegunCopy>,
    },
    /// Its rows are being copied.
    Copying {
        /// What is there of the copy.
        #[serde(flatten)]
        begun: BegunCopy,
        /// Why it is copied again; None for the first time.
        again: Option<String>,
    },
    /// It is complete; transactions that were committed before `since` are in it.
    Live {
        /// The point of its copy.
        since: Lsn,
    },
    /// Its changes cannot be followed.
    Broken {
        /// Why, and what to do.
        why: String,
    },
}

/// A copy that is not complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BegunCopy {
    /// The point of its first snapshot. Transactions that were committed later are kept, others are in the copy.
    pub at: Lsn,
    /// The point of its last snapshot: another one than the first if it was interrupted since. Of transactions between the two,
    /// the copy may have any part.
    #[serde(default)]
    pub until: Lsn,
    /// Of how many snapshots its rows are. They may be of the same point: on a server where nothing was written meanwhile.
    #[serde(default)]
    pub snapshots: u32,
    /// The timeline of the server: on another one the log may say something else about the same points.
    #[serde(default)]
    pub timeline: u32,
    /// The rows are gathered in this relation, which nobody sees; None: in the table itself, which nobody may read yet.
    pub beside: Option<Relation>,
    /// The rows that have come so far; some have come twice if it was interrupted.
    pub rows: u64,
    /// What has been read.
    #[serde(default)]
    pub read: ReadPages,
}

impl BegunCopy {
    /// Whether its rows are of several snapshots.
    pub fn is_of_several(&self) -> bool {
        self.snapshots > 1
    }
}

impl Phase {
    /// What there is of a copy that is not complete.
    pub fn begun(&self) -> Option<&BegunCopy> {
        match self {
            Self::Wanted { begun, .. } => begun.as_ref(),
            Self::Copying { begun, .. } => Some(begun),
            Self::Live { .. } | Self::Broken { .. } => None,
        }
    }

    /// One word for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wanted { .. } => "waiting",
            Self::Copying { .. } => "copying",
            Self::Live { .. } => "live",
            Self::Broken { .. } => "broken",
        }
    }
}

/// The catalog name of a source's settings.
fn source_name(source: &str) -> String {
    format!("source/{source}")
}

fn table_name(source: &str, table: Oid) -> String {
    format!("source/{source}/table/{}", table.0)
}

fn progress_name(source: &str) -> String {
    format!("source/{source}/progress")
}

/// The settings of every source.
pub fn sources(reader: &Reader) -> Result<Vec<(String, Settings)>> {
    let prefix = keys::catalog("source/");
    let mut found = Vec::new();
    reader.scan(&prefix, &prefix, &mut |key, value| {
        let name = std::str::from_utf8(&key[prefix.len()..]).unwrap_or_default();
        if !name.contains('/') {
            found.push((name.to_owned(), from_json(value)?));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The settings of one source, if it exists.
pub fn settings(reader: &Reader, source: &str) -> Result<Option<Settings>> {
    let stored = reader.get(&keys::catalog(&source_name(source)))?;
    stored.as_deref().map(from_json).transpose()
}

/// Stores the settings.
pub fn put_settings(txn: &mut Txn, source: &str, settings: &Settings) -> Result<()> {
    txn.put(keys::catalog(&source_name(source)), to_json(settings)?);
    Ok(())
}

/// How far a source has been read.
pub fn progress(reader: &Reader, source: &str) -> Result<Progress> {
    let stored = reader.get(&keys::catalog(&progress_name(source)))?;
    stored.as_deref().map_or(Ok(Progress::default()), from_json)
}

/// Stores how far a source has been read.
pub fn put_progress(txn: &mut Txn, source: &str, progress: &Progress) -> Result<()> {
    txn.put(keys::catalog(&progress_name(source)), to_json(progress)?);
    Ok(())
}

/// Every table of a source.
pub fn tables(reader: &Reader, source: &str) -> Result<Vec<StoredTable>> {
    let prefix = keys::catalog(&format!("source/{source}/table/"));
    let mut found = Vec::new();
    reader.scan(&prefix, &prefix, &mut |_, value| {
        found.push(from_json(value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// One table of a source, by its number at the server.
pub fn table(reader: &Reader, source: &str, table: Oid) -> Result<Option<StoredTable>> {
    let stored = reader.get(&keys::catalog(&table_name(source, table)))?;
    stored.as_deref().map(from_json).transpose()
}

/// Stores a table.
pub fn put_table(txn: &mut Txn, source: &str, table: &StoredTable) -> Result<()> {
    txn.put(
        keys::catalog(&table_name(source, table.shape.oid)),
        to_json(table)?,
    );
    Ok(())
}

/// Forgets a table; its rows and kept changes are left to the caller.
pub fn delete_table(txn: &mut Txn, source: &str, table: Oid) {
    txn.delete(keys::catalog(&table_name(source, table)));
}

/// Forgets the settings and the progress of a source.
pub fn delete_source(txn: &mut Txn, source: &str) {
    txn.delete(keys::catalog(&source_name(source)));
    txn.delete(keys::catalog(&progress_name(source)));
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("what is stored of a source could not be written").because(error))
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt("what is stored of a source cannot be read").because(error))
}
