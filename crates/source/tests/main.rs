//! The embedded store through its public doors: SQL or rows in, rows out, over a real store.

mod alter;
mod atomicity;
mod conflict;
mod constraints;
mod database;
mod definition;
mod insert;
mod model;
mod rows;
mod types;
mod update;
