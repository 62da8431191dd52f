//! How fast many rows are inserted: a measurement, run with `--ignored --nocapture` in a quiet moment.

use crate::database::Database;
use datafusion::sql::sqlparser::ast;
use std::time::{Duration, Instant};
use viewfeed_query::Statement;
use viewfeed_store::arrange;

const ROWS: usize = 10_000;

#[test]
#[ignore = "a measurement, not a fact"]
fn how_fast_many_rows_are_inserted() {
    let table = "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT NOT NULL, n INT, at TIMESTAMP)";
    let mut database = Database::with(table);
    for round in 0..5 {
        let (whole, store) = insert(&mut database, &statement(round * ROWS));
        println!("{ROWS} rows in {whole:?}, of which staging {store:?}");
    }
}

fn statement(first: usize) -> ast::Statement {
    let row = |id| format!("({id}, 'name {id}', {}, '2024-01-02 03:04:05')", id % 97);
    let rows: Vec<String> = (first..first + ROWS).map(row).collect();
    let sql = format!("INSERT INTO t VALUES {}", rows.join(","));
    match viewfeed_query::parse(&sql).unwrap().remove(0).statement {
        Statement::Sql(statement) => *statement,
        _ => panic!("not SQL"),
    }
}

/// The time of the whole statement, parsed already, and of staging its rows once more: what the store costs.
fn insert(database: &mut Database, statement: &ast::Statement) -> (Duration, Duration) {
    let timed = database.transaction(|embedded, context| {
        let start = Instant::now();
        embedded.execute(statement, context)?;
        let whole = start.elapsed();
        let delta = context.changes[0].clone();
        let relation = context.relations.get(delta.relation).cloned().unwrap();
        let primary = arrange::primary(&context.txn.now(), &relation)?;
        primary.stage(context.txn, &delta.batch.clone().negate())?;
        let start = Instant::now();
        primary.stage(context.txn, &delta.batch)?;
        Ok((whole, start.elapsed()))
    });
    timed.unwrap().0
}
