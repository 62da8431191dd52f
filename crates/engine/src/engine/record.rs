//! What is remembered about a view between starts: which state is its own, and whether it failed.

use crate::dataflow::{position_key, states};
use crate::plan::{Node, fingerprint};
use serde::{Deserialize, Serialize};
use viewfeed_change::{ColumnPath, Error, ErrorKind, RelationId, Relations, Result};
use viewfeed_store::{Txn, arrange, keys};

/// The catalog entry of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The fingerprint of the plan that wrote the state.
    fingerprint: u64,
    /// The names of its states.
    states: Vec<String>,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
    /// How far it is filled, if it is not complete.
    #[serde(default)]
    pub(super) filling: Option<Filling>,
}

/// How far a view is filled. The positions themselves are stored beside it, see [`position_key`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filling {
    /// The relations it reads, in the order in which they are read; empty before that has begun.
    pub(super) inputs: Vec<Reading>,
    /// Whether its states are those of empty relations at least, so that it is stepped.
    pub(super) is_begun: bool,
    /// Whether it failed on a part of its inputs, and is to be filled from all of them at once.
    #[serde(default)]
    pub(super) is_put_off: bool,
    /// The arrangements of relations that were begun for it.
    pub(super) arrangements: Vec<(RelationId, Vec<ColumnPath>)>,
}

/// How far a relation is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    pub(super) relation: RelationId,
    /// Rows read so far.
    pub(super) rows: u64,
    /// Rows it had when reading began, about.
    pub(super) rows_estimated: u64,
}

impl Filling {
    /// All relations together.
    pub(super) fn progress(&self) -> arrange::Filling {
        let total = |reading: &Reading| reading.rows.max(reading.rows_estimated);
        arrange::Filling {
            rows: self.inputs.iter().map(|reading| reading.rows).sum(),
            rows_estimated: self.inputs.iter().map(total).sum(),
        }
    }
}

/// The key of a view's catalog entry.
pub(super) fn key(view: RelationId) -> Vec<u8> {
    keys::catalog(&format!("/view-state/{}", view.0))
}

impl Record {
    /// Of a view that works.
    pub(super) fn of(view: RelationId, node: &Node) -> Self {
        Self {
            fingerprint: fingerprint(node),
            states: states(view, node),
            failure: None,
            filling: None,
        }
    }

    /// The record of `view`, if there is one.
    pub(super) fn read(view: RelationId, txn: &Txn) -> Result<Option<Self>> {
        let stored = txn.get(&key(view))?;
        let parsed = stored.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        parsed.map_err(|error| Error::corrupt("the record of a view cannot be read").because(error))
    }

    /// Stores it.
    pub(super) fn write(&self, view: RelationId, txn: &mut Txn) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Error::internal("the record of a view cannot be written").because(error))?;
        txn.put(key(view), bytes);
        Ok(())
    }

    /// Releases the states it names, and forgets how far `view`, whose record it is, was filled.
    pub(super) fn release(&self, view: RelationId, txn: &mut Txn) -> Result<()> {
        for reading in self.filling.iter().flat_map(|filling| &filling.inputs) {
            txn.delete(position_key(view, reading.relation));
        }
        self.states.iter().try_for_each(|state| keys::release(txn, state))
    }

    /// Whether this is the record of the same plan, however far it is filled.
    pub(super) fn is_of_plan(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.states == other.states && self.failure.is_none()
    }
}

/// Notes durably that `view` failed, so that a restart does not take its content for true.
pub(super) fn remember(view: RelationId, failure: &Error, txn: &mut Txn) -> Result<()> {
    let mut record = Record::read(view, txn)?.unwrap_or_default();
    record.failure = Some(failure.message().to_owned());
    record.write(view, txn)
}

/// `error` as the reason why a view is not maintained any more.
pub(super) fn failure(error: &Error) -> Error {
    match error.reason() {
        FAILED => error.clone(),
        _ => failed_because(&error.to_string()),
    }
}

/// A failure that was remembered with this message.
pub(super) fn remembered(message: String) -> Error {
    Error::new(ErrorKind::Precondition, FAILED, message).hint(ADVICE)
}

/// Why a view over the failed view `input` cannot be true.
pub(super) fn over_failed(relations: &Relations, input: RelationId) -> Error {
    let name = relations.get(input).map_or_else(
        || format!("number {}", input.0),
        |relation| relation.name.to_string(),
    );
    failed_because(&format!("view \"{name}\", which it reads, has failed"))
}

const FAILED: &str = "VIEW_FAILED";

const ADVICE: &str =
    "correct the data or the query, then create the view anew, or restart, which fills it again";

fn failed_because(reason: &str) -> Error {
    remembered(format!("the view failed and keeps its last content: {reason}"))
}
