//! Keeps views true: SQL in, deltas out.
//!
//! Synchronous and deterministic: the same batches give the same deltas, byte for byte. No clock, no network, no protobuf.
//!
//! ```text
//! SQL ── plan ──► Node tree ── dataflow ──► operators over a transaction
//!        (pure)   (explain, fingerprint)    (step: deltas in, delta out; hydrate: present content in, all out)
//! ```

mod dataflow;
mod engine;
mod explain;
mod operator;
mod plan;

pub use engine::{
    Engine, FillOutput, NewView, StepInput, StepOutput, StepTimes, ViewReport, view_errors_relation,
};
pub use explain::{ExplainedNode, ExplainedState, Rung};
