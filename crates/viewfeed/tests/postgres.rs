//! A Postgres database as a source, with the real server and the real binary.

use crate::server::{sql, start};
use serde_json::{Value, json};
use viewfeed_testbed::{Postgres, Psql, Viewfeed};

/// A server that can be a source.
fn primary() -> Postgres {
    Postgres::start_with(&[
        "wal_level=logical",
        "max_wal_senders=20",
        "max_replication_slots=20",
    ])
}

fn run(psql: &mut Psql, statements: &[&str]) {
    for statement in statements {
        psql.query(statement).unwrap();
    }
}

fn create_source(server: &Viewfeed, primary: &Postgres) {
    sql(
        server,
        &format!(
            "CREATE SOURCE shop FROM POSTGRES (connection = '{}', tables = 'public.*')",
            primary.connection()
        ),
    );
}

/// What the view or table holds when everything that was committed has come.
fn rows(server: &Viewfeed, query: &str) -> Vec<Value> {
    sql(server, "WAIT FOR SOURCE shop");
    sql(server, query)
}

const ORDERS: &[&str] = &[
    "CREATE TABLE orders (id bigint PRIMARY KEY, region text NOT NULL, amount numeric(10, 2), note text)",
    "INSERT INTO orders SELECT i, 'r' || i % 3, i / 4.0, repeat('x', 3000) FROM generate_series(1, 1000) i",
];
const BY_REGION: &str = "SELECT region, count(*) AS n, sum(amount) AS total FROM shop.orders GROUP BY region";

#[test]
fn a_view_over_postgres_holds_what_was_there_and_what_comes() {
    let primary = primary();
    let mut psql = primary.connect();
    run(&mut psql, ORDERS);
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    create_source(&server, &primary);
    sql(
        &server,
        &format!("CREATE MATERIALIZED VIEW by_region AS {BY_REGION}"),
    );
    let counts = "SELECT region, n FROM by_region ORDER BY region";
    let expected = [("r0", 333), ("r1", 334), ("r2", 333)];
    let expected = expected.map(|(region, n)| json!({"region": region, "n": n}));
    assert_eq!(rows(&server, counts), expected);

    run(
        &mut psql,
        &[
            "INSERT INTO orders VALUES (2000, 'r9', 1.25, 'new')",
            "UPDATE orders SET amount = amount + 1 WHERE id <= 3",
            "UPDATE orders SET id = id + 10000 WHERE id = 4",
            "DELETE FROM orders WHERE id BETWEEN 10 AND 19",
        ],
    );
    let here = rows(
        &server,
        "SELECT count(*) AS n, sum(amount) AS total, sum(length(note)) AS notes FROM shop.orders",
    );
    let there = &psql
        .query("SELECT count(*), sum(amount), sum(length(note)) FROM orders")
        .unwrap()[0];
    assert_eq!(here[0]["n"].to_string(), *there[0].as_ref().unwrap());
    assert_eq!(
        here[0]["total"]
            .as_str()
            .map(str::to_owned)
            .unwrap_or_else(|| here[0]["total"].to_string()),
        *there[1].as_ref().unwrap()
    );
    assert_eq!(here[0]["notes"].to_string(), *there[2].as_ref().unwrap());
    let truth = rows(
        &server,
        &format!("SELECT * FROM ({BY_REGION}) AS t ORDER BY region"),
    );
    assert_eq!(rows(&server, "SELECT * FROM by_region ORDER BY region"), truth);
}
