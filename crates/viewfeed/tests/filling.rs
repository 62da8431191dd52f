//! Views over tables that are big and go on changing, with the real binary.

use crate::server::{PROGRAM, Running, sql, sql_error, start, text, tool};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use viewfeed_testbed::Viewfeed;

/// Enough for some hundreds of epochs, and for some programs to be started meanwhile.
const ROWS: usize = 600_000;
const TOTALS: &str = "SELECT c.region, count(*) AS n, sum(o.amount) AS total
    FROM orders o JOIN customer c ON c.id = o.customer_id GROUP BY c.region";

/// A server with orders.
fn shop(dir: &Path) -> Viewfeed {
    let server = start(dir);
    sql(
        &server,
        "CREATE TABLE customer (id BIGINT PRIMARY KEY, region BIGINT NOT NULL);
         CREATE TABLE orders (id BIGINT PRIMARY KEY, customer_id BIGINT NOT NULL, amount BIGINT NOT NULL)",
    );
    let customers: Vec<String> = (0..100).map(|id| format!("({id}, {})", id % 7)).collect();
    sql(
        &server,
        &format!("INSERT INTO customer VALUES {}", customers.join(",")),
    );
    for first in (0..ROWS).step_by(5000) {
        sql(&server, &orders(first, 5000));
    }
    server
}

fn orders(first: usize, count: usize) -> String {
    let rows: Vec<String> = (first..first + count)
        .map(|id| format!("({id},{},{})", id % 100, id % 13))
        .collect();
    format!("INSERT INTO orders VALUES {}", rows.join(","))
}

