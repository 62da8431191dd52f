//! A gRPC client without generated code for modules: messages are written as JSON and looked up in the module's pool.

use bytes::{Buf, BufMut, Bytes};
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use std::time::Duration;
use tokio_stream::Stream;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A connected client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    pub(crate) pool: DescriptorPool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) gzip: bool,
    /// Positions of sources that every call says it wants to see.
    pub(crate) min_position: Option<&'static str>,
}

impl Client {
    pub(crate) fn message(&self, name: &str, json: &Value) -> Bytes {
        let message = self.pool.get_message_by_name(name).expect(name);
        let text = json.to_string();
        let mut json = serde_json::Deserializer::from_str(&text);
        let options = DeserializeOptions::new();
        let message = DynamicMessage::deserialize_with_options(message, &mut json, &options).unwrap();
        message.encode_to_vec().into()
    }

    fn method(&self, path: &str) -> (MessageDescriptor, MessageDescriptor) {
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
        let service = self.pool.get_service_by_name(service).expect(service);
        let method = service
            .methods()
            .find(|found| found.name() == method)
            .expect(method);
        (method.input(), method.output())
    }

    pub(crate) fn request(&self, path: &str, json: &Value) -> Bytes {
        self.message(self.method(path).0.full_name(), json)
    }

    /// Any call: a stream of encoded requests, a stream of encoded responses.
    pub(crate) async fn raw(
        &self,
        path: &str,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        if self.gzip {
            grpc = grpc
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.unwrap();
        let mut request = Request::new(requests);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        if let Some(position) = self.min_position {
            let value = position.parse().unwrap();
            request.metadata_mut().insert("viewfeed-min-position", value);
        }
        let response = grpc.streaming(request, path.parse().unwrap(), RawCodec).await?;
        Ok(response.into_inner())
    }

    /// A call with any number of requests, and all its responses as JSON.
    pub(crate) async fn call(&self, path: &str, requests: &[Value]) -> Result<Vec<Value>, Status> {
        let requests: Vec<Bytes> = requests.iter().map(|json| self.request(path, json)).collect();
        let mut responses = Responses {
            stream: self.raw(path, tokio_stream::iter(requests)).await?,
            message: self.method(path).1,
        };
        let mut all = Vec::new();
        while let Some(response) = responses.next().await? {
            all.push(response);
        }
        Ok(all)
    }

    /// A unary call.
    pub(crate) async fn unary(&self, path: &str, request: Value) -> Result<Value, Status> {
        let mut responses = self.call(path, &[request]).await?;
        assert_eq!(responses.len(), 1, "a unary call has one response");
        Ok(responses.remove(0))
    }

    /// A call with one request whose responses are read one by one.
    pub(crate) async fn open(&self, path: &str, request: Value) -> Result<Responses, Status> {
        let requests = vec![self.request(path, &request)];
        let stream = self.raw(path, tokio_stream::iter(requests)).await?;
        Ok(Responses {
            stream,
            message: self.method(path).1,
        })
    }
}

/// The responses of a call, as JSON.
pub(crate) struct Responses {
    pub(crate) stream: Streaming<Bytes>,
    pub(crate) message: MessageDescriptor,
}

/// Longer than anything takes; a test that waits for nothing must end.
const PATIENCE: Duration = Duration::from_secs(20);

impl Responses {
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Status> {
        let bytes = tokio::time::timeout(PATIENCE, self.stream.message())
            .await
            .expect("a response in time")?;
        Ok(bytes.map(|bytes| {
            let message = DynamicMessage::decode(self.message.clone(), bytes).unwrap();
            serde_json::to_value(&message).unwrap()
        }))
    }

    /// The next response, which must come.
    pub(crate) async fn one(&mut self) -> Value {
        self.next().await.unwrap().expect("one more response")
    }

    /// The next frame of this kind; others are skipped.
    pub(crate) async fn frame(&mut self, kind: &str) -> Value {
        loop {
            let response = self.one().await;
            if response["frame"]["kind"] == kind {
                return response;
            }
        }
    }

    /// The end of the call.
    pub(crate) async fn end(&mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}

struct RawCodec;

impl Codec for RawCodec {
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

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
