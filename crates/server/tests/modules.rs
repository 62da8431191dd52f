//! Modules that change under running streams.

use crate::calls::message;
use crate::world::{CHAT, World};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn a_removed_module_ends_its_streams_and_no_others() {
    let world = World::start().await;
    let client = world.client().await;
    let mut notes = client.open("/notes.v1.Notes/Watch", json!({})).await.unwrap();
    notes.frame("KIND_SNAPSHOT").await;
    let mut chat = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    let token = chat.frame("KIND_SNAPSHOT").await["frame"]["resumeToken"].clone();
    let mut bare = client
        .open("/chat.v1.Chat/Follow", json!({"channel": "general"}))
        .await
        .unwrap();

    world.change_module("chat", None);

    let bye = chat.frame("KIND_BYE").await;
    assert_eq!(bye["frame"]["reason"], "RPC_REMOVED");
    assert_eq!(
        bye["frame"]["resumeToken"], token,
        "the client may come back with the last token"
    );
    chat.end().await.unwrap();
    let error = bare.end().await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(
        error.get_error_details().error_info().unwrap().reason,
        "RPC_REMOVED"
    );
    let error = client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);

    client
        .unary("/notes.v1.Notes/Add", json!({"id": "n", "text": "still here"}))
        .await
        .unwrap();
    let delta = notes.frame("KIND_DELTA").await;
    assert_eq!(delta["upserts"], json!([{"id": "n", "text": "still here"}]));
}

#[tokio::test]
async fn a_changed_module_keeps_the_streams_of_rpcs_that_say_the_same() {
    let world = World::start().await;
    let client = world.client().await;
    let mut chat = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    chat.frame("KIND_SNAPSHOT").await;
    let changed = CHAT.replace(
        "service Chat {",
        "service Chat { rpc Post(Message) returns (SendResponse) { option (viewfeed.v1.rpc) = { mutate: { table: \"message\" } }; }",
    );
    world.change_module("chat", Some(&changed));
    client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap();
    assert_eq!(
        chat.frame("KIND_DELTA").await["upserts"],
        json!([message("a", "general")])
    );
}

#[tokio::test]
async fn a_stream_whose_rpc_says_something_else_now_is_ended_with_its_token() {
    let world = World::start().await;
    let client = world.client().await;
    let mut chat = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    let token = chat.frame("KIND_SNAPSHOT").await["frame"]["resumeToken"].clone();
    let mut bare = client
        .open("/chat.v1.Chat/Follow", json!({"channel": "general"}))
        .await
        .unwrap();
    let changed = CHAT
        .replace(
            "message MessageKey { string id = 1; }",
            "message MessageKey { string id = 7; }",
        )
        .replace(
            "message FollowRequest { string channel = 1; }",
            "message FollowRequest { string text = 1; }",
        );
    world.change_module("chat", Some(&changed));
    let bye = chat.frame("KIND_BYE").await;
    assert_eq!(bye["frame"]["reason"], "MODULE_CHANGED");
    assert_eq!(bye["frame"]["resumeToken"], token);
    assert_eq!(bare.end().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_write_that_began_before_its_module_went_away_is_finished() {
    let world = World::start().await;
    let client = world.client().await;
    crate::calls::take_all_permits(&world);
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.unary("/chat.v1.Chat/Send", message("a", "general")).await })
    };
    world.shared.writes_allowed.add_permits(1);
    world.change_module("notes", None);
    call.await.unwrap().unwrap();
}
