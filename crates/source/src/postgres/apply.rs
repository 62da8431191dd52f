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

/// How the rows of `table` are changed by each transaction of a run: `changes` says which one (ascending) and how. What a
/// transaction does and undoes is not seen. The result is in order of transactions; those that change nothing are left out.
///
/// Fails as `Precondition`/`SOURCE_DIVERGED` if a change speaks of a row that is not there, or adds one that is: then the table
/// is not what it is at the server, and must be copied again.
pub fn deltas(
    reader: &Reader,
    table: &Relation,
    changes: &[(usize, &RowChanges)],
) -> Result<Vec<(usize, Batch)>> {
    match table.key.is_empty() {
        true => bag::deltas(table, changes),
        false => keyed::deltas(reader, table, changes),
    }
}

fn diverged(table: &Relation, what: &str) -> Error {
    let message = format!("table \"{}\" differs from its source: {what}", table.name);
    Error::new(ErrorKind::Precondition, "SOURCE_DIVERGED", message)
        .hint("it is copied again by ALTER SOURCE … RESYNC TABLE …")
}
