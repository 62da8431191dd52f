//! Whether what is here is what is there.

use crate::server::sql;
use serde_json::Value;
use viewfeed_testbed::{Psql, Viewfeed};

/// An embedded table, and views over it and the tables of the source.
pub(super) const VIEWS: &str = "
    CREATE TABLE kind (kind INT PRIMARY KEY, label TEXT NOT NULL);
    INSERT INTO kind VALUES (0, 'l0'), (1, 'l1'), (2, 'l2'), (3, 'l3'), (4, 'l0');
    CREATE MATERIALIZED VIEW by_label AS SELECT kind.label, count(*) AS n, sum(account.balance) AS total,
        max(account.id) AS top FROM shop.account JOIN kind ON account.kind = kind.kind GROUP BY kind.label;
    CREATE MATERIALIZED VIEW words AS SELECT DISTINCT word, kind FROM shop.loose;
    CREATE MATERIALIZED VIEW largest AS SELECT region, number, amount FROM shop.pair
        ORDER BY amount DESC NULLS LAST, region, number LIMIT 10;
    CREATE MATERIALIZED VIEW shifted AS SELECT v, count(*) AS n FROM shop.shifting GROUP BY v;
    CREATE MATERIALIZED VIEW measured AS SELECT measure.part, count(*) AS n, sum(measure.n) AS total
        FROM shop.measure LEFT JOIN shop.document ON measure.id = document.n GROUP BY measure.part";

/// Each view with its query.
const QUERIES: [(&str, &str); 5] = [
    (
        "by_label",
        "SELECT kind.label, count(*) AS n, sum(account.balance) AS total, max(account.id) AS top \
         FROM shop.account JOIN kind ON account.kind = kind.kind GROUP BY kind.label",
    ),
    ("words", "SELECT DISTINCT word, kind FROM shop.loose"),
    (
        "largest",
        "SELECT region, number, amount FROM shop.pair ORDER BY amount DESC NULLS LAST, region, number LIMIT 10",
    ),
    ("shifted", "SELECT v, count(*) AS n FROM shop.shifting GROUP BY v"),
    (
        "measured",
        "SELECT measure.part, count(*) AS n, sum(measure.n) AS total \
         FROM shop.measure LEFT JOIN shop.document ON measure.id = document.n GROUP BY measure.part",
    ),
];

/// The columns and rows of a table.
pub(super) fn table(server: &Viewfeed, psql: &mut Psql, table: &str) {
    let columns = psql
        .query(&format!(
            "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        ))
        .unwrap();
    let columns: Vec<String> = columns.into_iter().flatten().flatten().collect();
    let described = sql(server, &format!("SHOW COLUMNS FROM shop.{table}"));
    let described: Vec<&str> = described
        .iter()
        .map(|row| row["column"].as_str().unwrap())
        .collect();
    assert_eq!(described, columns, "the columns of {table}: here, there");

    let list = columns.join(", ");
    let mut there = psql.query(&format!("SELECT {list} FROM {table}")).unwrap();
    let mut here: Vec<Vec<Option<String>>> = sql(server, &format!("SELECT {list} FROM shop.{table}"))
        .iter()
        .map(|row| columns.iter().map(|column| text(&row[column])).collect())
        .collect();
    here.sort();
    there.sort();
    if here != there {
        let only = |of: &[Vec<Option<String>>], not: &[Vec<Option<String>>]| {
            let rows = of.iter().filter(|row| not.binary_search(row).is_err());
            rows.take(5).map(|row| brief(row)).collect::<Vec<_>>()
        };
        panic!(
            "{table}: {} rows here, {} there; only here: {:#?}; only there: {:#?}\n{}",
            here.len(),
            there.len(),
            only(&here, &there),
            only(&there, &here),
            server.log()
        );
    }
}

/// Every view is what its query gives.
pub(super) fn views(server: &Viewfeed) {
    let states = sql(
        server,
        "SELECT name, state, detail FROM viewfeed.views WHERE state <> 'live'",
    );
    assert!(states.is_empty(), "{states:?}");
    for (view, query) in QUERIES {
        let order = "ORDER BY 1, 2, 3";
        let order = if view == "words" || view == "shifted" {
            "ORDER BY 1, 2"
        } else {
            order
        };
        let here = sql(server, &format!("SELECT * FROM {view} {order}"));
        let truth = sql(server, &format!("SELECT * FROM ({query}) AS t {order}"));
        assert_eq!(here, truth, "the view {view}");
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A row, its large values cut.
fn brief(row: &[Option<String>]) -> String {
    let values = row.iter().map(|value| match value {
        None => "NULL".to_owned(),
        Some(text) => text.chars().take(40).collect(),
    });
    values.collect::<Vec<_>>().join(" | ")
}
