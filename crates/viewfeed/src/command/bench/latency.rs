//! From an insert to its delta at a gRPC client, beside what it cannot do without: append + fdatasync on the same disk,
//! and a call to the same server that does nothing.

use super::server::{BenchServer, execute};
use super::{ms, quantile};
use crate::{client, output};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use viewfeed_change::{Error, Result};
use viewfeed_wire::v1;

/// Bytes appended for the floor: about what a small epoch takes.
const FLOOR_BYTES: usize = 512;
const FLOOR_SAMPLES: usize = 200;
/// Samples of the floor at the rate of the inserts: as many as fit into this time, at least so many.
const PACED_FLOOR: Duration = Duration::from_secs(4);
const PACED_SAMPLES_MIN: f64 = 5.0;
/// How long deltas of the last inserts may take.
const DRAIN: Duration = Duration::from_secs(10);

const SCHEMA: &str = "CREATE TABLE item (id BIGINT PRIMARY KEY, kind INT NOT NULL, label TEXT NOT NULL);
    CREATE MATERIALIZED VIEW item_by_kind AS SELECT kind, count(*) AS items FROM item GROUP BY kind;";

/// Prints one line per rate.
pub(super) async fn run(rates: &[u32], length: Duration) -> Result<()> {
    let mut table = Vec::new();
    for rate in rates {
        let server = BenchServer::start().await?;
        server.sql(SCHEMA).await?;
        let data = server.data_dir();
        let mut floor = floor(&data, FLOOR_SAMPLES, Duration::ZERO)?;
        let pace = Duration::from_secs(1) / *rate;
        let paced = (PACED_FLOOR.as_secs_f64() * f64::from(*rate)).max(PACED_SAMPLES_MIN) as usize;
        let mut call = calls(&server, paced, pace).await?;
        let mut paced = self::floor(&data, paced, pace)?;
        let mut samples = measure(&server, *rate, length).await?;
        floor.extend(self::floor(&data, FLOOR_SAMPLES, Duration::ZERO)?);
        let (floor, paced) = (quantile(&mut floor, 0.5), quantile(&mut paced, 0.5));
        let call = quantile(&mut call, 0.5);
        let (p50, p99) = (quantile(&mut samples, 0.5), quantile(&mut samples, 0.99));
        let ratio = |floor: Duration| format!("{:.2}", p50.as_secs_f64() / floor.as_secs_f64());
        table.push(vec![
            rate.to_string(),
            samples.len().to_string(),
            ms(p50),
            ms(p99),
            ms(floor),
            ratio(floor),
            ms(paced),
            ratio(paced),
            ms(call),
            ratio(paced + call),
        ]);
    }
    let header = [
        "inserts/s",
        "samples",
        "p50 ms",
        "p99 ms",
        "fdatasync p50 ms",
        "ratio",
        "at this rate",
        "ratio",
        "empty call",
        "ratio to both",
    ];
    output::line(&output::text_table(header.map(String::from).to_vec(), table));
    Ok(())
}

/// Append + fdatasync of a small record, on the disk of `dir`, `count` times with a pause before each.
pub(super) fn floor(dir: &Path, count: usize, pause: Duration) -> Result<Vec<Duration>> {
    let path = dir.join("floor");
    let mut file = File::create(&path)?;
    let record = [7u8; FLOOR_BYTES];
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        std::thread::sleep(pause);
        let start = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        samples.push(start.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(samples)
}

/// A call that does nothing (a health check), `count` times with a pause before each.
async fn calls(server: &BenchServer, count: usize, pause: Duration) -> Result<Vec<Duration>> {
    let mut health = HealthClient::new(server.channel().await?);
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        tokio::time::sleep(pause).await;
        let start = Instant::now();
        let request = HealthCheckRequest::default();
        health.check(request).await.map_err(client::failure)?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}

/// Inserts at a fixed rate, whatever the answers do (open loop), and times each until its row arrives.
async fn measure(server: &BenchServer, rate: u32, length: Duration) -> Result<Vec<Duration>> {
    let total = (f64::from(rate) * length.as_secs_f64()).max(5.0) as u64;
    let sent: Arc<Mutex<HashMap<i64, Instant>>> = Arc::default();
    let receiving = tokio::spawn(receive(server.client().await?, sent.clone(), total));
    let client = server.client().await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut inserting = JoinSet::new();
    for id in 0..total {
        ticks.tick().await;
        let (mut client, sent) = (client.clone(), sent.clone());
        inserting.spawn(async move {
            sent.lock().await.insert(id as i64, Instant::now());
            execute(
                &mut client,
                &format!("INSERT INTO item VALUES ({id}, {}, 'item')", id % 10),
            )
            .await
        });
    }
    while let Some(done) = inserting.join_next().await {
        done.map_err(|error| Error::internal("an insert stopped").because(error))??;
    }
    let received = tokio::time::timeout(DRAIN, receiving).await;
    let received = received.map_err(|_| Error::internal("not every insert arrived as a delta"))?;
    received.map_err(|error| Error::internal("the subscriber stopped").because(error))?
}

async fn receive(
    mut client: viewfeed_wire::v1::viewfeed_client::ViewfeedClient<tonic::transport::Channel>,
    sent: Arc<Mutex<HashMap<i64, Instant>>>,
    total: u64,
) -> Result<Vec<Duration>> {
    let request = v1::TailRequest {
        relation: "item".into(),
        ..Default::default()
    };
    let mut frames = client.tail(request).await.map_err(client::failure)?.into_inner();
    let mut samples = Vec::new();
    while (samples.len() as u64) < total {
        let frame = frames
            .next()
            .await
            .ok_or_else(|| Error::internal("the feed ended"))?
            .map_err(client::failure)?;
        let now = Instant::now();
        let mut sent = sent.lock().await;
        for row in &frame.rows {
            let Some(v1::value::Kind::Int(id)) = row.values.first().and_then(|value| value.kind.clone())
            else {
                return Err(Error::internal("a row came without its id"));
            };
            samples.extend(sent.remove(&id).map(|start| now - start));
        }
    }
    Ok(samples)
}
