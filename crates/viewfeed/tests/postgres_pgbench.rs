//! pgbench at full speed against a server that is followed: at the end every view is what its query gives there, and the server
//! keeps no log for us.
//!
//! `VIEWFEED_PGBENCH_SECONDS` says how long it runs.

use crate::postgres::{primary, run};
use crate::server::{sql, start, text, tool};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use viewfeed_testbed::{Postgres, Psql, Viewfeed};

/// Of a plain test run.
const SECONDS: u64 = 4;
const SCALE: &str = "5";
const CLIENTS: &str = "4";
/// How long we may need to be where the server is, after the last transaction.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(600);
/// What the server may write by itself while we look.
const LAG_BYTES_MAX: i64 = 1 << 20;

/// Each view with its query.
const VIEWS: [(&str, &str); 4] = [
    (
        "accounts",
        "SELECT bid, count(*) AS n, sum(abalance) AS total, max(abalance) AS top FROM pgbench_accounts GROUP BY bid",
    ),
    (
        "tellers",
        "SELECT bid, count(*) AS n, sum(tbalance) AS total, max(tbalance) AS top FROM pgbench_tellers GROUP BY bid",
    ),
    (
        "branches",
        "SELECT bid, count(*) AS n, sum(bbalance) AS total, max(bbalance) AS top FROM pgbench_branches GROUP BY bid",
    ),
    (
        "history",
        "SELECT bid, count(*) AS n, sum(delta) AS total, max(tid) AS top FROM pgbench_history GROUP BY bid",
    ),
];
/// While it works: they go on being true, and their copies find nothing different.
const COPIED_AGAIN: [&str; 2] = ["pgbench_tellers", "pgbench_history"];
/// What every transaction leaves as it was: a branch has what its history says.
const UNEQUAL: &str = "SELECT branches.bid, branches.total AS has, history.total AS should_have \
    FROM branches LEFT JOIN history ON branches.bid = history.bid \
    WHERE branches.total <> coalesce(history.total, 0)";

#[test]
fn pgbench_at_full_speed_leaves_views_that_are_true_and_no_log() {
    let setting = std::env::var("VIEWFEED_PGBENCH_SECONDS").ok();
    let seconds = setting.and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let primary = primary();
    let mut psql = initialised(&primary);
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    follow(&server, &primary);
    let bench = pgbench(&primary, seconds);
    for table in COPIED_AGAIN {
        sql(&server, &format!("ALTER SOURCE bench RESYNC TABLE {table}"));
    }
    // While it works there is no moment at which half a transaction can be seen.
    let (output, looks) = watched(&server, bench);
    let ended = Instant::now();
    let end = one(&mut psql, "SELECT pg_current_wal_lsn()");
    wait(&server, ended);
    let behind = ended.elapsed();
    wait_for_slot(&mut psql, &end);
    assert!(!server.log().contains("differed"), "{}", server.log());
    let (tables, there) = (sums(&server), sums_there(&mut psql));
    assert_eq!(tables, there);
    assert!(tables.iter().all(|sum| *sum == tables[0]), "{tables:?}");
    for (view, query) in VIEWS {
        let here = sql(
            &server,
            &format!("SELECT bid, n, total, top FROM {view} ORDER BY bid"),
        );
        let here: Vec<Vec<Option<String>>> = here
            .iter()
            .map(|row| {
                ["bid", "n", "total", "top"]
                    .map(|name| text_of(&row[name]))
                    .to_vec()
            })
            .collect();
        let there = psql.query(&format!("{query} ORDER BY bid")).unwrap();
        assert_eq!(here, there, "the view {view}");
    }
    let tps = output
        .lines()
        .find(|line| line.starts_with("tps"))
        .unwrap_or_default();
    eprintln!("{seconds} s of pgbench: {tps}; {looks} looks meanwhile; there after {behind:?} more");
}

/// The tables of TPC-B; all of them can be followed.
fn initialised(primary: &Postgres) -> Psql {
    let output = primary
        .client("pgbench")
        .args(["-i", "-q", "-s", SCALE])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let mut psql = primary.connect();
    run(&mut psql, &["ALTER TABLE pgbench_history REPLICA IDENTITY FULL"]);
    psql
}

