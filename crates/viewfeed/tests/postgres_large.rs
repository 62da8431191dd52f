//! Transactions of a Postgres source that are larger than the memory there is: applied while they are decoded, written in parts, and
//! seen whole or not at all, also by feeds, and after kills in between.

use crate::follower::{Folded, catch_up, follow, rows, version};
use crate::postgres::{create_source, is_same, primary, run};
use crate::server::{PROGRAM, sql};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use viewfeed_testbed::{Postgres, Psql, Viewfeed};

/// So little that all that is done here is large: parts of an epoch are an eighth of this.
const LITTLE_MEMORY: [&str; 2] = ["--cache-mib", "2"];
/// Said of a transaction that must be decoded whole.
const NOT_PLAIN: &str = "changes more than rows";
const KILLS: usize = 12;
/// So much log is written by no transaction here before it is committed, unless it is written in parts.
const PARTS_BYTES: u64 = 300_000;
/// How long a kill is put off for that: the transaction may be over, or small.
const PUT_OFF_MAX: Duration = Duration::from_secs(5);
/// What a start says that finds parts of an epoch.
const CUT: &str = "cut a record a crash left unfinished";

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, name text, size int)";
const TOTALS: &str = "SELECT count(*) AS n, sum(size) AS sizes, max(id) AS last FROM shop.item";

fn started(dir: &Path) -> Viewfeed {
    Viewfeed::start(PROGRAM, dir, &LITTLE_MEMORY)
}

fn followed(dir: &Path, statements: &[&str]) -> (Postgres, Psql, Viewfeed) {
    let primary = primary();
    let mut psql = primary.connect();
    run(&mut psql, statements);
    let server = started(dir);
    create_source(&server, &primary);
    sql(
        &server,
        &format!("WAIT FOR SOURCE shop; CREATE MATERIALIZED VIEW totals AS {TOTALS}"),
    );
    (primary, psql, server)
}

/// Waits until all that was committed has come. Gives what the view was meanwhile.
fn wait_for_all(server: &Viewfeed, psql: &mut Psql) -> Vec<serde_json::Value> {
    let position = psql.query("SELECT pg_current_wal_lsn()").unwrap()[0][0].clone();
    let until = format!("WAIT FOR SOURCE shop UNTIL '{}'", position.unwrap());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| sql(server, &until));
        let mut seen = Vec::new();
        while !waiter.is_finished() {
            seen.extend(sql(server, "SELECT * FROM totals"));
        }
        seen.dedup();
        seen
    })
}

#[test]
fn a_transaction_larger_than_memory_is_seen_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let price = "CREATE TABLE price (id int PRIMARY KEY, amount numeric(8, 2))";
    let (_primary, mut psql, server) = followed(dir.path(), &[ITEM, price]);
    let before = sql(&server, "SELECT * FROM totals");
    run(
        &mut psql,
        &[
            "BEGIN",
            "INSERT INTO item SELECT i, repeat('n', 300) || i, i % 7 FROM generate_series(1001, 60000) i",
            "UPDATE item SET size = size + 1 WHERE id % 2 = 0",
            "DELETE FROM item WHERE id % 5 = 0",
            "TRUNCATE item",
            "INSERT INTO item SELECT i, repeat('m', 300) || i, i % 9 FROM generate_series(1001, 40000) i",
            "UPDATE item SET id = id + 1000000 WHERE id % 3 = 0",
            "COMMIT",
        ],
    );
    let seen = wait_for_all(&server, &mut psql);
    let after = sql(&server, TOTALS);
    let are_whole = seen.iter().all(|row| *row == before[0] || *row == after[0]);
    assert!(are_whole, "{before:?} became {seen:?}, then {after:?}");
    assert_eq!(sql(&server, "SELECT * FROM totals"), after);
    is_same(&server, &mut psql, "item", "id, name, size");
    assert!(!server.log().contains(NOT_PLAIN), "{}", server.log());
    // A value that has no place here makes its table stop, which is decided for the whole transaction.
    run(
        &mut psql,
        &[
            "BEGIN",
            "DELETE FROM item WHERE id % 7 = 0",
            "INSERT INTO item SELECT i, repeat('n', 300) || i, i % 7 FROM generate_series(100001, 140000) i",
            "INSERT INTO price VALUES (2, 'NaN')",
            "COMMIT",
        ],
    );
    wait_for_all(&server, &mut psql);
    is_same(&server, &mut psql, "item", "id, name, size");
    assert_eq!(sql(&server, "SELECT * FROM totals"), sql(&server, TOTALS));
    assert!(server.log().contains(NOT_PLAIN), "{}", server.log());
}

