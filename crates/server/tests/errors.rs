//! What goes wrong, and what clients are told.

use crate::calls::message;
use crate::world::{MESSAGE_BYTES_MAX, World, options};
use bytes::Bytes;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;
use viewfeed_server::Server;

#[tokio::test]
async fn a_duplicate_key_is_told_with_reason_and_advice() {
    let world = World::start().await;
    let client = world.client().await;
    client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap();
    let error = client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let details = error.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("DUPLICATE_KEY", "viewfeed")
    );
    assert_eq!(details.localized_message().unwrap().message, "choose another key");
}

#[tokio::test]
async fn an_unknown_rpc_is_told_what_there_is() {
    let world = World::start().await;
    let client = world.client().await;
    let call = async |path| {
        client
            .raw(path, tokio_stream::iter([Bytes::new()]))
            .await
            .err()
            .unwrap()
    };
    let error = call("/chat.v1.Nobody/Send").await;
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("chat.v1.Chat"), "{}", error.message());
    let error = call("/chat.v1.Chat/Sing").await;
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("SendMany"), "{}", error.message());
}

#[tokio::test]
async fn garbage_is_refused_and_the_server_goes_on() {
    let world = World::start().await;
    let client = world.client().await;
    let garbage = Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    for path in [
        "/chat.v1.Chat/Send",
        "/chat.v1.Chat/SendMany",
        "/chat.v1.Chat/SendAll",
        "/chat.v1.Chat/List",
        "/chat.v1.Chat/Watch",
        "/viewfeed.v1.Viewfeed/Execute",
        "/viewfeed.v1.Viewfeed/Tail",
        "/viewfeed.v1.Viewfeed/TailChanges",
        "/grpc.health.v1.Health/Check",
    ] {
        let error = client
            .raw(path, tokio_stream::iter([garbage.clone()]))
            .await
            .expect_err(path);
        assert_eq!(error.code(), Code::InvalidArgument, "{path}: {error:?}");
        assert_eq!(
            error.get_error_details().error_info().unwrap().reason,
            "UNDECODABLE",
            "{path}"
        );
    }
    client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_oversized_message_is_told_the_limit_and_the_way_out() {
    let world = World::start().await;
    let mut client = world.client().await;
    for gzip in [false, true] {
        client.gzip = gzip;
        let mut long = message("a", "general");
        long["text"] = json!("x".repeat(MESSAGE_BYTES_MAX));
        for path in ["/chat.v1.Chat/Send", "/chat.v1.Chat/SendMany"] {
            let error = client.call(path, &[long.clone()]).await.unwrap_err();
            assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
            let limit = MESSAGE_BYTES_MAX.to_string();
            let told = error.message();
            assert!(told.contains(&limit) && told.contains("--message-kib"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_call_needs_exactly_the_messages_its_rpc_takes() {
    let world = World::start().await;
    let client = world.client().await;
    let none = client.call("/chat.v1.Chat/Send", &[]).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    let two = [message("a", "general"), message("b", "general")];
    let two = client.call("/chat.v1.Chat/Send", &two).await.unwrap_err();
    assert_eq!(two.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_program_that_went_away_is_unavailable() {
    let world = World::start().await;
    let client = world.client().await;
    world.shared.writes_allowed.close();
    let error = client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    let error = client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_taken_address_is_told_with_advice() {
    let world = World::start().await;
    let error = Server::bind(options(&world.address.to_string()))
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason(), "ADDRESS_IN_USE");
    assert!(error.to_string().contains("--listen"), "{error}");
}
