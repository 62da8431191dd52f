//! Reflection, both versions, and health.

use crate::world::{CHAT, World};
use prost_reflect::{DescriptorPool, Value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;

/// An open reflection stream.
struct Reflection {
    requests: mpsc::Sender<ServerReflectionRequest>,
    responses: Streaming<ServerReflectionResponse>,
}

impl Reflection {
    async fn open(world: &World) -> Self {
        let mut client = ServerReflectionClient::new(world.client().await.channel);
        let (requests, sent) = mpsc::channel(1);
        let responses = client
            .server_reflection_info(ReceiverStream::new(sent))
            .await
            .unwrap()
            .into_inner();
        Self { requests, responses }
    }

    async fn ask(&mut self, request: MessageRequest) -> MessageResponse {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        self.requests.send(request).await.unwrap();
        self.responses
            .message()
            .await
            .unwrap()
            .unwrap()
            .message_response
            .unwrap()
    }

    async fn services(&mut self) -> Vec<String> {
        match self.ask(MessageRequest::ListServices(String::new())).await {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|one| one.name).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// A pool of the files of an answer, which must hold all that they import.
    async fn pool(&mut self, request: MessageRequest) -> DescriptorPool {
        let MessageResponse::FileDescriptorResponse(files) = self.ask(request).await else {
            panic!("no files");
        };
        let mut set = Vec::new();
        for file in files.file_descriptor_proto {
            prost_reflect::prost::encoding::bytes::encode(1, &file, &mut set);
        }
        DescriptorPool::decode(set.as_slice()).unwrap()
    }
}

#[tokio::test]
async fn services_are_listed_and_described_with_all_they_import() {
    let world = World::start().await;
    let mut reflection = Reflection::open(&world).await;
    let services = reflection.services().await;
    for service in [
        "chat.v1.Chat",
        "notes.v1.Notes",
        "viewfeed.v1.Viewfeed",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        assert!(
            services.iter().any(|listed| listed == service),
            "{service} in {services:?}"
        );
        let pool = reflection
            .pool(MessageRequest::FileContainingSymbol(service.to_owned()))
            .await;
        assert!(pool.get_service_by_name(service).is_some(), "{service}");
    }
}

#[tokio::test]
async fn custom_options_are_kept() {
    let world = World::start().await;
    let mut reflection = Reflection::open(&world).await;
    let pool = reflection
        .pool(MessageRequest::FileContainingSymbol("chat.v1.Message".to_owned()))
        .await;
    let table = pool
        .get_extension_by_name("viewfeed.v1.table")
        .expect("the options come with the file");
    let options = pool.get_message_by_name("chat.v1.Message").unwrap().options();
    let Value::Message(table) = options.get_extension(&table).into_owned() else {
        panic!("no table option");
    };
    assert_eq!(
        table.get_field_by_name("key").unwrap().as_list().unwrap()[0].as_str(),
        Some("id")
    );
}

#[tokio::test]
async fn symbols_are_found_by_every_name_tools_ask_for() {
    let world = World::start().await;
    let mut reflection = Reflection::open(&world).await;
    for symbol in [
        "chat.v1.Chat",
        "chat.v1.Chat.Send",
        "chat.v1.Message",
        "chat.v1.Message.id",
        "viewfeed.v1.Frame.Kind",
        "viewfeed.v1.Frame.KIND_HELLO",
        "viewfeed.v1.Envelope",
        "viewfeed.v1.ENVELOPE_DIFF",
        "viewfeed.v1.Value.kind",
        "viewfeed.v1.rpc",
    ] {
        let answer = reflection
            .ask(MessageRequest::FileContainingSymbol(symbol.to_owned()))
            .await;
        assert!(
            matches!(answer, MessageResponse::FileDescriptorResponse(_)),
            "{symbol}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn extensions_are_found() {
    let world = World::start().await;
    let mut reflection = Reflection::open(&world).await;
    let method_options = "google.protobuf.MethodOptions".to_owned();
    let numbers = reflection
        .ask(MessageRequest::AllExtensionNumbersOfType(method_options.clone()))
        .await;
    let MessageResponse::AllExtensionNumbersResponse(numbers) = numbers else {
        panic!("{numbers:?}");
    };
    assert_eq!(numbers.extension_number, [51987]);
    let wanted = ExtensionRequest {
        containing_type: method_options,
        extension_number: 51987,
    };
    let pool = reflection
        .pool(MessageRequest::FileContainingExtension(wanted))
        .await;
    assert!(pool.get_extension_by_name("viewfeed.v1.rpc").is_some());
}

#[tokio::test]
async fn what_is_not_found_does_not_end_the_stream() {
    let world = World::start().await;
    let mut reflection = Reflection::open(&world).await;
    for request in [
        MessageRequest::FileContainingSymbol("no.such.Thing".to_owned()),
        MessageRequest::FileByFilename("no/such.proto".to_owned()),
        MessageRequest::AllExtensionNumbersOfType("no.such.Thing".to_owned()),
        MessageRequest::FileContainingExtension(ExtensionRequest {
            containing_type: "google.protobuf.FieldOptions".to_owned(),
            extension_number: -1,
        }),
    ] {
        match reflection.ask(request).await {
            MessageResponse::ErrorResponse(error) => assert_eq!(error.error_code, 5),
            other => panic!("{other:?}"),
        }
    }
    assert!(!reflection.services().await.is_empty());
}

#[tokio::test]
async fn a_changed_module_is_seen_at_once_on_an_open_stream() {
    let world = World::start().await;
    let mut reflection = Reflection::open(&world).await;
    world.change_module("notes", None);
    assert!(!reflection.services().await.contains(&"notes.v1.Notes".to_owned()));
    world.change_module(
        "chat",
        Some(&CHAT.replace(
            "message FollowRequest {",
            "message FollowRequest { int32 since = 9;",
        )),
    );
    let pool = reflection
        .pool(MessageRequest::FileByFilename("chat/chat.proto".to_owned()))
        .await;
    let message = pool.get_message_by_name("chat.v1.FollowRequest").unwrap();
    assert!(message.get_field_by_name("since").is_some());
}

#[tokio::test]
async fn the_older_version_answers_too() {
    let world = World::start().await;
    let channel = world.client().await.channel;
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let responses = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = responses
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    assert!(list.service.iter().any(|service| service.name == "chat.v1.Chat"));
}

#[tokio::test]
async fn health_follows_the_modules() {
    let world = World::start().await;
    let mut health = HealthClient::new(world.client().await.channel);
    let of = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    for service in ["", "chat.v1.Chat", "viewfeed.v1.Viewfeed"] {
        let status = health.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    assert_eq!(
        health.check(of("no.Such")).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    let mut notes = health.watch(of("notes.v1.Notes")).await.unwrap().into_inner();
    assert_eq!(
        notes.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    world.change_module("notes", None);
    assert_eq!(
        notes.message().await.unwrap().unwrap().status(),
        ServingStatus::ServiceUnknown
    );
    world.change_module("notes", Some(crate::world::NOTES));
    assert_eq!(
        notes.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
}

#[tokio::test]
async fn a_watch_ends_when_the_server_stops() {
    let mut world = World::start().await;
    let mut health = HealthClient::new(world.client().await.channel);
    let mut statuses = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        statuses.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    world.stop.take().unwrap().send(()).unwrap();
    assert_eq!(
        statuses.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    assert!(statuses.message().await.unwrap().is_none());
}
