//! The planner through its public door: text in, statements, types, plans and rows out.

mod failures;
mod house;
mod parsing;
mod planning;
mod running;
mod scalars;
mod types;
