//! Calls of every shape: writes one by one, streamed, as one transaction; reads; SQL.

use crate::program::COMMIT_TIME;
use crate::world::{STREAM_ROWS_MAX, World};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_types::StatusExt;

pub(crate) fn message(id: impl ToString, channel: &str) -> Value {
    json!({"id": id.to_string(), "channel": channel, "text": "hello"})
}

fn version(response: &Value) -> u64 {
    response["ack"]["version"].as_str().unwrap().parse().unwrap()
}

async fn ids(world: &World) -> Vec<String> {
    let response = world
        .client()
        .await
        .unary("/chat.v1.Chat/List", json!({"pageSize": 1000}))
        .await
        .unwrap();
    let rows = response["messages"].as_array().cloned().unwrap_or_default();
    rows.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_call_is_answered_behind_the_positions_it_names() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.min_position = Some("shop=16/B374D848, crm=0/1");
    client
        .unary("/chat.v1.Chat/Send", message("ann", "general"))
        .await
        .unwrap();
    let reached = world.shared.reached.lock().unwrap().clone();
    let expected = [("shop", "16/B374D848"), ("crm", "0/1")];
    assert_eq!(reached, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    client.min_position = Some("16/B374D848");
    let error = client
        .unary("/chat.v1.Chat/Send", message("ann", "general"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_unary_mutation_writes_one_row_and_tells_its_version() {
    let world = World::start().await;
    let client = world.client().await;
    let response = client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap();
    assert_eq!(version(&response), world.shared.feed.epoch().0);
    assert_eq!(response["ack"]["rows"], "1");
    let seconds = COMMIT_TIME.0 / 1_000_000;
    assert_eq!(
        response["ack"]["commitTime"], "2023-11-14T22:13:20Z",
        "{seconds} s"
    );
    assert_eq!(ids(&world).await, ["a"]);
}

#[tokio::test]
async fn a_query_answers_pages() {
    let world = World::start().await;
    let client = world.client().await;
    for id in ["a", "b", "c"] {
        client
            .unary("/chat.v1.Chat/Send", message(id, "general"))
            .await
            .unwrap();
    }
    let response = client
        .unary("/chat.v1.Chat/List", json!({"pageSize": 2}))
        .await
        .unwrap();
    assert_eq!(response["messages"].as_array().unwrap().len(), 2);
    assert_ne!(response["nextPageToken"].as_str().unwrap_or_default(), "");
    assert_eq!(response["version"], world.shared.feed.epoch().0.to_string());
}

#[tokio::test]
async fn every_message_of_a_client_stream_is_its_own_transaction() {
    let world = World::start().await;
    let client = world.client().await;
    let before = world.shared.feed.epoch().0;
    let messages: Vec<Value> = (0..300)
        .map(|id| message(format!("{id:03}"), "general"))
        .collect();
    let responses = client.call("/chat.v1.Chat/SendMany", &messages).await.unwrap();
    assert_eq!(responses.len(), 1);
    assert_eq!(
        version(&responses[0]),
        before + 300,
        "each is an epoch of its own"
    );
    assert_eq!(responses[0]["ack"]["rows"], "300");
    assert_eq!(ids(&world).await.len(), 300);
}

#[tokio::test]
async fn a_client_stream_does_not_wait_for_each_commit() {
    let world = World::start().await;
    let client = world.client().await;
    take_all_permits(&world);
    let (requests, sent) = mpsc::channel::<Bytes>(1);
    let call = {
        let client = client.clone();
        tokio::spawn(async move {
            let mut responses = client
                .raw("/chat.v1.Chat/SendMany", ReceiverStream::new(sent))
                .await?;
            responses.message().await
        })
    };
    // No write is done, and yet the server takes more: without this the test would hang.
    for id in 0..20 {
        requests
            .send(client.request("/chat.v1.Chat/SendMany", &message(id, "general")))
            .await
            .unwrap();
    }
    assert_eq!(world.shared.writes_done.load(Ordering::SeqCst), 0);
    drop(requests);
    world.shared.writes_allowed.add_permits(20);
    assert!(call.await.unwrap().unwrap().is_some());
    assert_eq!(ids(&world).await.len(), 20);
}

#[tokio::test]
async fn a_client_stream_stops_at_its_first_error_and_tells_how_many_are_committed() {
    let world = World::start().await;
    let client = world.client().await;
    let mut messages: Vec<Value> = (0..60).map(|id| message(format!("{id:02}"), "general")).collect();
    messages[10] = message("03", "general");
    let error = client
        .call("/chat.v1.Chat/SendMany", &messages)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(
        error.message().contains("message 11 of the stream"),
        "{}",
        error.message()
    );
    let details = error.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "DUPLICATE_KEY");
    assert_eq!(info.metadata["committed"], "10");
    assert_eq!(ids(&world).await.len(), 10, "nothing after the error is written");
}

#[tokio::test]
async fn an_atomic_stream_is_one_transaction() {
    let world = World::start().await;
    let client = world.client().await;
    let before = world.shared.feed.epoch().0;
    let messages: Vec<Value> = (0..10).map(|id| message(id, "general")).collect();
    let responses = client.call("/chat.v1.Chat/SendAll", &messages).await.unwrap();
    assert_eq!(version(&responses[0]), before + 1);
    assert_eq!(responses[0]["ack"]["rows"], "10");
}

#[tokio::test]
async fn an_atomic_stream_with_an_error_writes_nothing() {
    let world = World::start().await;
    let client = world.client().await;
    let messages = [
        message("a", "general"),
        message("b", "general"),
        message("a", "general"),
    ];
    let error = client.call("/chat.v1.Chat/SendAll", &messages).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(ids(&world).await.is_empty());
}

#[tokio::test]
async fn an_atomic_stream_is_limited() {
    let world = World::start().await;
    let client = world.client().await;
    let messages: Vec<Value> = (0..=STREAM_ROWS_MAX).map(|id| message(id, "general")).collect();
    let error = client.call("/chat.v1.Chat/SendAll", &messages).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("smaller streams"), "{}", error.message());
    assert!(ids(&world).await.is_empty());
}

#[tokio::test]
async fn an_atomic_stream_that_is_cancelled_writes_nothing() {
    let world = World::start().await;
    let client = world.client().await;
    let (requests, sent) = mpsc::channel::<Bytes>(1);
    let call = {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .raw("/chat.v1.Chat/SendAll", ReceiverStream::new(sent))
                .await
        })
    };
    for id in 0..5 {
        requests
            .send(client.request("/chat.v1.Chat/SendAll", &message(id, "general")))
            .await
            .unwrap();
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // The stream of the cancelled call is dropped by the client when the server has been told.
    requests.closed().await;
    // A whole call on the same connection comes after the cancellation.
    client
        .unary("/chat.v1.Chat/Send", message("after", "general"))
        .await
        .unwrap();
    assert_eq!(
        ids(&world).await,
        ["after"],
        "what was streamed before the cancellation is not written"
    );
    let asked = world.shared.writes_asked.load(Ordering::SeqCst);
    assert_eq!(asked, 1, "it did not even reach the program");
}

#[tokio::test]
async fn a_stream_without_messages_writes_nothing_and_succeeds() {
    let world = World::start().await;
    let client = world.client().await;
    for path in ["/chat.v1.Chat/SendMany", "/chat.v1.Chat/SendAll"] {
        let responses = client.call(path, &[]).await.unwrap();
        assert_eq!(version(&responses[0]), world.shared.feed.epoch().0);
        assert_eq!(responses[0]["ack"]["rows"], Value::Null);
    }
}

#[tokio::test]
async fn a_bidirectional_stream_acknowledges_each_message_in_order() {
    let world = World::start().await;
    let client = world.client().await;
    let (requests, sent) = mpsc::channel::<Bytes>(1);
    let mut responses = client
        .raw("/chat.v1.Chat/SendEach", ReceiverStream::new(sent))
        .await
        .unwrap();
    let before = world.shared.feed.epoch().0;
    for id in 1..=5 {
        requests
            .send(client.request("/chat.v1.Chat/SendEach", &message(id, "general")))
            .await
            .unwrap();
        let response = responses
            .message()
            .await
            .unwrap()
            .expect("one answer per message");
        let response = prost_reflect::DynamicMessage::decode(
            client.pool.get_message_by_name("chat.v1.SendResponse").unwrap(),
            response,
        );
        let response = serde_json::to_value(response.unwrap()).unwrap();
        assert_eq!(version(&response), before + id);
    }
    drop(requests);
    assert!(responses.message().await.unwrap().is_none());
}

#[tokio::test]
async fn messages_may_be_compressed() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.gzip = true;
    let mut long = message("a", "general");
    long["text"] = json!("x".repeat(10_000));
    client.unary("/chat.v1.Chat/Send", long.clone()).await.unwrap();
    let response = client.unary("/chat.v1.Chat/List", json!({})).await.unwrap();
    assert_eq!(response["messages"][0], long);
}

