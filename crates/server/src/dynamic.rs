//! Calls of modules' rpcs: their types are known only since the module was dropped in.
//!
//! The call holds the rpc as it was when the call began, so a module that changes meanwhile does it no harm.

mod mutate;
mod query;
mod subscribe;
mod survive;

pub(crate) use subscribe::EncodedFrames;

use crate::context::Context;
use crate::message::{Requests, Responses, undecodable};
use crate::status;
use bytes::Bytes;
use prost_reflect::DynamicMessage;
use std::sync::Arc;
use tonic::Status;
use viewfeed_catalog::{Binding, Rpc};

/// Answers one call of `rpc`.
pub(crate) async fn answer(
    context: Arc<Context>,
    rpc: Arc<Rpc>,
    requests: Requests,
) -> Result<Responses, Status> {
    match &rpc.binding {
        Binding::Query(query) => query::answer(&context, &rpc, query, requests).await,
        Binding::Subscribe(_) => subscribe::answer(context, rpc, requests).await,
        Binding::Mutate(_) => mutate::answer(context, rpc, requests).await,
        Binding::Unbound(reason) => {
            let text = format!("{} is bound to nothing: {reason}", rpc.path);
            Err(status::unimplemented("RPC_UNBOUND", &text))
        }
    }
}

fn decode(rpc: &Rpc, bytes: Bytes) -> Result<DynamicMessage, Status> {
    let message = rpc.method.input();
    DynamicMessage::decode(message.clone(), bytes).map_err(|error| undecodable(message.full_name(), &error))
}
