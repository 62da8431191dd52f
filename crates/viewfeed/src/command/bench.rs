//! `viewfeed bench`: this very binary as a server on a scratch folder, measured from outside by gRPC clients.
//!
//! Every figure is printed beside what the same disk or the same query costs without viewfeed, in the same run.

mod fill;
mod latency;
mod postgres;
mod restart;
mod server;
mod step;
mod throughput;

use crate::cli::{Bench, BenchWhat};
use std::time::Duration;
use viewfeed_change::Result;

/// Measures.
pub(super) async fn run(arguments: Bench) -> Result<()> {
    match arguments.what {
        BenchWhat::Latency { rates, seconds } => latency::run(&rates, Duration::from_secs(seconds)).await,
        BenchWhat::Throughput {
            batches,
            rows,
            seconds,
        } => throughput::run(&batches, rows, Duration::from_secs(seconds)).await,
        BenchWhat::Fill { rows } => fill::run(rows).await,
        BenchWhat::Restart { rows } => restart::run(rows).await,
        BenchWhat::Postgres(arguments) => postgres::run(&arguments).await,
        BenchWhat::Step {
            tables,
            changes,
            seconds,
        } => {
            let measure = move || step::run(&tables, &changes, Duration::from_secs(seconds));
            let measured = tokio::task::spawn_blocking(measure).await;
            measured
                .map_err(|error| viewfeed_change::Error::internal("the benchmark stopped").because(error))?
        }
    }
}

/// The value below which `share` of the sorted `samples` lie.
fn quantile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let place = (samples.len() as f64 * share) as usize;
    samples
        .get(place.min(samples.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}
