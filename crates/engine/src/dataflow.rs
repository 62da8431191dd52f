//! A view's operators, wired: built from its plan over the state in a transaction, stepped by deltas, filled from the
//! present content of the relations it reads. `circuit` runs them, `recursion` those of a recursive term, again and again;
//! wiring a join of many inputs has a file of its own; `live` is what a view needs that is filled piece by piece.

mod circuit;
mod delta_join;
mod live;
mod prefix;
mod recursion;

pub(crate) use circuit::content;
pub(crate) use live::reading_order;
pub(crate) use prefix::{position, position_key};

use crate::explain::ExplainedNode;
use crate::operator::Emit;
use crate::operator::aggregate::Aggregate;
use crate::operator::clock_filter::ClockFilter;
use crate::operator::constant::Constant;
use crate::operator::deferred::Deferred;
use crate::operator::distinct::Distinct;
use crate::operator::expand::Expand;
use crate::operator::filter_project::FilterProject;
use crate::operator::isolate::{ErrorLog, ErrorsChanged};
use crate::operator::join::{Band, Join, JoinForm, Partners, Side};
use crate::operator::recompute::{KeptQuery, Recompute, RecomputeInput};
use crate::operator::rescope::Rescope;
use crate::operator::single::Single;
use crate::operator::top_k::TopK;
use crate::operator::union::Union;
use crate::operator::unnest::Unnest;
use crate::operator::window::{Near, Running, WindowCalls};
use crate::plan::{JoinPlan, Kind, Node, RecomputePlan, RescopePlan, StateName, state_names};
use circuit::{Circuit, Pass, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use viewfeed_change::{Batch, ColumnPath, Error, Relation, RelationId, Result, Timestamp};
use viewfeed_query::Planner;
use viewfeed_store::arrange::{self, Arrangement};
use viewfeed_store::{Txn, keys};

/// The operators of one view.
pub(crate) struct Dataflow {
    circuit: Circuit,
    inputs: BTreeSet<RelationId>,
    follows_clock: bool,
    errors_changed: ErrorsChanged,
    /// Whether it sees only the rows up to a position of each relation.
    is_filling: bool,
    /// The arrangements of relations it needs that do not hold everything yet: until they do, it must not be used.
    missing: Vec<(Arc<Relation>, Vec<ColumnPath>)>,
}

/// The names of every state of `view` with this plan.
pub(crate) fn states(view: RelationId, node: &Node) -> Vec<StateName> {
    fn walk(view: RelationId, path: &str, node: &Node, names: &mut Vec<StateName>) {
        names.extend(state_names(view, path, node));
        for (i, input) in node.inputs.iter().enumerate() {
            walk(view, &format!("{path}.{i}"), input, names);
        }
    }
    let mut names = Vec::new();
    walk(view, "", node, &mut names);
    names
}

impl Dataflow {
    /// The operators for `node` of `view`. Makes the states and shared arrangements that are missing: after that, the
    /// transaction must be sealed before they can be read.
    pub(crate) fn build(planner: &Planner, view: RelationId, node: &Node, txn: &mut Txn) -> Result<Self> {
        Self::built(planner, view, node, false, txn)
    }

    fn built(
        planner: &Planner,
        view: RelationId,
        node: &Node,
        is_filling: bool,
        txn: &mut Txn,
    ) -> Result<Self> {
        let mut builder = Builder {
            planner,
            view,
            txn,
            is_filling,
            missing: Vec::new(),
            circuit: Circuit::new(is_filling),
            path: String::new(),
            errors_changed: ErrorsChanged::default(),
        };
        builder.add("", node)?;
        let Builder {
            circuit,
            missing,
            errors_changed,
            ..
        } = builder;
        Ok(Self {
            follows_clock: circuit.follows_clock(),
            inputs: node.relations(),
            circuit,
            errors_changed,
            is_filling,
            missing,
        })
    }

    /// The relations it reads.
    pub(crate) fn inputs(&self) -> &BTreeSet<RelationId> {
        &self.inputs
    }

    /// Whether it must be stepped as time passes, also if nothing changed.
    pub(crate) fn follows_clock(&self) -> bool {
        self.follows_clock
    }

    /// Whether what it leaves out may have changed since the last call.
    pub(crate) fn take_errors_changed(&self) -> bool {
        self.errors_changed.take()
    }

    /// The change of the view that follows from the changes of relations; not consolidated.
    pub(crate) fn step(
        &self,
        deltas: &BTreeMap<RelationId, Batch>,
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<Option<Batch>> {
        self.circuit.run(&Pass::Step(deltas), now, txn)
    }

    /// Fills the states, which must be empty, from the content of the relations in `txn.before()` (as if they were empty,
    /// if it is filled piece by piece), and hands over the view's rows. Seals as it goes.
    pub(crate) fn hydrate(&self, now: Timestamp, txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        self.circuit.collect(now, txn, output)
    }
}

struct Builder<'a> {
    planner: &'a Planner,
    view: RelationId,
    txn: &'a mut Txn,
    is_filling: bool,
    missing: Vec<(Arc<Relation>, Vec<ColumnPath>)>,
    circuit: Circuit,
    /// Where the node stands that is built.
    path: String,
    errors_changed: ErrorsChanged,
}

impl Builder<'_> {
    /// Adds `node`, which stands at `path`, after everything below it; gives its place.
    fn add(&mut self, path: &str, node: &Node) -> Result<usize> {
        if let Kind::Recursion(plan) = &node.kind {
            return self.add_recursion(path, node, plan);
        }
        let inputs = node
            .inputs
            .iter()
            .enumerate()
            .map(|(i, input)| self.add(&format!("{path}.{i}"), input))
            .collect::<Result<Vec<_>>>()?;
        self.path = path.to_owned();
        let mut names = state_names(self.view, path, node).into_iter();
        let work = match &node.kind {
            Kind::Source(relation) => Work::Source(relation.clone()),
            Kind::Reference(_) => Work::Reference,
            Kind::Recursion(_) => return Err(Error::internal("a recursion is wired by itself")),
            Kind::FilterProject(stages) => {
                let stages = stages.iter().map(|(stage, _)| stage.clone()).collect();
                Work::operator(FilterProject::new(stages, node.schema.clone(), self.errors(node)))
            }
            Kind::Union => Work::operator(Union::new(node.schema.clone())),
            Kind::Constant(rows) => Work::operator(Constant::new(rows.clone())),
            Kind::Single => {
                let (state, _) = keys::allocate(self.txn, &next(&mut names))?;
                Work::operator(Single::new(state))
            }
            Kind::Clock(condition, _) => {
                let (state, _) = keys::allocate(self.txn, &next(&mut names))?;
                let filter = ClockFilter::new(condition.clone(), node.inputs[0].schema.clone(), state)?;
                Work::Clock(Box::new(filter))
            }
            Kind::Join(plan) => Work::operator(self.join(node, plan, &mut names)?),
            Kind::DeltaJoin(plan) => Work::operator(self.delta_join(node, plan, &mut names)?),
            Kind::Distinct => {
                let (state, _) = keys::allocate(self.txn, &next(&mut names))?;
                Work::operator(Distinct::new(node.schema.clone(), state)?)
            }
            Kind::Expand(sets) => Work::operator(Expand::new(sets.clone(), node.schema.clone())),
            Kind::Unnest(spec, _) => Work::operator(Unnest::new(spec.clone(), node.schema.clone())),
            Kind::Aggregate(spec, _) => {
                let (state, _) = keys::allocate(self.txn, &next(&mut names))?;
                Work::operator(Aggregate::new(spec.clone(), state, self.errors(node))?)
            }
            Kind::TopK(plan) => {
                let (state, _) = keys::allocate(self.txn, &next(&mut names))?;
                Work::operator(TopK::new(&node.schema, plan.spec.clone(), state)?)
            }
            Kind::Window(plan) => {
                let (state, _) = keys::allocate(self.txn, &next(&mut names))?;
                let (schema, spec) = (&node.inputs[0].schema, plan.spec.clone());
                match &plan.spec.calls {
                    WindowCalls::Near(calls) => Work::operator(Near::new(schema, spec, calls, state)?),
                    WindowCalls::Running(calls) => Work::operator(Running::new(schema, spec, calls, state)?),
                }
            }
            Kind::Rescope(plan) => self.rescope(node, plan, &mut names)?,
            Kind::Recompute(plan) => self.recompute(node, plan, &mut names)?,
        };
        Ok(self.circuit.push(work, inputs, &node.schema))
    }

    fn join(
        &mut self,
        node: &Node,
        plan: &JoinPlan,
        names: &mut dyn Iterator<Item = StateName>,
    ) -> Result<Join> {
        let mut side = |side: usize, key: &[usize]| {
            let input = &node.inputs[side];
            let arrangement = match plan.arranges(side) {
                true => Some(self.arranged(input, plan.found_by(side), names)?),
                false => None,
            };
            Side::new(&input.schema, key, arrangement, input.as_source().is_none())
        };
        let sides = [side(0, &plan.left_key)?, side(1, &plan.right_key)?];
        let mut partners = [None, None];
        for (side, partners) in partners.iter_mut().enumerate() {
            if plan.counts_partners(side) {
                let (state, _) = keys::allocate(self.txn, &next(names))?;
                let null_aware = plan.form == JoinForm::NullAwareAnti;
                *partners = Some(Partners::new(state, plan.residual.is_some(), null_aware));
            }
        }
        let schemas = [&node.inputs[0].schema, &node.inputs[1].schema];
        let band = plan.band.as_ref();
        let band = band.map(|band| Band::new(schemas, band.columns, band.left_is_less));
        Ok(Join {
            sides,
            form: plan.form,
            null_equal: plan.null_equal,
            residual: plan.residual.clone(),
            partners,
            band: band.transpose()?,
            output: node.schema.clone(),
            errors: self.errors(node),
        })
    }

    fn rescope(
        &mut self,
        node: &Node,
        plan: &RescopePlan,
        names: &mut dyn Iterator<Item = StateName>,
    ) -> Result<Work> {
        let input = &node.inputs[0];
        let input = RecomputeInput {
            scan: plan.scan,
            arrangement: self.arranged(input, &plan.scope, names)?,
            own: input.as_source().is_none(),
            schema: input.schema.clone(),
        };
        let by: Vec<ColumnPath> = plan.output_scope.iter().copied().map(ColumnPath::from).collect();
        let (output, _) = arrange::ensure_named(self.txn, &next(names), &node.schema, &by)?;
        let part = Rescope::new(
            KeptQuery::new(self.planner.clone(), plan.plan.clone()),
            input,
            plan.scope.clone(),
            output,
            node.schema.clone(),
            self.errors(node),
        )?;
        Ok(match self.is_filling {
            true => Work::Deferred(Deferred::Rescope(Box::new(part))),
            false => Work::operator(part),
        })
    }

    fn recompute(
        &mut self,
        node: &Node,
        plan: &RecomputePlan,
        names: &mut dyn Iterator<Item = StateName>,
    ) -> Result<Work> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (input, scan) in node.inputs.iter().zip(&plan.scans) {
            inputs.push(RecomputeInput {
                scan: *scan,
                arrangement: self.arranged(input, &[], names)?,
                own: input.as_source().is_none(),
                schema: input.schema.clone(),
            });
        }
        let (output, _) = arrange::ensure_named(self.txn, &next(names), &node.schema, &[])?;
        let clock = match plan.follows_clock {
            true => Some(keys::operator_prefix(keys::allocate(self.txn, &next(names))?.0)),
            false => None,
        };
        let part = Box::new(Recompute {
            query: KeptQuery::new(self.planner.clone(), plan.plan.clone()),
            inputs,
            output,
            schema: node.schema.clone(),
            clock,
        });
        Ok(match self.is_filling {
            true => Work::Deferred(Deferred::Recompute(part)),
            false => Work::Recompute(part),
        })
    }

    /// Where `node` counts the rows it leaves out.
    fn errors(&self, node: &Node) -> ErrorLog {
        let shown = ExplainedNode::alone(node).operator;
        ErrorLog::new(self.view, &self.path, shown, self.errors_changed.clone())
    }

    /// The rows of `input` by `key`: a relation's own arrangement (its primary one for no key), or one of our own.
    fn arranged(
        &mut self,
        input: &Node,
        key: &[usize],
        names: &mut dyn Iterator<Item = StateName>,
    ) -> Result<Arc<dyn Arrangement>> {
        let paths: Vec<ColumnPath> = key.iter().copied().map(ColumnPath::from).collect();
        match input.as_source() {
            Some(relation) if self.is_filling => self.arranged_prefix(relation, paths),
            Some(relation) if key.is_empty() => arrange::primary(&self.txn.now(), relation),
            Some(relation) => arrange::ensure(self.txn, relation, &paths),
            None => Ok(arrange::ensure_named(self.txn, &next(names), &input.schema, &paths)?.0),
        }
    }
}

fn next(names: &mut dyn Iterator<Item = StateName>) -> StateName {
    names.next().expect("state_names names every state of a node")
}