/// What `status` says of a relation: its state, and how far it is.
fn state(server: &Viewfeed, name: &str) -> (String, String) {
    let output = tool(server, "status", &[]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let relations = status["relations"].as_array().unwrap();
    let found = relations.iter().find(|relation| relation["name"] == name);
    let found = found.unwrap_or(&Value::Null);
    let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (word("state"), word("detail"))
}

fn rows_read(detail: &str) -> u64 {
    detail
        .split(' ')
        .next()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(0)
}

/// Runs a script beside the test.
fn beside(server: &Viewfeed, script: &str) -> Child {
    Command::new(PROGRAM)
        .args(["sql", "--server", &server.address().to_string(), "--json", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn is_true(server: &Viewfeed, view: &str, query: &str) {
    let stored = sql(server, &format!("SELECT * FROM {view} ORDER BY region"));
    let truth = sql(server, &format!("SELECT * FROM ({query}) AS t ORDER BY region"));
    assert!(!truth.is_empty());
    assert_eq!(stored, truth);
}

#[test]
fn writers_commit_while_a_view_is_filled_and_nobody_reads_it_before() {
    let dir = tempfile::tempdir().unwrap();
    let server = shop(dir.path());
    sql(
        &server,
        &format!("CREATE MATERIALIZED VIEW totals WITH (wait = false) AS {TOTALS}"),
    );
    let refused = sql_error(&server, "SELECT * FROM totals");
    assert!(
        refused.contains("being filled") && refused.contains('%'),
        "{refused}"
    );
    assert!(text(&tool(&server, "tail", &["totals"])).contains("being filled"));
    let shown = sql(&server, "SHOW VIEWS");
    assert!(
        shown[0]["state"] == "filling" && shown[0]["detail"].as_str().unwrap().contains("rows"),
        "{shown:?}"
    );
    // A view over it waits for it, and a small one does not wait for either.
    let waiting = beside(
        &server,
        "CREATE MATERIALIZED VIEW big AS SELECT region FROM totals WHERE n > 10",
    );
    sql(
        &server,
        "CREATE MATERIALIZED VIEW regions AS SELECT DISTINCT region FROM customer",
    );
    let (mut written, mut seen) = (0, Vec::new());
    loop {
        let (word, detail) = state(&server, "totals");
        if word != "filling" {
            break;
        }
        sql(&server, &orders(ROWS + written, 1));
        sql(&server, &format!("DELETE FROM orders WHERE id = {}", written * 7));
        seen.push(rows_read(&detail));
        written += 1;
    }
    assert!(
        written > 2,
        "only {written} rows were written while the view was filled"
    );
    assert!(seen.is_sorted() && seen.last() > seen.first(), "{seen:?}");
    let waited = waiting.wait_with_output().unwrap();
    assert!(waited.status.success(), "{}", text(&waited));
    is_true(&server, "totals", TOTALS);
    sql(&server, &orders(ROWS + written, 5));
    is_true(&server, "totals", TOTALS);
    assert_eq!(sql(&server, "SELECT * FROM big").len(), 7);
}

#[test]
fn filling_goes_on_after_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = shop(dir.path());
    sql(
        &server,
        &format!("CREATE MATERIALIZED VIEW totals WITH (wait = false) AS {TOTALS}"),
    );
    let mut before = 0;
    for round in 0..3 {
        while before == rows_read(&state(&server, "totals").1) && state(&server, "totals").0 == "filling" {}
        before = rows_read(&state(&server, "totals").1);
        sql(&server, &orders(ROWS + round, 1));
        server.kill();
        server = start(dir.path());
        let (now, detail) = state(&server, "totals");
        assert!(
            now == "live" || rows_read(&detail) >= before,
            "{before} became {now}: {detail}"
        );
    }
    // Whoever wants to know when it is complete creates something over it.
    sql(
        &server,
        "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM totals",
    );
    assert_eq!(state(&server, "totals").0, "live");
    is_true(&server, "totals", TOTALS);
}

#[test]
fn replacing_a_view_serves_the_old_one_and_then_emits_only_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    let server = shop(dir.path());
    let old = "SELECT id AS region, amount FROM orders WHERE id < 25000";
    let new = "SELECT id AS region, amount FROM orders WHERE id >= 3 AND id < 25002";
    sql(&server, &format!("CREATE MATERIALIZED VIEW some AS {old}"));
    sql(
        &server,
        "CREATE MATERIALIZED VIEW count_of AS SELECT count(*) AS region FROM some",
    );
    let mut feed = Running::start(&server, "tail", &["count_of", "--envelope", "diff"]);
    feed.next_of("SNAPSHOT");
    sql(
        &server,
        &format!("CREATE OR REPLACE MATERIALIZED VIEW some WITH (wait = false) AS {new}"),
    );
    assert_eq!(state(&server, "some").0, "live");
    let (mut written, mut is_seen) = (0, false);
    while state(&server, "some (replacement)").0 == "filling" {
        is_seen = true;
        sql(
            &server,
            &format!(
                "UPDATE orders SET amount = amount + 1 WHERE id = {}",
                100 + written
            ),
        );
        match sql(&server, "SELECT count(*) AS n FROM some")[0]["n"].as_i64() {
            Some(25_000) => is_seen = true,
            // It took its place in between.
            count => assert_eq!(count, Some(24_999)),
        }
        written += 1;
    }
    assert!(is_seen, "the old one was not served");
    assert_eq!(sql(&server, "SELECT count(*) AS n FROM some")[0]["n"], 24_999);
    assert_eq!(sql(&server, "SELECT * FROM count_of")[0]["region"], 24_999);
    is_true(&server, "some", new);
    sql(&server, "DELETE FROM orders WHERE id = 10");
    is_true(&server, "some", new);
    assert_eq!(sql(&server, "SELECT * FROM count_of")[0]["region"], 24_998);
    assert_eq!(sql(&server, "SHOW VIEWS").len(), 2);
}

#[test]
fn a_view_that_is_dropped_or_fails_in_the_middle_tells_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let server = shop(dir.path());
    let waiting = beside(&server, &format!("CREATE MATERIALIZED VIEW totals AS {TOTALS}"));
    while state(&server, "totals").0 != "filling" {}
    sql(&server, "DROP MATERIALIZED VIEW totals");
    let told = waiting.wait_with_output().unwrap();
    assert!(
        !told.status.success() && text(&told).contains("dropped"),
        "{}",
        text(&told)
    );
    let failed = sql_error(
        &server,
        "CREATE MATERIALIZED VIEW ratio AS SELECT id, (SELECT amount FROM orders WHERE id IN (30000, 30001)) AS ratio FROM orders",
    );
    assert!(failed.contains("failed"), "{failed}");
    assert_eq!(state(&server, "ratio").0, "failed");
    sql(&server, "DROP MATERIALIZED VIEW ratio");
    sql(
        &server,
        &format!("CREATE MATERIALIZED VIEW totals WITH (at_once = true) AS {TOTALS}"),
    );
    is_true(&server, "totals", TOTALS);
}
