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

    /// Calls `each` with a place and the sum of the weights of every distinct row of `delta` that changes. Equal rows are
    /// summed first, so that the order of changes within a delta does not matter.
    fn summed(rows: &Rows, delta: &Batch, mut each: impl FnMut(u32, &[u8], i64) -> Result<()>) -> Result<()> {
        let order = sorted(rows);
        let mut at = 0;
        while at < order.len() {
            let place = order[at];
            let row = rows.row(place as usize);
            let mut change = 0;
            while at < order.len() && rows.row(order[at] as usize) == row {
                change += delta.weights()[order[at] as usize];
                at += 1;
            }
            if change != 0 {
                each(place, row, change)?;
            }
        }
        Ok(())
    }

    /// Adds `change` to the weight of a row; gives what it becomes.
    fn stage_one(&self, txn: &mut Txn, row: &[u8], change: i64) -> Result<i64> {
        let key = self.entry_key(row);
        let weight = if self.is_distinct {
            self.distinct_weight(txn, &key, change)?
        } else {
            stored_weight(txn, &key)? + change
        };
        put_weight(txn, key, weight);
        Ok(weight)
    }

    /// What the weight of a row becomes that is there once or not at all. Does not look which: that is the caller's
    /// duty, and checked in debug builds.
    fn distinct_weight(&self, txn: &Txn, key: &[u8], change: i64) -> Result<i64> {
        if change.abs() != 1 {
            return Err(Error::internal(format!(
                "a row of a relation with a key changed by {change}"
            )));
        }
        if cfg!(debug_assertions) {
            let before = stored_weight(txn, key)?;
            debug_assert!(
                before == i64::from(change < 0),
                "a row with weight {before} of a relation with a key changed by {change}"
            );
        }
        Ok(i64::from(change > 0))
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
        let rows = self.codec.encode(delta.rows())?;
        Self::summed(&rows, delta, |_, row, change| {
            self.stage_one(txn, row, change).map(drop)
        })
    }

    fn stage_telling(&self, txn: &mut Txn, delta: &Batch) -> Result<NewWeights> {
        let rows = self.codec.encode(delta.rows())?;
        let (mut places, mut weights) = (Vec::new(), Vec::new());
        Self::summed(&rows, delta, |place, row, change| {
            weights.push(self.stage_one(txn, row, change)?);
            places.push(place);
            Ok(())
        })?;
        Ok(NewWeights { places, weights })
    }

    fn stage_told(&self, txn: &mut Txn, delta: &Batch, told: &NewWeights) -> Result<()> {
        let rows = self.codec.encode(delta.rows())?;
        let mut told: Vec<(u32, i64)> = told
            .places
            .iter()
            .copied()
            .zip(told.weights.iter().copied())
            .collect();
        // In the order of their keys, which is the cheap one to write.
        told.sort_by(|a, b| rows.row(a.0 as usize).cmp(rows.row(b.0 as usize)));
        for (place, weight) in told {
            put_weight(txn, self.entry_key(rows.row(place as usize)), weight);
        }
        Ok(())
    }

    fn lookup(&self, reader: &Reader, keys: &Rows) -> Result<Matches> {
        let mut found = Found::default();
        // Which rows of `found` answer each probe. Probes are made in key order, once per distinct key.
        let mut spans = vec![0..0; keys.len()];
        let mut previous: Option<u32> = None;
        for probe in sorted(keys) {
            let key = keys.row(probe as usize);
            spans[probe as usize] = match previous {
                Some(same) if keys.row(same as usize) == key => spans[same as usize].clone(),
                _ => {
                    let start = found.weights.len();
                    found.collect(reader, &self.entry_key(key), self.prefix.len())?;
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

    fn collect(&mut self, reader: &Reader, prefix: &[u8], skip: usize) -> Result<()> {
        reader.scan(prefix, &[], &mut |key, value| {
            self.push(&key[skip..], value)?;
            Ok(ControlFlow::Continue(()))
        })
    }
}

fn put_weight(txn: &mut Txn, key: Vec<u8>, weight: i64) {
    match weight {
        0 => txn.delete(key),
        _ => txn.put(key, encode_weight(weight)),
    }
}

fn stored_weight(txn: &Txn, key: &[u8]) -> Result<i64> {
    txn.get(key)?.map_or(Ok(0), |value| decode_weight(&value))
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
