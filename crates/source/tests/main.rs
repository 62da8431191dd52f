//! The embedded store through its public doors: SQL or rows in, rows out, over a real store. Postgres by the bytes it sends,
//! and as a real server.

// All of this is test code, helpers included.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod alter;
mod atomicity;
mod column_types;
mod conflict;
mod constraints;
mod database;
mod definition;
mod insert;
mod model;
mod pgoutput;
mod postgres_assembly;
mod postgres_connection;
mod postgres_copy;
mod postgres_large;
mod postgres_lifecycle;
mod postgres_literals;
mod postgres_preflight;
mod postgres_resume;
mod postgres_rows;
mod postgres_shapes;
mod postgres_stream;
mod postgres_values;
mod postgres_world;
mod rows;
mod update;
