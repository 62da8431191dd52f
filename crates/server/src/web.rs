//! Everything that is HTTP and not yet gRPC: pages for people and probes, CORS, and gRPC-Web translated to gRPC.

use crate::Origins;
use crate::context::Context;
use crate::{deadline, route};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::{AllowHeaders, CorsLayer};

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The whole surface.
pub(crate) fn router(context: Arc<Context>) -> Router {
    let cors = cors(&context.options.origins);
    Router::new()
        .route("/", get(welcome))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback_service(grpc_or_nothing(context.clone()))
        .with_state(context)
        .layer(cors)
}

/// Pages of the origins allowed may call, with any metadata; no cookie is involved.
fn cors(origins: &Origins) -> CorsLayer {
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origins.allow())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(PREFLIGHT_MAX_AGE)
}

/// gRPC and gRPC-Web go to the rpcs; whoever speaks something else is told what is spoken here.
fn grpc_or_nothing(
    context: Arc<Context>,
) -> impl Service<
    Request<axum::body::Body>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> + Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |mut request: Request<axum::body::Body>| {
        let context = context.clone();
        async move {
            if !speaks_grpc(&request) {
                return Ok(nothing_here(&request));
            }
            prefer_text_for_text(&mut request);
            let grpc = tower::service_fn(move |request| call(context.clone(), request));
            GrpcWebLayer::new()
                .layer(grpc)
                .oneshot(request)
                .await
                .map(IntoResponse::into_response)
        }
    })
}

/// One gRPC call, with its deadline.
async fn call(context: Arc<Context>, request: Request<Body>) -> Result<http::Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    Ok(deadline::enforce(path, &headers, route::answer(context, request)).await)
}

fn speaks_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// A client that sends text and does not say what it takes gets text.
fn prefer_text_for_text<B>(request: &mut Request<B>) {
    let text = HeaderValue::from_static("application/grpc-web-text+proto");
    let sends_text = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc-web-text"));
    let says = request
        .headers()
        .get(ACCEPT)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc-web"));
    if sends_text && !says {
        request.headers_mut().insert(ACCEPT, text);
    }
}

fn nothing_here<B>(request: &Request<B>) -> Response {
    let text = format!(
        "nothing is at {}\n\nviewfeed answers gRPC and gRPC-Web here (content type application/grpc…); / tells more\n",
        request.uri().path()
    );
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn readyz(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    if context.is_draining() || context.gateway.is_closed() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn welcome(State(context): State<Arc<Context>>) -> String {
    let address = context.options.listen;
    let services = route::services(&context.modules_now());
    format!(
        "viewfeed {version}: live SQL views over gRPC\n\n\
         services\n  {services}\n\n\
         try\n  grpcurl -plaintext {address} list\n  viewfeed status --server {address}\n\n\
         probes: /healthz /readyz\n",
        version = env!("CARGO_PKG_VERSION"),
        services = services.into_iter().collect::<Vec<_>>().join("\n  "),
    )
}
