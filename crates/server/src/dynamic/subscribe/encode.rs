//! A frame's rows as messages of a module.

use crate::frames;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use viewfeed_catalog::{RowEncoder, Subscribe};
use viewfeed_change::Result;
use viewfeed_feed::{Envelope, Frame, Rows};

/// The messages that tell a frame: one with a typed envelope, one per row without. None if the rows no longer have the
/// columns that the messages are made of.
pub(super) fn messages(
    subscribe: &Subscribe,
    frame: &Frame,
    envelope: Envelope,
) -> Result<Option<Vec<Bytes>>> {
    let schema = subscribe.relation.schema();
    let Some(rows) = rows_to_send(&frame.rows, subscribe.bare, &schema)? else {
        return Ok(None);
    };
    let encoded = encode(Some(&subscribe.encoder), rows.as_ref())?;
    if subscribe.bare {
        return Ok(Some(encoded));
    }
    let deletes = match &frame.rows {
        Rows::Upsert { deletes, .. } => encode(subscribe.key_encoder.as_ref(), Some(deletes))?,
        _ => Vec::new(),
    };
    let response = subscribe.respond(&frames::to_wire(frame, envelope), &encoded, &deletes);
    Ok(Some(vec![response.into()]))
}

/// The rows to encode, in the columns of `schema`; the outer None if they have others, the inner one if there are none.
fn rows_to_send(rows: &Rows, bare: bool, schema: &SchemaRef) -> Result<Option<Option<RecordBatch>>> {
    let rows = match rows {
        Rows::None => return Ok(Some(None)),
        Rows::Upsert { puts, .. } => conformed(puts, schema)?,
        Rows::State(rows) => conformed(rows, schema)?,
        Rows::Diff(batch) if bare => {
            let added = batch.weights().iter().zip(0u32..);
            let added: Vec<u32> = added
                .flat_map(|(weight, row)| std::iter::repeat_n(row, usize::try_from(*weight).unwrap_or(0)))
                .collect();
            conformed(
                &take_record_batch(batch.rows(), &UInt32Array::from(added))?,
                schema,
            )?
        }
        Rows::Diff(batch) => conformed(batch.rows(), schema)?,
    };
    Ok(rows.map(Some))
}

fn encode(encoder: Option<&RowEncoder>, rows: Option<&RecordBatch>) -> Result<Vec<Bytes>> {
    match (encoder, rows) {
        (Some(encoder), Some(rows)) if rows.num_rows() > 0 => encoder.encode(rows),
        _ => Ok(Vec::new()),
    }
}

/// `rows` in the columns of `schema`: a table may have got further ones since the rpc was bound. None if one is missing.
fn conformed(rows: &RecordBatch, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
    if rows.schema_ref().fields() == schema.fields() {
        return Ok(Some(rows.clone()));
    }
    let place = |field: &arrow::datatypes::Field| {
        let (place, found) = rows.schema_ref().column_with_name(field.name())?;
        (found.data_type() == field.data_type()).then_some(place)
    };
    let places: Option<Vec<usize>> = schema.fields().iter().map(|field| place(field)).collect();
    Ok(places.map(|places| rows.project(&places)).transpose()?)
}
