//! The engine, seen from outside.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod aggregates;
mod clock;
mod delta_join;
mod errors;
mod failures;
mod filling;
mod functions;
mod joins;
mod lifecycle;
mod operators;
mod oracle;
mod plans;
mod postgres;
mod proof;
mod recompute;
mod recursion;
mod rescope;
mod set_operations;
mod top_k;
mod unnest;
mod windows;
mod world;
