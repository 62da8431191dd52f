//! Deadlines and cancellation.

use crate::calls::{message, take_all_permits};
use crate::web::{framed, http};
use crate::world::World;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tonic::Code;

#[tokio::test]
async fn a_running_feed_ends_at_its_deadline() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.timeout = Some(Duration::from_millis(300));
    let started = Instant::now();
    let mut feed = client.open("/chat.v1.Chat/Watch", json!({})).await.unwrap();
    feed.frame("KIND_SNAPSHOT").await;
    let error = feed.end().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    assert!(started.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn a_write_that_takes_too_long_is_given_up_and_not_done() {
    let world = World::start().await;
    let client = world.client().await;
    take_all_permits(&world);
    // By hand, because a gRPC client gives up by itself, perhaps before the server does.
    let request = framed(&client.request("/chat.v1.Chat/Send", &message("late", "general")));
    let head = "POST /chat.v1.Chat/Send HTTP/1.1\r\ncontent-type: application/grpc-web\r\ngrpc-timeout: 200m";
    let answer = http(&world, head, &request).await;
    assert_eq!(answer.headers["grpc-status"], "4");
    world.shared.writes_allowed.add_permits(2);
    client
        .unary("/chat.v1.Chat/Send", message("next", "general"))
        .await
        .unwrap();
    assert_eq!(
        world.shared.writes_done.load(Ordering::SeqCst),
        1,
        "the late write was not done"
    );
}

#[tokio::test]
async fn a_health_watch_ends_at_its_deadline_too() {
    let world = World::start().await;
    let client = world.client().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(client.channel);
    let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(300));
    let mut statuses = health.watch(request).await.unwrap().into_inner();
    assert_eq!(statuses.message().await.unwrap().unwrap().status, 1);
    assert_eq!(
        statuses.message().await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}
