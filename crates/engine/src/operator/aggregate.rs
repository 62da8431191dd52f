//! GROUP BY with aggregate functions.
//!
//! ```text
//! operator prefix ‖ 00 ‖ group                  → version, rows of the group, an accumulator per call
//! operator prefix ‖ 01 ‖ call ‖ group ‖ entry   → how often the value is in the group, for calls that need order
//!                                                 (min, first_value, array_agg …) or DISTINCT
//! operator prefix ‖ 02 ‖ call ‖ group ‖ entry   → the same, entries inverted: to be read backwards (median)
//! ```
//! A delta is summed per group first; then each touched group costs one read and one write, and its row changes if its
//! results do. A group without rows has no entry. Without GROUP BY there is one group, whose row is always there; so is
//! that of an empty grouping set.

mod accumulator;
mod argument;
mod bits;
mod bytes;
mod call;
mod delta;
mod entry;
mod fixed;
mod float_sum;
mod function;
mod group;
mod kind;
mod list;
mod moments;
mod ordered;
mod output;
mod presence;
mod rank;
mod statistic;
mod sum;
mod value;

pub(super) use accumulator::negative;
pub(super) use bytes::{Cursor, write_bytes, write_unsigned};
pub(crate) use function::{AggregateCall, AggregateFunction, Argument, Fraction, OrderKey, supports};
pub(super) use ordered::{bytes_of, count_of};
pub(crate) use sum::is_sum;
pub(super) use sum::{Addends, Sum, SumState};
pub(super) use value::{Value, column};

use super::evaluate::evaluate;
use super::isolate::{ErrorLog, LeftOut};
use super::{Collect, Emit, Operator, collected};
use accumulator::Accumulator;
use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use call::Call;
use datafusion::common::utils::normalize_float_zero;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::scalar::ScalarValue;
use delta::{Column, Delta};
use group::Group;
use kind::Entries;
use ordered::{Changes, OrderedValues};
use output::{ChangedRows, Output};
use rank::{Rank, RankedValues, inverted};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::keys::{self, StateId};
use viewfeed_store::{Prober, Reader, Txn};

/// Rows after which a batch of the output is handed over.
const OUTPUT_ROWS_MAX: usize = 8192;

/// What is grouped and computed.
#[derive(Clone, Debug)]
pub(crate) struct AggregateSpec {
    /// What rows are grouped by.
    pub(crate) group: Vec<Arc<dyn PhysicalExpr>>,
    /// The groups that are there without any row, too: the only one if nothing is grouped by.
    pub(crate) always: Vec<Vec<ScalarValue>>,
    /// The results, after the group's columns.
    pub(crate) calls: Vec<AggregateCall>,
    /// The output's columns: the group, then one per call, of plain types.
    pub(crate) output_schema: SchemaRef,
}

/// Keeps one row per group.
pub(crate) struct Aggregate {
    group: Vec<Arc<dyn PhysicalExpr>>,
    calls: Vec<Call>,
    group_codec: RowCodec,
    /// The encoded groups that are there without any row, too.
    always: BTreeSet<Vec<u8>>,
    output_schema: SchemaRef,
    prefix: Vec<u8>,
    errors: ErrorLog,
}

/// The state before the step.
struct Before<'a> {
    reader: &'a Reader,
    /// Reads the values of groups, in about the order of their keys.
    values: Prober,
}