/// What some transactions do, each to many rows.
const LARGE: [&[&str]; 4] = [
    &[
        "INSERT INTO item SELECT i, repeat('x', 200) || i, i % 7 FROM generate_series(1, 15000) i ON CONFLICT DO NOTHING",
        "UPDATE item SET size = size + 1",
    ],
    &[
        // So that no key is there already.
        "DELETE FROM item WHERE id >= 100000",
        "UPDATE item SET name = name || 'y', id = id + 100000",
        "DELETE FROM item WHERE id % 3 = 0",
    ],
    &[
        "DELETE FROM item",
        "INSERT INTO item SELECT i, 'z', i % 5 FROM generate_series(1, 20000) i",
    ],
    &[
        "TRUNCATE item",
        "INSERT INTO item SELECT i, repeat('t', 300), i FROM generate_series(1, 9000) i",
    ],
];

/// The log's bytes, as far as it has been written.
fn log_bytes(dir: &Path) -> u64 {
    let segments = fs::read_dir(dir.join("data/log")).unwrap();
    // History may be dropped while this looks.
    let bytes = segments.filter_map(|segment| segment.unwrap().metadata().ok());
    bytes.map(|metadata| metadata.len()).sum()
}

/// Returns when the log has so many bytes, or that has been waited for long enough.
fn wait_for_parts(dir: &Path, bytes: u64) {
    let began = Instant::now();
    while log_bytes(dir) < bytes && began.elapsed() < PUT_OFF_MAX {
        std::thread::yield_now();
    }
}

#[test]
fn kills_within_large_transactions_lose_nothing_and_repeat_nothing() {
    let seed = std::env::var("VIEWFEED_CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    eprintln!("VIEWFEED_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (_primary, mut psql, mut server) = followed(dir.path(), &[ITEM]);
    let feeds = [
        ("shop.item", Arc::<Mutex<Folded>>::default()),
        ("totals", Arc::default()),
    ];
    let mut within = 0;
    for kill in 0..KILLS {
        let address = format!("http://{}", server.address());
        let followers = feeds
            .each_ref()
            .map(|(relation, folded)| runtime.spawn(follow(address.clone(), relation, folded.clone())));
        let statements = LARGE[random.random_range(0..LARGE.len())];
        let log_bytes = log_bytes(dir.path());
        run(&mut psql, &[&["BEGIN"][..], statements, &["COMMIT"]].concat());
        match kill % 2 {
            0 => wait_for_parts(dir.path(), log_bytes + PARTS_BYTES),
            // The moment of the kill is anywhere; this only spreads it.
            _ => std::thread::sleep(Duration::from_millis(random.random_range(0..4000))),
        }
        server.kill();
        for follower in followers {
            runtime.block_on(follower).unwrap();
        }
        server = started(dir.path());
        within += usize::from(server.log().contains(CUT));
    }
    assert!(within > 0, "no kill was within an epoch");
    wait_for_all(&server, &mut psql);
    is_same(&server, &mut psql, "item", "id, name, size");
    assert_eq!(sql(&server, "SELECT * FROM totals"), sql(&server, TOTALS));
    let address = format!("http://{}", server.address());
    let version = runtime.block_on(version(&address));
    for (relation, folded) in &feeds {
        runtime.block_on(catch_up(&address, relation, folded, version));
        let stored = runtime.block_on(rows(&address, &format!("SELECT * FROM {relation}")));
        assert!(folded.lock().unwrap().rows == stored, "the feed of {relation}");
    }
}
