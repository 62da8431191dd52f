//! What is measured: each suite runs the same work through every engine and compares what came out.

pub(crate) mod join;
pub(crate) mod nexmark;
pub(crate) mod top;

use crate::checksum::Checksum;
use viewfeed_change::{Error, Result};

/// How much is measured.
pub(crate) struct Settings {
    /// Rows of state, of the join and of the top list.
    pub(crate) rows: Vec<usize>,
    /// Events of each of Nexmark's queries.
    pub(crate) events: usize,
    /// Of Nexmark's queries, those whose name holds this.
    pub(crate) query: String,
    /// Whether only ours, relaxed, is run: for a profiler.
    pub(crate) is_alone: bool,
}

/// Fails unless both gave the same rows: figures of different answers mean nothing.
pub(crate) fn same(what: &str, ours: Checksum, peer: Checksum) -> Result<()> {
    if ours == peer {
        return Ok(());
    }
    let message = format!("{what}: outputs differ, {ours:?} and {peer:?}");
    Err(Error::internal(message).hint("the circuit and the SQL do not mean the same"))
}
