//! Where changes come from. One folder per kind of source; all of them hand over whole transactions.

pub mod embedded;
pub mod postgres;
