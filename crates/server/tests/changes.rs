//! The tail of every change.

use crate::calls::message;
use crate::client::{Client, Responses};
use crate::world::World;
use serde_json::{Value, json};
use tonic::Code;

const PATH: &str = "/viewfeed.v1.Viewfeed/TailChanges";

async fn tail(client: &Client, request: Value) -> Responses {
    client.open(PATH, request).await.unwrap()
}

fn texts(row: &Value) -> Vec<&str> {
    let values = row["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    values
        .iter()
        .map(|value| value["text"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_change_is_an_insert_an_update_or_a_delete() {
    let world = World::start().await;
    let client = world.client().await;
    let mut changes = tail(&client, json!({})).await;
    client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap();
    let insert = changes.one().await;
    assert_eq!(insert["operation"], "OPERATION_INSERT");
    assert_eq!(insert["relation"], "chat.message");
    assert_eq!(insert["source"], "embedded");
    assert_eq!(insert["version"], world.shared.feed.epoch().0.to_string());
    assert_eq!(
        (texts(&insert["after"]), &insert["before"]),
        (vec!["a", "general", "hello"], &Value::Null)
    );
    client
        .unary("/chat.v1.Chat/Put", message("a", "random"))
        .await
        .unwrap();
    let update = changes.one().await;
    assert_eq!(update["operation"], "OPERATION_UPDATE");
    assert_eq!(texts(&update["before"])[1], "general");
    assert_eq!(texts(&update["after"])[1], "random");
    client
        .unary("/chat.v1.Chat/Remove", json!({"id": "a"}))
        .await
        .unwrap();
    let delete = changes.one().await;
    assert_eq!(delete["operation"], "OPERATION_DELETE");
    assert_eq!(
        (texts(&delete["before"])[0], &delete["after"]),
        ("a", &Value::Null)
    );
}

#[tokio::test]
async fn the_last_change_of_a_transaction_can_be_resumed_after() {
    let world = World::start().await;
    let client = world.client().await;
    let mut changes = tail(&client, json!({})).await;
    let two = [message("a", "general"), message("b", "general")];
    client.call("/chat.v1.Chat/SendAll", &two).await.unwrap();
    let (first, second) = (changes.one().await, changes.one().await);
    assert_eq!(first["transactionId"], second["transactionId"]);
    assert_eq!(
        first["resumeToken"],
        Value::Null,
        "within a transaction nobody can resume"
    );
    client
        .unary("/chat.v1.Chat/Send", message("c", "general"))
        .await
        .unwrap();
    let mut resumed = tail(&client, json!({"resumeToken": second["resumeToken"]})).await;
    assert_eq!(texts(&resumed.one().await["after"])[0], "c");
}

#[tokio::test]
async fn changes_are_told_from_the_start_and_of_the_tables_named() {
    let world = World::start().await;
    let client = world.client().await;
    client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap();
    client
        .unary("/notes.v1.Notes/Add", json!({"id": "n", "text": "x"}))
        .await
        .unwrap();
    let mut changes = tail(&client, json!({"fromStart": true})).await;
    assert_eq!(changes.one().await["relation"], "chat.message");
    assert_eq!(changes.one().await["relation"], "notes.note");
    let mut notes = tail(&client, json!({"fromStart": true, "relations": ["notes.note"]})).await;
    assert_eq!(notes.one().await["relation"], "notes.note");
}

#[tokio::test]
async fn a_token_of_something_else_is_refused() {
    let world = World::start().await;
    let client = world.client().await;
    let mut feed = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    let token = feed.frame("KIND_SNAPSHOT").await["frame"]["resumeToken"].clone();
    for token in [token, json!("Z2FyYmFnZQ==")] {
        let error = client
            .open(PATH, json!({"resumeToken": token}))
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    }
}
