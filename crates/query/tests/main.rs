//! The planner through its public door: text in, statements, types, plans and rows out.

// All of this is test code, helpers included.
#![allow(clippy::unwrap_used)]

mod column_types;
mod failures;
mod house;
mod parsing;
mod planning;
mod reading;
mod running;
mod scalars;
