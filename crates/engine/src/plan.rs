//! Our own small plan: what DataFusion's optimised logical plan becomes before it is operators. A tree of nodes, each a
//! collection of weighted rows of plain types. Planning is pure: nothing here touches the store.
//!
//! `lower` walks DataFusion's plan; `join`, `aggregate` (with `grouping`), `constant`, `scalar` (subqueries that stand for a
//! value), `delta_join` (joins of many inputs), `clock` (with `bound`: conditions over the time), `top_k`, `row_number`,
//! `unnest`, `window` (with `window_call`), `recursion`, `scoped` and `recompute` lower what their names say; `facts` follows keys and
//! meanings of columns through it, `fingerprint` names the state of a node.

mod aggregate;
mod band;
mod bound;
mod clock;
mod constant;
mod delta_join;
mod expression;
mod facts;
mod fingerprint;
mod grouping;
mod join;
mod lower;
mod orders;
mod recompute;
mod recursion;
mod row_number;
mod scalar;
mod scoped;
mod top_k;
mod unnest;
mod view;
mod window;
mod window_call;

pub(crate) use delta_join::{DeltaJoinPlan, HopPlan, with_delta_joins};
pub(crate) use facts::Facts;
pub(crate) use fingerprint::{StateName, fingerprint, state_names};
pub(crate) use lower::Lowering;
pub(crate) use view::{PlannedView, plan_view, replan_view};

use crate::operator::aggregate::AggregateSpec;
use crate::operator::clock_filter::ClockCondition;
use crate::operator::expand::GroupingSet;
use crate::operator::filter_project::Stage;
use crate::operator::join::{JoinForm, Residual};
use crate::operator::top_k::TopKSpec;
use crate::operator::unnest::UnnestSpec;
use crate::operator::window::WindowSpec;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::LogicalPlan;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::row::plain_type;
use viewfeed_change::{Batch, Error, LogicalType, Relation, RelationId};

/// A collection: how it follows from its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What it does.
    pub(crate) kind: Kind,
    /// Its inputs.
    pub(crate) inputs: Vec<Node>,
    /// The columns of its rows, of plain types.
    pub(crate) schema: SchemaRef,
    /// What is known about its rows.
    pub(crate) facts: Facts,
}

/// What a node does.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The rows of a table or another view.
    Source(Arc<Relation>),
    /// Filters, projections and casts, one after another, with what each is called when shown.
    FilterProject(Vec<(Stage, String)>),
    /// Pairs of rows with equal keys, or the rows of a side by whether they are in one.
    Join(JoinPlan),
    /// Rows of three or more inputs with equal columns.
    DeltaJoin(DeltaJoinPlan),
    /// All rows of all inputs.
    Union,
    /// The rows whose value the clock has reached, or has not; with its text.
    Clock(ClockCondition, String),
    /// Rows that never change.
    Constant(Batch),
    /// The rows of its input, which are one at most.
    Single,
    /// Every row once.
    Distinct,
    /// Every row once per grouping set.
    Expand(Vec<GroupingSet>),
    /// Every row once per element of its lists; with their names.
    Unnest(UnnestSpec, String),
    /// One row per group; with its text.
    Aggregate(AggregateSpec, String),
    /// The rows at certain places of an order.
    TopK(TopKPlan),
    /// Every row with the results of functions over an order.
    Window(WindowPlan),
    /// What follows from the rows of its first input, step by step, by its second one.
    Recursion(RecursionPlan),
    /// Within the second input of a recursion of this name: the rows of the step before, and their step.
    Reference(String),
    /// Computed again for what a change touches, and compared.
    Rescope(Box<RescopePlan>),
    /// Computed again and compared.
    Recompute(Box<RecomputePlan>),
}

/// A join; input 0 is the left side. Pairs are the left columns, then the right ones.
#[derive(Clone, Debug)]
pub(crate) struct JoinPlan {
    /// The key columns of the left side.
    pub(crate) left_key: Vec<usize>,
    /// The key columns of the right side, in the same order.
    pub(crate) right_key: Vec<usize>,
    /// Whether NULL joins NULL.
    pub(crate) null_equal: bool,
    /// What comes out.
    pub(crate) form: JoinForm,
    /// The condition besides the key.
    pub(crate) residual: Option<Residual>,
    /// By what inequality pairs are looked for, if there is no key.
    pub(crate) band: Option<BandPlan>,
    /// How it is written.
    pub(crate) text: String,
}

