//! Transactions that were written while nobody read: how fast they become durable here, beside `pg_recvlogical` on the same log.

use super::database::Database;
use super::{catch_up, follow, per_second, print, ratio};
use std::time::{Duration, Instant};
use viewfeed_change::Result;

/// Rows of a transaction, one run each.
const TRANSACTION_ROWS: [u64; 2] = [1, 1000];
/// Transactions of one row are fewer by this: writing them takes the server longest.
const SINGLE_ROWS_SHARE: u64 = 10;

/// Prints one line per size of transactions.
pub(super) async fn run(database: &Database, rows: u64) -> Result<()> {
    let mut table = Vec::new();
    for transaction_rows in TRANSACTION_ROWS {
        database.reset().await?;
        let rows = match transaction_rows {
            1 => (rows / SINGLE_ROWS_SHARE).max(1),
            _ => rows,
        };
        table.push(one(database, rows, transaction_rows).await?);
    }
    let header = [
        "rows/transaction",
        "rows",
        "rows/s",
        "transactions/s",
        "pg_recvlogical rows/s",
        "ratio",
        "CPU µs/row",
    ];
    print("drain", &header, table);
    Ok(())
}

async fn one(database: &Database, rows: u64, transaction_rows: u64) -> Result<Vec<String>> {
    let mut server = follow(database).await?;
    server.kill()?;
    database.make_peer_slot().await?;
    database.insert(0, rows, transaction_rows).await?;
    // Both begin as a process that connects, and both end at what the log ends with now.
    let start = Instant::now();
    server.start_again().await?;
    catch_up(&server, database).await?;
    let (taken, processor) = (start.elapsed(), server.processor_time()?);
    server.kill()?;
    let received = database.programs.receive(database).await?;
    let seconds = |taken: Duration| taken.as_secs_f64();
    Ok(vec![
        transaction_rows.to_string(),
        rows.to_string(),
        per_second(rows, taken),
        per_second(rows.div_ceil(transaction_rows), taken),
        received.map_or_else(|| "–".to_owned(), |received| per_second(rows, received)),
        ratio(
            1.0 / seconds(taken),
            received.map(|received| 1.0 / seconds(received)),
        ),
        format!("{:.2}", seconds(processor) * 1e6 / rows as f64),
    ])
}
