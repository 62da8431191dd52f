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
mod guardian;
mod ingest;
mod kept;
mod lsn;
pub mod pgoutput;
mod preflight;
mod publication;
mod replication;
mod run;
mod settings;
mod shape;
mod slot;
pub mod stored;
pub mod value;
mod wanted;
mod work;

pub use assembly::{Assembled, Assembler, Committed, Load, LooseNote, Messages};
pub use change::{OldImage, RowChange, RowChanges, SourceTransaction, TableEvent};
pub use connection::{Connector, SqlSession};
pub use copy::{
    CopyEstimate, CopyEvent, CopyOptions, CopyProgress, PageRange, PlannedCopy, ReadPages, SnapshotCopy,
    TableProgress,
};
pub use guardian::{
    Guardian, HEARTBEAT_PREFIX, Observation, SlotLag, Verdict, WalLimit, heartbeat, observe_slot,
};
pub use ingest::{Ingest, Ingested, IngestedTransaction};
pub use lsn::Lsn;
pub use preflight::{Finding, Severity, check, examine};
pub use publication::{
    Ensured, Membership, MembershipChanges, Publication, drop_publication, ensure, read_publication,
};
pub use replication::{
    CreatedSlot, NewSlot, Received, Replication, ReplicationStream, StartOptions, SystemIdentity,
};
pub use run::{RunningSource, Source, SourceState, SourceStatus, StreamOptions};
pub use settings::{Settings, TablePattern, without_password};
pub use shape::{ColumnShape, Found, Refused, RowsVersion, TableShape, Tables, read_shapes};
pub use slot::{OrphanSlot, Slot, SlotReader, SlotState, WalStatus, drop_slot, orphan_slots, slot_state};
pub use wanted::{Access, Refusal, RefusedTable, WantedTable, WantedTables, wanted_tables};
pub use work::{Applied, Copy, LargeTransaction, Loop, Pieces, Published, Work};
