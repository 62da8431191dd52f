//! PROGRESS.

use crate::client::Client;
use crate::world::{BAG, ITEMS, World, in_room, request, row};
use std::time::Duration;
use tokio::time::Instant;
use viewfeed_feed::{Envelope, FrameKind, Request};

#[tokio::test(start_paused = true)]
async fn progress_comes_once_per_heartbeat_and_moves_the_token() {
    let mut world = World::new();
    let asked = Request {
        heartbeat: Duration::from_secs(7),
        ..request(BAG, Envelope::Diff)
    };
    let mut client = Client::start(&world.feed, asked).await;
    let first = client.next().await.unwrap();
    let epoch = world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let began = Instant::now();
    let progress = client.next().await.unwrap();
    assert_eq!((progress.kind, progress.version), (FrameKind::Progress, epoch));
    assert_eq!(began.elapsed().as_secs(), 7);
    assert_eq!(progress.row_count, Some(0));
    assert_ne!(progress.token, first.token);
    client.next().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 14);
}

#[tokio::test(start_paused = true)]
async fn a_delta_puts_off_the_heartbeat() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    client.next().await.unwrap();
    let began = Instant::now();
    assert_eq!(client.next().await.unwrap().kind, FrameKind::Progress);
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn rows_that_do_not_pass_the_filter_are_progress() {
    let mut world = World::new();
    let asked = Request {
        filter: Some(in_room("a")),
        ..request(BAG, Envelope::Diff)
    };
    let mut client = Client::start(&world.feed, asked).await;
    client.next().await.unwrap();
    let epoch = world.commit(&[(BAG, row(1, "b", "x"), 1)]);
    let progress = client.next().await.unwrap();
    assert_eq!((progress.kind, progress.version), (FrameKind::Progress, epoch));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_out_of_range_are_brought_into_it() {
    let world = World::new();
    for (asked, heard) in [(Duration::ZERO, 1), (Duration::MAX, 86_400)] {
        let request = Request {
            heartbeat: asked,
            ..request(BAG, Envelope::Diff)
        };
        let mut client = Client::start(&world.feed, request).await;
        client.next().await.unwrap();
        let began = Instant::now();
        client.next().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), heard);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_loses_nothing() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    for id in 0..50 {
        let epoch = world.commit(&[(BAG, row(id, "a", "x"), 1)]);
        let mut polls = 0;
        while !client.is_filled || client.version < epoch {
            // Cancelled after one poll, most times before anything is ready.
            let next = client.subscription.next();
            tokio::select! {
                biased;
                frame = next => client.take(frame.unwrap().unwrap()),
                () = tokio::task::yield_now() => {}
            }
            polls += 1;
            assert!(polls < 100_000, "no frame comes");
        }
        client.check(&world, None);
    }
}
