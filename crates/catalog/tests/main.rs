//! The catalog through its public doors.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails as it should"
)]

mod codec;
mod compile;
mod evolve;
mod generic;
mod infer;
mod modules;
mod mutate;
mod query;
mod report;
mod sidecar;
mod subscribe;
mod support;
mod wild;
