//! Clients that do not read.

use crate::client::Client;
use crate::world::{BAG, ITEMS, World, in_room, request, row};
use viewfeed_change::ErrorKind;
use viewfeed_feed::{Envelope, FeedOptions, FrameKind, OnGap, Request, reason};
use viewfeed_store::{Options, Retention};

fn tiny() -> FeedOptions {
    FeedOptions {
        queue_rows_max: 4,
        coalesced_rows_max: 6,
        frame_rows_max: 3,
        ..FeedOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn epochs_that_wait_are_told_as_one() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    client.next().await.unwrap();
    world.commit(&[(ITEMS, row(1, "a", "0"), 1)]);
    for text in 0..30 {
        let (old, new) = (text.to_string(), (text + 1).to_string());
        world.commit(&[(ITEMS, row(1, "a", &old), -1), (ITEMS, row(1, "a", &new), 1)]);
    }
    let delta = client.next().await.unwrap();
    assert_eq!(
        (delta.kind, delta.version),
        (FrameKind::Delta, world.feed.epoch())
    );
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn an_overflowed_queue_is_coalesced_by_key() {
    let mut world = World::with(tiny(), Options::default());
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    client.next().await.unwrap();
    world.commit(&[(ITEMS, row(1, "a", "0"), 1)]);
    for text in 0..100 {
        let (old, new) = (text.to_string(), (text + 1).to_string());
        world.commit(&[
            (ITEMS, row(1, "a", &old), -1),
            (ITEMS, row(1, "a", &new), 1),
            (ITEMS, row(2 + text, "a", "x"), 1),
        ]);
        world.commit(&[(ITEMS, row(2 + text, "a", "x"), -1)]);
    }
    let delta = client.next().await.unwrap();
    assert_eq!(
        (delta.kind, delta.version, delta.more, delta.row_count),
        (FrameKind::Delta, world.feed.epoch(), false, Some(1))
    );
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn more_than_can_be_coalesced_resets() {
    let mut world = World::with(tiny(), Options::default());
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    client.next().await.unwrap();
    for id in 0..40 {
        world.commit(&[(ITEMS, row(id, "a", "x"), 1)]);
    }
    let reset = client.next().await.unwrap();
    assert_eq!(
        (reset.kind, reset.reason),
        (FrameKind::Reset, reason::SLOW_CONSUMER)
    );
    client.next_where(|frame| frame.caught_up).await;
    client.check(&world, None);
    let epoch = world.commit(&[(ITEMS, row(99, "a", "x"), 1)]);
    client.reach(epoch).await;
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn clients_that_must_not_be_reset_get_it_piece_by_piece() {
    let mut world = World::with(tiny(), Options::default());
    let replica = Request {
        on_gap: OnGap::Error,
        ..request(ITEMS, Envelope::Upsert)
    };
    let mut clients = vec![
        Client::start(&world.feed, replica).await,
        Client::start(&world.feed, request(ITEMS, Envelope::Diff)).await,
    ];
    for client in &mut clients {
        client.next().await.unwrap();
    }
    for id in 0..40 {
        world.commit(&[(ITEMS, row(id, "a", "x"), 1)]);
    }
    for client in &mut clients {
        while client.version < world.feed.epoch() {
            assert_eq!(client.next().await.unwrap().kind, FrameKind::Delta);
            client.check(&world, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slower_than_the_history_is_long_is_reset_or_fails() {
    let forgetful = Options {
        retention: Retention {
            bytes_max: 1,
            age_us: 0,
        },
        segment_bytes: 1,
        ..Options::default()
    };
    let mut world = World::with(tiny(), forgetful);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    let replica = Request {
        on_gap: OnGap::Error,
        ..request(BAG, Envelope::Diff)
    };
    let mut replica = Client::start(&world.feed, replica).await;
    client.next().await.unwrap();
    replica.next().await.unwrap();
    for id in 0..40 {
        world.commit(&[(BAG, row(id, "a", "x"), 1)]);
    }
    world.store.checkpoint().unwrap();
    world.commit(&[]);
    let reset = client.next().await.unwrap();
    assert_eq!(
        (reset.kind, reset.reason),
        (FrameKind::Reset, reason::SLOW_CONSUMER)
    );
    client.next_where(|frame| frame.caught_up).await;
    client.check(&world, None);
    let error = replica.subscription.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(replica.subscription.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_of_few_rows_is_not_charged_for_the_rows_of_others() {
    let options = FeedOptions {
        queue_rows_max: 40,
        ..FeedOptions::default()
    };
    let mut world = World::with(options, Options::default());
    let asked = Request {
        filter: Some(in_room("a")),
        ..request(BAG, Envelope::Diff)
    };
    let mut client = Client::start(&world.feed, asked).await;
    client.next().await.unwrap();
    // 20 rows in the filter, and 300 that are kept in memory with them.
    for epoch in 0..20 {
        let mut changes = vec![(BAG, row(epoch, "a", "x"), 1)];
        changes.extend((0..15).map(|id| (BAG, row(id, "b", "x"), 1)));
        world.commit(&changes);
    }
    let delta = client.next().await.unwrap();
    assert!(!delta.caught_up, "the queue overflowed");
    client.reach(world.feed.epoch()).await;
    client.check(&world, Some("a"));
}
