//! A frame's rows as messages of a module.

use crate::frames;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use std::ops::Range;
use viewfeed_catalog::{RowEncoder, Subscribe};
use viewfeed_change::Result;
use viewfeed_feed::{Envelope, Frame, Rows};
use viewfeed_wire::v1;

/// A frame's rows as the module's messages.
#[derive(Default)]
pub(super) struct Encoded {
    rows: Vec<Bytes>,
    deletes: Vec<Bytes>,
}

/// Encodes the rows of a frame. None if they no longer have the columns that the messages are made of.
pub(super) fn encode(subscribe: &Subscribe, frame: &Frame) -> Result<Option<Encoded>> {
    let schema = subscribe.relation.schema();
    let Some(rows) = rows_to_send(&frame.rows, subscribe.bare, &schema)? else {
        return Ok(None);
    };
    let rows = encode_rows(Some(&subscribe.encoder), rows.as_ref())?;
    let deletes = match &frame.rows {
        Rows::Upsert { deletes, .. } if !subscribe.bare => {
            encode_rows(subscribe.key_encoder.as_ref(), Some(deletes))?
        }
        _ => Vec::new(),
    };
    Ok(Some(Encoded { rows, deletes }))
}

/// The messages that tell a frame: one with a typed envelope, or several if it is large; one per row without.
pub(super) fn messages(
    subscribe: &Subscribe,
    frame: &Frame,
    envelope: Envelope,
    encoded: &Encoded,
) -> Vec<Bytes> {
    if subscribe.bare {
        return encoded.rows.clone();
    }
    let pieces = frames::split(
        frames::to_wire(frame, envelope),
        encoded.rows.iter().map(Bytes::len),
    );
    let mut deletes = encoded.deletes.as_slice();
    let message = |(frame, rows): (v1::Frame, Range<usize>)| {
        let deletes = std::mem::take(&mut deletes);
        subscribe.respond(&frame, &encoded.rows[rows], deletes).into()
    };
    pieces.into_iter().map(message).collect()
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

fn encode_rows(encoder: Option<&RowEncoder>, rows: Option<&RecordBatch>) -> Result<Vec<Bytes>> {
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
