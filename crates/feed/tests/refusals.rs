//! Requests that cannot be served.

use crate::client::Client;
use crate::world::{BAG, ITEMS, World, in_room, request};
use proptest::prelude::*;
use viewfeed_change::{ColumnPath, Error, ErrorKind, RelationId};
use viewfeed_feed::{Envelope, FeedOptions, Filter, Request};
use viewfeed_store::Options;

fn refused(world: &World, request: Request) -> Error {
    match world.feed.subscribe(request) {
        Ok(_) => panic!("the request was accepted"),
        Err(error) => error,
    }
}

#[test]
fn an_unknown_relation_is_not_found() {
    let error = refused(&World::new(), request(RelationId(99), Envelope::Diff));
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::NotFound, "UNKNOWN_RELATION")
    );
}

#[test]
fn upsert_needs_a_key_that_is_there() {
    let world = World::new();
    let error = refused(&world, request(BAG, Envelope::Upsert));
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Invalid, "KEY_REQUIRED")
    );
    for key in [vec![3], vec![0, 0]] {
        let asked = Request {
            key,
            ..request(BAG, Envelope::Upsert)
        };
        let error = refused(&world, asked);
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Invalid, "KEY_INVALID")
        );
    }
}

#[test]
fn a_filter_must_fit_the_columns() {
    let world = World::new();
    let path = |steps: &[usize]| ColumnPath(steps.to_vec());
    for (columns, key) in [
        (vec![path(&[9])], in_room("a").key),
        (vec![path(&[1, 0])], in_room("a").key),
        (vec![path(&[])], in_room("a").key),
        (vec![path(&[0])], in_room("a").key),
        (vec![path(&[1])], vec![1]),
        (vec![path(&[1]), path(&[0])], in_room("a").key),
    ] {
        let asked = Request {
            filter: Some(Filter { columns, key }),
            ..request(ITEMS, Envelope::Diff)
        };
        let error = refused(&world, asked);
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Invalid, "FILTER_INVALID")
        );
    }
}

#[tokio::test]
async fn one_subscription_too_many_is_refused_until_another_ends() {
    let options = FeedOptions {
        subscriptions_max: 1,
        ..FeedOptions::default()
    };
    let world = World::with(options, Options::default());
    let first = Client::start(&world.feed, request(ITEMS, Envelope::Diff)).await;
    let error = refused(&world, request(ITEMS, Envelope::Diff));
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Exhausted, "TOO_MANY_SUBSCRIPTIONS")
    );
    drop(first);
    assert!(world.feed.subscribe(request(ITEMS, Envelope::Diff)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_resumes_only_the_request_it_was_made_for() {
    let world = World::new();
    let asked = Request {
        filter: Some(in_room("a")),
        ..request(ITEMS, Envelope::Upsert)
    };
    let mut client = Client::start(&world.feed, asked.clone()).await;
    client.next().await.unwrap();
    let asked = Request {
        token: client.token.clone(),
        ..asked
    };
    assert!(world.feed.subscribe(asked.clone()).is_ok());
    let others = [
        Request {
            filter: None,
            ..asked.clone()
        },
        Request {
            filter: Some(in_room("b")),
            ..asked.clone()
        },
        Request {
            envelope: Envelope::Diff,
            ..asked.clone()
        },
        Request {
            key: vec![0, 1],
            ..asked.clone()
        },
        Request {
            bound_to: 1,
            ..asked.clone()
        },
        Request {
            relation: BAG,
            key: vec![0],
            ..asked.clone()
        },
    ];
    for other in others {
        let error = refused(&world, other);
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Invalid, "TOKEN_MISMATCH")
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_no_token(garbage in proptest::collection::vec(any::<u8>(), 0..64)) {
        let world = World::new();
        let asked = Request { token: Some(garbage), ..request(ITEMS, Envelope::Diff) };
        let error = refused(&world, asked);
        prop_assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, "TOKEN_INVALID"));
    }

    #[test]
    fn a_damaged_token_is_no_token(bit in 0..37usize * 8) {
        let world = World::new();
        let asked = Request { skip_snapshot: true, ..request(ITEMS, Envelope::Diff) };
        let mut token = hello_token(&world, asked.clone());
        token[bit / 8] ^= 1 << (bit % 8);
        let error = refused(&world, Request { token: Some(token), ..asked });
        prop_assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, "TOKEN_INVALID"));
    }
}

/// The token of HELLO.
fn hello_token(world: &World, asked: Request) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async { Client::start(&world.feed, asked).await.token.unwrap() })
}
