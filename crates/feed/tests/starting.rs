//! HELLO, snapshot, then live.

use crate::client::Client;
use crate::world::{BAG, ITEMS, World, contents, in_room, request, row};
use viewfeed_feed::{Envelope, FeedOptions, FrameKind, Request};
use viewfeed_store::Options;

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_followed_by_what_comes_after_it() {
    let mut world = World::new();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1), (ITEMS, row(2, "b", "y"), 1)]);
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    let snapshot = client.next().await.unwrap();
    assert_eq!(
        (snapshot.kind, snapshot.caught_up, snapshot.row_count),
        (FrameKind::Snapshot, true, Some(2))
    );
    assert_eq!(client.rows, contents(&[(1, "a", "x"), (2, "b", "y")]));
    let epoch = world.commit(&[(ITEMS, row(1, "a", "x"), -1), (ITEMS, row(1, "a", "z"), 1)]);
    let delta = client.next().await.unwrap();
    assert_eq!(
        (delta.kind, delta.version, delta.caught_up),
        (FrameKind::Delta, epoch, false)
    );
    assert_eq!(client.rows, contents(&[(1, "a", "z"), (2, "b", "y")]));
}

#[tokio::test(start_paused = true)]
async fn an_empty_result_has_a_snapshot_too() {
    let world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    let snapshot = client.next().await.unwrap();
    assert_eq!(
        (snapshot.kind, snapshot.caught_up, snapshot.row_count),
        (FrameKind::Snapshot, true, Some(0))
    );
    assert!(snapshot.token.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_published_between_hello_and_snapshot_is_told_once() {
    let mut world = World::new();
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    let epoch = world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    client.reach(epoch).await;
    client.check(&world, None);
    let epoch = world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    client.reach(epoch).await;
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_is_not_shown_before_it_is_published() {
    let mut world = World::new();
    let unpublished = world.commit_only(&[(BAG, row(1, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    let alive = client.next().await.unwrap();
    assert_eq!(
        (alive.kind, alive.more, alive.token),
        (FrameKind::Progress, true, None)
    );
    let epoch = unpublished.epoch;
    world.feed.publish(unpublished);
    let snapshot = client.next().await.unwrap();
    assert_eq!((snapshot.kind, snapshot.version), (FrameKind::Snapshot, epoch));
    client.check(&world, None);
    assert_eq!(client.next().await.unwrap().kind, FrameKind::Progress);
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_cut_into_frames() {
    let options = FeedOptions {
        frame_rows_max: 3,
        ..FeedOptions::default()
    };
    let mut world = World::with(options, Options::default());
    let rows: Vec<_> = (0..10).map(|id| (ITEMS, row(id, "a", "x"), 1)).collect();
    let epoch = world.commit(&rows);
    for envelope in [Envelope::Upsert, Envelope::Diff] {
        let mut client = Client::start(&world.feed, request(ITEMS, envelope)).await;
        for _ in 0..3 {
            let part = client.next().await.unwrap();
            assert_eq!(
                (part.kind, part.version, part.more),
                (FrameKind::Snapshot, epoch, true)
            );
            assert_eq!((part.token, part.row_count, part.caught_up), (None, None, false));
        }
        let last = client.next().await.unwrap();
        assert_eq!(
            (last.more, last.row_count, last.caught_up),
            (false, Some(10), true)
        );
        client.check(&world, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_gives_only_its_rows_with_an_index_and_without() {
    let mut world = World::new();
    let rows: Vec<_> = (0..10)
        .map(|id| (ITEMS, row(id, if id % 3 == 0 { "a" } else { "b" }, "x"), 1))
        .collect();
    world.commit(&rows);
    let asked = Request {
        filter: Some(in_room("a")),
        ..request(ITEMS, Envelope::Diff)
    };
    for indexed in [false, true] {
        if indexed {
            world.index_items_by_room();
        }
        let mut client = Client::start(&world.feed, asked.clone()).await;
        let snapshot = client.next().await.unwrap();
        assert_eq!((snapshot.caught_up, snapshot.row_count), (true, Some(4)));
        client.check(&world, Some("a"));
        let epoch = world.commit(&[
            (ITEMS, row(0, "a", "x"), -1),
            (ITEMS, row(0, "b", "x"), 1),
            (ITEMS, row(1, "b", "x"), -1),
            (ITEMS, row(1, "a", "x"), 1),
        ]);
        assert_eq!(client.next().await.unwrap().version, epoch);
        client.check(&world, Some("a"));
        world.commit(&[
            (ITEMS, row(0, "b", "x"), -1),
            (ITEMS, row(0, "a", "x"), 1),
            (ITEMS, row(1, "a", "x"), -1),
            (ITEMS, row(1, "b", "x"), 1),
        ]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_snapshot_only_what_comes_after_hello_is_told() {
    let mut world = World::new();
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    let asked = Request {
        skip_snapshot: true,
        ..request(BAG, Envelope::Diff)
    };
    let mut client = Client::start(&world.feed, asked).await;
    assert!(client.token.is_some());
    world.commit(&[(BAG, row(2, "a", "x"), 1)]);
    let epoch = world.commit(&[(BAG, row(3, "a", "x"), 1)]);
    client.reach(epoch).await;
    assert_eq!(client.rows, contents(&[(2, "a", "x"), (3, "a", "x")]));
}

#[tokio::test(start_paused = true)]
async fn subscribers_of_the_same_rows_share_them() {
    let mut world = World::new();
    let room = Request {
        filter: Some(in_room("a")),
        ..request(ITEMS, Envelope::Upsert)
    };
    for asked in [request(ITEMS, Envelope::Upsert), room] {
        let mut one = Client::start(&world.feed, asked.clone()).await;
        let mut other = Client::start(&world.feed, asked.clone()).await;
        let diff = Request {
            envelope: Envelope::Diff,
            ..asked
        };
        let mut third = Client::start(&world.feed, diff).await;
        for client in [&mut one, &mut other, &mut third] {
            client.next().await.unwrap();
        }
        let id = world.history.len() as i64;
        world.commit(&[(ITEMS, row(id, "a", "x"), 1), (ITEMS, row(-id, "b", "x"), 1)]);
        let shared = one.next().await.unwrap().shared;
        assert!(shared.is_some());
        assert_eq!(other.next().await.unwrap().shared, shared);
        assert_ne!(third.next().await.unwrap().shared, shared);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_subscription_ends_it() {
    let world = World::new();
    let client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    assert_eq!(world.feed.subscribers(), 1);
    drop(client);
    assert_eq!(world.feed.subscribers(), 0);
}

#[test]
fn a_subscription_can_be_moved_to_another_thread() {
    fn movable<T: Send + 'static>() {}
    movable::<viewfeed_feed::Subscription>();
    movable::<viewfeed_feed::TransactionTail>();
}
