//! Epochs that are too large for memory come in parts, and are told as one.

use crate::client::Client;
use crate::world::{BAG, Contents, ITEMS, Row, World, from_batch, in_room, request, row};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use viewfeed_change::{Epoch, RelationId};
use viewfeed_feed::{Envelope, FeedOptions, FrameKind, Request};
use viewfeed_store::Options;

type Change = (RelationId, Row, i64);

/// Little fits a queue, and less a frame.
fn tight() -> FeedOptions {
    FeedOptions {
        queue_rows_max: 60,
        coalesced_rows_max: 50,
        frame_rows_max: 20,
        ..FeedOptions::default()
    }
}

fn world() -> World {
    World::with(tight(), Options::default())
}

/// Items with these ids come, or go.
fn items(ids: std::ops::Range<i64>, weight: i64) -> Vec<Change> {
    ids.map(|id| {
        (
            ITEMS,
            row(id, if id % 10 == 0 { "few" } else { "many" }, "x"),
            weight,
        )
    })
    .collect()
}

fn commit(world: &mut World, parts: &[Vec<Change>]) -> Epoch {
    let published = world.commit_parts(parts);
    let epoch = published.epoch;
    world.feed.publish(published);
    epoch
}

async fn start(world: &World, request: Request) -> Client {
    let mut client = Client::start(&world.feed, request).await;
    client.may_be_large = true;
    client
}

#[tokio::test(start_paused = true)]
async fn an_epoch_in_parts_is_one_version() {
    for parts in [
        // Fits the queue of who wants all, of who wants some, of nobody.
        vec![items(0..10, 1), items(10..20, 1), items(20..25, 1)],
        vec![items(0..100, 1), items(100..200, 1), items(200..210, 1)],
        (0..20)
            .map(|part| items(100 * part..100 * part + 100, 1))
            .collect(),
    ] {
        let mut world = world();
        world.commit(&items(-5..0, 1));
        let mut clients = Vec::new();
        for envelope in [Envelope::Upsert, Envelope::Diff, Envelope::State] {
            for room in [None, Some("few")] {
                let mut wanted = request(ITEMS, envelope);
                wanted.filter = room.map(in_room);
                let mut client = start(&world, wanted).await;
                client.reach(world.feed.epoch()).await;
                clients.push((client, room));
            }
        }
        let before = world.feed.epoch();
        let epoch = commit(&mut world, &parts);
        let after = world.commit(&items(5000..5003, 1));
        for (client, room) in &mut clients {
            let mut versions = Vec::new();
            while client.version < after {
                let frame = client.next().await.unwrap();
                assert_ne!(frame.kind, FrameKind::Reset);
                if !frame.more {
                    client.check(&world, *room);
                    versions.push(frame.version);
                }
            }
            versions.retain(|version| *version > before);
            assert!(
                versions == [epoch, after] || versions == [after],
                "{versions:?} of {:?} {room:?}",
                client.request.envelope
            );
        }
    }
}

