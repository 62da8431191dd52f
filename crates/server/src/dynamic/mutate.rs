//! Calls of rpcs that write: one message, a stream of them as one transaction, or each as its own.

mod pipeline;

use crate::context::{Context, unanswered};
use crate::message::{Requests, Responses, one};
use crate::{Command, Reply, frames, status};
use async_stream::try_stream;
use bytes::Bytes;
use pipeline::Pipeline;
use prost_reflect::DynamicMessage;
use std::sync::Arc;
use tonic::Status;
use viewfeed_catalog::{Binding, Mutate, Rpc};
use viewfeed_change::{Error, ErrorKind, Result, Timestamp};
use viewfeed_wire::v1;

/// Bytes of requests that a client may stream into one transaction.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// Answers a call of any shape.
pub(super) async fn answer(
    context: Arc<Context>,
    rpc: Arc<Rpc>,
    mut requests: Requests,
) -> Result<Responses, Status> {
    let mutate = binding(&rpc)?;
    if rpc.method.is_server_streaming() {
        return Ok(acknowledge_each(Pipeline::new(context, rpc, requests)));
    }
    if rpc.method.is_client_streaming() && !mutate.atomic_stream {
        return acknowledge_last(Pipeline::new(context, rpc.clone(), requests), mutate).await;
    }
    let messages = if rpc.method.is_client_streaming() {
        collect(&context, &rpc, &mut requests).await?
    } else {
        vec![super::decode(&rpc, requests.only().await?)?]
    };
    let written = write(&context, mutate, &messages).await;
    written.map(one).map_err(|error| status::of(&error))
}

fn binding(rpc: &Rpc) -> Result<&Mutate, Status> {
    match &rpc.binding {
        Binding::Mutate(mutate) => Ok(mutate),
        _ => Err(status::of(&Error::internal("the rpc does not write"))),
    }
}

/// One transaction.
async fn write(context: &Context, mutate: &Mutate, messages: &[DynamicMessage]) -> Result<Bytes> {
    if messages.is_empty() {
        return respond(mutate, &nothing_written(context), messages);
    }
    let rows = mutate.rows(messages)?;
    let (reply, answer) = Reply::new();
    let table = mutate.table.clone();
    context
        .send(Command::Mutate {
            table,
            mutation: mutate.mutation,
            rows,
            reply,
        })
        .await?;
    let (version, rows, commit_time) = answer.await.map_err(|_| unanswered())??;
    respond(mutate, &ack(version, rows, commit_time), messages)
}

/// Every message of a client, for one transaction.
async fn collect(
    context: &Context,
    rpc: &Rpc,
    requests: &mut Requests,
) -> Result<Vec<DynamicMessage>, Status> {
    let rows_max = context.options.stream_rows_max;
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while let Some(request) = requests.next().await? {
        bytes += request.len();
        if messages.len() == rows_max || bytes > TRANSACTION_BYTES_MAX {
            let text = format!(
                "a stream that is one transaction may hold {rows_max} messages and {TRANSACTION_BYTES_MAX} bytes"
            );
            let error = Error::new(ErrorKind::Exhausted, "TRANSACTION_TOO_LARGE", text)
                .hint("nothing was written; send several smaller streams");
            return Err(status::of(&error));
        }
        messages.push(super::decode(rpc, request)?);
    }
    Ok(messages)
}

/// Every message its own transaction; the answer tells of the last.
async fn acknowledge_last(mut pipeline: Pipeline, mutate: &Mutate) -> Result<Responses, Status> {
    let mut last = nothing_written(pipeline.context());
    while let Some(written) = pipeline.next().await {
        let (version, rows, commit_time) = written?;
        last = ack(version, last.rows + rows, commit_time);
    }
    respond(mutate, &last, &[])
        .map(one)
        .map_err(|error| status::of(&error))
}

/// Every message its own transaction and answer.
fn acknowledge_each(mut pipeline: Pipeline) -> Responses {
    Box::pin(try_stream! {
        while let Some(written) = pipeline.next().await {
            let (version, rows, commit_time) = written?;
            let response = respond(binding(pipeline.rpc())?, &ack(version, rows, commit_time), &[]);
            yield response.map_err(|error| status::of(&error))?;
        }
    })
}

fn respond(mutate: &Mutate, ack: &v1::Ack, messages: &[DynamicMessage]) -> Result<Bytes> {
    mutate.respond(ack, messages).map(Bytes::from)
}

fn ack(version: u64, rows: u64, commit_time: Timestamp) -> v1::Ack {
    v1::Ack {
        version,
        rows,
        commit_time: Some(frames::timestamp(commit_time)),
    }
}

/// The answer to a stream without messages.
fn nothing_written(context: &Context) -> v1::Ack {
    v1::Ack {
        version: context.feed.epoch().0,
        rows: 0,
        commit_time: None,
    }
}
