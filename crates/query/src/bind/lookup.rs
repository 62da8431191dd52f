//! How a scan reads a relation: all of it, or by key from the arrangement that serves its filters best.

use super::Condition;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::common::ScalarValue;
use std::fmt;
use std::sync::Arc;
use viewfeed_change::row::{self, RowCodec, Rows};
use viewfeed_change::{ColumnPath, Error, Relation, Result};
use viewfeed_store::Reader;
use viewfeed_store::arrange::{self, Arrangement};

/// Keys looked up by one scan, at most; more values than that are found by reading everything.
const KEYS_MAX: usize = 1000;

/// How a relation is read.
#[derive(Clone)]
pub(super) enum Access {
    /// All rows, from the primary arrangement.
    All(Arc<dyn Arrangement>),
    /// The rows whose key starts with one of some values.
    Keys(Keys),
}

/// Values of the first columns of an arrangement's key.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) arrangement: Arc<dyn Arrangement>,
    /// The encoded values, each of as many columns.
    pub(super) prefixes: Rows,
    /// Whether there is at most one row for each of them.
    pub(super) unique: bool,
    columns: Vec<String>,
}

impl Access {
    /// The arrangement of `relation` of whose key `conditions` fix the most columns.
    pub(super) fn choose(reader: &Reader, relation: &Relation, conditions: &[Condition]) -> Result<Self> {
        let primary = arrange::primary(reader, relation)?;
        let mut best = (fixed(primary.key(), conditions), primary.clone());
        for key in candidates(relation, conditions) {
            let count = fixed(&key, conditions);
            if count > best.0
                && let Some(arrangement) = arrange::find(reader, relation, &key)?
            {
                best = (count, arrangement);
            }
        }
        match best {
            (0, _) => Ok(Self::All(primary)),
            (count, arrangement) => match Keys::new(relation, arrangement, count, conditions)? {
                Some(keys) => Ok(Self::Keys(keys)),
                None => Ok(Self::All(primary)),
            },
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(_) => f.write_str("all rows"),
            Self::Keys(keys) => write!(f, "{} keys of ({})", keys.prefixes.len(), keys.columns.join(", ")),
        }
    }
}

impl Keys {
    /// None if there are too many combinations of values.
    fn new(
        relation: &Relation,
        arrangement: Arc<dyn Arrangement>,
        count: usize,
        conditions: &[Condition],
    ) -> Result<Option<Self>> {
        let paths = &arrangement.key()[..count];
        let values: Vec<_> = paths
            .iter()
            .filter_map(|path| condition_on(path, conditions))
            .collect();
        let combinations = values
            .iter()
            .try_fold(1usize, |product, c| product.checked_mul(c.values.len()));
        if combinations.is_none_or(|combinations| combinations > KEYS_MAX) {
            return Ok(None);
        }
        let mut rows: Vec<Vec<ScalarValue>> = vec![Vec::new()];
        for condition in values {
            let extended = |row: &Vec<ScalarValue>, value: &ScalarValue| {
                [row.as_slice(), std::slice::from_ref(value)].concat()
            };
            rows = rows
                .iter()
                .flat_map(|row| condition.values.iter().map(move |value| extended(row, value)))
                .collect();
        }
        let (prefixes, columns) = encode(relation, paths, &rows)?;
        let unique = count == arrangement.key().len() && arrangement.key() == relation.key_paths();
        Ok(Some(Self {
            arrangement,
            prefixes,
            unique,
            columns,
        }))
    }
}

/// Keys of arrangements that may exist: those of indexes, and any that a view asked for.
fn candidates(relation: &Relation, conditions: &[Condition]) -> Vec<Vec<ColumnPath>> {
    let indexes = relation
        .as_table()
        .map(|table| table.indexes.as_slice())
        .unwrap_or_default();
    let mut all: Vec<ColumnPath> = conditions
        .iter()
        .map(|condition| condition.path.clone())
        .collect();
    all.sort();
    all.dedup();
    let single = all.iter().map(|path| vec![path.clone()]);
    indexes
        .iter()
        .map(|index| index.columns.clone())
        .chain(single)
        .chain([all.clone()])
        .collect()
}

/// How many of the first columns of `key` have a condition.
fn fixed(key: &[ColumnPath], conditions: &[Condition]) -> usize {
    key.iter()
        .take_while(|path| condition_on(path, conditions).is_some())
        .count()
}

/// The condition on `path` that leaves the fewest values.
fn condition_on<'a>(path: &ColumnPath, conditions: &'a [Condition]) -> Option<&'a Condition> {
    conditions
        .iter()
        .filter(|condition| condition.path == *path)
        .min_by_key(|condition| condition.values.len())
}

/// `rows` of values of the columns at `paths`, distinct and encoded, and the names of the columns.
fn encode(
    relation: &Relation,
    paths: &[ColumnPath],
    rows: &[Vec<ScalarValue>],
) -> Result<(Rows, Vec<String>)> {
    let schema = relation.schema();
    let codec = RowCodec::for_paths(&schema, paths)?;
    let column = |place: usize| -> Result<ArrayRef> {
        let values = rows.iter().map(|row| row[place].clone());
        ScalarValue::iter_to_array(values).map_err(crate::failure::execution)
    };
    let names = paths
        .iter()
        .map(|path| Ok(row::field_at(&schema, path)?.name().clone()))
        .collect::<Result<_>>()?;
    if rows.is_empty() {
        return Ok((Rows::default(), names));
    }
    let arrays = (0..paths.len()).map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let nullable: Vec<_> = codec
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    let batch = RecordBatch::try_new_with_options(
        Arc::new(datafusion::arrow::datatypes::Schema::new(nullable)),
        arrays,
        &options,
    )?;
    let top: Vec<_> = (0..paths.len()).map(ColumnPath::from).collect();
    let codec = RowCodec::for_paths(&batch.schema(), &top)?;
    let encoded = codec.encode(&batch)?;
    let mut distinct: Vec<u32> = row::sorted(&encoded);
    distinct.dedup_by_key(|place| encoded.row(*place as usize).to_vec());
    let batch = datafusion::arrow::compute::take_record_batch(&batch, &UInt32Array::from(distinct))
        .map_err(|error| Error::internal("choosing keys failed").because(error))?;
    Ok((codec.encode(&batch)?, names))
}
