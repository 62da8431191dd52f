//! `viewfeed.v1.Viewfeed`: SQL, tail and status of anything, for tools that know no module.

mod changes;
mod execute;
mod pair;
mod tail;

use crate::Command;
use crate::context::Context;
use crate::message::{Requests, Responses, encode, one};
use crate::status;
use std::sync::Arc;
use tonic::Status;
use viewfeed_wire::v1;

/// The service's name.
pub(crate) const SERVICE: &str = "viewfeed.v1.Viewfeed";

/// Answers its rpcs.
pub(crate) async fn answer(
    context: Arc<Context>,
    method: &str,
    requests: Requests,
) -> Result<Responses, Status> {
    match method {
        "Execute" => execute::execute(&context, requests).await,
        "Session" => execute::session(&context, requests).await,
        "Tail" => tail::answer(context, requests).await,
        "TailChanges" => changes::answer(&context, requests).await,
        "Status" => answer_status(&context, requests).await,
        _ => {
            let text = format!("{SERVICE} has: Execute, Session, Tail, TailChanges, Status");
            Err(status::unimplemented("UNKNOWN_RPC", &text))
        }
    }
}

async fn answer_status(context: &Context, mut requests: Requests) -> Result<Responses, Status> {
    let _: v1::StatusRequest = requests.only_as().await?;
    let answer = context.ask(|reply| Command::Status { reply }).await;
    answer
        .map(|answer| one(encode(&answer)))
        .map_err(|error| status::of(&error))
}
