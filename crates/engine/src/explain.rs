//! What `EXPLAIN VIEW` tells: a view's plan, and how each part of it is kept true at what cost.

use crate::operator::aggregate::AggregateCall;
use crate::operator::join::JoinForm;
use crate::operator::window::WindowCalls;
use crate::plan::{DeltaJoinPlan, JoinPlan, Kind, Node, RecursionPlan, RescopePlan, WindowPlan, state_names};
use std::fmt;
use viewfeed_change::{ColumnPath, Relation, RelationId};
use viewfeed_store::arrange;

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
    /// What it reads and keeps in the store; known of views that exist.
    pub states: Vec<ExplainedState>,
    /// Its inputs.
    pub inputs: Vec<ExplainedNode>,
}

/// A state that a node reads or keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedState {
    /// What it is called in the store.
    pub name: String,
    /// What it is: `orders(customer_id)`, or what it is for in the node, such as `input0`.
    pub shown: String,
    /// Whether it is an arrangement of a relation, which others may read too.
    pub is_shared: bool,
}

impl ExplainedNode {
    /// The highest rung of the plan: `Incremental` only if every node is.
    pub fn worst_rung(&self) -> Rung {
        let below = self.inputs.iter().map(Self::worst_rung).max();
        below.map_or(self.rung, |rung| rung.max(self.rung))
    }

    /// The node alone: operator, rung, cost, note.
    pub fn line(&self) -> String {
        let line = format!("{}  {}  {}", self.operator, self.rung, self.cost);
        match self.note.is_empty() {
            true => line,
            false => format!("{line}  {}", self.note),
        }
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

    /// The plan of a view that exists, with its states.
    pub(crate) fn of_view(view: RelationId, node: &Node) -> Self {
        Self::at(view, "", node)
    }

    fn at(view: RelationId, path: &str, node: &Node) -> Self {
        let own = state_names(view, path, node).into_iter().map(ExplainedState::own);
        let inputs = node.inputs.iter().enumerate();
        Self {
            states: shared_states(node).into_iter().chain(own).collect(),
            inputs: inputs
                .map(|(i, input)| Self::at(view, &format!("{path}.{i}"), input))
                .collect(),
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
            Kind::DeltaJoin(plan) => explain_delta_join(node, plan),
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
            Kind::Unnest(_, text) => (format!("Unnest {text}"), "O(Δ · elements)", String::new()),
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
            Kind::Window(plan) => explain_window(plan),
            Kind::Recursion(plan) => explain_recursion(plan),
            Kind::Reference(name) => (format!("Reference {name}"), "O(Δ)", String::new()),
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
            states: Vec::new(),
            inputs: Vec::new(),
        }
    }
}

impl ExplainedState {
    /// One that belongs to a node alone; its name says what for.
    fn own(name: String) -> Self {
        let shown = name.rsplit('/').nth(1).unwrap_or_default().to_owned();
        Self {
            name,
            shown,
            is_shared: false,
        }
    }

    /// Of a relation, by these columns, or by its own key.
    fn of_relation(relation: &Relation, columns: &[usize]) -> Self {
        let by = match columns.is_empty() {
            true => relation.key.as_slice(),
            false => columns,
        };
        let paths: Vec<ColumnPath> = by.iter().copied().map(ColumnPath::from).collect();
        let names: Vec<&str> = by
            .iter()
            .map(|column| relation.columns[*column].name.as_str())
            .collect();
        Self {
            name: arrange::relation_state(relation, &paths),
            shown: format!("{}({})", relation.name, names.join(", ")),
            is_shared: true,
        }
    }
}

/// The arrangements of relations that a node reads.
fn shared_states(node: &Node) -> Vec<ExplainedState> {
    let mut states = Vec::new();
    for (i, input) in node.inputs.iter().enumerate() {
        let Some(relation) = input.as_source() else {
            continue;
        };
        let found_by: Vec<&[usize]> = match &node.kind {
            Kind::Join(plan) if plan.arranges(i) => vec![plan.found_by(i)],
            Kind::DeltaJoin(plan) => plan.keys[i].iter().map(Vec::as_slice).collect(),
            Kind::Rescope(plan) => vec![&plan.scope],
            Kind::Recompute(_) => vec![&[]],
            _ => Vec::new(),
        };
        let found = found_by.into_iter();
        states.extend(found.map(|columns| ExplainedState::of_relation(relation, columns)));
    }
    states
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

fn explain_delta_join(node: &Node, plan: &DeltaJoinPlan) -> (String, &'static str, String) {
    let inputs = node.inputs.iter().zip(&plan.keys);
    let kept: Vec<String> = inputs
        .flat_map(|(input, keys)| keys.iter().map(|key| arranged(input, key)))
        .collect();
    let called = |input: usize| match node.inputs[input].as_source() {
        Some(relation) => relation.name.to_string(),
        None => format!("input {}", input + 1),
    };
    let paths = plan.paths.iter().enumerate().map(|(start, hops)| {
        let stations = std::iter::once(start).chain(hops.iter().map(|hop| hop.input));
        stations.map(called).collect::<Vec<_>>().join("→")
    });
    let paths = paths.collect::<Vec<_>>().join(", ");
    let note = format!("state: {}  paths: {paths}", kept.join(", "));
    (plan.text.clone(), "O(Δ · matches)", note)
}

fn explain_window(plan: &WindowPlan) -> (String, &'static str, String) {
    let (cost, state) = match plan.spec.calls {
        WindowCalls::Near(_) => ("O(Δ · frame · log n)", "every row, in order, twice"),
        WindowCalls::Running(_) => (
            "O(rows after the change whose results change)",
            "every row, in order, with what is before it",
        ),
    };
    (format!("Window {}", plan.text), cost, format!("state: {state}"))
}

fn explain_recursion(plan: &RecursionPlan) -> (String, &'static str, String) {
    let note = match plan.is_distinct {
        true => "state: the step of each row, and how often it is derived in which",
        false => "",
    };
    (plan.text.clone(), "O(rows that follow from Δ)", note.to_owned())
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
            writeln!(f, "{indent}{}", node.line())?;
        }
        Ok(())
    }
}