#[tokio::test]
async fn a_script_answers_rows_then_its_command() {
    let world = World::start().await;
    let client = world.client().await;
    let request = json!({"sql": "numbers 3"});
    let responses = client
        .call("/viewfeed.v1.Viewfeed/Execute", &[request])
        .await
        .unwrap();
    assert_eq!(
        responses[0]["rowType"]["columns"][0],
        json!({"name": "number", "type": "int64"})
    );
    let rows: Vec<_> = responses[1]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["values"][0].clone())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2], json!({"int": "2"}));
    assert_eq!(responses[2]["command"], "SELECT 3");
    assert_eq!(responses[2]["version"], "7");
    assert_eq!(responses[2]["notices"], json!(["counted"]));
    assert_eq!(responses.len(), 3);
}

#[tokio::test]
async fn many_rows_come_in_messages_that_clients_take() {
    let world = World::start().await;
    let client = world.client().await;
    // 5 bytes a row and more: too much for one message of 4 MiB.
    let request = client.request("/viewfeed.v1.Viewfeed/Execute", &json!({"sql": "numbers 600000"}));
    let mut responses = client
        .raw("/viewfeed.v1.Viewfeed/Execute", tokio_stream::iter([request]))
        .await
        .unwrap();
    let (mut messages, mut largest) = (0, 0);
    while let Some(response) = responses.message().await.unwrap() {
        messages += 1;
        largest = largest.max(response.len());
    }
    assert!(
        messages > 4 && largest < 2 << 20,
        "{messages} messages, the largest {largest} bytes"
    );
}

