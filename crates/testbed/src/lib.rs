//! Real programs for tests: the viewfeed binary as a process of its own, and independent clients, found or installed.
//! What cannot be had fails the test that needs it; nothing is skipped.

// In a test an unwrap that fails is the failure.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod certificate;
mod postgres;
mod proxy;
mod python;
mod viewfeed;

pub use certificate::Authority;
pub use postgres::{Postgres, Psql, TextRow};
pub use proxy::Proxy;
pub use python::PythonGrpc;
pub use viewfeed::{Viewfeed, copy_dir, free_address};
