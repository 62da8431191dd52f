//! SQL in, rows out, at one epoch: the parser and its extensions, SQL types, functions, the planner and batch
//! execution over a [`viewfeed_store::Reader`]. The only place that configures DataFusion.
//!
//! Leaves to others: writing (source), keeping results true (engine).

mod bind;
mod column_type;
mod functions;
mod parse;
mod planner;
mod table;

pub use column_type::{column_type, sql_type};
pub use parse::{Parsed, Show, Statement, parse};
pub use planner::{Planner, Purpose};
pub use table::RelationTable;
