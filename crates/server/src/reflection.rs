//! Server reflection, v1 and v1alpha (their messages are the same on the wire).
//!
//! Looks into the pools of the live modules at each request, so that a changed module is seen at once, and serves the
//! bytes of the files as they were compiled, so that custom options are kept.

mod files;

use crate::context::Context;
use crate::message::{Requests, Responses, decode, encode};
use crate::{route, status};
use async_stream::try_stream;
use files::Files;
use std::sync::Arc;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};

/// The service's name.
pub(crate) const V1: &str = "grpc.reflection.v1.ServerReflection";
/// The name older tools know.
pub(crate) const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// Answers its only rpc. What is not found is an `error_response`: the stream goes on.
pub(crate) fn answer(
    context: Arc<Context>,
    method: &str,
    mut requests: Requests,
) -> Result<Responses, Status> {
    if method != "ServerReflectionInfo" {
        return Err(status::unimplemented(
            "UNKNOWN_RPC",
            "reflection has: ServerReflectionInfo",
        ));
    }
    Ok(Box::pin(try_stream! {
        while let Some(bytes) = requests.next().await? {
            let request: ServerReflectionRequest = decode(bytes)?;
            let response = ServerReflectionResponse {
                valid_host: request.host.clone(),
                message_response: Some(look_up(&context, request.message_request.as_ref())),
                original_request: Some(request),
            };
            yield encode(&response);
        }
    }))
}

fn look_up(context: &Context, request: Option<&MessageRequest>) -> MessageResponse {
    let modules = context.modules_now();
    let files = Files::of(&modules);
    match request {
        Some(MessageRequest::FileByFilename(name)) => {
            file_response(files.named(name), || format!("no file is named {name}"))
        }
        Some(MessageRequest::FileContainingSymbol(symbol)) => {
            file_response(files.containing(symbol), || format!("no file declares {symbol}"))
        }
        Some(MessageRequest::FileContainingExtension(wanted)) => {
            let number = u32::try_from(wanted.extension_number).unwrap_or_default();
            let found = files.extending(&wanted.containing_type, number);
            file_response(found, || {
                format!(
                    "nothing extends {} with number {}",
                    wanted.containing_type, wanted.extension_number
                )
            })
        }
        Some(MessageRequest::AllExtensionNumbersOfType(message)) => match files.extension_numbers(message) {
            Some(extension_number) => {
                let base_type_name = message.clone();
                let numbers = ExtensionNumberResponse {
                    base_type_name,
                    extension_number,
                };
                MessageResponse::AllExtensionNumbersResponse(numbers)
            }
            None => error(Code::NotFound, format!("no message is named {message}")),
        },
        Some(MessageRequest::ListServices(_)) => {
            let service = route::services(&modules)
                .into_iter()
                .map(|name| ServiceResponse { name })
                .collect();
            MessageResponse::ListServicesResponse(ListServiceResponse { service })
        }
        None => error(
            Code::InvalidArgument,
            "the request asks for nothing known here".to_owned(),
        ),
    }
}

/// The file that was found with everything it imports.
fn file_response(
    found: Option<prost_reflect::FileDescriptor>,
    missing: impl FnOnce() -> String,
) -> MessageResponse {
    match found {
        Some(file) => {
            let file_descriptor_proto = files::closure(file);
            MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                file_descriptor_proto,
            })
        }
        None => error(Code::NotFound, missing()),
    }
}

fn error(code: Code, error_message: String) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: code.into(),
        error_message,
    })
}