/// What is told of a part is told as soon as it is read.
#[tokio::test(start_paused = true)]
async fn a_client_holds_no_more_than_a_part_in_the_server() {
    let mut world = world();
    let mut client = start(&world, request(ITEMS, Envelope::Diff)).await;
    client.reach(world.feed.epoch()).await;
    let parts: Vec<_> = (0..30)
        .map(|part| items(100 * part..100 * part + 100, 1))
        .collect();
    let epoch = commit(&mut world, &parts);
    let mut open = 0;
    while client.version < epoch {
        let frame = client.next().await.unwrap();
        open += usize::from(frame.more);
        assert_eq!(frame.token.is_some(), !frame.more);
    }
    assert!(open > 100, "{open} frames");
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_with_a_token_is_told_the_parts() {
    let mut world = world();
    for envelope in [Envelope::Upsert, Envelope::Diff] {
        let mut client = start(&world, request(ITEMS, envelope)).await;
        client.reach(world.feed.epoch()).await;
        let from = 10_000 * (1 + world.feed.epoch().0 as i64);
        let parts: Vec<_> = (0..9)
            .map(|part| items(from + 100 * part..from + 100 * part + 100, 1))
            .collect();
        commit(&mut world, &parts);
        let epoch = world.commit(&items(from - 1..from, 1));
        client.reconnect(&world.feed).await.unwrap();
        client.may_be_large = true;
        client.reach(epoch).await;
        client.check(&world, None);
    }
}

/// A version is closed, whatever its last parts say.
#[tokio::test(start_paused = true)]
async fn a_version_whose_last_parts_say_nothing_is_closed() {
    let mut world = world();
    let mut client = start(&world, request(ITEMS, Envelope::Diff)).await;
    client.reach(world.feed.epoch()).await;
    let nothing = vec![(BAG, row(1, "a", "x"), 1)];
    let epoch = commit(&mut world, &[items(0..300, 1), nothing.clone(), nothing]);
    let mut last = client.next().await.unwrap();
    while last.more {
        last = client.next().await.unwrap();
    }
    assert_eq!((last.kind, last.version), (FrameKind::Delta, epoch));
    client.check(&world, None);
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_an_epoch_is_open_misses_nothing() {
    let mut world = world();
    world.commit(&items(-3..0, 1));
    let mut txn = world.store.begin().unwrap();
    let mut now = world.history.last().unwrap().clone();
    world.stage_part(&mut txn, &mut now, &items(0..10, 1));
    let mut early = start(&world, request(ITEMS, Envelope::Upsert)).await;
    early.reach(world.feed.epoch()).await;
    world.stage_part(&mut txn, &mut now, &items(10..20, 1));
    let mut skipping = request(ITEMS, Envelope::Diff);
    skipping.skip_snapshot = true;
    let mut late = start(&world, skipping).await;
    let epoch = txn.epoch();
    let record = viewfeed_store::EpochRecord {
        commit_time: viewfeed_change::Timestamp(0),
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    };
    world.store.commit(txn, &record).unwrap();
    world.history.push(now);
    world.feed.publish(viewfeed_feed::Published {
        epoch,
        commit_time: record.commit_time,
        relations: world.relations.clone(),
        transactions: Vec::new(),
        deltas: Vec::new(),
        is_large: true,
    });
    early.reach(epoch).await;
    early.check(&world, None);
    late.is_filled = true;
    late.reach(epoch).await;
    let came: Contents = items(0..20, 1)
        .into_iter()
        .map(|(_, row, weight)| (row, weight))
        .collect();
    assert_eq!(late.rows, came);
}

#[tokio::test(start_paused = true)]
async fn of_an_epoch_that_is_given_up_nothing_is_told() {
    let mut world = world();
    let mut clients = Vec::new();
    for envelope in [Envelope::Upsert, Envelope::Diff] {
        let mut client = start(&world, request(ITEMS, envelope)).await;
        client.reach(world.feed.epoch()).await;
        clients.push(client);
    }
    for staged in [items(0..10, 1), items(0..500, 1)] {
        let mut txn = world.store.begin().unwrap();
        let mut now = world.history.last().unwrap().clone();
        world.stage_part(&mut txn, &mut now, &staged);
        drop(txn);
        world.feed.forget_staged();
        let from = 1000 * world.feed.epoch().0 as i64;
        let epoch = world.commit(&items(from..from + 3, 1));
        for client in &mut clients {
            client.reach(epoch).await;
            client.check(&world, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tail_has_the_parts_of_a_transaction_one_by_one() {
    let mut world = world();
    let after = world.feed.epoch();
    let mut live = world.feed.transactions(None, vec![ITEMS]).unwrap();
    let big = |from: i64| (0..5).map(move |part| items(from + 9000 * part..from + 9000 * part + 9000, 1));
    let mut parts: Vec<_> = big(0).collect();
    // The last of the epoch is not in its last part.
    parts.push(vec![(BAG, row(1, "a", "x"), 1)]);
    let epoch = commit(&mut world, &parts);
    let next = world.commit(&items(-2..-1, 1));
    let mut from_log = world.feed.transactions(Some(after), vec![ITEMS]).unwrap();
    for tail in [&mut live, &mut from_log] {
        let mut ids = Vec::new();
        loop {
            let tailed = tail.next().await.unwrap().unwrap();
            let batches = tailed.transaction.changes.iter().map(|delta| &delta.batch);
            ids.extend(
                batches
                    .flat_map(|batch| from_batch(batch.rows()))
                    .map(|(id, ..)| id),
            );
            if tailed.epoch == next {
                assert!(tailed.last_of_epoch);
                break;
            }
            assert_eq!((tailed.epoch, tailed.transaction.id.0), (epoch, epoch.0));
            assert_eq!(tailed.last_of_epoch, ids.len() == 45_000);
        }
        assert_eq!(ids, (0..45_000).chain([-2]).collect::<Vec<_>>());
    }
}

/// Random epochs, of which some come in parts and some are given up, and clients that come, lag, and come back.
#[tokio::test(start_paused = true)]
async fn whoever_folds_what_comes_has_what_there_is() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = world();
    let mut clients: Vec<(Client, Option<&str>)> = Vec::new();
    for _ in 0..300 {
        let count = if random.random_bool(0.3) {
            random.random_range(1..8)
        } else {
            0
        };
        let last = world.history.last().unwrap();
        let mut now = last.get(&ITEMS).cloned().unwrap_or_default();
        let parts: Vec<Vec<Change>> = (0..=count).map(|_| some(&mut random, &mut now)).collect();
        if random.random_bool(0.15) {
            let mut txn = world.store.begin().unwrap();
            let mut dropped = world.history.last().unwrap().clone();
            world.stage_part(&mut txn, &mut dropped, &parts[0]);
            world.feed.forget_staged();
        } else {
            commit(&mut world, &parts);
        }
        if random.random_bool(0.1) && clients.len() < 12 {
            let envelope = [Envelope::Upsert, Envelope::Diff, Envelope::State][random.random_range(0..3)];
            let room = [None, Some("few")][random.random_range(0..2)];
            let mut wanted = request(ITEMS, envelope);
            wanted.filter = room.map(in_room);
            clients.push((start(&world, wanted).await, room));
        }
        for (client, room) in &mut clients {
            if random.random_bool(0.3) {
                client.reach(world.feed.epoch()).await;
                client.check(&world, *room);
            } else if random.random_bool(0.1) {
                client.reconnect(&world.feed).await.unwrap();
            }
        }
    }
    assert!(clients.len() > 5);
}

/// Items come, go and change; `now` is what there is.
fn some(random: &mut StdRng, now: &mut Contents) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..random.random_range(0..60) {
        let id = random.random_range(0..200);
        let old = now.keys().find(|row| row.0 == id).cloned();
        if let Some(old) = old {
            now.remove(&old);
            changes.push((ITEMS, old, -1));
        }
        if random.random_bool(0.7) {
            let room = if id % 10 == 0 { "few" } else { "many" };
            let new = row(id, room, &random.random_range(0..5).to_string());
            now.insert(new.clone(), 1);
            changes.push((ITEMS, new, 1));
        }
    }
    changes
}