/// An inequality between a column of each side, that is part of the condition besides the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BandPlan {
    /// The left column and the right one.
    pub(crate) columns: [usize; 2],
    /// Whether the left value is at most the right one; else at least.
    pub(crate) left_is_less: bool,
}

impl JoinPlan {
    /// The columns by which the rows of a side are found.
    pub(crate) fn found_by(&self, side: usize) -> &[usize] {
        match &self.band {
            Some(band) => std::slice::from_ref(&band.columns[side]),
            None => [&self.left_key, &self.right_key][side],
        }
    }

    /// Whether it finds the rows of a side by key.
    pub(crate) fn arranges(&self, side: usize) -> bool {
        self.form.arranges(side, self.residual.is_some())
    }

    /// Whether it counts the partners of a side's rows.
    pub(crate) fn counts_partners(&self, side: usize) -> bool {
        self.form.keep(side).is_some()
    }
}

/// The rows at certain places of an order, of everything or of each group.
#[derive(Clone, Debug)]
pub(crate) struct TopKPlan {
    /// Which rows.
    pub(crate) spec: TopKSpec,
    /// How it is written.
    pub(crate) text: String,
}

/// Functions over an order.
#[derive(Clone, Debug)]
pub(crate) struct WindowPlan {
    /// Which ones, and which order.
    pub(crate) spec: WindowSpec,
    /// How they are written.
    pub(crate) text: String,
}

/// A recursion. Its first input is where it begins; its second one has the step of the row a row follows from as last
/// column.
#[derive(Clone, Debug)]
pub(crate) struct RecursionPlan {
    /// What it is called in the query.
    pub(crate) name: String,
    /// Whether a row that came already does not come again.
    pub(crate) is_distinct: bool,
    /// How it is shown.
    pub(crate) text: String,
}

/// A part of DataFusion's plan whose output with certain values of some columns, its scope, depends only on input rows
/// with those values: it is computed again for the values a change touches.
#[derive(Clone, Debug)]
pub(crate) struct RescopePlan {
    /// What is executed; scans the input by the id `scan`.
    pub(crate) plan: LogicalPlan,
    /// The id by which `plan` scans the input: the relation's own for a source, else a made-up one.
    pub(crate) scan: RelationId,
    /// The columns of the input that are the scope.
    pub(crate) scope: Vec<usize>,
    /// The same columns, in the same order, among those of the output.
    pub(crate) output_scope: Vec<usize>,
    /// The operator, as shown.
    pub(crate) text: String,
    /// The scope, as shown.
    pub(crate) by: String,
    /// Why it is not incremental.
    pub(crate) reason: String,
}

/// A part of DataFusion's plan that is computed again when an input changed.
#[derive(Clone, Debug)]
pub(crate) struct RecomputePlan {
    /// What is executed; scans the inputs by the ids of `scans`.
    pub(crate) plan: LogicalPlan,
    /// The id by which `plan` scans each input: the relation's own for a source, else a made-up one.
    pub(crate) scans: Vec<RelationId>,
    /// The operator, as shown.
    pub(crate) text: String,
    /// Why it is not incremental.
    pub(crate) reason: String,
    /// Whether it depends on the time, and so must be computed again as time passes.
    pub(crate) follows_clock: bool,
}

impl Node {
    /// The rows of a relation.
    pub(crate) fn source(relation: &Arc<Relation>) -> Self {
        Self {
            schema: relation.schema(),
            facts: Facts::of_relation(relation),
            kind: Kind::Source(relation.clone()),
            inputs: Vec::new(),
        }
    }

    /// The relation, if this is nothing but its rows.
    pub(crate) fn as_source(&self) -> Option<&Arc<Relation>> {
        match &self.kind {
            Kind::Source(relation) => Some(relation),
            _ => None,
        }
    }

    /// Every relation below, by id.
    pub(crate) fn relations(&self) -> BTreeSet<RelationId> {
        let mut found: BTreeSet<RelationId> = self.inputs.iter().flat_map(Self::relations).collect();
        found.extend(self.as_source().map(|relation| relation.id));
        found
    }

    /// The columns that flow out of the last stage: not yet made plain.
    fn flowing(&self) -> SchemaRef {
        match &self.kind {
            Kind::FilterProject(stages) => {
                let schema = stages.iter().rev().find_map(|(stage, _)| stage.schema());
                schema.unwrap_or_else(|| self.inputs[0].schema.clone())
            }
            _ => self.schema.clone(),
        }
    }