/// What a step means for one call.
enum Change<'a> {
    /// Sums by the place of the group.
    Sums(Cow<'a, [Accumulator]>),
    /// Changed entries by the place of the group.
    Values(Vec<Changes<'a>>),
}

impl Aggregate {
    /// Keeps its state under `state`. Fails on a call that [`supports`] denies.
    pub(crate) fn new(spec: AggregateSpec, state: StateId, errors: ErrorLog) -> Result<Self> {
        let fields = spec.output_schema.fields();
        if fields.len() != spec.group.len() + spec.calls.len() {
            return Err(Error::internal(
                "an aggregate's columns are not its group and calls",
            ));
        }
        let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        let group_fields: Vec<Field> = fields.iter().take(spec.group.len()).map(nullable).collect();
        let group_codec = RowCodec::for_schema(&Arc::new(Schema::new(group_fields)))?;
        let always = spec.always.iter().map(|group| encoded(group, &group_codec));
        Ok(Self {
            always: always.collect::<Result<_>>()?,
            group_codec,
            group: spec.group,
            calls: spec.calls.into_iter().map(Call::new).collect::<Result<_>>()?,
            output_schema: spec.output_schema,
            prefix: keys::operator_prefix(state),
            errors,
        })
    }

    /// Adds a batch to what changed per group, without the rows that have no group or no argument because computing it
    /// failed.
    fn gather(&self, batch: &Batch, delta: &mut Delta, left_out: &mut LeftOut) -> Result<()> {
        left_out.isolate(batch, &mut |rows| {
            delta.add(rows, &self.groups_of(rows.rows())?, &self.calls)
        })
    }

    /// The encoded group of every row. 0.0 and −0.0 are one group, as in DataFusion; so are NULLs.
    fn groups_of(&self, rows: &RecordBatch) -> Result<Rows> {
        let schema = self.group_codec.schema();
        let mut columns = Vec::with_capacity(self.group.len());
        for (expression, field) in self.group.iter().zip(schema.fields()) {
            let mut column = evaluate(expression, rows)?;
            if column.data_type() != field.data_type() {
                column = cast(&column, field.data_type())?;
            }
            columns.push(normalize_float_zero(&column));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let groups = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        self.group_codec.encode(&groups)
    }

    /// Brings the state up to date and hands over what changed in the output. `is_first` says that there was no
    /// output before, not even the row of an aggregate without groups.
    fn apply(&self, delta: &Delta, is_first: bool, txn: &mut Txn, emit: &mut Emit<'_>) -> Result<()> {
        let output = Output {
            calls: &self.calls,
            group_codec: &self.group_codec,
            schema: &self.output_schema,
        };
        let before = txn.before();
        let changes = self.changes(delta, &before, txn)?;
        let (mut changed, mut stored) = (ChangedRows::default(), before.prober());
        let mut stored_before = Before {
            reader: &before,
            values: before.prober(),
        };
        for place in delta.groups.sorted() {
            let key = delta.groups.entry(place);
            let is_always_there = self.always.contains(key);
            let old = self.load(&mut stored, key)?;
            let was_there = !is_first && (old.is_some() || is_always_there);
            let old = old.unwrap_or_else(|| Group::empty(&self.calls));
            let old_row = was_there
                .then(|| self.results(&old, key, &|| before.clone()))
                .transpose()?;
            let new = self.change(old, place, delta, &changes, &mut stored_before, txn)?;
            let is_there = new.rows > 0 || is_always_there;
            let new_row = is_there
                .then(|| self.results(&new, key, &|| txn.now()))
                .transpose()?;
            changed.replace(key, old_row, new_row);
            self.save(key, &new, txn);
            if changed.len() >= OUTPUT_ROWS_MAX {
                emit(txn, changed.take(&output)?)?;
            }
        }
        match changed.len() {
            0 => Ok(()),
            _ => emit(txn, changed.take(&output)?),
        }
    }

    /// What a delta means for each call. Stages the presence of values where DISTINCT counts.
    fn changes<'a>(&self, delta: &'a Delta, before: &Reader, txn: &mut Txn) -> Result<Vec<Change<'a>>> {
        let groups = delta.groups.len();
        let mut changes = Vec::with_capacity(self.calls.len());
        for (i, (column, call)) in delta.columns.iter().zip(&self.calls).enumerate() {
            let key_of = |place: u32, value: &[u8]| {
                let mut key = self.values_prefix(i, delta.groups.entry(place));
                key.extend(value);
                key
            };
            changes.push(match (column, call.entries()) {
                (Column::Sums(sums), _) => Change::Sums(Cow::Borrowed(sums)),
                (Column::Values(values), Entries::Presence) => {
                    let sums = presence::step(call, values, groups, &key_of, before, txn)?;
                    Change::Sums(Cow::Owned(sums))
                }
                (Column::Values(values), _) => Change::Values(ordered::by_group(values, groups)),
            });
        }
        Ok(changes)
    }

    /// The state of the group at `place` after the step.
    fn change(
        &self,
        mut group: Group,
        place: u32,
        delta: &Delta,
        changes: &[Change<'_>],
        before: &mut Before<'_>,
        txn: &mut Txn,
    ) -> Result<Group> {
        group.rows = group.rows.saturating_add(delta.groups.weight(place));
        for (call, accumulator) in group.accumulators.iter_mut().enumerate() {
            match &changes[call] {
                Change::Sums(sums) => {
                    if let Some(sum) = sums.get(place as usize) {
                        accumulator.merge(sum)?;
                    }
                }
                Change::Values(values) => {
                    let ordered = OrderedValues {
                        prefix: &self.values_prefix(call, delta.groups.entry(place)),
                        reader: before.reader,
                    };
                    let staged = ordered.stage(&values[place as usize], &mut before.values, txn)?;
                    match accumulator {
                        Accumulator::First(first) => {
                            *first = ordered.first_after(first.as_deref(), &staged)?;
                        }
                        Accumulator::Rank(rank) => {
                            let changes = &values[place as usize];
                            self.follow(rank, call, delta.groups.entry(place), changes, txn)?;
                        }
                        _ => {}
                    }
                }
            }
        }
        group.check()?;
        Ok(group)
    }

    /// Stages the changed values to be read backwards, and finds the place of the group again.
    fn follow(
        &self,
        rank: &mut Rank,
        call: usize,
        group: &[u8],
        changes: &Changes<'_>,
        txn: &mut Txn,
    ) -> Result<()> {
        let prefix = self.entries_prefix(2, call, group);
        let reader = &txn.before();
        for (value, weight) in changes {
            let key = [prefix.as_slice(), &inverted(value)].concat();
            let old = reader.get(&key)?.map_or(Ok(0), |bytes| count_of(&bytes))?;
            match old.saturating_add(*weight) {
                ..0 => return Err(negative()),
                0 => txn.delete(key),
                count => txn.put(key, bytes_of(count)),
            }
        }
        let values = RankedValues {
            prefixes: [&self.values_prefix(call, group), &prefix],
            reader,
        };
        rank.follow(self.calls[call].function(), changes, &values)
    }

    /// The results of the calls; `reader` gives the state that `group` is of, if one is asked for.
    fn results(&self, group: &Group, key: &[u8], reader: &dyn Fn() -> Reader) -> Result<Vec<Value>> {
        let result = |(i, call): (usize, &Call)| match &group.accumulators[i] {
            Accumulator::List => {
                let (prefix, reader) = (&self.values_prefix(i, key), &reader());
                OrderedValues { prefix, reader }.list(call)
            }
            accumulator => accumulator.value(call),
        };
        self.calls.iter().enumerate().map(result).collect()
    }

    fn load(&self, stored: &mut Prober, group: &[u8]) -> Result<Option<Group>> {
        let bytes = stored.get(&self.group_key(group))?;
        bytes.map(|bytes| Group::decode(&bytes, &self.calls)).transpose()
    }

    fn save(&self, key: &[u8], group: &Group, txn: &mut Txn) {
        match group.rows {
            0 => txn.delete(self.group_key(key)),
            _ => txn.put(self.group_key(key), group.encode()),
        }
    }

    fn group_key(&self, group: &[u8]) -> Vec<u8> {
        [&self.prefix, &[0][..], group].concat()
    }

    fn values_prefix(&self, call: usize, group: &[u8]) -> Vec<u8> {
        self.entries_prefix(1, call, group)
    }

    fn entries_prefix(&self, part: u8, call: usize, group: &[u8]) -> Vec<u8> {
        let call = (call as u16).to_be_bytes();
        [&self.prefix, &[part][..], &call, group].concat()
    }
}

impl Operator for Aggregate {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let (mut delta, mut left_out) = (Delta::new(&self.calls), LeftOut::default());
        for batch in inputs.iter().flatten() {
            self.gather(batch, &mut delta, &mut left_out)?;
        }
        self.errors.stage(&left_out, txn)?;
        collected(&self.output_schema, |emit| self.apply(&delta, false, txn, emit))
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let (mut delta, mut left_out) = (Delta::new(&self.calls), LeftOut::default());
        for group in &self.always {
            delta.groups.add(group, 0);
        }
        for input in inputs {
            input(txn, &mut |_, batch| {
                self.gather(&batch, &mut delta, &mut left_out)
            })?;
        }
        self.errors.stage(&left_out, txn)?;
        self.apply(&delta, true, txn, output)
    }
}

/// The encoding of a group's values.
fn encoded(group: &[ScalarValue], codec: &RowCodec) -> Result<Vec<u8>> {
    let columns = group.iter().zip(codec.schema().fields()).map(|(value, field)| {
        let column = value.cast_to(field.data_type())?.to_array()?;
        Ok(column)
    });
    let columns = columns.collect::<datafusion::error::Result<Vec<_>>>();
    let columns = columns
        .map_err(|error| Error::internal("a group that is always there has other types").because(error))?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(codec.schema().clone(), columns, &options)?;
    Ok(codec.encode(&row)?.row(0).to_vec())
}

#[cfg(test)]
mod tests;
