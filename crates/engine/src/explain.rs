//! What `EXPLAIN VIEW` tells: a view's plan, and how each part of it is kept true at what cost.

use crate::operator::aggregate::AggregateCall;
use crate::operator::join::JoinForm;
use crate::plan::{JoinPlan, Kind, Node, RescopePlan};
use std::fmt;

/// How a node is kept true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// R0: work proportional to what changed.
    Incremental,
    /// R1: computed again and compared, but only the groups a change touches.
    Scoped,
    /// R2: computed again and compared.
    Recompute,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Incremental => "incremental",
            Self::Scoped => "per-group",
            Self::Recompute => "recompute",
        })
    }
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

impl ExplainedNode {
    /// The highest rung of the plan: `Incremental` only if every node is.
    pub fn worst_rung(&self) -> Rung {
        let below = self.inputs.iter().map(Self::worst_rung).max();
        below.map_or(self.rung, |rung| rung.max(self.rung))
    }

    /// Every node with its depth, the view's output first.
    pub fn flattened(&self) -> Vec<(usize, &Self)> {
        let below = self.inputs.iter().flat_map(Self::flattened);
        let deeper = below.map(|(depth, node)| (depth + 1, node));
        std::iter::once((0, self)).chain(deeper).collect()
    }

    /// A node and everything below it.
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            inputs: node.inputs.iter().map(Self::of).collect(),
            ..Self::alone(node)
        }
    }

    /// A node as if it had no inputs.
    pub(crate) fn alone(node: &Node) -> Self {
        let (operator, cost, note) = match &node.kind {
            Kind::Source(relation) => (format!("Relation {}", relation.name), "O(Δ)", String::new()),
            Kind::FilterProject(stages) => {
                let texts: Vec<&str> = stages
                    .iter()
                    .map(|(_, text)| text.as_str())
                    .filter(|text| !text.is_empty())
                    .collect();
                (
                    format!("FilterProject {}", texts.join(" ")),
                    "O(Δ)",
                    String::new(),
                )
            }
            Kind::Join(plan) => explain_join(node, plan),
            Kind::Union => ("UnionAll".to_owned(), "O(Δ)", String::new()),
            Kind::Constant(_) => ("Constant".to_owned(), "once", String::new()),
            Kind::Clock(_, text) => (
                format!("ClockFilter [{text}]"),
                "O(Δ + rows that become due)",
                "state: rows that are not due yet".to_owned(),
            ),
            Kind::Single => ("Single".to_owned(), "O(Δ)", "state: a count".to_owned()),
            Kind::Distinct => ("Distinct".to_owned(), "O(Δ)", "state: a count per row".to_owned()),
            Kind::Expand(sets) => (
                format!("Expand {} grouping sets", sets.len()),
                "O(Δ · sets)",
                String::new(),
            ),
            Kind::Aggregate(spec, text) => (
                format!("Aggregate {text}"),
                match spec.calls.iter().any(AggregateCall::is_list) {
                    true => "O(group)",
                    false => "O(Δ log n)",
                },
                "state: per group".to_owned(),
            ),
            Kind::TopK(plan) => (
                format!("TopK {}", plan.text),
                "O(Δ log n + offset + k)",
                "state: every row, in order".to_owned(),
            ),
            Kind::Rescope(plan) => explain_rescope(node, plan),
            Kind::Recompute(plan) => (
                plan.text.clone(),
                if node.inputs.is_empty() { "once" } else { "O(n)" },
                format!("reason: {}", plan.reason),
            ),
        };
        Self {
            operator,
            rung: match node.kind {
                Kind::Rescope(_) => Rung::Scoped,
                Kind::Recompute(_) => Rung::Recompute,
                _ => Rung::Incremental,
            },
            cost: cost.to_owned(),
            note,
            inputs: Vec::new(),
        }
    }
}

fn explain_join(node: &Node, plan: &JoinPlan) -> (String, &'static str, String) {
    let side = |place: usize| arranged(&node.inputs[place], plan.found_by(place));
    let kept = (0..2).filter(|place| plan.arranges(*place)).map(side);
    let counted = (0..2).filter(|place| plan.counts_partners(*place));
    let counts = counted.map(|place| match (plan.residual.is_some(), place) {
        (false, _) if plan.left_key.is_empty() => "a count".to_owned(),
        (false, _) => format!("a count per {} key", ["right", "left"][place]),
        (true, _) => format!("a count per {} row with a partner", ["left", "right"][place]),
    });
    let note = kept.chain(counts).collect::<Vec<_>>().join(", ");
    let cost = match (plan.left_key.is_empty(), plan.form) {
        (true, _) if plan.band.is_some() => "O(Δ · range)",
        (true, _) => "O(Δ · other side)",
        (false, JoinForm::NullAwareAnti) => "O(Δ · matches), O(left) for the first and the last NULL",
        (false, _) => "O(Δ · matches)",
    };
    (plan.text.clone(), cost, format!("state: {note}"))
}

fn explain_rescope(node: &Node, plan: &RescopePlan) -> (String, &'static str, String) {
    let note = format!(
        "by: {}  reason: {}  state: {}, output",
        plan.by,
        plan.reason,
        arranged(&node.inputs[0], &plan.scope)
    );
    (plan.text.clone(), "O(rows of the touched groups)", note)
}

/// Where the rows of `input` are kept by `key`.
fn arranged(input: &Node, key: &[usize]) -> String {
    let names: Vec<&str> = key
        .iter()
        .map(|column| input.schema.field(*column).name().as_str())
        .collect();
    match input.as_source() {
        Some(relation) if key.is_empty() => format!("{} shared", relation.name),
        None if key.is_empty() => "own".to_owned(),
        Some(relation) => format!("{}({}) shared", relation.name, names.join(", ")),
        None => format!("own by ({})", names.join(", ")),
    }
}

impl fmt::Display for ExplainedNode {
    /// A tree, the output first, one line per node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, node) in self.flattened() {
            let indent = match depth {
                0 => String::new(),
                _ => format!("{}└ ", "  ".repeat(depth - 1)),
            };
            write!(f, "{indent}{}  {}  {}", node.operator, node.rung, node.cost)?;
            if !node.note.is_empty() {
                write!(f, "  {}", node.note)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
