//! Real programs for tests: the viewfeed binary as a process of its own, and independent clients, found or installed.
//! What cannot be had fails the test that needs it; nothing is skipped.

mod certificate;
mod postgres;
mod python;
mod viewfeed;

pub use certificate::Authority;
pub use postgres::{Postgres, Psql, TextRow};
pub use python::PythonGrpc;
pub use viewfeed::{Viewfeed, copy_dir, free_address};
