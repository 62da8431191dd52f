//! Join + aggregate: changes of three sizes over tables of several sizes.

use super::{Settings, same};
use crate::circuit::{self, orders::OrdersCircuit};
use crate::ours::{Database, Mode};
use crate::postgres::Postgres;
use crate::report::Table;
use crate::timing::Steps;
use crate::workload::orders::{self, Order, Orders};
use std::path::Path;
use std::time::Duration;
use viewfeed_change::Result;

/// Rows of a change, and how many changes of it.
const CHANGES: [(usize, usize); 3] = [(1, 1000), (100, 300), (10_000, 40)];
const WARM_UP_STEPS: usize = 10;
/// Rows loaded in one epoch.
const LOAD_ROWS: usize = 50_000;
const RECOMPUTE: &str = "DataFusion, anew each time";
const POSTGRES: &str = "Postgres, DML + REFRESH";
/// Changes that Postgres is given of each size: every one computes the view anew.
const POSTGRES_STEPS: usize = 5;

/// Runs it; gives rates and times.
pub(crate) fn run(settings: &Settings, scratch: &Path) -> Result<Vec<Table>> {
    let title = |of: &str| format!("Join + aggregate: {of}");
    let mut tables = [
        Table::new(
            title("rows of changes a second"),
            "join-rate",
            "rows/s",
            circuit::NAME,
            true,
        ),
        Table::new(
            title("median time of a change"),
            "join-time",
            "ms",
            circuit::NAME,
            false,
        ),
    ];
    for rows in &settings.rows {
        let modes = if settings.is_alone {
            &Mode::ALL[2..3]
        } else {
            &Mode::ALL[..]
        };
        let mut sums = Vec::new();
        for (i, mode) in modes.iter().enumerate() {
            let dir = tempfile::tempdir_in(scratch)?;
            let mut database = open(dir.path(), *mode)?;
            measure(*rows, &mode.to_string(), &mut tables, &mut |change| {
                step(&mut database, change)
            })?;
            sums.push(database.output);
            if i + 1 == modes.len() {
                let anew = database.recompute(orders::SQL)?.as_secs_f64();
                for (change, _) in CHANGES {
                    put(
                        &mut tables,
                        *rows,
                        change,
                        RECOMPUTE,
                        change as f64 / anew,
                        anew * 1e3,
                    );
                }
            }
        }
        if settings.is_alone {
            continue;
        }
        let mut peer = OrdersCircuit::new();
        measure(*rows, circuit::NAME, &mut tables, &mut |change| {
            Ok(peer.step(change))
        })?;
        for sum in sums {
            same("join + aggregate", sum, peer.circuit.output)?;
        }
        peer.circuit.close();
        postgres(*rows, &mut tables)?;
    }
    Ok(tables.into())
}

/// Loads `rows`, then times changes of every size. Everybody gets the same ones.
fn measure(
    rows: usize,
    subject: &str,
    tables: &mut [Table; 2],
    step: &mut dyn FnMut(&[Order]) -> Result<Duration>,
) -> Result<()> {
    let mut orders = Orders::new(rows);
    loop {
        let loaded = orders.load(LOAD_ROWS);
        if loaded.is_empty() {
            break;
        }
        step(&loaded)?;
    }
    for (change, count) in CHANGES {
        let mut steps = Steps::default();
        for _ in 0..WARM_UP_STEPS {
            step(&orders.turn_over(change))?;
        }
        for _ in 0..count {
            steps.push(step(&orders.turn_over(change))?);
        }
        put(
            tables,
            rows,
            change,
            subject,
            steps.per_second(change),
            steps.median_ms(),
        );
    }
    Ok(())
}

fn put(tables: &mut [Table; 2], rows: usize, change: usize, subject: &str, rate: f64, time_ms: f64) {
    let case = format!("{change} of {rows} rows");
    tables[0].put(&case, subject, Some(rate));
    tables[1].put(&case, subject, Some(time_ms));
    println!("join: {case}: {subject}: {rate:.0} rows/s, {time_ms:.3} ms");
}

fn open(dir: &Path, mode: Mode) -> Result<Database> {
    let mut database = Database::open(dir, mode, &orders::tables(), orders::SQL)?;
    let customers = orders::customer_batch(database.table(orders::CUSTOMER))?;
    database.epoch(vec![(orders::CUSTOMER, customers)])?;
    Ok(database)
}

fn step(database: &mut Database, change: &[Order]) -> Result<Duration> {
    let batch = orders::order_batch(database.table(orders::ORDERS), change)?;
    database.epoch(vec![(orders::ORDERS, batch)])
}

/// The same in Postgres, if there is one: tables and a materialised view that is refreshed after every change.
fn postgres(rows: usize, tables: &mut [Table; 2]) -> Result<()> {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(why) => {
            println!("join: {rows} rows: {POSTGRES}: not measured: {why}");
            return Ok(());
        }
    };
    server.run(&postgres_schema(rows))?;
    let mut next = rows;
    for (change, _) in CHANGES {
        let mut steps = Steps::default();
        for _ in 0..POSTGRES_STEPS {
            steps.push(server.time(&postgres_change(next, change, rows))?);
            next += change.div_ceil(2);
        }
        put(
            tables,
            rows,
            change,
            POSTGRES,
            steps.per_second(change),
            steps.median_ms(),
        );
    }
    Ok(())
}

fn postgres_schema(rows: usize) -> String {
    let customers = orders::CUSTOMERS;
    format!(
        "CREATE TABLE customer (id bigint PRIMARY KEY, city text);
         INSERT INTO customer SELECT i, 'city ' || i % 100 FROM generate_series(0, {customers} - 1) i;
         CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, amount bigint);
         INSERT INTO orders SELECT i, i::bigint * 7919 % {customers}, i % 100 + 1 FROM generate_series(0, {rows} - 1) i;
         CREATE MATERIALIZED VIEW totals AS {};
         ANALYZE;",
        orders::SQL
    )
}

fn postgres_change(next: usize, change: usize, rows: usize) -> String {
    let (customers, new) = (orders::CUSTOMERS, change.div_ceil(2));
    let (oldest, after) = (next - rows, next - rows + change / 2);
    format!(
        "BEGIN;
         INSERT INTO orders SELECT i, i::bigint * 7919 % {customers}, i % 100 + 1
           FROM generate_series({next}, {next} + {new} - 1) i;
         DELETE FROM orders WHERE id >= {oldest} AND id < {after};
         REFRESH MATERIALIZED VIEW totals;
         COMMIT;"
    )
}
