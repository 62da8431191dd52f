//! Changes of a table as its server sends them, and the table as it is stored here: what its rows lose and gain.
//!
//! The server says of an old row no more than its key, and leaves out large values that did not change. What is missing is
//! in our own state: rows are looked up once for a whole run of transactions, then the changes are followed one by one.
//! Owns what a run of changes means; reads the store and writes nothing.

mod bag;
mod columns;
mod keyed;

use super::RowChanges;
use viewfeed_change::{Batch, Error, ErrorKind, Relation, Result};
use viewfeed_store::Reader;

/// What is known of the rows that changes are applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// They are those that the table had before the changes.
    Exact,
    /// They are of several points of the log, some of them later than the changes: any row may be there already, or not, or as it
    /// is later. Followed up to the last of these points, they are those of that point.
    Mixed,
}

/// How the rows of `table` are changed by each transaction of a run: `changes` says which one (ascending) and how. What a
/// transaction does and undoes is not seen. The result is in order of transactions; those that change nothing are left out.
///
/// Fails as `Precondition`/`SOURCE_DIVERGED` if a change speaks of a row that is not there, or adds one that is: then the table
/// is not what it is at the server, and must be copied again. Over a [`Base::Mixed`] it fails so only if a value that was not
/// sent, because it is large and did not change, cannot be found for certain; and tables without a key have no such base.
pub fn deltas(
    reader: &Reader,
    table: &Relation,
    changes: &[(usize, &RowChanges)],
    base: Base,
) -> Result<Vec<(usize, Batch)>> {
    match (table.key.is_empty(), base) {
        (true, Base::Exact) => bag::deltas(table, changes),
        (true, Base::Mixed) => Err(diverged(table, "it has no key by which rows could be told apart")),
        (false, base) => keyed::deltas(reader, table, changes, base),
    }
}

fn diverged(table: &Relation, what: &str) -> Error {
    let message = format!("table \"{}\" differs from its source: {what}", table.name);
    Error::new(ErrorKind::Precondition, "SOURCE_DIVERGED", message)
        .hint("it is copied again by ALTER SOURCE … RESYNC TABLE …")
}
