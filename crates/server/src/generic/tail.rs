//! The feed of any relation, with self-describing rows.

use crate::context::Context;
use crate::frames::{self, Subscribed};
use crate::message::{Requests, Responses, encode};
use crate::status;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use async_stream::try_stream;
use bytes::Bytes;
use prost::Message;
use std::ops::Range;
use std::sync::Arc;
use tonic::Status;
use viewfeed_catalog::{row_type, rows_to_wire, text_to_array};
use viewfeed_change::row::RowCodec;
use viewfeed_change::{ColumnPath, Error, Relation, RelationName, Result};
use viewfeed_feed::{Envelope, Filter, Frame, FrameKind, Rows, Subscription};
use viewfeed_wire::v1;

/// The path of the rpc, to which tokens are bound.
const PATH: &str = "/viewfeed.v1.Viewfeed/Tail";

/// One request, frames until somebody ends it.
pub(super) async fn answer(context: Arc<Context>, mut requests: Requests) -> Result<Responses, Status> {
    let request: v1::TailRequest = requests.only_as().await?;
    let (mut subscription, envelope, relation) =
        subscribe(&context, &request).map_err(|error| status::of(&error))?;
    Ok(Box::pin(try_stream! {
        while let Some(frame) = subscription.next().await {
            let responses = frame.and_then(|frame| respond(&context, &relation, &frame, envelope));
            for response in responses.map_err(|error| status::of(&error))? {
                yield response;
            }
        }
    }))
}

fn subscribe(
    context: &Context,
    request: &v1::TailRequest,
) -> Result<(Subscription, Envelope, Arc<Relation>)> {
    let relations = context.feed.relations();
    let relation = relations
        .resolve(&request.relation, RelationName::PUBLIC)?
        .clone();
    let subscribed = Subscribed {
        relation: &relation,
        key: Vec::new(),
        filter: filter(&relation, &request.filter)?,
        envelope: v1::Envelope::Unspecified,
        heartbeat: context.options.heartbeat,
        path: PATH,
    };
    let request = subscribed.request(&request.feed.clone().unwrap_or_default())?;
    let envelope = request.envelope;
    Ok((context.feed.subscribe(request)?, envelope, relation))
}

/// The messages that tell a frame; several if it is large.
fn respond(context: &Context, relation: &Relation, frame: &Frame, envelope: Envelope) -> Result<Vec<Bytes>> {
    let (rows, mut deletes) = match &frame.rows {
        Rows::None => (Vec::new(), Vec::new()),
        Rows::Upsert { puts, deletes } => (rows_to_wire(puts)?, rows_to_wire(deletes)?),
        Rows::Diff(batch) => (rows_to_wire(batch.rows())?, Vec::new()),
        Rows::State(rows) => (rows_to_wire(rows)?, Vec::new()),
    };
    // A reset may come with other columns.
    let describes = matches!(frame.kind, FrameKind::Hello | FrameKind::Reset);
    let mut row_type = describes.then(|| describe(context, relation));
    let pieces = frames::split(
        frames::to_wire(frame, envelope),
        rows.iter().map(Message::encoded_len),
    );
    let message = |(frame, range): (v1::Frame, Range<usize>)| {
        encode(&v1::TailResponse {
            frame: Some(frame),
            row_type: row_type.take(),
            rows: rows[range].to_vec(),
            deletes: std::mem::take(&mut deletes),
        })
    };
    Ok(pieces.into_iter().map(message).collect())
}

fn describe(context: &Context, relation: &Relation) -> v1::RowType {
    let relations = context.feed.relations();
    let now = relations.get(relation.id).map_or(relation, |now| &**now);
    row_type(&now.columns, &now.key, context.options.sql_type)
}

fn filter(relation: &Relation, wanted: &[v1::tail_request::Filter]) -> Result<Option<Filter>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let (mut columns, mut fields, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for filter in wanted {
        let (path, data_type) = column(relation, &filter.column)?;
        values.push(text_to_array(filter.value.as_deref(), &data_type)?);
        fields.push(Field::new(&filter.column, data_type, true));
        columns.push(path);
    }
    let values = RecordBatch::try_new(Arc::new(Schema::new(fields)), values)?;
    let encoded = RowCodec::for_schema(&values.schema())?.encode(&values)?;
    Ok(Some(Filter {
        columns,
        key: encoded.row(0).to_vec(),
    }))
}

/// `column`, or `column.field` of a struct column, any number of levels deep.
fn column(relation: &Relation, name: &str) -> Result<(ColumnPath, DataType)> {
    let unknown = || {
        let text = format!(
            "field \"filter\": relation \"{}\" has no column \"{name}\"",
            relation.name
        );
        Error::invalid("UNKNOWN_COLUMN", text).hint("name a column, or column.field of a struct column")
    };
    let mut parts = name.split('.');
    let first = parts
        .next()
        .and_then(|part| relation.column(part))
        .ok_or_else(unknown)?;
    let (mut path, mut data_type) = (vec![first], relation.columns[first].data_type.clone());
    for part in parts {
        let DataType::Struct(fields) = &data_type else {
            return Err(unknown());
        };
        let (place, field) = fields.find(part).ok_or_else(unknown)?;
        path.push(place);
        data_type = field.data_type().clone();
    }
    Ok((ColumnPath(path), data_type))
}
