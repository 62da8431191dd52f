//! Nexmark: an auction house, as views over tables that also change. Windows over time are computed from the bids'
//! timestamps. Left out are the queries whose meaning is the order or the time of arrival (6, 10, 11, 12), and 21,
//! which is another projection.

use super::cell::{Cell, Content, INT, Row, TEXT, TIME};
use super::suite::prove;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const PERSONS: i64 = 40;
const AUCTIONS: i64 = 50;
const BIDS: i64 = 500;

const SECOND_US: i64 = 1_000_000;
/// 2024-05-06 23:59:20: bids come on two days, by night.
const OPENING_US: i64 = 1_715_039_960 * SECOND_US;
/// For how long persons come, auctions open and bids are made.
const OPEN_US: i64 = 80 * SECOND_US;
const STATES: [&str; 5] = ["OR", "ID", "CA", "WA", "AZ"];
const CITIES: [&str; 4] = ["Portland", "Boise", "Phoenix", "Bend"];
const NAMES: [&str; 5] = [
    "Vicky Noris",
    "Peter Jones",
    "Julie White",
    "Luke Abrams",
    "Kate Spencer",
];
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const EXTRAS: [&str; 4] = ["abc", "ccc", "", "xyzc"];

#[test]
fn nexmark() {
    prove("nexmark", &tables(), 18);
}

/// The auction house; always the same.
fn tables() -> Vec<Content> {
    let rng = &mut SmallRng::seed_from_u64(1);
    vec![person(rng), auction(rng), bid(rng), side_input()]
}

fn person(rng: &mut SmallRng) -> Content {
    let row = |id: i64| {
        vec![
            Cell::Int(id),
            one_of(rng, &NAMES),
            text(format!("{id}@example.org")),
            text("1111 2222 3333 4444"),
            one_of(rng, &CITIES),
            one_of(rng, &STATES),
            time(rng),
            one_of(rng, &EXTRAS),
        ]
    };
    Content {
        name: "person",
        columns: vec![
            ("id", INT),
            ("name", TEXT),
            ("email", TEXT),
            ("credit_card", TEXT),
            ("city", TEXT),
            ("state", TEXT),
            ("date_time", TIME),
            ("extra", TEXT),
        ],
        key: vec![0],
        rows: (0..PERSONS).map(row).collect(),
    }
}

fn auction(rng: &mut SmallRng) -> Content {
    let row = |id: i64| {
        let opened = OPENING_US + rng.random_range(0..OPEN_US / 2);
        vec![
            Cell::Int(id),
            text(format!("item {id}")),
            text("as good as new"),
            Cell::Int(rng.random_range(1..100)),
            Cell::Int(rng.random_range(100..1000)),
            Cell::Time(opened),
            Cell::Time(opened + rng.random_range(OPEN_US / 8..OPEN_US)),
            Cell::Int(rng.random_range(0..PERSONS)),
            Cell::Int(rng.random_range(10..15)),
            one_of(rng, &EXTRAS),
        ]
    };
    Content {
        name: "auction",
        columns: vec![
            ("id", INT),
            ("item", TEXT),
            ("description", TEXT),
            ("initial_bid", INT),
            ("reserve", INT),
            ("date_time", TIME),
            ("expires", TIME),
            ("seller", INT),
            ("category", INT),
            ("extra", TEXT),
        ],
        key: vec![0],
        rows: (0..AUCTIONS).map(row).collect(),
    }
}

/// Bids have no key; some are there twice.
fn bid(rng: &mut SmallRng) -> Content {
    let mut rows: Vec<Row> = (0..BIDS).map(|_| new_bid(rng)).collect();
    let again = rows.iter().take(20).cloned().collect::<Vec<_>>();
    rows.extend(again);
    Content {
        name: "bid",
        columns: vec![
            ("auction", INT),
            ("bidder", INT),
            ("price", INT),
            ("channel", TEXT),
            ("url", TEXT),
            ("date_time", TIME),
            ("extra", TEXT),
        ],
        key: vec![],
        rows,
    }
}

fn new_bid(rng: &mut SmallRng) -> Row {
    // Half of the bids are on a few auctions, so that there are more than ten on one.
    let auctions = if rng.random_bool(0.5) { 5 } else { AUCTIONS };
    let price = 10_i64.pow(rng.random_range(1..5)) * rng.random_range(1..10);
    let address = format!(
        "https://www.nexmark.com/{}/item/{}",
        rng.random_range(0..9),
        price
    );
    vec![
        Cell::Int(rng.random_range(0..auctions)),
        Cell::Int(rng.random_range(0..PERSONS)),
        Cell::Int(price),
        one_of(rng, &CHANNELS),
        text(address),
        time(rng),
        one_of(rng, &EXTRAS),
    ]
}

fn side_input() -> Content {
    Content {
        name: "side_input",
        columns: vec![("key", INT), ("value", TEXT)],
        key: vec![0],
        rows: (0..20)
            .map(|key| vec![Cell::Int(key), text(format!("side {key}"))])
            .collect(),
    }
}

/// Some moment, on a tenth of a second.
fn time(rng: &mut SmallRng) -> Cell {
    Cell::Time(OPENING_US + rng.random_range(0..OPEN_US) / (SECOND_US / 10) * (SECOND_US / 10))
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn one_of(rng: &mut SmallRng, texts: &[&str]) -> Cell {
    text(*texts.choose(rng).unwrap())
}
