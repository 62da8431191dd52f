//! An arrangement as pairs of the store: one per distinct row.
//!
//! ```text
//! key   = a ‖ state id ‖ key columns ‖ remaining columns        a column that is wholly in the key is stored once
//! value = nothing for weight 1, else the weight as a varint
//! ```

use super::{Arrangement, Matches, NewWeights};
use crate::keys::{self, StateId};
use crate::{Reader, Txn, varint};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use std::ops::ControlFlow;
use viewfeed_change::row::{RowCodec, Rows, sorted};
use viewfeed_change::{Batch, ColumnPath, Error, Result};

/// Keys of the store with a prefix, from one on; what follows the arrangement's prefix is at most the third part.
type Range<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

pub(super) struct KvArrangement {
    prefix: Vec<u8>,
    key: Vec<ColumnPath>,
    /// Key columns, then the rest.
    codec: RowCodec,
    /// Where each column of the rows is among those of the codec.
    places: Vec<usize>,
    schema: SchemaRef,
    /// Whether a row is there once or not at all, so that changes need not be read first.
    is_distinct: bool,
}

impl KvArrangement {
    pub(super) fn new(
        state: StateId,
        schema: &SchemaRef,
        key: &[ColumnPath],
        is_distinct: bool,
    ) -> Result<Self> {
        let mut paths = key.to_vec();
        let mut places = Vec::with_capacity(schema.fields().len());
        for column in 0..schema.fields().len() {
            let whole = ColumnPath::from(column);
            let place = paths.iter().position(|path| *path == whole).unwrap_or_else(|| {
                paths.push(whole);
                paths.len() - 1
            });
            places.push(place);
        }
        Ok(Self {
            prefix: keys::arrangement_prefix(state),
            key: key.to_vec(),
            codec: RowCodec::for_paths(schema, &paths)?,
            places,
            schema: schema.clone(),
            is_distinct,
        })
    }

    fn entry_key(&self, row: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + row.len());
        key.extend_from_slice(&self.prefix);
        key.extend_from_slice(row);
        key
    }

    /// Makes `key` that of `row`; it is one of this arrangement already.
    fn spell(&self, key: &mut Vec<u8>, row: &[u8]) {
        key.truncate(self.prefix.len());
        key.extend_from_slice(row);
    }

    /// The rows with these entries, columns in the order of the schema.
    fn decode<'a>(&self, entries: impl Iterator<Item = &'a [u8]>, weights: Vec<i64>) -> Result<Batch> {
        let decoded = self.codec.decode(entries)?;
        let columns: Vec<ArrayRef> = self
            .places
            .iter()
            .map(|place| decoded.column(*place).clone())
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(decoded.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::corrupt("stored rows do not fit their schema").because(error))?;
        Batch::new(rows, weights)
    }

    /// Hands over the rows of a range.
    fn scan_within(
        &self,
        reader: &Reader,
        (prefix, from, last): Range<'_>,
        rows_max: usize,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut found = Found::default();
        let mut is_broken = false;
        reader.scan(prefix, from, &mut |key, value| {
            let row = &key[self.prefix.len()..];
            if last.is_some_and(|last| row > last && !row.starts_with(last)) {
                return Ok(ControlFlow::Break(()));
            }
            found.push(row, value)?;
            if found.weights.len() < rows_max {
                return Ok(ControlFlow::Continue(()));
            }
            let Found { rows, weights } = std::mem::take(&mut found);
            let flow = each(self.decode(rows.iter(), weights)?)?;
            is_broken = flow.is_break();
            Ok(flow)
        })?;
        if !is_broken && !found.weights.is_empty() {
            let _ = each(self.decode(found.rows.iter(), found.weights)?)?;
        }
        Ok(())
    }

    /// A place, and the sum of the weights, of every distinct row of `delta` that changes, in the order of rows. Equal rows
    /// are summed first, so that the order of changes within a delta does not matter.
    fn summed(rows: &Rows, delta: &Batch) -> Vec<(u32, i64)> {
        let order = sorted(rows);
        let same = |a: &u32, b: &u32| rows.row(*a as usize) == rows.row(*b as usize);
        let sum = |places: &[u32]| {
            let weights = places.iter().map(|place| delta.weights()[*place as usize]);
            (places[0], weights.sum::<i64>())
        };
        let changes = order.chunk_by(same).map(sum);
        changes.filter(|(_, change)| *change != 0).collect()
    }

    /// Stages a delta; gives a place of each row that changes, and its new weight.
    fn stage_rows(&self, txn: &mut Txn, delta: &Batch) -> Result<NewWeights> {
        let rows = self.codec.encode(delta.rows())?;
        let changes = Self::summed(&rows, delta);
        let mut key = self.prefix.clone();
        let weights = match self.is_distinct && !cfg!(debug_assertions) {
            true => changes
                .iter()
                .map(|(_, change)| distinct_weight(*change))
                .collect(),
            false => self.new_weights(&txn.now(), &rows, &changes),
        };
        let told = NewWeights {
            places: changes.iter().map(|(place, _)| *place).collect(),
            weights: weights?,
        };
        for (place, weight) in told.iter() {
            self.spell(&mut key, rows.row(place as usize));
            put_weight(txn, &key, weight);
        }
        Ok(told)
    }

    /// What the weights become by `changes`, which are in the order of rows.
    fn new_weights(&self, now: &Reader, rows: &Rows, changes: &[(u32, i64)]) -> Result<Vec<i64>> {
        let (mut stored, mut key) = (now.prober(), self.prefix.clone());
        let new_weight = |(place, change): &(u32, i64)| {
            self.spell(&mut key, rows.row(*place as usize));
            let before = stored.get(&key)?.map_or(Ok(0), |value| decode_weight(&value))?;
            if !self.is_distinct {
                return Ok(before + change);
            }
            let weight = distinct_weight(*change)?;
            debug_assert!(
                before == i64::from(*change < 0),
                "a row with weight {before} of a relation with a key changed by {change}"
            );
            Ok(weight)
        };
        changes.iter().map(new_weight).collect()
    }
}

