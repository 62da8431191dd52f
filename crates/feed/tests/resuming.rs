//! Coming back with a token.

use crate::client::Client;
use crate::world::{BAG, ITEMS, World, contents, in_room, request, row};
use std::sync::Arc;
use viewfeed_change::ErrorKind;
use viewfeed_feed::{Envelope, Feed, FeedOptions, FrameKind, OnGap, Request, Rows, reason};
use viewfeed_store::{Options, Retention};

/// A store that forgets its history at each checkpoint.
fn forgetful() -> Options {
    Options {
        retention: Retention {
            bytes_max: 1,
            age_us: 0,
        },
        segment_bytes: 1,
        ..Options::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_feed_tells_only_the_net_change_since() {
    let mut world = World::new();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1), (ITEMS, row(2, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    client.next().await.unwrap();
    world.commit(&[(ITEMS, row(1, "a", "x"), -1), (ITEMS, row(1, "a", "y"), 1)]);
    world.commit(&[(ITEMS, row(3, "a", "x"), 1)]);
    let epoch = world.commit(&[(ITEMS, row(3, "a", "x"), -1), (ITEMS, row(2, "a", "x"), -1)]);
    client.reconnect(&world.feed).await.unwrap();
    let delta = client.next().await.unwrap();
    assert_eq!(
        (delta.kind, delta.version, delta.caught_up),
        (FrameKind::Delta, epoch, true)
    );
    let Rows::Upsert { puts, deletes } = &delta.rows else {
        panic!("not an upsert");
    };
    assert_eq!((puts.num_rows(), deletes.num_rows()), (1, 1));
    client.check(&world, None);
    let epoch = world.commit(&[(ITEMS, row(4, "a", "x"), 1)]);
    assert_eq!(client.next().await.unwrap().version, epoch);
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn resuming_at_the_end_is_caught_up_at_once() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    client.reconnect(&world.feed).await.unwrap();
    let progress = client.next().await.unwrap();
    assert_eq!((progress.kind, progress.caught_up), (FrameKind::Progress, true));
    let epoch = world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    client.reconnect(&world.feed).await.unwrap();
    let progress = client.next().await.unwrap();
    assert_eq!(
        (progress.kind, progress.caught_up, progress.version),
        (FrameKind::Progress, true, epoch)
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_comes_in_pieces_of_whole_epochs() {
    let options = FeedOptions {
        coalesced_rows_max: 5,
        frame_rows_max: 4,
        ..FeedOptions::default()
    };
    let mut world = World::with(options, Options::default());
    for envelope in [Envelope::Upsert, Envelope::Diff] {
        let mut client = Client::start(&world.feed, request(ITEMS, envelope)).await;
        client.next_where(|frame| frame.caught_up).await;
        let from = world.history.len() as i64 * 1000;
        for id in from..from + 60 {
            world.commit(&[(ITEMS, row(id, "a", "x"), 1)]);
        }
        client.reconnect(&world.feed).await.unwrap();
        let mut pieces = 0;
        loop {
            let frame = client.next().await.unwrap();
            assert_eq!(frame.kind, FrameKind::Delta);
            pieces += usize::from(!frame.more);
            if frame.token.is_some() {
                client.check(&world, None);
            }
            if frame.caught_up {
                break;
            }
        }
        assert_eq!(client.version, world.feed.epoch());
        assert!(pieces > 3, "{pieces} pieces");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_older_than_the_history_resets() {
    let mut world = World::with(FeedOptions::default(), forgetful());
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    let token_version = client.next().await.unwrap().version;
    for id in 2..9 {
        world.commit(&[(BAG, row(id, "a", "x"), 1)]);
    }
    world.store.checkpoint().unwrap();
    world.commit(&[(BAG, row(1, "a", "x"), -1)]);
    assert!(world.store.oldest() > token_version, "the history is still there");
    client.reconnect(&world.feed).await.unwrap();
    let reset = client.next().await.unwrap();
    assert_eq!(
        (reset.kind, reset.reason, reset.more),
        (FrameKind::Reset, reason::HISTORY_EXPIRED, true)
    );
    let snapshot = client.next().await.unwrap();
    assert_eq!(
        (snapshot.kind, snapshot.version),
        (FrameKind::Snapshot, reset.version)
    );
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn a_token_older_than_the_history_fails_where_a_reset_is_not_wanted() {
    let mut world = World::with(FeedOptions::default(), forgetful());
    let asked = Request {
        on_gap: OnGap::Error,
        ..request(BAG, Envelope::Diff)
    };
    let mut client = Client::start(&world.feed, asked).await;
    client.next().await.unwrap();
    for id in 2..9 {
        world.commit(&[(BAG, row(id, "a", "x"), 1)]);
    }
    world.store.checkpoint().unwrap();
    let error = client.reconnect(&world.feed).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::OutOfRange, "RESUME_TOKEN_COMPACTED")
    );
    let oldest = world.store.oldest().to_string();
    assert!(error.advice().unwrap().contains(&oldest), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_history_resets() {
    let mut world = World::new();
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    let options = FeedOptions {
        incarnation: 1,
        ..FeedOptions::default()
    };
    let reborn = Feed::new(world.store.clone(), world.relations.clone(), options);
    client.reconnect(&reborn).await.unwrap();
    let reset = client.next().await.unwrap();
    assert_eq!(
        (reset.kind, reset.reason),
        (FrameKind::Reset, reason::HISTORY_LOST)
    );
    client.next().await.unwrap();
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn a_token_from_the_future_resets() {
    let mut ahead = World::new();
    for id in 0..5 {
        ahead.commit(&[(BAG, row(id, "a", "x"), 1)]);
    }
    let mut client = Client::start(&ahead.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    let behind = World::new();
    client.reconnect(&behind.feed).await.unwrap();
    let reset = client.subscription.next().await.unwrap().unwrap();
    assert_eq!(
        (reset.kind, reset.reason),
        (FrameKind::Reset, reason::HISTORY_LOST)
    );
    client.request.on_gap = OnGap::Error;
    let error = client.reconnect(&behind.feed).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::OutOfRange, reason::HISTORY_LOST)
    );
}

#[tokio::test(start_paused = true)]
async fn a_relation_that_took_the_place_of_a_dropped_one_resets() {
    let mut world = World::new();
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    let mut relations = (*world.relations).clone();
    relations.remove(BAG);
    world.relations = Arc::new(relations);
    world.commit(&[(ITEMS, row(7, "a", "x"), 1)]);
    client.request.relation = ITEMS;
    client.reconnect(&world.feed).await.unwrap();
    let reset = client.next().await.unwrap();
    assert_eq!(
        (reset.kind, reset.reason),
        (FrameKind::Reset, reason::RELATION_REPLACED)
    );
    client.next().await.unwrap();
    assert_eq!(client.rows, contents(&[(7, "a", "x")]));
}

#[tokio::test(start_paused = true)]
async fn a_token_survives_a_restart() {
    let mut world = World::new();
    let asked = Request {
        filter: Some(in_room("a")),
        ..request(ITEMS, Envelope::Diff)
    };
    let mut client = Client::start(&world.feed, asked).await;
    client.next().await.unwrap();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1), (ITEMS, row(2, "b", "x"), 1)]);
    world.feed = Feed::new(
        world.store.clone(),
        world.relations.clone(),
        FeedOptions::default(),
    );
    client.reconnect(&world.feed).await.unwrap();
    assert_eq!(client.next().await.unwrap().kind, FrameKind::Delta);
    client.check(&world, Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_state_is_whole() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::State)).await;
    client.next().await.unwrap();
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    client.reconnect(&world.feed).await.unwrap();
    let state = client.next().await.unwrap();
    assert_eq!((state.kind, state.caught_up), (FrameKind::Delta, true));
    client.check(&world, None);
}
