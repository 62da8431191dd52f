//! Postgres as a source, by logical replication. The files in the order in which a row passes them:
//!
//! ```text
//! connection, replication   bytes from the server
//!  → pgoutput               messages
//!  → assembly               whole transactions, large ones by way of the disk
//!  → value, change          columns
//!  → (the loop) → apply     deltas of our tables: old rows come from our own state
//! copy                      the rows that were there before, exactly joined to the stream
//! ```

mod change;
mod lsn;
pub mod pgoutput;
mod settings;
mod shape;
pub mod value;

pub use change::{OldImage, RowChange, RowChanges, SourceTransaction, TableEvent};
pub use lsn::Lsn;
pub use settings::{Settings, TablePattern, without_password};
pub use shape::{ColumnShape, TableShape};
