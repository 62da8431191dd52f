//! `grpc.health.v1`: SERVING for every service that answers and for "" (the server), as modules come and go.

use crate::context::{Context, drained};
use crate::message::{Requests, Responses, encode, one};
use crate::{route, status};
use async_stream::stream;
use std::sync::Arc;
use tonic::Status;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use viewfeed_change::Error;

/// The service's name.
pub(crate) const SERVICE: &str = "grpc.health.v1.Health";

/// Answers its rpcs.
pub(crate) async fn answer(
    context: Arc<Context>,
    method: &str,
    mut requests: Requests,
) -> Result<Responses, Status> {
    match method {
        "Check" => {
            let request: HealthCheckRequest = requests.only_as().await?;
            match serving(&context, &request.service) {
                ServingStatus::ServiceUnknown => Err(unknown(&request.service)),
                serving => Ok(one(response(serving))),
            }
        }
        "Watch" => {
            let request: HealthCheckRequest = requests.only_as().await?;
            Ok(watch(context, request.service))
        }
        _ => Err(status::unimplemented(
            "UNKNOWN_RPC",
            "grpc.health.v1.Health has: Check, Watch",
        )),
    }
}

/// The status now, then each time it changes; ends with NOT_SERVING when the server stops.
fn watch(context: Arc<Context>, service: String) -> Responses {
    let (mut modules, mut draining) = (context.modules.clone(), context.draining.clone());
    Box::pin(stream! {
        let mut told = None;
        loop {
            modules.mark_unchanged();
            let now = serving(&context, &service);
            if told != Some(now) {
                told = Some(now);
                yield Ok(response(now));
            }
            if context.is_draining() {
                return;
            }
            tokio::select! {
                changed = modules.changed() => if changed.is_err() { return },
                () = drained(&mut draining) => {}
            }
        }
    })
}

fn serving(context: &Context, service: &str) -> ServingStatus {
    if !service.is_empty() && !route::is_live(&context.modules_now(), service) {
        ServingStatus::ServiceUnknown
    } else if context.is_draining() {
        ServingStatus::NotServing
    } else {
        ServingStatus::Serving
    }
}

fn response(status: ServingStatus) -> bytes::Bytes {
    encode(&HealthCheckResponse {
        status: status.into(),
    })
}

fn unknown(service: &str) -> Status {
    status::of(&Error::not_found(
        "UNKNOWN_SERVICE",
        format!("no service {service} answers here"),
    ))
}
