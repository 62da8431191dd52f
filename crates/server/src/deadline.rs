//! The end of every call: at its deadline (`grpc-timeout`), also when it streams, and one line in the log.
//!
//! tonic knows deadlines only up to the head of a response; a feed is all body, so its body is cut here.

use crate::status;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use viewfeed_change::Error;

/// Runs `call` to its head and guards its body.
pub(crate) async fn enforce(
    path: String,
    headers: &HeaderMap,
    call: impl Future<Output = http::Response<Body>>,
) -> http::Response<Body> {
    let log = CallLog::new(path);
    match deadline(headers) {
        Err(error) => log.guard(status::of(&error).into_http(), None),
        Ok(None) => log.guard(call.await, None),
        Ok(Some(at)) => match timeout_at(at, call).await {
            Ok(response) => log.guard(response, Some(at)),
            Err(_) => log.guard(status::deadline_exceeded().into_http(), None),
        },
    }
}

/// When the call must be over: a number of at most 8 digits and a unit.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Error> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let wrong = || {
        Error::invalid("GRPC_TIMEOUT", "the grpc-timeout header is malformed")
            .hint("send at most 8 digits and one of H, M, S, m, u, n; for example 250m")
    };
    let text = value.to_str().map_err(|_| wrong())?;
    let unit = text.chars().last().ok_or_else(wrong)?;
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let timeout = match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return Err(wrong()),
    };
    Ok(Instant::now().checked_add(timeout))
}

/// Writes the line about a call when it is dropped, which is when the call is over.
struct CallLog {
    path: String,
    started: Instant,
    /// None until the status was sent.
    code: Option<Code>,
}

impl CallLog {
    fn new(path: String) -> Self {
        Self {
            path,
            started: Instant::now(),
            code: None,
        }
    }

    fn guard(mut self, response: http::Response<Body>, deadline: Option<Instant>) -> http::Response<Body> {
        self.saw(response.headers());
        let sleep = deadline.map(|at| Box::pin(sleep_until(at)));
        response.map(|inner| {
            Body::new(GuardedBody {
                inner,
                sleep,
                ended: false,
                log: self,
            })
        })
    }

    fn saw(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        // A body that is dropped before its end: the client went away.
        let code = self.code.unwrap_or(Code::Cancelled);
        let milliseconds = self.started.elapsed().as_secs_f64() * 1e3;
        tracing::debug!(method = self.path, ?code, milliseconds, "call");
    }
}

/// A response body that ends with `DEADLINE_EXCEEDED` when its time is over.
struct GuardedBody {
    inner: Body,
    sleep: Option<Pin<Box<Sleep>>>,
    ended: bool,
    log: CallLog,
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // The time first: a feed that always has something to say must end too.
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.ended = true;
            self.inner = Body::empty();
            let mut trailers = HeaderMap::new();
            if status::deadline_exceeded().add_header(&mut trailers).is_err() {
                return Poll::Ready(Some(Err(status::deadline_exceeded())));
            }
            self.log.saw(&trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let polled = pin!(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.log.saw(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(timeout: &str) -> HeaderMap {
        [(
            http::HeaderName::from_static("grpc-timeout"),
            timeout.parse().unwrap(),
        )]
        .into_iter()
        .collect()
    }

    #[test]
    fn timeouts_have_units() {
        let before = Instant::now();
        let at = deadline(&headers("250m")).unwrap().unwrap();
        let timeout = at - before;
        assert!(
            timeout >= Duration::from_millis(250) && timeout < Duration::from_millis(5250),
            "{timeout:?}"
        );
    }

    #[test]
    fn malformed_timeouts_are_refused() {
        for wrong in ["", "S", "10", "123456789S", "1x", "-1S", "+1S"] {
            assert!(deadline(&headers(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_longest_timeout_does_no_harm() {
        assert!(deadline(&headers("99999999H")).is_ok());
    }
}
