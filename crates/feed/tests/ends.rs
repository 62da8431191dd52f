//! BYE: why, when, and with which token.

use crate::client::Client;
use crate::world::{BAG, ITEMS, World, contents, items, request, row};
use std::sync::Arc;
use std::time::Duration;
use viewfeed_change::{Epoch, ErrorKind};
use viewfeed_feed::{Envelope, FeedOptions, FrameKind, Request, reason};
use viewfeed_store::Options;

#[tokio::test(start_paused = true)]
async fn a_drain_delivers_what_waits_then_ends() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    let epoch = world.commit(&[(BAG, row(2, "a", "x"), 1)]);
    world.feed.drain();
    world.commit(&[(BAG, row(3, "a", "x"), 1)]);
    let bye = client.finish().await;
    assert_eq!(
        (bye.kind, bye.reason, bye.version),
        (FrameKind::Bye, reason::DRAIN, epoch)
    );
    client.check(&world, None);
    assert!(client.token.is_some());
    let Err(refused) = world.feed.subscribe(request(BAG, Envelope::Diff)) else {
        panic!("a draining feed took a subscription");
    };
    assert_eq!(
        (refused.kind(), refused.reason()),
        (ErrorKind::Unavailable, "DRAINING")
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_ever() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    let epoch = client.next().await.unwrap().version;
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    world.feed.drain();
    tokio::time::advance(FeedOptions::default().drain + Duration::from_millis(1)).await;
    let bye = client.next().await.unwrap();
    assert_eq!(
        (bye.kind, bye.reason, bye.version),
        (FrameKind::Bye, reason::DRAIN, epoch)
    );
    assert!(bye.token.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_a_snapshot() {
    let mut world = World::new();
    world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    world.feed.drain();
    let bye = client.finish().await;
    assert_eq!((bye.kind, bye.token), (FrameKind::Bye, None));
}

#[tokio::test(start_paused = true)]
async fn a_closed_relation_ends_its_feeds_only() {
    let world = World::new();
    let mut bag = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    let mut items = Client::start(&world.feed, request(ITEMS, Envelope::Diff)).await;
    bag.next().await.unwrap();
    items.next().await.unwrap();
    world.feed.close("RPC_REMOVED", |relation| relation.id == BAG);
    let bye = bag.finish().await;
    assert_eq!((bye.kind, bye.reason), (FrameKind::Bye, "RPC_REMOVED"));
    assert_eq!(items.next().await.unwrap().kind, FrameKind::Progress);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_columns_ends_the_feed_and_resumes_with_a_reset() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    client.next().await.unwrap();
    let before = world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let mut relations = (*world.relations).clone();
    relations.put(items(2)).unwrap();
    world.relations = Arc::new(relations);
    world.history.last_mut().unwrap().remove(&ITEMS);
    world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let bye = client.finish().await;
    assert_eq!(
        (bye.kind, bye.reason, bye.version),
        (FrameKind::Bye, reason::SCHEMA_CHANGED, before)
    );
    client.reconnect(&world.feed).await.unwrap();
    let reset = client.next().await.unwrap();
    assert_eq!(
        (reset.kind, reset.reason),
        (FrameKind::Reset, reason::SCHEMA_CHANGED)
    );
    let snapshot = client.next().await.unwrap();
    assert_eq!((snapshot.kind, snapshot.schema_version), (FrameKind::Snapshot, 2));
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_columns_that_is_not_yet_published_is_never_read_with_the_old_ones() {
    let mut world = World::new();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let mut relations = (*world.relations).clone();
    relations.put(items(2)).unwrap();
    world.relations = Arc::new(relations);
    let unpublished = world.commit_only(&[(ITEMS, row(2, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    assert_eq!(client.next().await.unwrap().kind, FrameKind::Progress);
    world.feed.publish(unpublished);
    let bye = client.finish().await;
    assert_eq!((bye.kind, bye.reason), (FrameKind::Bye, reason::SCHEMA_CHANGED));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_relation_ends_its_feeds() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    let mut relations = (*world.relations).clone();
    relations.remove(BAG);
    world.relations = Arc::new(relations);
    world.commit(&[]);
    let bye = client.finish().await;
    assert_eq!((bye.kind, bye.reason), (FrameKind::Bye, reason::RELATION_DROPPED));
}

#[tokio::test(start_paused = true)]
async fn up_to_a_version_ends_there_exactly() {
    for envelope in [Envelope::Diff, Envelope::State] {
        let mut world = World::new();
        let up_to = Epoch(world.feed.epoch().0 + 2);
        let asked = Request {
            up_to: Some(up_to),
            ..request(BAG, envelope)
        };
        let mut client = Client::start(&world.feed, asked).await;
        client.next().await.unwrap();
        for id in 1..=2 {
            world.commit(&[(BAG, row(id, "a", "x"), 1)]);
            if envelope == Envelope::State {
                client.next().await.unwrap();
            }
        }
        world.commit(&[(BAG, row(3, "a", "x"), 1)]);
        let bye = client.finish().await;
        assert_eq!((bye.reason, bye.version), (reason::UP_TO_VERSION, up_to));
        assert_eq!(client.rows, contents(&[(1, "a", "x"), (2, "a", "x")]));
    }
}

#[tokio::test(start_paused = true)]
async fn up_to_a_version_ends_there_when_nothing_changed_in_the_relation() {
    let mut world = World::new();
    let up_to = Epoch(world.feed.epoch().0 + 2);
    let asked = Request {
        up_to: Some(up_to),
        heartbeat: Duration::from_secs(86_400),
        ..request(BAG, Envelope::Diff)
    };
    let mut client = Client::start(&world.feed, asked).await;
    client.next().await.unwrap();
    let began = tokio::time::Instant::now();
    let (bye, ()) = tokio::join!(client.finish(), async {
        tokio::task::yield_now().await;
        world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
        tokio::task::yield_now().await;
        world.commit(&[]);
    });
    assert_eq!((bye.reason, bye.version), (reason::UP_TO_VERSION, up_to));
    assert!(began.elapsed() < Duration::from_secs(1), "a heartbeat was needed");
    assert!(bye.token.is_some());
}

#[tokio::test(start_paused = true)]
async fn up_to_holds_in_a_backlog_too() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    let up_to = world.commit(&[(BAG, row(1, "a", "x"), 1)]);
    world.commit(&[(BAG, row(2, "a", "x"), 1)]);
    client.request.up_to = Some(up_to);
    client.reconnect(&world.feed).await.unwrap();
    let bye = client.finish().await;
    assert_eq!((bye.reason, bye.version), (reason::UP_TO_VERSION, up_to));
    assert_eq!(client.rows, contents(&[(1, "a", "x")]));
}

#[tokio::test]
async fn a_slow_client_of_a_large_snapshot_is_not_waited_for() {
    let options = FeedOptions {
        frame_rows_max: 1,
        coalesced_rows_max: 2,
        readers_max: 1,
        snapshot_wait: Duration::from_millis(20),
        ..FeedOptions::default()
    };
    let mut world = World::with(options, Options::default());
    let rows: Vec<_> = (0..50).map(|id| (BAG, row(id, "a", "x"), 1)).collect();
    world.commit(&rows);
    let mut slow = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    slow.next().await.unwrap();
    // There is one reader: the next client gets a snapshot only once the first one has been given up.
    let mut next = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    next.next_where(|frame| frame.kind == FrameKind::Snapshot).await;
    let bye = slow.finish().await;
    assert_eq!(
        (bye.kind, bye.reason, bye.token),
        (FrameKind::Bye, reason::SLOW_CONSUMER, None)
    );
}
