//! A view created over a big table: how fast it is filled, and what those who write meanwhile feel of it, beside filling it
//! at once while everybody waits.

use super::server::{BenchServer, execute};
use super::throughput::{VIEW, load};
use super::{ms, quantile};
use crate::output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use viewfeed_change::{Error, Result};

/// Inserts of one row a second while it is measured.
const INSERTS_PER_SECOND: u32 = 100;
/// How long they are measured without a view being filled.
const BEFORE: Duration = Duration::from_secs(5);

/// Prints one line per way of filling.
pub(super) async fn run(rows: usize) -> Result<()> {
    let server = BenchServer::start().await?;
    let next = Arc::new(AtomicU64::new(0));
    load(&server, rows, &next).await?;
    let (stop, writing) = write(&server, &next).await?;
    tokio::time::sleep(BEFORE).await;
    stop.store(true, Ordering::Relaxed);
    let before = finished(writing).await?;
    let mut table = vec![line("no view is filled", None, before)];
    for (what, option) in [("while writes go on", ""), ("at once", " WITH (at_once = true)")] {
        let (stop, writing) = write(&server, &next).await?;
        let start = Instant::now();
        server
            .sql(&format!("CREATE MATERIALIZED VIEW by_region{option} AS {VIEW}"))
            .await?;
        let taken = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        let samples = finished(writing).await?;
        let filled = (next.load(Ordering::Relaxed), taken);
        table.push(line(what, Some(filled), samples));
        server.sql("DROP MATERIALIZED VIEW by_region").await?;
    }
    let header = [
        "filling",
        "s",
        "rows/s",
        "inserts",
        "p50 ms",
        "p99 ms",
        "longest ms",
    ];
    output::line(&output::text_table(header.map(String::from).to_vec(), table));
    Ok(())
}

fn line(what: &str, filled: Option<(u64, Duration)>, mut samples: Vec<Duration>) -> Vec<String> {
    let seconds = filled.map(|(_, taken)| format!("{:.1}", taken.as_secs_f64()));
    let rate = filled.map(|(rows, taken)| format!("{:.0}", rows as f64 / taken.as_secs_f64()));
    vec![
        what.to_owned(),
        seconds.unwrap_or_default(),
        rate.unwrap_or_default(),
        samples.len().to_string(),
        ms(quantile(&mut samples, 0.5)),
        ms(quantile(&mut samples, 0.99)),
        ms(quantile(&mut samples, 1.0)),
    ]
}

type Writing = JoinHandle<Result<Vec<Duration>>>;

/// Inserts rows at a fixed rate, whatever the answers do, until told to stop.
async fn write(server: &BenchServer, next: &Arc<AtomicU64>) -> Result<(Arc<AtomicBool>, Writing)> {
    let stop = Arc::new(AtomicBool::new(false));
    let (client, is_over, next) = (server.client().await?, stop.clone(), next.clone());
    let writing = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / INSERTS_PER_SECOND);
        let mut inserting = tokio::task::JoinSet::new();
        while !is_over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let (mut client, id) = (client.clone(), next.fetch_add(1, Ordering::Relaxed));
            inserting.spawn(async move {
                let start = Instant::now();
                let insert = format!("INSERT INTO orders VALUES ({id}, {}, 1, 'late')", id % 1000);
                execute(&mut client, &insert).await.map(|_| start.elapsed())
            });
        }
        let mut samples = Vec::new();
        while let Some(done) = inserting.join_next().await {
            samples.push(done.map_err(stopped)??);
        }
        Ok(samples)
    });
    Ok((stop, writing))
}

async fn finished(writing: Writing) -> Result<Vec<Duration>> {
    writing.await.map_err(stopped)?
}

fn stopped(error: tokio::task::JoinError) -> Error {
    Error::internal("an insert stopped").because(error)
}
