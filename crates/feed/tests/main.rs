//! Facts about feeds, through their public doors, over a real store.
#![allow(clippy::unwrap_used)]

mod client;
mod ends;
mod envelopes;
mod heartbeats;
mod large;
mod law;
mod publishing_thread;
mod refusals;
mod resuming;
mod slow_consumers;
mod starting;
mod transactions;
mod world;
