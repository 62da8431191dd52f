//! Wiring a join of many inputs: its sides, and each path with its columns numbered as they are collected on the way.

use super::Builder;
use crate::operator::join::{DeltaHop, DeltaJoin, DeltaPath, Residual, Side};
use crate::plan::{DeltaJoinPlan, HopPlan, Node, StateName};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{Error, Result};

impl Builder<'_> {
    pub(super) fn delta_join(
        &mut self,
        node: &Node,
        plan: &DeltaJoinPlan,
        names: &mut dyn Iterator<Item = StateName>,
    ) -> Result<DeltaJoin> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (input, keys) in node.inputs.iter().zip(&plan.keys) {
            let sides = keys.iter().map(|key| {
                let arrangement = self.arranged(input, key, names)?;
                Side::new(&input.schema, key, Some(arrangement), input.as_source().is_none())
            });
            inputs.push(sides.collect::<Result<Vec<_>>>()?);
        }
        let columns = Columns::of(node);
        let paths = (0..inputs.len()).map(|start| path(plan, &columns, start));
        Ok(DeltaJoin {
            paths: paths.collect::<Result<_>>()?,
            inputs,
            output: node.schema.clone(),
            errors: self.errors(node),
        })
    }
}

fn path(plan: &DeltaJoinPlan, columns: &Columns, start: usize) -> Result<DeltaPath> {
    let hops = &plan.paths[start];
    let mut collected = columns.of_input(start);
    let mut made = Vec::with_capacity(hops.len());
    for (i, hop) in hops.iter().enumerate() {
        let schema = columns.schema(&collected);
        let from = Side::new(&schema, &places(&hop.from, &collected)?, None, false)?;
        let both: Vec<usize> = collected.into_iter().chain(columns.of_input(hop.input)).collect();
        let is_last = i + 1 == hops.len();
        let conditions = plan.conditions.iter().filter(|_| is_last).map(|condition| {
            Ok(Residual {
                columns: places(&condition.columns, &both)?,
                ..condition.clone()
            })
        });
        let conditions = conditions.collect::<Result<_>>()?;
        let needed = needed(&hops[i + 1..], plan);
        collected = both
            .iter()
            .copied()
            .filter(|column| needed.contains(column))
            .collect();
        made.push(DeltaHop {
            from,
            input: hop.input,
            side: hop.key,
            conditions,
            kept: places(&collected, &both)?,
            collected: columns.schema(&collected),
        });
    }
    Ok(DeltaPath {
        hops: made,
        output: places(&plan.columns, &collected)?,
    })
}

/// What the hops that are left and the output read.
fn needed(hops: &[HopPlan], plan: &DeltaJoinPlan) -> BTreeSet<usize> {
    let conditions = plan.conditions.iter().filter(|_| !hops.is_empty());
    let read = conditions.flat_map(|condition| &condition.columns);
    let from = hops.iter().flat_map(|hop| &hop.from);
    read.chain(from).chain(&plan.columns).copied().collect()
}

/// Where `wanted` are among `columns`.
fn places(wanted: &[usize], columns: &[usize]) -> Result<Vec<usize>> {
    let place = |column: &usize| {
        let place = columns.iter().position(|known| known == column);
        place.ok_or_else(|| Error::internal("a path of a join needs a column it has not come to"))
    };
    wanted.iter().map(place).collect()
}

/// The columns of all inputs, numbered one after another.
struct Columns {
    fields: Vec<Field>,
    offsets: Vec<usize>,
}

impl Columns {
    fn of(node: &Node) -> Self {
        let (mut fields, mut offsets) = (Vec::new(), vec![0]);
        for input in &node.inputs {
            let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
            fields.extend(input.schema.fields().iter().map(nullable));
            offsets.push(fields.len());
        }
        Self { fields, offsets }
    }

    fn of_input(&self, input: usize) -> Vec<usize> {
        (self.offsets[input]..self.offsets[input + 1]).collect()
    }

    fn schema(&self, columns: &[usize]) -> SchemaRef {
        let fields = columns.iter().map(|column| self.fields[*column].clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}
