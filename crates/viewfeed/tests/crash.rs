//! The real binary, killed at random moments under load: nothing acknowledged is lost, nothing is seen twice.

use crate::server::{PROGRAM, sql};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use viewfeed_testbed::Viewfeed;
use viewfeed_wire::v1;
use viewfeed_wire::v1::frame::Kind;
use viewfeed_wire::v1::viewfeed_client::ViewfeedClient;

const ROUNDS: usize = 50;
const WRITERS: usize = 4;
const GROUPS: i64 = 5;
/// So that checkpoints, and where the state is in run files their merges, are killed too.
const LITTLE_MEMORY: [&str; 2] = ["--cache-mib", "1"];
/// Rows of which some must have been checkpointed.
const MANY_ROWS: i64 = 2000;

/// What the writers were told, shared with the checker.
#[derive(Default)]
struct Acknowledged {
    /// Rows whose insert was acknowledged and that no delete was begun for.
    present: BTreeSet<i64>,
    /// Rows whose delete was acknowledged.
    absent: BTreeSet<i64>,
    version_max: u64,
}

/// A subscriber that adds up every diff it ever got: across kills, resumed by token.
#[derive(Default)]
struct Folded {
    token: Vec<u8>,
    rows: BTreeMap<Vec<String>, i64>,
    /// Diffs of a version that is not complete yet: thrown away if the server dies in between.
    open: Vec<(Vec<String>, i64)>,
}

impl Folded {
    fn apply(&mut self, response: &v1::TailResponse) {
        let frame = response.frame.clone().unwrap_or_default();
        if matches!(frame.kind(), Kind::Reset) {
            panic!("the feed was reset ({}), although history was kept", frame.reason);
        }
        for (place, row) in response.rows.iter().enumerate() {
            let values = row
                .values
                .iter()
                .map(|value| format!("{:?}", value.kind))
                .collect();
            self.open
                .push((values, frame.diffs.get(place).copied().unwrap_or(1)));
        }
        if frame.more || frame.resume_token.is_empty() {
            return;
        }
        self.token = frame.resume_token.to_vec();
        for (row, diff) in self.open.drain(..) {
            let weight = self.rows.entry(row.clone()).or_default();
            *weight += diff;
            assert!((0..=1).contains(weight), "row {row:?} is there {weight} times");
        }
        self.rows.retain(|_, weight| *weight != 0);
    }
}

#[test]
fn kill_nine_at_any_moment_loses_nothing_and_repeats_nothing() {
    let seed = std::env::var("VIEWFEED_CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    let rounds = std::env::var("VIEWFEED_CRASH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS);
    eprintln!("VIEWFEED_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let (table, view) = (
        Arc::new(Mutex::new(Folded::default())),
        Arc::new(Mutex::new(Folded::default())),
    );
    let next_id = Arc::new(AtomicI64::new(0));
    for round in 0..rounds {
        let server = Viewfeed::start(PROGRAM, dir.path(), &LITTLE_MEMORY);
        if round == 0 {
            sql(
                &server,
                "CREATE TABLE item (id BIGINT PRIMARY KEY, g BIGINT NOT NULL); CREATE MATERIALIZED VIEW by_g AS SELECT g, count(*) AS n, max(id) AS top FROM item GROUP BY g",
            );
        }
        check(&server, &acknowledged.lock().unwrap());
        let address = format!("http://{}", server.address());
        let load: Vec<_> = (0..WRITERS)
            .map(|_| {
                runtime.spawn(write(
                    address.clone(),
                    acknowledged.clone(),
                    next_id.clone(),
                    random.random(),
                ))
            })
            .chain(
                [("item", &table), ("by_g", &view)]
                    .map(|(name, folded)| runtime.spawn(follow(address.clone(), name, folded.clone()))),
            )
            .collect();
        std::thread::sleep(Duration::from_millis(random.random_range(5..250)));
        server.kill();
        for task in load {
            runtime.block_on(task).unwrap();
        }
    }
    let server = Viewfeed::start(PROGRAM, dir.path(), &LITTLE_MEMORY);
    check(&server, &acknowledged.lock().unwrap());
    let address = format!("http://{}", server.address());
    let version = runtime.block_on(version(&address));
    for (name, folded) in [("item", table), ("by_g", view)] {
        runtime.block_on(catch_up(&address, name, &folded, version));
        let stored = runtime.block_on(rows(&address, &format!("SELECT * FROM {name}")));
        let seen: BTreeSet<_> = folded.lock().unwrap().rows.keys().cloned().collect();
        assert_eq!(seen, stored, "the feed of {name} does not add up to its content");
    }
    let written = next_id.load(Ordering::SeqCst);
    assert!(written > 100, "the load was no load");
    if let Ok(mut files) = std::fs::read_dir(dir.path().join("data/runs")) {
        assert!(
            written < MANY_ROWS || files.next().is_some(),
            "no run file after {written} rows"
        );
    }
}

