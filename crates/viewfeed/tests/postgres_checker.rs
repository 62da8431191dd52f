//! The checker of the Postgres source: clients work at a real server at random while it, the real binary and the connection
//! between them are killed, cut and stalled. Then tables here are tables there, views are what their queries give, and a
//! subscriber that has added up every change since the beginning has the table.
//!
//! `VIEWFEED_CHECKER_SEED` repeats a run, as far as clients beside each other can be repeated; `VIEWFEED_CHECKER_FAULTS` says
//! how many faults, or `endless`.

mod compare;
mod workload;

use crate::follower::{Folded, catch_up, follow, version};
use crate::server::{PROGRAM, sql, tool};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use viewfeed_testbed::{Postgres, Proxy, Viewfeed};
use workload::Progress;

/// Faults of a plain test run.
const FAULTS: usize = 100;
const CLIENTS: usize = 4;
/// Of each client, in each round.
const TRANSACTIONS: usize = 8;
/// Between checks.
const ROUNDS: usize = 6;
/// So that checkpoints, and what is in run files, are killed too.
const LITTLE_MEMORY: [&str; 2] = ["--cache-mib", "1"];
/// What must never be logged: each hides a defect by doing something over.
const NEVER: [&str; 5] = [
    "the table is copied again",
    "a table that was followed differed from its copy",
    "an epoch was dropped",
    "an epoch was not committed",
    "panicked",
];

