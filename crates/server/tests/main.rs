//! The server as clients see it: real sockets, a real store and feed, real modules. Only the program behind the gateway is
//! played by the test (`program`): it writes rows to the store, and runs no SQL.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails as it should"
)]

mod calls;
mod changes;
mod client;
mod deadlines;
mod errors;
mod modules;
mod program;
mod reflection;
mod subscriptions;
mod web;
mod world;
