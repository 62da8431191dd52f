//! What `EXPLAIN VIEW` tells.

/// How a node is kept true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// R0: work proportional to what changed.
    Incremental,
    /// R2: computed again and compared.
    Recompute,
}

/// A node of a view's plan.
#[derive(Clone, Debug)]
pub struct ExplainedNode {
    /// For example `Aggregate group[shop] sum(amount)`.
    pub operator: String,
    /// How it is kept true.
    pub rung: Rung,
    /// What a one-row change costs, for example `O(Δ)`.
    pub cost: String,
    /// Why it is not incremental, or what its state is.
    pub note: String,
    /// Its inputs.
    pub inputs: Vec<ExplainedNode>,
}
