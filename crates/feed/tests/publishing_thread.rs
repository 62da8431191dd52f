//! Clients that come, read, go and come back while another thread commits and publishes.

use crate::client::Client;
use crate::world::{BAG, ITEMS, Row, World, in_room, request, row};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex};
use viewfeed_change::{Epoch, RelationId};
use viewfeed_feed::{Envelope, Feed, FeedOptions, FrameKind, Request};
use viewfeed_store::Options;

const EPOCHS: usize = 400;
const ASKED: [(RelationId, Envelope, Option<&str>); 6] = [
    (ITEMS, Envelope::Upsert, None),
    (ITEMS, Envelope::Upsert, Some("a")),
    (ITEMS, Envelope::State, Some("b")),
    (BAG, Envelope::Diff, None),
    (BAG, Envelope::Diff, Some("a")),
    (BAG, Envelope::State, None),
];

/// What a client held at the end of each group it received.
type Seen = Vec<(Epoch, crate::world::Contents)>;

fn random_changes(rng: &mut StdRng, world: &World) -> Vec<(RelationId, Row, i64)> {
    let last = Epoch(world.history.len() as u64 - 1);
    let mut changes = Vec::new();
    let id = rng.random_range(0..6);
    if let Some(old) = world.at(ITEMS, last, None).into_keys().find(|row| row.0 == id) {
        changes.push((ITEMS, old, -1));
    }
    let room = ["a", "b", "c"][rng.random_range(0..3)];
    if rng.random_bool(0.7) {
        let text = rng.random_range(0..100).to_string();
        changes.push((ITEMS, row(id, room, &text), 1));
    }
    changes.push((BAG, row(rng.random_range(0..3), room, "x"), 1));
    changes
}

async fn follow(
    feed: Feed,
    asked: (RelationId, Envelope, Option<&'static str>),
    last: Epoch,
    seed: u64,
) -> Seen {
    let mut rng = StdRng::seed_from_u64(seed);
    let (relation, envelope, room) = asked;
    let asked = Request {
        filter: room.map(in_room),
        up_to: Some(last),
        ..request(relation, envelope)
    };
    let mut client = Client::start(&feed, asked).await;
    let mut seen = Seen::new();
    loop {
        if rng.random_ratio(1, 12) {
            client.reconnect(&feed).await.unwrap();
        }
        for _ in 0..rng.random_range(0..4) {
            tokio::task::yield_now().await;
        }
        let frame = client.next().await.expect("BYE comes before the end");
        if frame.kind == FrameKind::Bye {
            assert_eq!((frame.reason, frame.version >= last), ("UP_TO_VERSION", true));
            return seen;
        }
        if client.is_filled && !frame.more {
            seen.push((client.version, client.rows.clone()));
        }
    }
}

fn run(seed: u64, options: FeedOptions) {
    let world = World::with(options, Options::default());
    let feed = world.feed.clone();
    let last = Epoch(world.feed.epoch().0 + EPOCHS as u64);
    let world = Arc::new(Mutex::new(world));
    let publisher = {
        let world = world.clone();
        let mut rng = StdRng::seed_from_u64(seed);
        std::thread::spawn(move || {
            for _ in 0..EPOCHS {
                let mut world = world.lock().unwrap();
                let changes = random_changes(&mut rng, &world);
                world.commit(&changes);
                std::thread::yield_now();
            }
        })
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let clients: Vec<_> = (0..ASKED.len() * 2)
        .map(|i| {
            runtime.spawn(follow(
                feed.clone(),
                ASKED[i % ASKED.len()],
                last,
                seed + i as u64,
            ))
        })
        .collect();
    let seen: Vec<Seen> = runtime.block_on(async {
        let mut all = Vec::new();
        for client in clients {
            all.push(client.await.unwrap());
        }
        all
    });
    publisher.join().unwrap();
    let world = world.lock().unwrap();
    for (i, seen) in seen.iter().enumerate() {
        let (relation, _, room) = ASKED[i % ASKED.len()];
        assert!(!seen.is_empty());
        for (version, rows) in seen {
            assert_eq!(
                *rows,
                world.at(relation, *version, room),
                "client {i} at {version}, seed {seed}"
            );
        }
    }
    assert_eq!(feed.subscribers(), 0);
}

#[test]
fn clients_never_miss_or_repeat_what_another_thread_publishes() {
    for seed in 1..=4 {
        run(seed, FeedOptions::default());
    }
}

#[test]
fn nor_do_clients_with_tiny_queues() {
    for seed in 11..=14 {
        let options = FeedOptions {
            queue_rows_max: 2,
            coalesced_rows_max: 4,
            frame_rows_max: 2,
            ..FeedOptions::default()
        };
        run(seed, options);
    }
}