#[test]
fn tables_views_and_feeds_are_right_whatever_is_killed_cut_or_stalled() {
    let setting = |name| std::env::var(name).ok();
    let seed = setting("VIEWFEED_CHECKER_SEED").and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    let faults = match setting("VIEWFEED_CHECKER_FAULTS") {
        Some(text) if text == "endless" => usize::MAX,
        text => text.and_then(|text| text.parse().ok()).unwrap_or(FAULTS),
    };
    eprintln!("VIEWFEED_CHECKER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut world = World::new();
    let mut round = 0;
    while world.faults.values().sum::<usize>() < faults {
        round += 1;
        world.round(&mut random);
        if round % ROUNDS == 0 {
            world.check();
            eprintln!("round {round}, {:?}: {}", began.elapsed(), world.story());
        }
    }
    world.check();
    eprintln!("{:?}: {}", began.elapsed(), world.story());
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillViewfeed,
    CrashPostgres,
    Cut,
    CutWithin,
    Stall,
    StallAndCut,
    EndSender,
}

/// By how often they happen.
const KINDS: [Fault; 10] = [
    Fault::KillViewfeed,
    Fault::KillViewfeed,
    Fault::KillViewfeed,
    Fault::CrashPostgres,
    Fault::Cut,
    Fault::CutWithin,
    Fault::CutWithin,
    Fault::Stall,
    Fault::StallAndCut,
    Fault::EndSender,
];

/// Both servers and what is between and behind them.
struct World {
    /// Goes first when all this goes.
    server: Option<Viewfeed>,
    proxy: Proxy,
    primary: Postgres,
    dir: tempfile::TempDir,
    runtime: Runtime,
    followers: Vec<Follower>,
    /// How often each fault has happened.
    faults: BTreeMap<Fault, usize>,
    checks: usize,
}

struct Follower {
    relation: &'static str,
    folded: Arc<Mutex<Folded>>,
    task: Option<JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        let primary = Postgres::start_with(&[
            "wal_level=logical",
            "max_wal_senders=20",
            "max_replication_slots=20",
            "logical_decoding_work_mem=64kB",
            "deadlock_timeout=50ms",
        ]);
        let mut psql = primary.connect();
        for statement in workload::SCHEMA {
            psql.query(statement).unwrap();
        }
        let proxy = Proxy::start(([127, 0, 0, 1], primary.port()).into());
        let dir = tempfile::tempdir().unwrap();
        let server = Viewfeed::start(PROGRAM, dir.path(), &LITTLE_MEMORY);
        let connection = primary.connection_by(proxy.port());
        sql(
            &server,
            &format!("CREATE SOURCE shop FROM POSTGRES (connection = '{connection}', tables = 'public.*')"),
        );
        sql(&server, compare::VIEWS);
        let follower = |relation, has_repeats, balanced| Follower {
            relation,
            folded: Arc::new(Mutex::new(Folded::of(has_repeats, balanced))),
            task: None,
        };
        Self {
            server: Some(server),
            proxy,
            primary,
            dir,
            runtime: Runtime::new().unwrap(),
            followers: vec![
                follower("shop.account", false, Some(2)),
                follower("shop.loose", true, None),
                follower("shop.document", false, None),
                follower("by_label", false, None),
            ],
            faults: BTreeMap::new(),
            checks: 0,
        }
    }

    /// Clients work; meanwhile things go wrong.
    fn round(&mut self, random: &mut StdRng) {
        let progress = Progress::of(CLIENTS);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| (self.primary.connect(), StdRng::seed_from_u64(random.random())))
            .collect();
        thread::scope(|scope| {
            for (psql, mut random) in clients {
                let progress = &progress;
                scope.spawn(move || workload::work(psql, &mut random, TRANSACTIONS, progress));
            }
            self.disturb(random);
            for _ in 0..random.random_range(1..=3) {
                progress.wait_for(random.random_range(0..TRANSACTIONS));
                let fault = KINDS[random.random_range(0..KINDS.len())];
                *self.faults.entry(fault).or_default() += 1;
                self.inject(fault, random, &progress);
            }
        });
    }

    /// What users do meanwhile.
    fn disturb(&self, random: &mut StdRng) {
        let server = self.server();
        let number = random.random_range(0..5);
        sql(
            server,
            &format!(
                "UPDATE kind SET label = 'l{}' WHERE kind = {number}",
                random.random_range(0..4)
            ),
        );
        if random.random_bool(0.4) {
            let table = workload::TABLES[random.random_range(0..workload::TABLES.len())];
            sql(server, &format!("ALTER SOURCE shop RESYNC TABLE {table}"));
        }
    }

    fn inject(&mut self, fault: Fault, random: &mut StdRng, progress: &Progress) {
        let while_it_lasts = random.random_range(0..TRANSACTIONS);
        // One for SQL, one for the stream: what is not there cannot be cut.
        if !matches!(fault, Fault::KillViewfeed | Fault::CrashPostgres) && random.random_bool(0.8) {
            self.proxy.wait_for_connections(2);
        }
        match fault {
            Fault::KillViewfeed => {
                self.kill();
                progress.wait_for(while_it_lasts);
                self.start();
            }
            Fault::CrashPostgres => {
                self.primary.crash();
                self.primary.resume();
            }
            Fault::Cut => self.proxy.cut(),
            Fault::CutWithin => {
                self.proxy.cut_after(random.random_range(0..100_000));
                progress.wait_for(while_it_lasts);
            }
            Fault::Stall => {
                self.proxy.stall();
                progress.wait_for(while_it_lasts);
                self.proxy.resume();
            }
            Fault::StallAndCut => {
                self.proxy.stall();
                progress.wait_for(while_it_lasts);
                self.proxy.cut();
                self.proxy.resume();
            }
            Fault::EndSender => {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication";
                self.primary.connect().query(end).unwrap();
            }
        }
    }

    fn server(&self) -> &Viewfeed {
        self.server.as_ref().expect("it runs between faults")
    }

    fn kill(&mut self) {
        let server = self.server.take().expect("it runs between faults");
        is_sound(&server.log());
        server.kill();
        for follower in &mut self.followers {
            if let Some(task) = follower.task.take() {
                self.runtime.block_on(task).unwrap();
            }
        }
    }

    fn start(&mut self) {
        self.server = Some(Viewfeed::start(PROGRAM, self.dir.path(), &LITTLE_MEMORY));
        if self.checks > 0 {
            self.follow();
        }
    }

    /// Follows the feeds from where each is.
    fn follow(&mut self) {
        let address = format!("http://{}", self.server().address());
        for follower in &mut self.followers {
            let following = follow(address.clone(), follower.relation, follower.folded.clone());
            follower.task = Some(self.runtime.spawn(following));
        }
    }

    /// Everything is as it is there.
    fn check(&mut self) {
        let mut psql = self.primary.connect();
        // A table's new columns are told with its next change.
        psql.query(
            "INSERT INTO shifting (id, v) VALUES (-1, 1) ON CONFLICT (id) DO UPDATE SET v = shifting.v + 1",
        )
        .unwrap();
        let server = self.server();
        let waited = tool(server, "sql", &["WAIT FOR SOURCE shop"]);
        assert!(
            waited.status.success(),
            "{}\n{:?}\n{:?}\n{}",
            crate::server::text(&waited),
            sql(server, "SELECT * FROM viewfeed.sources"),
            sql(server, "SELECT * FROM viewfeed.source_tables"),
            server.log()
        );
        for table in workload::TABLES {
            compare::table(server, &mut psql, table);
        }
        compare::views(server);
        is_sound(&server.log());
        self.check_feeds();
        self.checks += 1;
        self.follow();
    }

    fn check_feeds(&mut self) {
        let address = format!("http://{}", self.server().address());
        let version = self.runtime.block_on(version(&address));
        for follower in &mut self.followers {
            if let Some(task) = follower.task.take() {
                task.abort();
                if let Err(error) = self.runtime.block_on(task) {
                    assert!(error.is_cancelled(), "{}: {error}", follower.relation);
                }
            }
            let (relation, folded) = (follower.relation, &follower.folded);
            self.runtime
                .block_on(catch_up(&address, relation, folded, version));
            let query = format!("SELECT * FROM {relation}");
            let stored = self.runtime.block_on(crate::follower::rows(&address, &query));
            let folded = folded.lock().unwrap();
            assert_eq!(folded.rows.len(), stored.len(), "the feed of {relation}");
            assert!(
                folded.rows == stored,
                "the feed of {relation} does not add up to its content"
            );
        }
    }

    /// What has happened so far.
    fn story(&self) -> String {
        let said = |(fault, times): (&Fault, &usize)| format!("{fault:?} {times}");
        let faults: Vec<String> = self.faults.iter().map(said).collect();
        format!(
            "{} faults ({}; {} connections cut), {} checks",
            self.faults.values().sum::<usize>(),
            faults.join(", "),
            self.proxy.cuts(),
            self.checks
        )
    }
}

fn is_sound(log: &str) {
    for line in log.lines() {
        assert!(NEVER.iter().all(|never| !line.contains(never)), "{log}");
    }
}
