//! From the path of a call to who answers it.

use crate::context::{Context, stopping};
use crate::message::{self, Requests, Responses};
use crate::positions::{self, MinPosition};
use crate::{dynamic, generic, health, reflection, status};
use std::collections::BTreeSet;
use std::sync::Arc;
use tonic::Status;
use tonic::body::Body;
use viewfeed_catalog::Modules;
use viewfeed_change::Error;

/// The services that are always there.
pub(crate) const BUILT_IN: [&str; 4] = [
    generic::SERVICE,
    health::SERVICE,
    reflection::V1,
    reflection::V1_ALPHA,
];
/// Names told to a caller who got the path wrong.
const NAMES_TOLD_MAX: usize = 20;

/// Answers one gRPC call.
pub(crate) async fn answer(context: Arc<Context>, request: http::Request<Body>) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    let callee = context.clone();
    let positions = positions::of(request.headers());
    message::serve(&context, request, |requests| {
        dispatch(callee, path, positions, requests)
    })
    .await
}

async fn dispatch(
    context: Arc<Context>,
    path: String,
    positions: Result<Vec<MinPosition>, Error>,
    requests: Requests,
) -> Result<Responses, Status> {
    if context.is_draining() {
        return Err(status::of(&stopping()));
    }
    let positions = positions.map_err(|error| status::of(&error))?;
    positions::wait(&context, positions).await?;
    let modules = context.modules_now();
    if let Some(rpc) = modules.rpcs.get(&path) {
        return dynamic::answer(context, rpc.clone(), requests).await;
    }
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    match service {
        generic::SERVICE => generic::answer(context, method, requests).await,
        health::SERVICE => health::answer(context, method, requests).await,
        reflection::V1 | reflection::V1_ALPHA => reflection::answer(context, method, requests),
        _ => Err(unknown(&modules, &path)),
    }
}

/// The name of every service that answers now.
pub(crate) fn services(modules: &Modules) -> BTreeSet<String> {
    let of_modules = modules
        .rpcs
        .values()
        .map(|rpc| rpc.method.parent_service().full_name().to_owned());
    of_modules.chain(BUILT_IN.map(str::to_owned)).collect()
}

/// Whether a service answers now.
pub(crate) fn is_live(modules: &Modules, service: &str) -> bool {
    BUILT_IN.contains(&service)
        || modules
            .rpcs
            .values()
            .any(|rpc| rpc.method.parent_service().full_name() == service)
}

/// Nothing answers `path`: says what does.
pub(crate) fn unknown(modules: &Modules, path: &str) -> Status {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let text = if is_live(modules, service) {
        let start = format!("/{service}/");
        let methods: BTreeSet<&str> = modules
            .rpcs
            .keys()
            .filter_map(|path| path.strip_prefix(start.as_str()))
            .collect();
        format!(
            "{service} has no rpc {path}; it has: {}",
            listed(methods.into_iter())
        )
    } else {
        let services = services(modules);
        format!(
            "no service answers {path}; there are: {}",
            listed(services.iter().map(String::as_str))
        )
    };
    status::unimplemented("UNKNOWN_RPC", &text)
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    names.truncate(NAMES_TOLD_MAX);
    let told = names.join(", ");
    if more == 0 {
        told
    } else {
        format!("{told} and {more} more")
    }
}
