//! Rows per second into a table with a join + aggregate view, beside computing the view again after every transaction.

use super::ms;
use super::server::{BenchServer, execute};
use crate::output;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use viewfeed_change::{Error, Result};

const CUSTOMERS: u64 = 1000;
pub(super) const VIEW: &str = "SELECT c.region, count(*) AS orders, sum(o.amount) AS amount
    FROM orders o JOIN customer c ON o.customer_id = c.id GROUP BY c.region";

/// Prints one line per batch size.
pub(super) async fn run(batches: &[usize], rows: usize, length: Duration) -> Result<()> {
    let mut table = Vec::new();
    for batch in batches {
        let server = BenchServer::start().await?;
        let next = Arc::new(AtomicU64::new(0));
        prepare(&server, rows, &next).await?;
        let clients = clients_for(*batch);
        let (written, transactions, taken) = write(&server, *batch, clients, length, &next).await?;
        let recompute = recompute(&server).await?;
        let incremental = written as f64 / taken.as_secs_f64();
        let per_transaction = taken / u32::try_from(transactions.max(1)).unwrap_or(u32::MAX);
        let recomputed = *batch as f64 / (per_transaction + recompute).as_secs_f64();
        table.push(vec![
            batch.to_string(),
            clients.to_string(),
            format!("{incremental:.0}"),
            ms(recompute),
            format!("{recomputed:.0}"),
            format!("{:.1}", incremental / recomputed),
        ]);
    }
    let header = [
        "rows/transaction",
        "clients",
        "rows/s",
        "recompute ms",
        "rows/s if recomputed",
        "ratio",
    ];
    output::line(&output::text_table(header.map(String::from).to_vec(), table));
    Ok(())
}

/// Few rows a transaction: many writers, as an app has; many rows: a loader or two.
fn clients_for(batch: usize) -> usize {
    match batch {
        0..=10 => 64,
        11..=1000 => 8,
        _ => 2,
    }
}

pub(super) async fn prepare(server: &BenchServer, rows: usize, next: &AtomicU64) -> Result<()> {
    load(server, 0, next).await?;
    server
        .sql(&format!("CREATE MATERIALIZED VIEW by_region AS {VIEW}"))
        .await?;
    insert_rows(server, rows, next).await
}

/// The tables, with so many rows and without the view.
pub(super) async fn load(server: &BenchServer, rows: usize, next: &AtomicU64) -> Result<()> {
    let mut script = String::from(
        "CREATE TABLE customer (id BIGINT PRIMARY KEY, region INT NOT NULL);
         CREATE TABLE orders (id BIGINT PRIMARY KEY, customer_id BIGINT NOT NULL, amount BIGINT NOT NULL, note TEXT NOT NULL);",
    );
    let customers = (0..CUSTOMERS)
        .map(|id| format!("({id}, {})", id % 20))
        .collect::<Vec<_>>()
        .join(", ");
    // Writing to a String cannot fail.
    let _ = write!(script, "INSERT INTO customer VALUES {customers};");
    server.sql(&script).await?;
    insert_rows(server, rows, next).await
}

async fn insert_rows(server: &BenchServer, rows: usize, next: &AtomicU64) -> Result<()> {
    let mut client = server.client().await?;
    let mut left = rows;
    while left > 0 {
        let count = left.min(10_000);
        execute(
            &mut client,
            &insert(next.fetch_add(count as u64, Ordering::Relaxed), count),
        )
        .await?;
        left -= count;
    }
    Ok(())
}

async fn write(
    server: &BenchServer,
    batch: usize,
    clients: usize,
    length: Duration,
    next: &Arc<AtomicU64>,
) -> Result<(u64, u64, Duration)> {
    let start = Instant::now();
    let mut writing = JoinSet::new();
    for _ in 0..clients {
        let (mut client, next) = (server.client().await?, next.clone());
        writing.spawn(async move {
            let mut transactions = 0;
            while start.elapsed() < length {
                let first = next.fetch_add(batch as u64, Ordering::Relaxed);
                execute(&mut client, &insert(first, batch)).await?;
                transactions += 1;
            }
            Ok::<u64, Error>(transactions)
        });
    }
    let mut transactions = 0;
    while let Some(done) = writing.join_next().await {
        transactions += done.map_err(|error| Error::internal("a writer stopped").because(error))??;
    }
    Ok((transactions * batch as u64, transactions, start.elapsed()))
}

/// What DataFusion takes for the view's query over the same tables, best of three.
async fn recompute(server: &BenchServer) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        server.sql(VIEW).await?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn insert(first: u64, count: usize) -> String {
    let mut sql = String::with_capacity(count * 40);
    sql.push_str("INSERT INTO orders VALUES ");
    for place in 0..count as u64 {
        let id = first + place;
        let comma = if place == 0 { "" } else { ", " };
        let _ = write!(
            sql,
            "{comma}({id}, {}, {}, 'order note')",
            id * 7919 % CUSTOMERS,
            id % 1000
        );
    }
    sql
}
