//! Where state lives: ordered bytes with snapshots, the epoch log, one atomic commit per epoch, and arrangements
//! (the rows of a collection, ordered by a key) on top.
//!
//! ```text
//! Txn (staged writes of one epoch) ── commit ──► epoch log (append, fdatasync) ──► layers in memory ──► Kv (sled, runs)
//!                                                  = the commit point              sorted writes        checkpoint
//! ```
//!
//! Leaves to others what the bytes mean: SQL, plans and protobuf are unknown here.

pub mod arrange;
mod checkpoint;
mod committed;
mod fold;
mod folder;
mod gaps;
pub mod keys;
mod kv;
mod layers;
mod log;
mod overlay;
mod reader;
mod runs;
mod scan;
mod store;
mod txn;
mod varint;
pub mod view_errors;
mod writes;

pub use kv::{Kv, MemoryKv, SledKv};
pub use log::{LogReader, LoggedDelta, LoggedEpoch, LoggedTransaction};
pub use reader::{EachPair, Reader};
pub use runs::RunsKv;
pub use scan::Prober;
pub use store::{Durability, EpochRecord, Form, Options, Retention, Store};
pub use txn::{Savepoint, Txn};
pub use writes::SortedWrites;