#[tokio::test]
async fn a_failed_script_fails_its_call_but_not_its_session() {
    let world = World::start().await;
    let client = world.client().await;
    let wrong = json!({"sql": "SELEKT"});
    let error = client
        .call("/viewfeed.v1.Viewfeed/Execute", std::slice::from_ref(&wrong))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.get_error_details().error_info().unwrap().reason, "SYNTAX");

    let requests = [wrong, json!({"sql": "numbers 1"})];
    let responses = client
        .call("/viewfeed.v1.Viewfeed/Session", &requests)
        .await
        .unwrap();
    assert_eq!(responses[0]["failure"]["reason"], "SYNTAX");
    assert_eq!(responses[0]["failure"]["code"], Code::InvalidArgument as i32);
    assert_eq!(responses[0]["done"], true);
    assert_eq!(responses.last().unwrap(), &json!({"done": true}));
    assert_eq!(responses[responses.len() - 2]["command"], "SELECT 1");
}

#[tokio::test]
async fn status_is_the_programs() {
    let world = World::start().await;
    let client = world.client().await;
    let status = client
        .unary("/viewfeed.v1.Viewfeed/Status", json!({}))
        .await
        .unwrap();
    assert_eq!(status["serverVersion"], "test");
}

pub(crate) fn take_all_permits(world: &World) {
    world.shared.writes_allowed.forget_permits(usize::MAX);
}
