//! Postgres as a source: what its logical replication says, as plain values.
//!
//! So far the words of the stream: [`Lsn`] and [`pgoutput`]. Connections, slots, snapshots and the mapping of rows come
//! beside them.

mod lsn;
pub mod pgoutput;

pub use lsn::Lsn;
