//! The relation `viewfeed.view_errors`: what every view leaves out, kept true with the views, to be read and subscribed to
//! like any other. A step that leaves a view's errors as they were writes nothing to it.

use super::Engine;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{
    Batch, Column, ColumnPath, Delta, Relation, RelationId, RelationKind, RelationName, Relations, Result,
    SourceId, Table,
};
use viewfeed_store::view_errors::{self, ViewError};
use viewfeed_store::{Txn, arrange};

/// Never given out to another relation.
const ID: RelationId = RelationId(0);
/// Errors read at a time.
const CHUNK_ROWS: usize = 1024;

/// `viewfeed.view_errors`. Where it is among the relations, with its primary arrangement, an engine keeps it true.
pub fn view_errors_relation() -> Relation {
    let text = |id, name: &str| Column::new(id, name, DataType::Utf8, false);
    Relation {
        id: ID,
        name: RelationName::new(RelationName::SYSTEM, "view_errors"),
        columns: vec![
            text(1, "view"),
            text(2, "node"),
            text(3, "message"),
            Column::new(4, "rows", DataType::Int64, false),
        ],
        key: vec![0, 1, 2],
        kind: RelationKind::Table(Table {
            source: SourceId::new(RelationName::SYSTEM),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version: 1,
    }
}

impl Engine {
    /// How `viewfeed.view_errors` changed since the last call, by steps and by views that came, were filled or went.
    /// Staged already; to be logged and published with the epoch that did it.
    pub fn take_error_deltas(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.error_deltas)
    }
}

/// How `viewfeed.view_errors` changes by what `view` leaves out now; staged.
pub(super) fn publish(view: &Relation, relations: &Relations, txn: &mut Txn) -> Result<Option<Delta>> {
    let Some(relation) = relations.get(ID).filter(|relation| relation.as_table().is_some()) else {
        return Ok(None);
    };
    let name = view.name.to_string();
    let new = rows(&name, &view_errors::of(&txn.now(), view.id)?, relation)?;
    let old = published(&name, relation, txn)?;
    let batch = Batch::concat(&relation.schema(), &[new, old.negate()])?.consolidate()?;
    if batch.is_empty() {
        return Ok(None);
    }
    for arrangement in arrange::all(&txn.now(), relation)? {
        arrangement.stage(txn, &batch)?;
    }
    Ok(Some(Delta {
        relation: relation.id,
        batch,
    }))
}

/// What the relation says of the view called `name`.
fn published(name: &str, relation: &Relation, txn: &Txn) -> Result<Batch> {
    let (schema, now) = (relation.schema(), txn.now());
    let blank = ViewError {
        node: String::new(),
        message: String::new(),
        rows: 0,
    };
    let codec = RowCodec::for_paths(&schema, &[ColumnPath::from(0)])?;
    let prefix = codec.encode(rows(name, &[blank], relation)?.rows())?;
    let mut found = Vec::new();
    arrange::primary(&now, relation)?.scan(&now, prefix.row(0), CHUNK_ROWS, &mut |batch| {
        found.push(batch);
        Ok(ControlFlow::Continue(()))
    })?;
    Batch::concat(&schema, &found)
}

fn rows(name: &str, errors: &[ViewError], relation: &Relation) -> Result<Batch> {
    let text = |of: fn(&ViewError) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(errors.iter().map(of)))
    };
    let names = std::iter::repeat_n(name, errors.len());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names)),
        text(|error| &error.node),
        text(|error| &error.message),
        Arc::new(errors.iter().map(|error| error.rows).collect::<Int64Array>()),
    ];
    Ok(Batch::inserts(RecordBatch::try_new(relation.schema(), columns)?))
}