fn follow(server: &Viewfeed, primary: &Postgres) {
    let connection = primary.connection();
    sql(
        server,
        &format!("CREATE SOURCE bench FROM POSTGRES (connection = '{connection}', tables = 'public.*')"),
    );
    look_at_copy(server);
    wait(server, Instant::now());
    for (view, query) in VIEWS {
        let query = query.replace("FROM ", "FROM bench.");
        sql(server, &format!("CREATE MATERIALIZED VIEW {view} AS {query}"));
    }
    sql(server, &format!("CREATE MATERIALIZED VIEW unequal AS {UNEQUAL}"));
}

/// While tables are copied it is shown how far that is, and how long it will take.
fn look_at_copy(server: &Viewfeed) {
    let looked =
        "SELECT copied_rows, expected_rows, rows_per_second, seconds_left, live_tables FROM viewfeed.sources";
    loop {
        let source = &sql(server, looked)[0];
        if source["copied_rows"].as_u64().is_some_and(|rows| rows > 0)
            && source["seconds_left"] != Value::Null
        {
            assert!(source["expected_rows"].as_u64().unwrap() > 400_000, "{source}");
            assert!(source["rows_per_second"].as_u64().unwrap() > 0, "{source}");
            break;
        }
        assert_ne!(source["live_tables"], 4, "nobody saw the copy");
    }
    let status = text(&tool(server, "status", &[]));
    assert!(status.contains("seconds_left"), "{status}");
}

fn pgbench(primary: &Postgres, seconds: u64) -> Child {
    let mut pgbench = primary.client("pgbench");
    pgbench.args(["-n", "-c", CLIENTS, "-T", &seconds.to_string()]);
    pgbench
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Looks until it has ended; gives what it said, and how often it was looked.
fn watched(server: &Viewfeed, mut bench: Child) -> (String, usize) {
    let mut looks = 0;
    while bench.try_wait().unwrap().is_none() {
        assert_eq!(sql(server, "SELECT * FROM unequal"), Vec::<Value>::new());
        looks += 1;
    }
    let output = bench.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    (text(&output), looks)
}

/// Waits for the source, however often it says that it takes longer.
fn wait(server: &Viewfeed, since: Instant) {
    loop {
        let waited = tool(server, "sql", &["WAIT FOR SOURCE bench"]);
        if waited.status.success() {
            return;
        }
        let is_patient = since.elapsed() < CAUGHT_UP_WITHIN;
        assert!(is_patient, "{}\n{}", text(&waited), server.log());
    }
}

/// Returns when the server was told that we have everything up to `end`, and keeps next to nothing for us.
fn wait_for_slot(psql: &mut Psql, end: &str) {
    let began = Instant::now();
    let state = format!(
        "SELECT confirmed_flush_lsn >= '{end}', pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) \
         FROM pg_replication_slots WHERE slot_name = 'viewfeed_bench'"
    );
    loop {
        let rows = psql.query(&state).unwrap();
        let [Some(is_there), Some(lag_bytes)] = rows[0].as_slice() else {
            panic!("{rows:?}");
        };
        if is_there == "t" && lag_bytes.parse::<i64>().unwrap() < LAG_BYTES_MAX {
            return;
        }
        assert!(began.elapsed() < CAUGHT_UP_WITHIN, "{rows:?}");
    }
}

const SUMS: [(&str, &str); 4] = [
    ("abalance", "pgbench_accounts"),
    ("tbalance", "pgbench_tellers"),
    ("bbalance", "pgbench_branches"),
    ("delta", "pgbench_history"),
];

/// What is in the tables here: by what they were changed.
fn sums(server: &Viewfeed) -> Vec<Option<String>> {
    let sum = |(column, table)| {
        let rows = sql(
            server,
            &format!("SELECT sum({column}) AS total FROM bench.{table}"),
        );
        text_of(&rows[0]["total"])
    };
    SUMS.into_iter().map(sum).collect()
}

fn sums_there(psql: &mut Psql) -> Vec<Option<String>> {
    let sum = |(column, table)| Some(one(psql, &format!("SELECT sum({column}) FROM {table}")));
    SUMS.into_iter().map(sum).collect()
}

fn one(psql: &mut Psql, query: &str) -> String {
    psql.query(query).unwrap()[0][0].clone().unwrap()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
