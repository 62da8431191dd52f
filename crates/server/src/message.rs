//! The messages of a call as bytes: one codec for all four call shapes. Framing, compression and size limits are tonic's;
//! what the bytes mean is known to those who ask for them.

use crate::context::{Context, drained, stopping};
use crate::status;
use bytes::{Buf, BufMut, Bytes};
use futures::Stream;
use http_body::Frame;
use prost::Message;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::{
    BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming,
};
use tonic::{Code, Request, Response, Status};
use viewfeed_change::{Error, ErrorKind};

/// Encoded responses.
pub(crate) type Responses = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Memory a call takes while idle; buffers grow with the messages. Small, because most feeds are idle most of the time.
const IDLE_BUFFER_BYTES: usize = 1024;
/// Messages that are ready are sent together up to this size.
const SEND_TOGETHER_BYTES: usize = 32 * 1024;

/// Rows are put into messages up to about this size, well below the 4 MiB that clients take by default.
pub(crate) const ROWS_MESSAGE_BYTES: usize = 1 << 20;

/// Serves one call of any shape: `answer` gets its requests and gives its responses.
pub(crate) async fn serve<A, F>(
    context: &Arc<Context>,
    request: http::Request<Body>,
    answer: A,
) -> http::Response<Body>
where
    A: FnOnce(Requests) -> F + Send,
    F: Future<Output = Result<Responses, Status>> + Send + 'static,
{
    let bytes_max = context.options.message_bytes_max;
    let cancelled = Arc::new(AtomicBool::new(false));
    let request = watch_for_cancel(request, cancelled.clone());
    let draining = context.draining.clone();
    let mut answer = Some(answer);
    let handler = tower::service_fn(move |request: Request<Streaming<Bytes>>| {
        let requests = Requests {
            stream: request.into_inner(),
            cancelled: cancelled.clone(),
            draining: draining.clone(),
            bytes_max,
        };
        let answer = answer.take().expect("tonic calls the handler of a call once");
        let responses = answer(requests);
        async move { responses.await.map(Response::new) }
    });
    tonic::server::Grpc::new(BytesCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(bytes_max)
        .streaming(handler, request)
        .await
}

/// The only response of a unary call.
pub(crate) fn one(response: impl Into<Bytes>) -> Responses {
    Box::pin(tokio_stream::once(Ok(response.into())))
}

/// Which rows go together into messages of bounded size, by the sizes of the rows; a single row may be larger. At least
/// one piece, which may be empty.
pub(crate) fn pieces(row_bytes: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let (mut pieces, mut start, mut end, mut bytes) = (Vec::new(), 0, 0, 0);
    for row in row_bytes {
        if bytes + row > ROWS_MESSAGE_BYTES && end > start {
            pieces.push(start..end);
            (start, bytes) = (end, 0);
        }
        bytes += row;
        end += 1;
    }
    pieces.push(start..end);
    pieces
}

/// An encoded message.
pub(crate) fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// The requests of a call.
pub(crate) struct Requests {
    stream: Streaming<Bytes>,
    cancelled: Arc<AtomicBool>,
    draining: watch::Receiver<bool>,
    bytes_max: usize,
}

impl Requests {
    /// The next request; None once the client has sent all of them. A client that goes away is an error, not an end. Safe
    /// to cancel.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let message = tokio::select! {
            biased;
            message = self.stream.message() => message,
            () = drained(&mut self.draining) => return Err(status::of(&stopping())),
        };
        match message {
            Ok(None) if self.cancelled.load(Ordering::SeqCst) => {
                Err(Status::cancelled("the client cancelled the call"))
            }
            Ok(message) => Ok(message),
            Err(status) => Err(self.explain(status)),
        }
    }

    /// The only request of a call whose client does not stream.
    pub(crate) async fn only(&mut self) -> Result<Bytes, Status> {
        let wrong = |message| status::of(&Error::invalid("MESSAGE_COUNT", message));
        let Some(message) = self.next().await? else {
            return Err(wrong("the call has no request message"));
        };
        match self.next().await? {
            None => Ok(message),
            Some(_) => Err(wrong("the rpc takes one request message, more were sent")),
        }
    }

    /// The only request, decoded.
    pub(crate) async fn only_as<M: Message + Default>(&mut self) -> Result<M, Status> {
        decode(self.only().await?)
    }

    /// tonic tells of oversized messages as `OUT_OF_RANGE` or with a text that names no way out.
    fn explain(&self, status: Status) -> Status {
        let oversized = status.code() == Code::OutOfRange || status.code() == Code::ResourceExhausted;
        if !oversized {
            return status;
        }
        let limit = self.bytes_max;
        let message = format!("a request message is larger than the limit of {limit} bytes");
        status::of(
            &Error::new(ErrorKind::Exhausted, "MESSAGE_TOO_LARGE", message)
                .hint("send smaller messages, or start the server with a larger --message-kib"),
        )
    }
}

/// A message of a type known when viewfeed was built.
pub(crate) fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|error| undecodable(std::any::type_name::<M>(), &error))
}

/// Bytes that are no message of the type the rpc takes.
pub(crate) fn undecodable(message: &str, error: &prost::DecodeError) -> Status {
    let name = message.rsplit("::").next().unwrap_or(message);
    let text = format!("the request is not a {name}: {error}");
    status::of(&Error::invalid("UNDECODABLE", text).hint("call with the protos that reflection serves"))
}

/// hyper and tonic end the requests of a cancelled HTTP/2 stream as if the client had sent all of them. The difference
/// decides whether a transaction commits, so it is looked for here.
fn watch_for_cancel(request: http::Request<Body>, cancelled: Arc<AtomicBool>) -> http::Request<Body> {
    let knows_its_end = request.version() == http::Version::HTTP_2;
    request.map(|inner| {
        Body::new(WatchedBody {
            inner,
            knows_its_end,
            cancelled,
        })
    })
}

struct WatchedBody {
    inner: Body,
    /// After the last frame `is_end_stream` says whether it was the client's; a broken HTTP/1 body is an error.
    knows_its_end: bool,
    cancelled: Arc<AtomicBool>,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = pin!(&mut self.inner).poll_frame(cx);
        let broken = match &polled {
            Poll::Ready(Some(Err(_))) => true,
            Poll::Ready(None) => self.knows_its_end && !self.inner.is_end_stream(),
            _ => false,
        };
        if broken {
            self.cancelled.store(true, Ordering::SeqCst);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// Bytes in, bytes out.
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(IDLE_BUFFER_BYTES, SEND_TOGETHER_BYTES)
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(IDLE_BUFFER_BYTES, SEND_TOGETHER_BYTES)
    }
}
