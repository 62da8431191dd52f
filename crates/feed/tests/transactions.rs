//! The tail of source transactions.

use crate::world::{BAG, ITEMS, Row, World, from_batch, items, row};
use std::sync::Arc;
use viewfeed_change::{Epoch, ErrorKind};
use viewfeed_feed::{Feed, FeedOptions, TailedTransaction, TransactionTail};
use viewfeed_store::{Options, Retention};

async fn next(tail: &mut TransactionTail) -> TailedTransaction {
    tail.next().await.expect("the tail ended").unwrap()
}

fn rows(tailed: &TailedTransaction) -> Vec<(Row, i64)> {
    let batches = tailed.transaction.changes.iter().map(|delta| &delta.batch);
    batches
        .flat_map(|batch| from_batch(batch.rows()).into_iter().zip(batch.weights().to_vec()))
        .collect()
}

fn one(id: i64) -> Vec<(Row, i64)> {
    vec![(row(id, "a", "x"), 1)]
}

#[tokio::test(start_paused = true)]
async fn a_tail_starts_with_the_log_and_goes_on_live() {
    let mut world = World::new();
    let after = world.feed.epoch();
    let mut epochs: Vec<Epoch> = (0..3)
        .map(|id| world.commit(&[(ITEMS, row(id, "a", "x"), 1)]))
        .collect();
    let mut tail = world.feed.transactions(Some(after), Vec::new()).unwrap();
    epochs.push(world.commit(&[(ITEMS, row(3, "a", "x"), 1)]));
    for (id, epoch) in epochs.into_iter().enumerate() {
        let tailed = next(&mut tail).await;
        assert_eq!((tailed.epoch, tailed.last_of_epoch), (epoch, true));
        assert_eq!(tailed.transaction.id.0, epoch.0);
        assert_eq!(rows(&tailed), one(id as i64));
    }
    for id in 4..6 {
        world.commit(&[(BAG, row(1, "a", "x"), 1)]);
        world.commit(&[(ITEMS, row(id, "a", "x"), 1)]);
        assert_eq!(rows(&next(&mut tail).await), one(id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tail_without_a_start_begins_now() {
    let mut world = World::new();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let mut tail = world.feed.transactions(None, Vec::new()).unwrap();
    world.commit(&[(ITEMS, row(2, "a", "x"), 1)]);
    assert_eq!(rows(&next(&mut tail).await), one(2));
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_falls_behind_is_continued_from_the_log() {
    let mut world = World::new();
    let mut tail = world.feed.transactions(None, vec![ITEMS]).unwrap();
    for id in 0..300 {
        world.commit(&[(ITEMS, row(id, "a", "x"), 1)]);
    }
    for id in 0..300 {
        assert_eq!(rows(&next(&mut tail).await), one(id));
    }
    world.commit(&[(ITEMS, row(300, "a", "x"), 1)]);
    assert_eq!(rows(&next(&mut tail).await), one(300));
}

#[tokio::test(start_paused = true)]
async fn only_the_tables_asked_for_are_tailed() {
    let mut world = World::new();
    let after = world.feed.epoch();
    let mut tail = world.feed.transactions(Some(after), vec![BAG]).unwrap();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    world.feed.drain();
    assert!(tail.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_last_transaction_of_an_epoch_is_marked() {
    let mut world = World::new();
    let mut published = world.commit_only(&[(ITEMS, row(1, "a", "x"), 1)]);
    let mut unwanted = published.transactions[0].clone();
    unwanted.changes[0].relation = BAG;
    let second = published.transactions[0].clone();
    published.transactions.extend([second, unwanted]);
    let mut tail = world.feed.transactions(None, vec![ITEMS]).unwrap();
    world.feed.publish(published);
    assert!(!next(&mut tail).await.last_of_epoch);
    assert!(next(&mut tail).await.last_of_epoch);
}

#[tokio::test(start_paused = true)]
async fn a_start_before_the_history_is_refused() {
    let forgetful = Options {
        retention: Retention {
            bytes_max: 1,
            age_us: 0,
        },
        segment_bytes: 1,
        ..Options::default()
    };
    let mut world = World::with(FeedOptions::default(), forgetful);
    let start = world.feed.epoch();
    for id in 0..9 {
        world.commit(&[(ITEMS, row(id, "a", "x"), 1)]);
    }
    world.store.checkpoint().unwrap();
    let refused = |after| world.feed.transactions(Some(after), Vec::new()).err().unwrap();
    assert_eq!(refused(start).kind(), ErrorKind::OutOfRange);
    assert_eq!(refused(Epoch(1_000)).kind(), ErrorKind::OutOfRange);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_a_change_of_columns_is_read_with_the_old_ones() {
    let mut world = World::new();
    let after = world.feed.epoch();
    world.commit(&[(ITEMS, row(1, "a", "x"), 1)]);
    let mut relations = (*world.relations).clone();
    relations.put(items(2)).unwrap();
    world.relations = Arc::new(relations);
    world.commit(&[(ITEMS, row(2, "a", "x"), 1)]);
    let mut tail = world.feed.transactions(Some(after), Vec::new()).unwrap();
    let (first, second) = (next(&mut tail).await, next(&mut tail).await);
    assert_eq!((rows(&first), rows(&second)), (one(1), one(2)));
    let columns = |tailed: &TailedTransaction| tailed.transaction.changes[0].batch.schema().fields().len();
    assert_eq!((columns(&first), columns(&second)), (3, 4));
    // A restart forgets the old columns: the gap is told, not skipped.
    let restarted = Feed::new(
        world.store.clone(),
        world.relations.clone(),
        FeedOptions::default(),
    );
    let mut tail = restarted.transactions(Some(after), Vec::new()).unwrap();
    let error = tail.next().await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::OutOfRange, "SCHEMA_CHANGED")
    );
    assert!(tail.next().await.is_none());
}