    /// This node with `stage` on top, fused with stages that are there already.
    fn staged(mut self, stage: Stage, text: String, facts: Facts) -> Self {
        let stage = match (&mut self.kind, stage) {
            (Kind::FilterProject(stages), Stage::Columns(columns, schema)) => match stages.pop() {
                Some((Stage::Columns(below, _), _)) => {
                    Stage::Columns(columns.iter().map(|column| below[*column]).collect(), schema)
                }
                other => {
                    stages.extend(other);
                    Stage::Columns(columns, schema)
                }
            },
            (_, stage) => stage,
        };
        if !matches!(self.kind, Kind::FilterProject(_)) {
            self = Self {
                schema: self.schema.clone(),
                facts: self.facts.clone(),
                kind: Kind::FilterProject(Vec::new()),
                inputs: vec![self],
            };
        }
        if let Kind::FilterProject(stages) = &mut self.kind {
            stages.push((stage, text));
        }
        self.schema = plain_schema(self.flowing().fields().iter().map(|field| field.as_ref()));
        self.facts = facts;
        self.facts
            .meaning
            .resize(self.schema.fields().len(), LogicalType::Plain);
        self
    }

    /// This node with columns of exactly the types of `schema`, which expressions over it are made for.
    fn cast_to(self, schema: &DFSchema) -> Self {
        let flowing = self.flowing();
        let same = |(ours, theirs): (&Arc<Field>, &Arc<Field>)| ours.data_type() == theirs.data_type();
        if schema.fields().is_empty() || flowing.fields().iter().zip(schema.fields()).all(same) {
            return self;
        }
        let facts = self.facts.clone();
        let wanted = nullable_schema(schema.fields().iter().map(|field| field.as_ref()));
        self.staged(Stage::Cast(wanted), String::new(), facts)
    }

    /// Every row once per set; the number of the set comes in as `id` after the first `width` columns.
    fn expanded(self, sets: Vec<GroupingSet>, width: usize, id: &Field) -> Self {
        let fields: Vec<&Field> = self.schema.fields().iter().map(|field| field.as_ref()).collect();
        let (grouped, others) = fields.split_at(width);
        let schema = plain_schema(grouped.iter().copied().chain([id]).chain(others.iter().copied()));
        Self {
            facts: Facts::unknown(schema.fields().len()),
            schema,
            kind: Kind::Expand(sets),
            inputs: vec![self],
        }
    }

    /// The columns at `columns`, in that order.
    fn select(self, columns: Vec<usize>) -> Self {
        let flowing = self.flowing();
        if columns.iter().copied().eq(0..flowing.fields().len()) {
            return self;
        }
        let schema = nullable_schema(columns.iter().map(|column| flowing.field(*column)));
        let origins: Vec<Option<usize>> = columns.iter().copied().map(Some).collect();
        let facts = self.facts.select(&origins);
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let text = format!("columns[{}]", names.join(", "));
        self.staged(Stage::Columns(columns, schema), text, facts)
    }
}

/// The name of the column that stands in for none: a collection of rows without columns still has rows to count.
const NO_COLUMNS: &str = "_";

/// Columns of plain types that may all be NULL: what flows between nodes. DataFusion's promises about NULL are not
/// relied on. Never without a column.
fn plain_schema<'a>(fields: impl Iterator<Item = &'a Field>) -> SchemaRef {
    let plain = |field: &Field| Field::new(field.name(), plain_type(field.data_type()), true);
    let mut fields: Vec<Field> = fields.map(plain).collect();
    if fields.is_empty() {
        fields.push(Field::new(NO_COLUMNS, DataType::Boolean, true));
    }
    Arc::new(Schema::new(fields))
}

/// The same columns, all of which may be NULL.
fn nullable_schema<'a>(fields: impl Iterator<Item = &'a Field>) -> SchemaRef {
    let nullable = |field: &Field| Field::new(field.name(), field.data_type().clone(), true);
    Arc::new(Schema::new(fields.map(nullable).collect::<Vec<_>>()))
}

/// What DataFusion said while a view was planned.
fn planning(error: DataFusionError) -> Error {
    Error::invalid("PLANNING", "the query cannot be planned").because(error)
}
