//! Feeds over gRPC: typed, bare, and generic.

use crate::calls::message;
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

async fn send(world: &World, id: &str, channel: &str) {
    world
        .client()
        .await
        .unary("/chat.v1.Chat/Send", message(id, channel))
        .await
        .unwrap();
}

fn ids(response: &Value, field: &str) -> Vec<String> {
    let rows = response[field].as_array().cloned().unwrap_or_default();
    rows.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_subscription_says_hello_then_the_snapshot_then_what_changes() {
    let world = World::start().await;
    send(&world, "a", "general").await;
    let client = world.client().await;
    let mut feed = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    let hello = feed.one().await;
    assert_eq!(hello["frame"]["kind"], "KIND_HELLO");
    assert_eq!(hello["frame"]["envelope"], "ENVELOPE_UPSERT");
    let snapshot = feed.one().await;
    assert_eq!(snapshot["frame"]["kind"], "KIND_SNAPSHOT");
    assert_eq!(snapshot["frame"]["caughtUp"], true);
    assert_eq!(snapshot["upserts"], json!([message("a", "general")]));
    send(&world, "b", "general").await;
    let delta = feed.frame("KIND_DELTA").await;
    assert_eq!(delta["upserts"], json!([message("b", "general")]));
    assert_eq!(delta["frame"]["version"], world.shared.feed.epoch().0.to_string());
    client
        .unary("/chat.v1.Chat/Remove", json!({"id": "a"}))
        .await
        .unwrap();
    let delta = feed.frame("KIND_DELTA").await;
    assert_eq!(delta["deletes"], json!([{"id": "a"}]));
    assert_eq!(delta["upserts"], Value::Null);
}

#[tokio::test]
async fn a_subscription_filters_by_the_request() {
    let world = World::start().await;
    send(&world, "a", "general").await;
    send(&world, "b", "random").await;
    let client = world.client().await;
    let mut feed = client
        .open("/chat.v1.Chat/Watch", json!({"channel": "general"}))
        .await
        .unwrap();
    assert_eq!(ids(&feed.frame("KIND_SNAPSHOT").await, "upserts"), ["a"]);
    send(&world, "c", "random").await;
    send(&world, "d", "general").await;
    assert_eq!(ids(&feed.frame("KIND_DELTA").await, "upserts"), ["d"]);
}

#[tokio::test]
async fn a_subscription_resumes_after_its_token() {
    let world = World::start().await;
    send(&world, "a", "general").await;
    let client = world.client().await;
    let mut feed = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    let token = feed.frame("KIND_SNAPSHOT").await["frame"]["resumeToken"].clone();
    drop(feed);
    send(&world, "b", "general").await;
    let request = json!({"feed": {"resumeToken": token}});
    let mut feed = client.open("/chat.v1.Chat/Watch", request.clone()).await.unwrap();
    assert_eq!(
        ids(&feed.frame("KIND_DELTA").await, "upserts"),
        ["b"],
        "only what came after"
    );
    // The same token at another rpc is refused.
    let error = client.unary("/notes.v1.Notes/Watch", request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
}

#[tokio::test]
async fn a_bare_stream_is_history_then_news_and_leaves_deletes_out() {
    let world = World::start().await;
    send(&world, "a", "general").await;
    send(&world, "x", "random").await;
    let client = world.client().await;
    let mut rows = client
        .open("/chat.v1.Chat/Follow", json!({"channel": "general"}))
        .await
        .unwrap();
    assert_eq!(rows.one().await, message("a", "general"));
    client
        .unary("/chat.v1.Chat/Remove", json!({"id": "a"}))
        .await
        .unwrap();
    send(&world, "b", "general").await;
    assert_eq!(
        rows.one().await,
        message("b", "general"),
        "the delete is not told"
    );
}

#[tokio::test]
async fn subscribers_to_the_same_rows_get_the_same() {
    let world = World::start().await;
    let client = world.client().await;
    let mut feeds = Vec::new();
    for _ in 0..20 {
        let mut feed = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
        feed.frame("KIND_SNAPSHOT").await;
        feeds.push(feed);
    }
    for id in ["a", "b", "c"] {
        send(&world, id, "general").await;
    }
    for feed in &mut feeds {
        let mut got = Vec::new();
        while got.len() < 3 {
            got.extend(ids(&feed.frame("KIND_DELTA").await, "upserts"));
        }
        assert_eq!(got, ["a", "b", "c"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_sees_what_everybody_writes_at_the_same_time() {
    let world = World::start().await;
    let (writers, messages) = (8, 25);
    let mut feeds = Vec::new();
    let mut writes = Vec::new();
    for writer in 0..writers {
        let client = world.client().await;
        feeds.push(client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap());
        let sent = (0..messages).map(move |number| message(format!("{writer}-{number}"), "general"));
        writes.push(tokio::spawn(async move {
            client
                .call("/chat.v1.Chat/SendMany", &sent.collect::<Vec<_>>())
                .await
                .unwrap();
        }));
    }
    for mut feed in feeds {
        let mut seen = BTreeSet::new();
        while seen.len() < writers * messages {
            seen.extend(ids(&feed.one().await, "upserts"));
        }
    }
    for write in writes {
        write.await.unwrap();
    }
}

#[tokio::test]
async fn a_large_snapshot_comes_in_messages_that_clients_take() {
    let world = World::start().await;
    let client = world.client().await;
    for id in 0..30 {
        let mut long = message(id, "general");
        long["text"] = json!("x".repeat(60_000));
        client.unary("/chat.v1.Chat/Send", long).await.unwrap();
    }
    let paths = [
        ("/chat.v1.Chat/Watch", json!({})),
        ("/viewfeed.v1.Viewfeed/Tail", json!({"relation": "chat.message"})),
    ];
    for (path, request) in paths {
        let mut feed = client.open(path, request).await.unwrap();
        let (mut rows, mut messages) = (0, 0);
        loop {
            let snapshot = feed.frame("KIND_SNAPSHOT").await;
            let counted =
                [&snapshot["upserts"], &snapshot["rows"]].map(|rows| rows.as_array().map_or(0, Vec::len));
            (rows, messages) = (rows + counted[0] + counted[1], messages + 1);
            let last = snapshot["frame"]["more"] != true;
            let resumable = snapshot["frame"]["resumeToken"] != Value::Null;
            assert_eq!(last, resumable, "only a complete version can be resumed after");
            if last {
                break;
            }
        }
        assert_eq!(rows, 30, "{path}");
        assert!(messages >= 2, "{path}: 1.8 MB in {messages} message");
    }
}

#[tokio::test]
async fn a_diff_tells_weights() {
    let world = World::start().await;
    send(&world, "a", "general").await;
    let client = world.client().await;
    let request = json!({"feed": {"envelope": "ENVELOPE_DIFF"}});
    let mut feed = client.open("/chat.v1.Chat/Watch", request).await.unwrap();
    feed.frame("KIND_SNAPSHOT").await;
    client
        .unary("/chat.v1.Chat/Remove", json!({"id": "a"}))
        .await
        .unwrap();
    let delta = feed.frame("KIND_DELTA").await;
    assert_eq!(delta["frame"]["diffs"], json!(["-1"]));
    assert_eq!(ids(&delta, "upserts"), ["a"]);
}

#[tokio::test]
async fn a_cancelled_subscription_is_given_up() {
    let world = World::start().await;
    let client = world.client().await;
    let mut feed = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    feed.frame("KIND_SNAPSHOT").await;
    assert_eq!(world.shared.feed.subscribers(), 1);
    drop(feed);
    let gone = async {
        while world.shared.feed.subscribers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("the subscription ends");
}

#[tokio::test]
async fn a_draining_server_says_bye_and_refuses_what_is_new() {
    let mut world = World::start().await;
    let client = world.client().await;
    let mut feed = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    feed.frame("KIND_SNAPSHOT").await;
    let mut rows = client
        .open("/chat.v1.Chat/Follow", json!({"channel": "general"}))
        .await
        .unwrap();
    world.shared.feed.drain();
    assert_eq!(feed.frame("KIND_BYE").await["frame"]["reason"], "DRAIN");
    feed.end().await.expect("BYE is followed by OK");
    let error = rows.end().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "without frames the status tells");
    let error = client.open("/chat.v1.Chat/Watch", json!({})).await.err().unwrap();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.get_error_details().retry_info().is_some());
    world.stop.take().unwrap().send(()).unwrap();
    drop((feed, rows, client));
    tokio::time::timeout(Duration::from_secs(20), world.server)
        .await
        .expect("it stops")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn any_relation_can_be_tailed() {
    let world = World::start().await;
    send(&world, "a", "general").await;
    let client = world.client().await;
    let mut tail = client
        .open("/viewfeed.v1.Viewfeed/Tail", json!({"relation": "chat.message"}))
        .await
        .unwrap();
    let hello = tail.frame("KIND_HELLO").await;
    let columns = hello["rowType"]["columns"].as_array().unwrap();
    let names: Vec<_> = columns
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["id", "channel", "text"]);
    assert_eq!(hello["rowType"]["key"], json!([0]));
    let snapshot = tail.frame("KIND_SNAPSHOT").await;
    let row = json!({"values": [{"text": "a"}, {"text": "general"}, {"text": "hello"}]});
    assert_eq!(snapshot["rows"], json!([row]));
    client
        .unary("/chat.v1.Chat/Remove", json!({"id": "a"}))
        .await
        .unwrap();
    assert_eq!(
        tail.frame("KIND_DELTA").await["deletes"],
        json!([{"values": [{"text": "a"}]}])
    );
}

#[tokio::test]
async fn a_tail_filters_by_values_given_as_text() {
    let world = World::start().await;
    send(&world, "a", "general").await;
    send(&world, "b", "random").await;
    let client = world.client().await;
    let request = json!({"relation": "chat.message", "filter": [{"column": "channel", "value": "random"}]});
    let mut tail = client.open("/viewfeed.v1.Viewfeed/Tail", request).await.unwrap();
    let snapshot = tail.frame("KIND_SNAPSHOT").await;
    assert_eq!(snapshot["rows"][0]["values"][0]["text"], "b");
    assert_eq!(snapshot["rows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_tail_of_what_is_not_there_says_so() {
    let world = World::start().await;
    let client = world.client().await;
    let tail = |request| client.open("/viewfeed.v1.Viewfeed/Tail", request);
    let error = tail(json!({"relation": "nothing"})).await.err().unwrap();
    assert_eq!(error.code(), Code::NotFound);
    let request = json!({"relation": "chat.message", "filter": [{"column": "nothing", "value": "x"}]});
    let error = tail(request).await.err().unwrap();
    assert_eq!(error.code(), Code::InvalidArgument);
    let request = json!({"relation": "chat.message", "feed": {"resumeToken": "Z2FyYmFnZQ=="}});
    let error = tail(request).await.err().unwrap();
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
}
