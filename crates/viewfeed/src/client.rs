//! The tools' side of the wire: connecting, and what a failed call means.

use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_wire::v1::viewfeed_client::ViewfeedClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers may be larger than what the server accepts.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A channel to `server` (`HOST:PORT`).
pub(crate) async fn connect(server: &str) -> Result<Channel> {
    let wrong = |error: tonic::transport::Error| {
        Error::invalid("SERVER", format!("\"{server}\" is not a server address"))
            .because(error)
            .hint("use HOST:PORT")
    };
    let endpoint = Endpoint::from_shared(format!("http://{server}")).map_err(wrong)?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            "SERVER",
            format!("no server answers at {server}"),
        )
        .because(error)
        .hint("start one with `viewfeed serve`, or name it with --server HOST:PORT")
    })
}

/// A client of the generic service.
pub(crate) async fn generic(server: &str) -> Result<ViewfeedClient<Channel>> {
    let client = ViewfeedClient::new(connect(server).await?);
    Ok(client.max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// A failed call as an error of the same meaning.
pub(crate) fn failure(status: Status) -> Error {
    let kind = match status.code() {
        Code::InvalidArgument | Code::Unimplemented => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::Exists,
        Code::Aborted => ErrorKind::Conflict,
        Code::FailedPrecondition => ErrorKind::Precondition,
        Code::OutOfRange => ErrorKind::OutOfRange,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::Cancelled | Code::DeadlineExceeded => ErrorKind::Cancelled,
        Code::DataLoss => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    };
    Error::new(
        kind,
        "CALL_FAILED",
        format!("{:?}: {}", status.code(), status.message()),
    )
}