/// Everything acknowledged is there, and the view is what its query gives.
fn check(server: &Viewfeed, acknowledged: &Acknowledged) {
    let ids: BTreeSet<i64> = sql(server, "SELECT id FROM item")
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect();
    let lost: Vec<_> = acknowledged.present.difference(&ids).collect();
    assert!(lost.is_empty(), "acknowledged rows are gone: {lost:?}");
    let risen: Vec<_> = acknowledged.absent.intersection(&ids).collect();
    assert!(risen.is_empty(), "deleted rows are back: {risen:?}");
    let order = "ORDER BY g";
    let view = sql(server, &format!("SELECT g, n, top FROM by_g {order}"));
    let truth = sql(
        server,
        &format!("SELECT g, count(*) AS n, max(id) AS top FROM item GROUP BY g {order}"),
    );
    assert_eq!(view, truth, "the view is not what its query gives");
}

async fn write(address: String, acknowledged: Arc<Mutex<Acknowledged>>, next_id: Arc<AtomicI64>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let Ok(mut client) = ViewfeedClient::connect(address).await else {
        return;
    };
    loop {
        let id = next_id.fetch_add(2, Ordering::SeqCst);
        // Two rows in one transaction: half a transaction would be seen by the check of the view.
        let insert = format!(
            "INSERT INTO item VALUES ({id}, {}), ({}, {})",
            id % GROUPS,
            id + 1,
            (id + 1) % GROUPS
        );
        let Some(version) = execute(&mut client, &insert).await else {
            return;
        };
        {
            let mut known = acknowledged.lock().unwrap();
            known.present.extend([id, id + 1]);
            known.version_max = known.version_max.max(version);
        }
        if random.random_bool(0.3) {
            acknowledged.lock().unwrap().present.remove(&id);
            if execute(&mut client, &format!("DELETE FROM item WHERE id = {id}"))
                .await
                .is_none()
            {
                return;
            }
            acknowledged.lock().unwrap().absent.insert(id);
        }
    }
}

/// The version of a statement that was acknowledged; None once the server is gone.
async fn execute(client: &mut ViewfeedClient<tonic::transport::Channel>, sql: &str) -> Option<u64> {
    let request = v1::ExecuteRequest {
        sql: sql.to_owned(),
        ..Default::default()
    };
    let mut responses = client.execute(request).await.ok()?.into_inner();
    let mut version = None;
    while let Some(response) = responses.next().await {
        let response = response.ok()?;
        version = (!response.command.is_empty())
            .then_some(response.version)
            .or(version);
    }
    version
}

fn tail(name: &str, token: Vec<u8>, up_to_version: u64) -> v1::TailRequest {
    let feed = v1::FeedRequest {
        resume_token: token.into(),
        up_to_version,
        envelope: v1::Envelope::Diff.into(),
        ..Default::default()
    };
    v1::TailRequest {
        relation: name.to_owned(),
        feed: Some(feed),
        filter: Vec::new(),
    }
}

/// Follows a feed until the server is gone.
async fn follow(address: String, name: &'static str, folded: Arc<Mutex<Folded>>) {
    folded.lock().unwrap().open.clear();
    let token = folded.lock().unwrap().token.clone();
    let Ok(mut client) = ViewfeedClient::connect(address).await else {
        return;
    };
    let Ok(frames) = client.tail(tail(name, token, 0)).await else {
        return;
    };
    let mut frames = frames.into_inner();
    while let Some(Ok(response)) = frames.next().await {
        folded.lock().unwrap().apply(&response);
    }
}

async fn catch_up(address: &str, name: &str, folded: &Mutex<Folded>, version: u64) {
    folded.lock().unwrap().open.clear();
    let token = folded.lock().unwrap().token.clone();
    let mut client = ViewfeedClient::connect(address.to_owned()).await.unwrap();
    let mut frames = client
        .tail(tail(name, token, version))
        .await
        .unwrap()
        .into_inner();
    while let Some(response) = frames.next().await {
        folded.lock().unwrap().apply(&response.unwrap());
    }
}

async fn version(address: &str) -> u64 {
    let mut client = ViewfeedClient::connect(address.to_owned()).await.unwrap();
    client
        .status(v1::StatusRequest {})
        .await
        .unwrap()
        .into_inner()
        .version
}

async fn rows(address: &str, sql: &str) -> BTreeSet<Vec<String>> {
    let mut client = ViewfeedClient::connect(address.to_owned()).await.unwrap();
    let request = v1::ExecuteRequest {
        sql: sql.to_owned(),
        ..Default::default()
    };
    let mut responses = client.execute(request).await.unwrap().into_inner();
    let mut rows = BTreeSet::new();
    while let Some(response) = responses.next().await {
        for row in response.unwrap().rows {
            rows.insert(
                row.values
                    .iter()
                    .map(|value| format!("{:?}", value.kind))
                    .collect(),
            );
        }
    }
    rows
}
