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

mod assembly;
mod change;
mod connection;
mod failure;
mod lsn;
pub mod pgoutput;
mod replication;
mod settings;
mod shape;
pub mod value;

pub use assembly::{Assembled, Assembler, Committed, Load, LooseNote, Messages};
pub use change::{OldImage, RowChange, RowChanges, SourceTransaction, TableEvent};
pub use connection::{Connector, SqlSession};
pub use lsn::Lsn;
pub use replication::{
    CreatedSlot, NewSlot, Received, Replication, ReplicationStream, StartOptions, SystemIdentity,
};
pub use settings::Settings;
pub use shape::{ColumnShape, TableShape};
