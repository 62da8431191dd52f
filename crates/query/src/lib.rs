//! SQL in, rows out, at one epoch: the parser and its extensions, SQL types, functions, the planner and batch
//! execution over a [`viewfeed_store::Reader`]. The only place that configures DataFusion.
//!
//! ```text
//! text ─ parse ─► ast ─ naming ─ names ─► logical plan ─ optimiser ─► plan ─┬─► engine (a view, lowered there)
//!                                                                           └─ bind ─► rows of a reader
//! ```
//!
//! Leaves to others: writing (source), keeping results true (engine).

mod accept;
mod bind;
mod check;
mod column_type;
mod correlated_not_in;
mod failure;
mod forget_keys;
mod functions;
mod hidden;
mod hide_orders;
mod in_null;
mod named_windows;
mod names;
mod naming;
mod parse;
mod planner;
mod recursion;
mod rules;
mod session;
mod set_comparison;
mod set_operations;
mod table;

pub use column_type::{column_type, is_serial, sql_type};
pub use failure::evaluation_failure;
pub use functions::Functions;
pub use parse::{Parsed, Show, SourceKind, SourceOptions, SourceStatement, Statement, parse};
pub use planner::{Planner, Prepared, Purpose};
pub use recursion::RecursionBudget;
pub use table::{RelationTable, recursion_of, relation_of};
