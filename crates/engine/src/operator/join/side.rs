//! One side of a join: how its rows are found by key, and which of them can have partners.

use super::super::filter_project::shaped;
use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Batch, ColumnPath, Error, Result};
use viewfeed_store::Txn;
use viewfeed_store::arrange::Arrangement;

/// A side of a join.
pub(crate) struct Side {
    /// Its rows by key (by anything, if there is no key); None if they are only counted.
    arrangement: Option<Arc<dyn Arrangement>>,
    /// Whether the join writes the arrangement.
    own: bool,
    key: Vec<usize>,
    key_codec: RowCodec,
    row_codec: RowCodec,
    schema: SchemaRef,
}

/// Rows of a side that can have partners, and their encoded keys.
pub(super) struct Probe {
    pub(super) batch: Batch,
    pub(super) keys: Rows,
}

impl Side {
    /// Rows with `schema`, joined by the columns `key`. `own`: the arrangement, if any, is written by the join.
    pub(crate) fn new(
        schema: &SchemaRef,
        key: &[usize],
        arrangement: Option<Arc<dyn Arrangement>>,
        own: bool,
    ) -> Result<Self> {
        let paths: Vec<ColumnPath> = key.iter().copied().map(ColumnPath::from).collect();
        Ok(Self {
            own: own && arrangement.is_some(),
            arrangement,
            key: key.to_vec(),
            key_codec: RowCodec::for_paths(schema, &paths)?,
            row_codec: RowCodec::for_schema(schema)?,
            schema: schema.clone(),
        })
    }

    pub(super) fn arrangement(&self) -> Result<&Arc<dyn Arrangement>> {
        let missing = || Error::internal("a side of a join that is not arranged was looked into");
        self.arrangement.as_ref().ok_or_else(missing)
    }

    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The codec of its key.
    pub(super) fn key_codec(&self) -> &RowCodec {
        &self.key_codec
    }

    /// The codec of its rows.
    pub(super) fn row_codec(&self) -> &RowCodec {
        &self.row_codec
    }

    /// The columns of its rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Which rows have a key without NULL; None: all.
    pub(super) fn whole_keys(&self, rows: &RecordBatch) -> Option<BooleanArray> {
        let columns = self.key.iter().map(|column| rows.column(*column));
        let nullable: Vec<_> = columns.filter(|column| column.null_count() > 0).collect();
        let is_whole = |row: usize| nullable.iter().all(|column| column.is_valid(row));
        (!nullable.is_empty()).then(|| (0..rows.num_rows()).map(is_whole).map(Some).collect())
    }

    /// The rows of `batch` that can have partners; `null_equal`: NULL joins NULL.
    pub(super) fn probe(&self, batch: &Batch, null_equal: bool) -> Result<Probe> {
        let whole = if null_equal {
            None
        } else {
            self.whole_keys(batch.rows())
        };
        let batch = match whole {
            Some(whole) => {
                let rows: Vec<u32> = whole.values().set_indices().map(|row| row as u32).collect();
                batch.take(&rows)?
            }
            None => batch.clone(),
        };
        let keys = self.key_codec.encode(batch.rows())?;
        Ok(Probe { batch, keys })
    }

    /// Brings the arrangement up to date, if it is the join's.
    pub(super) fn stage(&self, batch: &Batch, txn: &mut Txn) -> Result<()> {
        match &self.arrangement {
            Some(arrangement) if self.own => {
                let rows = shaped(batch.rows(), &self.schema)?;
                arrangement.stage(txn, &Batch::new(rows, batch.weights().to_vec())?)
            }
            _ => Ok(()),
        }
    }
}
