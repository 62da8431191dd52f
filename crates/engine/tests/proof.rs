//! Proofs by known queries: TPC-H and Nexmark as views. Random ways lead to the same tables, and every view must be what
//! DataFusion computes from scratch: created on empty tables, late, over a restart, and until all is deleted again.
//!
//! `suite` says what happens, `script` how the tables come about, `world` does it, `compare` looks at the rows. The
//! queries and the worst rung of each lie in `tests/tpch` and `tests/nexmark`; `UPDATE_PLANS=1 cargo test` writes the
//! rungs anew. `VIEWFEED_PROOF_SEED` repeats a run.

mod cell;
mod compare;
mod nexmark;
mod script;
mod suite;
mod tpch;
mod world;
