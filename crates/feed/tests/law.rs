//! The law: whatever happens, what a client has folded at a version is what the relation held at that version.

use crate::client::Client;
use crate::world::{BAG, Contents, ITEMS, Row, World, in_room, request, row};
use proptest::prelude::*;
use std::time::Duration;
use viewfeed_change::{Epoch, RelationId};
use viewfeed_feed::{Envelope, FeedOptions, FrameKind, Request};
use viewfeed_store::Options;

const ROOMS: [&str; 3] = ["a", "b", "c"];
const ASKED: [(RelationId, Envelope, Option<&str>); 7] = [
    (ITEMS, Envelope::Upsert, None),
    (ITEMS, Envelope::Upsert, Some("a")),
    (ITEMS, Envelope::Diff, Some("b")),
    (ITEMS, Envelope::State, Some("a")),
    (BAG, Envelope::Diff, None),
    (BAG, Envelope::Diff, Some("a")),
    (BAG, Envelope::State, None),
];

#[derive(Clone, Debug)]
enum Step {
    /// Statements of one epoch: each sets (Some) or deletes (None) an item, or adds a row to or removes one from the bag.
    Commit(Vec<Statement>),
    Read {
        client: usize,
        frames: usize,
    },
    Reconnect(usize),
}

#[derive(Clone, Debug)]
enum Statement {
    Item(i64, Option<(usize, usize)>),
    Bag { row: (i64, usize), add: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let item = (0..5i64, proptest::option::weighted(0.7, (0..3usize, 0..2usize)));
    let bag = ((0..2i64, 0..3usize), any::<bool>());
    let statement = prop_oneof![
        item.prop_map(|(id, set)| Statement::Item(id, set)),
        bag.prop_map(|(row, add)| Statement::Bag { row, add }),
    ];
    prop_oneof![
        4 => proptest::collection::vec(statement, 0..7).prop_map(Step::Commit),
        4 => (0..ASKED.len(), 1..5usize).prop_map(|(client, frames)| Step::Read { client, frames }),
        1 => (0..ASKED.len()).prop_map(Step::Reconnect),
    ]
}

fn options() -> impl Strategy<Value = FeedOptions> {
    (0..6usize, 0..8usize, 1..4usize).prop_map(|(queue, coalesced, frame)| FeedOptions {
        queue_rows_max: queue,
        coalesced_rows_max: coalesced,
        frame_rows_max: frame,
        snapshot_wait: Duration::from_secs(1 << 30),
        ..FeedOptions::default()
    })
}

/// The changes of the statements, one after another: an update is a removal and an addition.
fn changes(world: &World, statements: &[Statement]) -> Vec<(RelationId, Row, i64)> {
    let last = Epoch(world.history.len() as u64 - 1);
    let mut items: Contents = world.at(ITEMS, last, None);
    let mut bag: Contents = world.at(BAG, last, None);
    let mut changes = Vec::new();
    for statement in statements {
        match statement {
            Statement::Item(id, set) => {
                if let Some(old) = items.keys().find(|row| row.0 == *id).cloned() {
                    items.remove(&old);
                    changes.push((ITEMS, old, -1));
                }
                if let Some((room, text)) = set {
                    let new = row(*id, ROOMS[*room], ["x", "y"][*text]);
                    items.insert(new.clone(), 1);
                    changes.push((ITEMS, new, 1));
                }
            }
            Statement::Bag { row: (id, room), add } => {
                let row = row(*id, ROOMS[*room], "x");
                let weight = bag.entry(row.clone()).or_default();
                if *add || *weight > 0 {
                    let change = if *add { 1 } else { -1 };
                    *weight += change;
                    changes.push((BAG, row, change));
                }
            }
        }
    }
    changes
}

fn asked((relation, envelope, room): (RelationId, Envelope, Option<&str>)) -> Request {
    Request {
        filter: room.map(in_room),
        ..request(relation, envelope)
    }
}

async fn obey(options: FeedOptions, steps: Vec<Step>) {
    let mut world = World::with(options, Options::default());
    let mut clients = Vec::new();
    for what in ASKED {
        clients.push(Client::start(&world.feed, asked(what)).await);
    }
    for step in steps {
        match step {
            Step::Commit(statements) => {
                let changes = changes(&world, &statements);
                world.commit(&changes);
            }
            Step::Read { client, frames } => {
                for _ in 0..frames {
                    read(&mut clients[client], &world, ASKED[client].2).await;
                }
            }
            Step::Reconnect(client) => clients[client].reconnect(&world.feed).await.unwrap(),
        }
    }
    let last = world.feed.epoch();
    for (client, (.., room)) in clients.iter_mut().zip(ASKED) {
        while !client.is_filled || client.version < last {
            read(client, &world, room).await;
        }
    }
}

async fn read(client: &mut Client, world: &World, room: Option<&str>) {
    // A snapshot that waits for its client stops tokio's paused clock, so that heartbeats need a push.
    let next = async {
        loop {
            tokio::select! {
                biased;
                frame = client.subscription.next() => return frame,
                () = tokio::time::advance(Duration::from_secs(1)) => {}
            }
        }
    };
    let frame = next.await.expect("the feed ended").unwrap();
    client.take(frame.clone());
    assert_ne!(frame.kind, FrameKind::Bye);
    if client.is_filled && !frame.more {
        client.check(world, room);
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_folded_feed_is_the_relation(options in options(), steps in proptest::collection::vec(step(), 1..60)) {
        block_on(obey(options, steps));
    }

    #[test]
    fn a_folded_feed_is_the_relation_with_room_in_the_queue(steps in proptest::collection::vec(step(), 1..60)) {
        let options = FeedOptions { snapshot_wait: Duration::from_secs(1 << 30), ..FeedOptions::default() };
        block_on(obey(options, steps));
    }
}
