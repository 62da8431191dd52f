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

mod answer;
pub mod apply;
mod assembly;
mod change;
mod collect;
mod connection;
mod copy;
mod failure;
pub mod guardian;
mod ingest;
mod kept;
mod lsn;
pub mod pgoutput;
pub mod preflight;
pub mod publication;
mod replication;
mod run;
mod settings;
mod shape;
pub mod slot;
mod sql_error;
pub mod stored;
pub mod value;
pub mod wanted;
mod work;

pub use assembly::{Assembled, Assembler, Committed, Load, LooseNote, Messages};
pub use change::{OldImage, RowChange, RowChanges, SourceTransaction, TableEvent};
pub use connection::{Connector, SqlSession};
pub use copy::{CopyEvent, CopyOptions, CopyProgress, SnapshotCopy, TableProgress};
pub use ingest::{Ingest, Ingested, IngestedTransaction};
pub use lsn::Lsn;
pub use replication::{
    CreatedSlot, NewSlot, Received, Replication, ReplicationStream, StartOptions, SystemIdentity,
};
pub use run::{RunningSource, Source, SourceState, SourceStatus};
pub use settings::{Settings, TablePattern, without_password};
pub use shape::{ColumnShape, EarlierValue, Found, Refused, ShapeChange, TableShape, Tables, read_shapes};
pub use work::{Applied, Copy, Loop, Work};