/// What the weight of a row becomes that is there once or not at all. Does not look which: that is the caller's duty, and
/// checked in debug builds.
fn distinct_weight(change: i64) -> Result<i64> {
    match change {
        1 | -1 => Ok(i64::from(change > 0)),
        _ => Err(Error::internal(format!(
            "a row of a relation with a key changed by {change}"
        ))),
    }
}

impl Arrangement for KvArrangement {
    fn key(&self) -> &[ColumnPath] {
        &self.key
    }

    fn entries(&self, rows: &RecordBatch) -> Result<Rows> {
        self.codec.encode(rows)
    }

    fn stage(&self, txn: &mut Txn, delta: &Batch) -> Result<()> {
        self.stage_rows(txn, delta).map(drop)
    }

    fn stage_telling(&self, txn: &mut Txn, delta: &Batch) -> Result<NewWeights> {
        self.stage_rows(txn, delta)
    }

    fn stage_told(&self, txn: &mut Txn, delta: &Batch, told: &NewWeights) -> Result<()> {
        let rows = self.codec.encode(delta.rows())?;
        let mut told: Vec<(u32, i64)> = told.iter().collect();
        // In the order of their keys, which is the cheap one to write.
        told.sort_by(|a, b| rows.row(a.0 as usize).cmp(rows.row(b.0 as usize)));
        let mut key = self.prefix.clone();
        for (place, weight) in told {
            self.spell(&mut key, rows.row(place as usize));
            put_weight(txn, &key, weight);
        }
        Ok(())
    }

    fn lookup(&self, reader: &Reader, keys: &Rows) -> Result<Matches> {
        let mut found = Found::default();
        let (mut prober, mut prefix) = (reader.prober(), self.prefix.clone());
        // Which rows of `found` answer each probe. Probes are made in key order, once per distinct key.
        let mut spans = vec![0..0; keys.len()];
        let mut previous: Option<u32> = None;
        for probe in sorted(keys) {
            let key = keys.row(probe as usize);
            spans[probe as usize] = match previous {
                Some(same) if keys.row(same as usize) == key => spans[same as usize].clone(),
                _ => {
                    let start = found.weights.len();
                    self.spell(&mut prefix, key);
                    prober.scan(&prefix, &[], &mut |key, value| {
                        found.push(&key[self.prefix.len()..], value)?;
                        Ok(ControlFlow::Continue(()))
                    })?;
                    start..found.weights.len()
                }
            };
            previous = Some(probe);
        }
        let matches = || {
            spans
                .iter()
                .enumerate()
                .flat_map(|(probe, span)| span.clone().map(move |row| (probe, row)))
        };
        let probe = matches().map(|(probe, _)| probe as u32).collect();
        let weights = matches().map(|(_, row)| found.weights[row]).collect();
        let batch = self.decode(matches().map(|(_, row)| found.rows.row(row)), weights)?;
        Ok(Matches { batch, probe })
    }

    fn scan(
        &self,
        reader: &Reader,
        prefix: &[u8],
        rows_max: usize,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.scan_within(reader, (&self.entry_key(prefix), &[], None), rows_max, each)
    }

    fn scan_range(
        &self,
        reader: &Reader,
        from: &[u8],
        last: Option<&[u8]>,
        rows_max: usize,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let range: Range<'_> = (&self.prefix, &self.entry_key(from), last);
        self.scan_within(reader, range, rows_max, each)
    }

    fn count(&self, reader: &Reader, prefix: &[u8], limit: u64) -> Result<u64> {
        let mut count = 0;
        if limit == 0 {
            return Ok(0);
        }
        reader.scan(&self.entry_key(prefix), &[], &mut |_, _| {
            count += 1;
            Ok(if count == limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        Ok(count)
    }
}

/// Entries as they are read, without the state's prefix.
#[derive(Default)]
struct Found {
    rows: Rows,
    weights: Vec<i64>,
}

impl Found {
    fn push(&mut self, row: &[u8], value: &[u8]) -> Result<()> {
        self.rows.push(row);
        self.weights.push(decode_weight(value)?);
        Ok(())
    }
}

fn put_weight(txn: &mut Txn, key: &[u8], weight: i64) {
    match weight {
        0 => txn.write(key, None),
        _ => txn.write(key, Some(&encode_weight(weight))),
    }
}

fn encode_weight(weight: i64) -> Vec<u8> {
    let mut value = Vec::new();
    if weight != 1 {
        varint::put_signed(&mut value, weight);
    }
    value
}

fn decode_weight(mut value: &[u8]) -> Result<i64> {
    if value.is_empty() {
        return Ok(1);
    }
    let weight = varint::take_signed(&mut value)?;
    if !value.is_empty() {
        return Err(Error::corrupt("the weight of a stored row is too long"));
    }
    Ok(weight)
}
