//! Keeps views true: SQL in, deltas out.
//!
//! Synchronous and deterministic: the same batches give the same deltas, byte for byte. No clock, no network, no protobuf.

mod engine;
mod explain;
mod operator;
mod plan;

pub use engine::{Engine, NewView, StepInput, StepOutput};
pub use explain::{ExplainedNode, Rung};
