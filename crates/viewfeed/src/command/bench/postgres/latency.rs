//! From COMMIT to the delta of a view at a gRPC client, beside the bare hop of the same transactions, and fdatasync.

use super::database::{Database, NAME};
use super::{CUSTOMERS, VIEW, follow, hop};
use crate::client;
use crate::command::bench::latency::floor;
use crate::command::bench::{ms, quantile};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_stream::StreamExt;
use tonic::Streaming;
use viewfeed_change::{Error, Result};
use viewfeed_wire::v1;

/// Transactions a second, at most: more rows a second are more rows a transaction.
const TRANSACTIONS_PER_SECOND_MAX: u32 = 500;
const FLOOR_SAMPLES: usize = 200;
/// How long the last deltas may take.
const DRAIN: Duration = Duration::from_secs(60);
/// The column of the view that says which orders are in it.
const LAST_ID: usize = 3;

pub(super) const HEADER: [&str; 9] = [
    "rows/s",
    "reached",
    "rows/transaction",
    "p50 ms",
    "p99 ms",
    "bare hop p50 ms",
    "p99 ms",
    "fdatasync p50 ms",
    "p50 to hop + fdatasync",
];

/// One line: transactions are committed at a fixed rate, and timed from when COMMIT is sent.
pub(super) async fn run(database: &Database, rate: u32, length: Duration) -> Result<Vec<String>> {
    let server = follow(database).await?;
    server.sql(VIEW).await?;
    let mut floor = floor(&server.data_dir(), FLOOR_SAMPLES, Duration::ZERO)?;
    let transactions_per_second = rate.clamp(1, TRANSACTIONS_PER_SECOND_MAX);
    let rows = u64::from((rate / transactions_per_second).max(1));
    let count = (f64::from(transactions_per_second) * length.as_secs_f64()).max(5.0) as usize;
    database.make_peer_slot().await?;
    let hop = tokio::spawn(hop::receive(database.peer_stream().await?, count));
    let request = v1::TailRequest {
        relation: "by_region".into(),
        ..Default::default()
    };
    let frames = server
        .client()
        .await?
        .tail(request)
        .await
        .map_err(client::failure)?;
    let last_ids = (1..=count as u64).map(|number| number * rows - 1).collect();
    let deltas = tokio::spawn(receive(frames.into_inner(), last_ids));
    let pace = Duration::from_secs(1) / transactions_per_second;
    let sent = commit(database, count, rows, pace).await?;
    let (mut arrived, mut hopped) = (since(&sent, deltas).await?, since(&sent, hop).await?);
    let taken = sent.last().map_or(length, |last| *last - sent[0]);
    let (p50, hop, floor) = (
        quantile(&mut arrived, 0.5),
        quantile(&mut hopped, 0.5),
        quantile(&mut floor, 0.5),
    );
    Ok(vec![
        rate.to_string(),
        format!("{:.0}", (count - 1) as f64 * rows as f64 / taken.as_secs_f64()),
        rows.to_string(),
        ms(p50),
        ms(quantile(&mut arrived, 0.99)),
        ms(hop),
        ms(quantile(&mut hopped, 0.99)),
        ms(floor),
        format!("{:.2}", p50.as_secs_f64() / (hop + floor).as_secs_f64()),
    ])
}

/// Commits transactions, one connection, whatever becomes of them; gives when each COMMIT was sent.
async fn commit(database: &Database, count: usize, rows: u64, pace: Duration) -> Result<Vec<Instant>> {
    let mut ticks = tokio::time::interval(pace);
    // If the server is slower than the rate, it is not asked for more at once later.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Vec::with_capacity(count);
    for number in 0..count as u64 {
        ticks.tick().await;
        let values: Vec<String> = (number * rows..(number + 1) * rows)
            .map(|id| {
                format!(
                    "({id}, {}, {}, now(), 'order note')",
                    id * 7919 % CUSTOMERS,
                    id % 1000
                )
            })
            .collect();
        database
            .run(&format!(
                "BEGIN; INSERT INTO {NAME}.orders VALUES {}",
                values.join(", ")
            ))
            .await?;
        sent.push(Instant::now());
        database.run("COMMIT").await?;
    }
    Ok(sent)
}

/// When each of the orders has arrived. Transactions are applied in order and whole, so a later one brings those before it.
async fn receive(mut frames: Streaming<v1::TailResponse>, ids: Vec<u64>) -> Result<Vec<Instant>> {
    let mut arrived = Vec::with_capacity(ids.len());
    while arrived.len() < ids.len() {
        let frame = frames.next().await;
        let frame = frame.ok_or_else(|| Error::internal("the feed ended"))?;
        let frame = frame.map_err(client::failure)?;
        let now = Instant::now();
        let last_id = |row: &v1::Row| match row.values.get(LAST_ID)?.kind {
            Some(v1::value::Kind::Int(id)) => u64::try_from(id).ok(),
            _ => None,
        };
        let Some(last) = frame.rows.iter().filter_map(last_id).max() else {
            continue;
        };
        let there = ids[arrived.len()..].iter().take_while(|id| **id <= last).count();
        arrived.resize(arrived.len() + there, now);
    }
    Ok(arrived)
}

/// How long after `sent` each one arrived.
async fn since(sent: &[Instant], arriving: JoinHandle<Result<Vec<Instant>>>) -> Result<Vec<Duration>> {
    let arrived = tokio::time::timeout(DRAIN, arriving).await;
    let arrived = arrived.map_err(|_| Error::internal("not every commit arrived"))?;
    let arrived = arrived.map_err(|error| Error::internal("a reader stopped").because(error))??;
    Ok(arrived
        .iter()
        .zip(sent)
        .map(|(arrived, sent)| arrived.duration_since(*sent))
        .collect())
}
