//! The server of a source fails and its standby takes its place, under the same name: the source goes on by itself. From version 17
//! on the slot is there already and nothing is copied; before, the tables are copied again and views get the differences.

use crate::follower::{Folded, catch_up, follow, rows, version};
use crate::postgres::{is_same, primary, run};
use crate::server::{sql, start};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use viewfeed_testbed::{Proxy, Psql};

/// The first version whose standbys keep slots.
const KEEPS_SLOTS: u32 = 17;
/// Why tables are copied again where the new server has no slot.
const COPIED_AGAIN: &str = "the replication slot was made anew";
/// How long a standby may take to follow.
const PATIENCE: Duration = Duration::from_secs(60);

const ACCOUNTS: &[&str] = &[
    "CREATE TABLE account (id int PRIMARY KEY, region int, balance int)",
    "INSERT INTO account SELECT i, i % 5, 0 FROM generate_series(1, 2000) i",
];
const BALANCES: &str =
    "SELECT region, count(*) AS n, sum(balance) AS total FROM shop.account GROUP BY region";

/// Returns when a query that gives true or false gives true.
fn wait_until(psql: &mut Psql, query: &str) {
    let began = Instant::now();
    while psql.query(query).unwrap()[0][0].as_deref() != Some("t") {
        assert!(began.elapsed() < PATIENCE, "never true: {query}");
        std::thread::yield_now();
    }
}

/// Money moves: the balances add up to nothing after every transaction.
fn work(psql: &mut Psql, from: i32) {
    for id in from..from + 200 {
        let other = id + 700;
        run(
            psql,
            &[
                "BEGIN",
                &format!("UPDATE account SET balance = balance - 3 WHERE id = {id}"),
                &format!("UPDATE account SET balance = balance + 3 WHERE id = {other}"),
                "COMMIT",
            ],
        );
    }
}

#[test]
fn a_source_goes_on_by_itself_when_the_standby_takes_over() {
    let mut primary = primary();
    let standby = primary.standby();
    let mut psql = primary.connect();
    run(&mut psql, ACCOUNTS);
    let proxy = Proxy::start(([127, 0, 0, 1], primary.port()).into());
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let connection = primary.connection_by(proxy.port());
    sql(
        &server,
        &format!("CREATE SOURCE shop FROM POSTGRES (connection = '{connection}', tables = 'public.*')"),
    );
    sql(
        &server,
        &format!("WAIT FOR SOURCE shop; CREATE MATERIALIZED VIEW balances AS {BALANCES}"),
    );
    let runtime = Runtime::new().unwrap();
    let address = format!("http://{}", server.address());
    let folded = Arc::new(Mutex::new(Folded::of(false, Some(2))));
    let follower = runtime.spawn(follow(address.clone(), "shop.account", folded.clone()));
    work(&mut psql, 1);
    is_same(&server, &mut psql, "account", "id, region, balance");

    let keeps_slots = primary.major() >= KEEPS_SLOTS;
    let mut follows = standby.connect();
    let last = psql.query("SELECT pg_current_wal_lsn()").unwrap()[0][0]
        .clone()
        .unwrap();
    wait_until(
        &mut follows,
        &format!("SELECT pg_last_wal_replay_lsn() >= '{last}'"),
    );
    if keeps_slots {
        let synced = "SELECT count(*) = 1 FROM pg_replication_slots WHERE synced AND NOT temporary";
        wait_until(&mut follows, synced);
    }
    primary.crash();
    standby.promote();
    proxy.point_to(([127, 0, 0, 1], standby.port()).into());

    let mut psql = standby.connect();
    work(&mut psql, 301);
    is_same(&server, &mut psql, "account", "id, region, balance");
    let all = |query: &str| sql(&server, &format!("{query} ORDER BY region"));
    assert_eq!(all("SELECT * FROM balances"), all(BALANCES));
    follower.abort();
    let version = runtime.block_on(version(&address));
    runtime.block_on(catch_up(&address, "shop.account", &folded, version));
    let stored = runtime.block_on(rows(&address, "SELECT * FROM shop.account"));
    assert!(folded.lock().unwrap().rows == stored, "the feed does not add up");
    assert_eq!(
        server.log().contains(COPIED_AGAIN),
        !keeps_slots,
        "{}",
        server.log()
    );
}
