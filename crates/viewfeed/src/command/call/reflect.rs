//! What a server offers, asked of its reflection service (v1).

use crate::client;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use viewfeed_change::{Error, Result};

/// A reflection client.
pub(super) struct Reflection {
    client: ServerReflectionClient<Channel>,
}

impl Reflection {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            client: ServerReflectionClient::new(channel),
        }
    }

    /// The names of all services.
    pub(super) async fn services(&mut self) -> Result<Vec<String>> {
        match self.ask(MessageRequest::ListServices(String::new())).await? {
            MessageResponse::ListServicesResponse(list) => {
                Ok(list.service.into_iter().map(|s| s.name).collect())
            }
            _ => Err(unexpected()),
        }
    }

    /// The rpc called `package.Service/Method` (`.` for `/` is understood too).
    pub(super) async fn method(&mut self, name: &str) -> Result<MethodDescriptor> {
        let name = name.trim_start_matches('/');
        let (service, method) = name
            .rsplit_once('/')
            .or_else(|| name.rsplit_once('.'))
            .ok_or_else(|| {
                Error::invalid("USAGE", format!("\"{name}\" is no rpc name"))
                    .hint("write package.Service/Method")
            })?;
        let descriptor = self.service(service).await?;
        let found = descriptor.methods().find(|candidate| candidate.name() == method);
        found.ok_or_else(|| {
            let known: Vec<String> = descriptor
                .methods()
                .map(|method| method.name().to_owned())
                .collect();
            Error::not_found("UNKNOWN_RPC", format!("{service} has no rpc {method}"))
                .hint(format!("it has {}", known.join(", ")))
        })
    }

    /// A service with everything its messages need.
    pub(super) async fn service(&mut self, name: &str) -> Result<ServiceDescriptor> {
        let files = match self
            .ask(MessageRequest::FileContainingSymbol(name.to_owned()))
            .await?
        {
            MessageResponse::FileDescriptorResponse(response) => response.file_descriptor_proto,
            _ => return Err(unexpected()),
        };
        let pool = pool(files)?;
        pool.get_service_by_name(name).ok_or_else(|| not_a_service(name))
    }

    async fn ask(&mut self, request: MessageRequest) -> Result<MessageResponse> {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        let responses = self
            .client
            .server_reflection_info(tokio_stream::once(request))
            .await;
        let mut responses = responses.map_err(client::failure)?.into_inner();
        let response = responses.next().await.transpose().map_err(client::failure)?;
        match response.and_then(|response| response.message_response) {
            Some(MessageResponse::ErrorResponse(error)) => {
                Err(Error::not_found("UNKNOWN_RPC", error.error_message)
                    .hint("`viewfeed call` without a method lists every service"))
            }
            Some(response) => Ok(response),
            None => Err(Error::internal("the server's reflection gave no answer")),
        }
    }
}

/// A pool of files that came in any order.
fn pool(files: Vec<Vec<u8>>) -> Result<DescriptorPool> {
    let mut pool = DescriptorPool::new();
    let mut waiting = files;
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut failed = None;
        waiting.retain(
            |bytes| match pool.decode_file_descriptor_proto(bytes.as_slice()) {
                Ok(()) => false,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            },
        );
        if let (true, Some(error)) = (waiting.len() == before, failed) {
            return Err(Error::internal("the server's descriptors do not fit together").because(error));
        }
    }
    Ok(pool)
}

fn not_a_service(name: &str) -> Error {
    Error::not_found("UNKNOWN_RPC", format!("{name} is not a service"))
        .hint("`viewfeed call` without a method lists every service")
}

fn unexpected() -> Error {
    Error::internal("the server's reflection gave an answer to another question")
}
