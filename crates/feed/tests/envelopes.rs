//! UPSERT, DIFF and STATE.

use crate::client::Client;
use crate::world::{BAG, ITEMS, World, contents, from_batch, in_room, request, row};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use viewfeed_change::ErrorKind;
use viewfeed_feed::{Envelope, FeedOptions, Frame, FrameKind, Request, Rows};
use viewfeed_store::Options;

fn upsert(frame: &Frame) -> (Vec<crate::world::Row>, Vec<i64>) {
    let Rows::Upsert { puts, deletes } = &frame.rows else {
        panic!("not an upsert");
    };
    assert_eq!(deletes.num_columns(), 1);
    let deletes = deletes.column(0).as_primitive::<Int64Type>().values().to_vec();
    (from_batch(puts), deletes)
}

#[tokio::test(start_paused = true)]
async fn an_update_is_one_put() {
    let mut world = World::new();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let mut client = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    client.next().await.unwrap();
    world.commit(&[(ITEMS, row(1, "a", "x"), -1), (ITEMS, row(1, "a", "y"), 1)]);
    let delta = client.next().await.unwrap();
    assert_eq!(upsert(&delta), (vec![row(1, "a", "y")], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_leaves_the_filter_is_deleted() {
    let mut world = World::new();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let asked = Request {
        filter: Some(in_room("a")),
        ..request(ITEMS, Envelope::Upsert)
    };
    let mut client = Client::start(&world.feed, asked).await;
    client.next().await.unwrap();
    world.commit(&[(ITEMS, row(1, "a", "x"), -1), (ITEMS, row(1, "b", "x"), 1)]);
    let delta = client.next().await.unwrap();
    assert_eq!(upsert(&delta), (vec![], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn what_comes_and_goes_in_one_epoch_is_not_told() {
    let mut world = World::new();
    for envelope in [Envelope::Upsert, Envelope::Diff] {
        let mut client = Client::start(&world.feed, request(ITEMS, envelope)).await;
        client.next().await.unwrap();
        world.commit(&[(ITEMS, row(1, "a", "x"), 1), (ITEMS, row(1, "a", "x"), -1)]);
        let next = client.next().await.unwrap();
        assert_eq!(
            (next.kind, next.version),
            (FrameKind::Progress, world.feed.epoch())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_delta_is_cut_into_frames_with_one_token() {
    let options = FeedOptions {
        frame_rows_max: 4,
        ..FeedOptions::default()
    };
    let mut world = World::with(options, Options::default());
    let first: Vec<_> = (0..5).map(|id| (ITEMS, row(id, "a", "x"), 1)).collect();
    world.commit(&first);
    let mut upserts = Client::start(&world.feed, request(ITEMS, Envelope::Upsert)).await;
    let mut diffs = Client::start(&world.feed, request(ITEMS, Envelope::Diff)).await;
    for client in [&mut upserts, &mut diffs] {
        client.next_where(|frame| frame.caught_up).await;
    }
    let mut changes: Vec<_> = (0..5).map(|id| (ITEMS, row(id, "a", "x"), -1)).collect();
    changes.extend((10..16).map(|id| (ITEMS, row(id, "a", "x"), 1)));
    world.commit(&changes);
    for client in [&mut upserts, &mut diffs] {
        for more in [true, true, false] {
            let frame = client.next().await.unwrap();
            let rows = match &frame.rows {
                Rows::Upsert { puts, deletes } => puts.num_rows() + deletes.num_rows(),
                Rows::Diff(batch) => batch.len(),
                rows => panic!("{rows:?}"),
            };
            assert_eq!((frame.more, rows), (more, if more { 4 } else { 3 }));
            assert_eq!(frame.token.is_none(), more);
        }
        client.check(&world, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delta_of_many_rows_is_told_whole() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::Diff)).await;
    client.next().await.unwrap();
    let many: Vec<_> = (0..10_000).map(|id| (BAG, row(id, "a", "x"), 1)).collect();
    let epoch = world.commit(&many);
    client.reach(epoch).await;
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_repeats_gives_one_of_its_rows() {
    let mut world = World::new();
    world.commit(&[
        (BAG, row(1, "a", "x"), 2),
        (BAG, row(1, "a", "z"), 1),
        (BAG, row(2, "b", "x"), 1),
    ]);
    let asked = Request {
        key: vec![0],
        ..request(BAG, Envelope::Upsert)
    };
    let mut client = Client::start(&world.feed, asked).await;
    let snapshot = client.next().await.unwrap();
    assert_eq!(snapshot.row_count, None);
    assert_eq!(client.rows, contents(&[(1, "a", "z"), (2, "b", "x")]));
    world.commit(&[
        (BAG, row(1, "a", "y"), 1),
        (BAG, row(1, "a", "b"), 1),
        (BAG, row(2, "b", "x"), -1),
    ]);
    let delta = client.next().await.unwrap();
    assert_eq!(upsert(&delta), (vec![row(1, "a", "y")], vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_state_repeats_rows_as_often_as_they_are_there() {
    let mut world = World::new();
    world.commit(&[(BAG, row(1, "a", "x"), 3)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::State)).await;
    let snapshot = client.next().await.unwrap();
    assert_eq!(
        (snapshot.kind, snapshot.row_count),
        (FrameKind::Snapshot, Some(3))
    );
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn a_state_skips_the_epochs_its_client_did_not_wait_for() {
    let mut world = World::new();
    let mut client = Client::start(&world.feed, request(BAG, Envelope::State)).await;
    client.next().await.unwrap();
    for id in 0..20 {
        world.commit(&[(BAG, row(id, "a", "x"), 1)]);
    }
    let delta = client.next().await.unwrap();
    assert_eq!(
        (delta.kind, delta.version),
        (FrameKind::Delta, world.feed.epoch())
    );
    client.check(&world, None);
    assert_eq!(client.next().await.unwrap().kind, FrameKind::Progress);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_too_large_is_refused() {
    let options = FeedOptions {
        state_rows_max: 3,
        ..FeedOptions::default()
    };
    let mut world = World::with(options, Options::default());
    world.commit(&[(BAG, row(1, "a", "x"), 3)]);
    let mut client = Client::start(&world.feed, request(BAG, Envelope::State)).await;
    client.next().await.unwrap();
    world.commit(&[(BAG, row(2, "a", "x"), 1)]);
    let error = client.subscription.next().await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Exhausted, "STATE_TOO_LARGE")
    );
    assert!(error.advice().is_some());
    assert!(client.subscription.next().await.is_none());
}
