//! The real binary, killed at random moments under load: nothing acknowledged is lost, nothing is seen twice.

use crate::follower::{Folded, catch_up, follow, rows, version};
use crate::server::{PROGRAM, sql};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use viewfeed_testbed::Viewfeed;
use viewfeed_wire::v1;
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
        let folded = folded.lock().unwrap();
        assert_eq!(folded.rows, stored, "the feed of {name} does not add up");
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
