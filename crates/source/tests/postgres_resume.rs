//! A copy that is interrupted goes on: its rows are those of the server in the end, whatever was changed between its snapshots.

use crate::postgres_rows::{Session, shown};
use crate::postgres_world::{SOURCE, nothing_told, settings_of};
use arrow::array::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Mutex;
use viewfeed_change::{Error, ErrorKind, ManualClock, Relations, Result, Timestamp};
use viewfeed_source::postgres::{
    Applied, CopyOptions, Ingest, Ingested, Loop, Lsn, RunningSource, Settings, Source, SourceStatus, Work,
    stored,
};
use viewfeed_store::{Options, Store, arrange};
use viewfeed_testbed::Postgres;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);
const ROWS: i32 = 600;

/// Applies work and, now and then, fails instead.
struct Target {
    store: Store,
    settings: Settings,
    relations: Mutex<Arc<Relations>>,
    script: Mutex<Script>,
    /// The point of the first snapshot, if all others are to be of that one.
    point: Option<Mutex<Option<Lsn>>>,
}

/// What happens to the copies.
struct Script {
    writer: Writer,
    /// After so many pieces each copy is interrupted, the last one first; then none any more.
    interruptions: Vec<usize>,
    pieces: usize,
    /// Of each copy that was begun: whether it went on with the one before it, and the rows that came.
    copies: Vec<(bool, usize)>,
}

/// Somebody who changes the table at the server.
struct Writer {
    session: Session,
    random: StdRng,
    /// Whether rows have values that are stored elsewhere, and not sent if they do not change.
    has_large_values: bool,
    statements: usize,
    /// What is done while no copy has the table locked.
    between: &'static str,
}

impl Writer {
    async fn write(&mut self) {
        for _ in 0..self.statements {
            let sql = self.statement();
            self.session.run(&sql).await;
        }
    }

    fn statement(&mut self) -> String {
        let random = &mut self.random;
        let (some, other) = (random.random_range(0..ROWS), random.random_range(0..ROWS));
        let large = match self.has_large_values && random.random_bool(0.7) {
            true => format!("repeat(md5('{}'), 100)", random.random::<u32>()),
            false => "NULL".to_owned(),
        };
        let put = format!(
            "INSERT INTO t VALUES ({some}, 'put {other}', {large})
            ON CONFLICT (id) DO UPDATE SET v = excluded.v, large = excluded.large"
        );
        match random.random_range(0..10) {
            0..2 => put,
            2..6 => format!("UPDATE t SET v = v || '.' WHERE id = {some}"),
            6..8 => format!("DELETE FROM t WHERE id = {some}"),
            8 => format!("BEGIN; DELETE FROM t WHERE id = {some}; {put}; COMMIT"),
            9 if self.has_large_values && random.random_bool(0.95) => {
                format!("UPDATE t SET v = 'new' WHERE id = {some}")
            }
            // Keys move, also to where another row has been.
            _ => format!(
                "BEGIN; DELETE FROM t WHERE id = {other}; UPDATE t SET id = {other} WHERE id = {some}; COMMIT"
            ),
        }
    }
}

impl Target {
    /// Fails if the copy is to be interrupted here.
    async fn watch(&self, work: &mut Work) -> Result<()> {
        let mut script = self.script.lock().await;
        match work {
            Work::BeginCopy { copies, .. } => {
                script.pieces = 0;
                script.copies.extend(copies.iter().map(|copy| (copy.goes_on, 0)));
            }
            Work::Copied { rows, .. } => {
                let copy = script.copies.last_mut().expect("rows belong to a copy");
                copy.1 += rows.num_rows();
            }
            Work::Read { .. } => {
                script.writer.write().await;
                script.pieces += 1;
                if script
                    .interruptions
                    .last()
                    .is_some_and(|after| script.pieces > *after)
                {
                    script.interruptions.pop();
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "INTERRUPTED",
                        "the script says so",
                    ));
                }
            }
            Work::GiveUp { .. } => {
                let between = script.writer.between;
                script.writer.session.run(between).await;
                script.writer.write().await;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Loop for Target {
    async fn apply(&self, mut work: Work) -> Result<Applied> {
        self.watch(&mut work).await?;
        if let (Work::BeginCopy { at, .. }, Some(point)) = (&mut work, &self.point) {
            *at = *point.lock().await.get_or_insert(*at);
        }
        let mut relations = self.relations.lock().await;
        let (mut txn, mut changed) = (self.store.begin()?, relations.clone());
        let mut ingest = Ingest {
            txn: &mut txn,
            relations: &mut changed,
            source: SOURCE,
            settings: &self.settings,
        };
        let mut ingested = Ingested::default();
        for piece in work.pieces() {
            ingested = ingest.apply(piece?)?;
        }
        let applied = ingest.applied(&ingested)?;
        self.store.commit(txn, &nothing_told())?;
        *relations = changed;
        Ok(applied)
    }
}

/// The rows as they are here, by id.
fn rows_here(
    store: &Store,
    applied: &stored::StoredTable,
    relations: &Relations,
) -> BTreeMap<String, Vec<Option<String>>> {
    let (reader, mut rows) = (store.reader(), BTreeMap::new());
    let relation = relations.get(applied.relation).unwrap();
    let mut add = |batch: &RecordBatch| {
        let columns: Vec<_> = batch.columns().iter().map(|column| shown(column)).collect();
        for row in 0..batch.num_rows() {
            let row: Vec<_> = columns.iter().map(|column| column[row].clone()).collect();
            assert_eq!(
                rows.insert(row[0].clone().unwrap(), row),
                None,
                "a key is there once"
            );
        }
    };
    let arrangement = arrange::find(&reader, relation, &relation.key_paths())
        .unwrap()
        .expect("it is complete");
    arrangement
        .scan(&reader, &[], 1000, &mut |batch| {
            assert!(batch.weights().iter().all(|weight| *weight == 1));
            add(batch.rows());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    rows
}

async fn rows_there(session: &Session) -> BTreeMap<String, Vec<Option<String>>> {
    let rows = session
        .query("SELECT id::text, v, large FROM t", &[])
        .await
        .unwrap();
    let row = |row: &tokio_postgres::Row| (row.get(0), (0..3).map(|column| row.get(column)).collect());
    rows.iter().map(row).collect()
}

struct Case {
    seed: u64,
    has_key: bool,
    has_large_values: bool,
    /// Whether there are random writes.
    is_written: bool,
    interruptions: Vec<usize>,
    between: &'static str,
}

/// A source that follows the table.
struct Followed {
    session: Session,
    target: Arc<Target>,
    running: RunningSource,
    seed: u64,
    _folder: TempDir,
}

impl Followed {
    async fn start(server: &Postgres, case: Case) -> Self {
        Self::start_with(server, case, false).await
    }

    /// The same; what is said of the points of snapshots is that of the first one.
    async fn start_at_one_point(server: &Postgres, case: Case) -> Self {
        Self::start_with(server, case, true).await
    }

    async fn start_with(server: &Postgres, case: Case, is_one_point: bool) -> Self {
        let session = Session::open(server).await;
        session.run(&case.table()).await;
        let settings = settings_of(server, "public.t");
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Options::default()).unwrap();
        let seed = case.seed;
        let target = Arc::new(Target {
            store: store.clone(),
            settings: settings.clone(),
            relations: Mutex::default(),
            script: Mutex::new(case.script(Session::open(server).await)),
            point: is_one_point.then(Mutex::default),
        });
        let source = Source {
            name: SOURCE.to_owned(),
            settings,
            target: Shared(target.clone()),
            store,
            spool: folder.path().join("spool"),
            copying: CopyOptions {
                workers: 2,
                piece_pages: 1,
                binary: seed.is_multiple_of(2),
            },
            clock: Arc::new(ManualClock::at(Timestamp(0))),
            chance: || 0.1,
        };
        Self {
            session,
            target,
            running: source.start(),
            seed,
            _folder: folder,
        }
    }

    /// Waits until the table is complete; then its rows are those of the server. Gives of each copy that was made whether it went on
    /// with the one before it, and its rows.
    async fn copies(&self) -> Vec<(bool, usize)> {
        let seed = self.seed;
        let is_live = |status: &SourceStatus| {
            let phases = || status.tables.iter().map(|table| &table.phase);
            phases().count() == 1 && phases().all(|phase| matches!(phase, stored::Phase::Live { .. }))
        };
        let mut status = self.running.watch();
        let live = tokio::time::timeout(PATIENCE, status.wait_for(is_live)).await;
        live.unwrap_or_else(|_| panic!("seed {seed}: {:?}", self.running.status()))
            .unwrap();
        self.target.script.lock().await.writer.write().await;
        let position = self.running.reach(None).await.unwrap();
        let reached = status.wait_for(|status| status.is_complete(position));
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        let reached = reached.expect("it gets there").unwrap().clone();
        let relations = self.target.relations.lock().await.clone();
        let ours = rows_here(&self.target.store, &reached.tables[0], &relations);
        let theirs = rows_there(&self.session).await;
        let counts = (ours.len(), theirs.len());
        assert!(ours == theirs, "seed {seed}: {counts:?} rows differ");
        std::mem::take(&mut self.target.script.lock().await.copies)
    }

    async fn end(self) {
        self.running.stop().await;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
        self.session.run(drop).await;
    }
}

impl Case {
    fn table(&self) -> String {
        let key = match self.has_key {
            true => "ADD PRIMARY KEY (id)",
            false => "REPLICA IDENTITY FULL",
        };
        let has_large_values = self.has_large_values;
        format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id int, v text, large text); ALTER TABLE t {key};
            ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
            INSERT INTO t SELECT g, repeat('v', 200), CASE WHEN {has_large_values} THEN repeat(md5(g::text), 100) END
            FROM generate_series(0, {ROWS} - 1) g"
        )
    }

    fn script(self, session: Session) -> Script {
        Script {
            writer: Writer {
                session,
                random: StdRng::seed_from_u64(self.seed),
                has_large_values: self.has_large_values,
                statements: if self.is_written { 8 } else { 0 },
                between: self.between,
            },
            interruptions: self.interruptions,
            pieces: 0,
            copies: Vec::new(),
        }
    }
}

/// Copies a table with interruptions; see [`Followed::copies`].
async fn copy(server: &Postgres, case: Case) -> Vec<(bool, usize)> {
    let followed = Followed::start(server, case).await;
    let copies = followed.copies().await;
    followed.end().await;
    copies
}

/// The same, for the source and for us.
struct Shared(Arc<Target>);

impl Loop for Shared {
    async fn apply(&self, work: Work) -> Result<Applied> {
        self.0.apply(work).await
    }
}

/// `VIEWFEED_RESUME_CASES`, or a few.
fn cases() -> u64 {
    let cases = std::env::var("VIEWFEED_RESUME_CASES").ok();
    cases.map_or(12, |cases| cases.parse().unwrap())
}

/// How often, and after how many pieces.
fn interruptions(random: &mut StdRng) -> Vec<usize> {
    (0..random.random_range(1..4))
        .map(|_| random.random_range(1..12))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_where_it_was_interrupted_and_ends_in_the_rows_of_the_server() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    for seed in 0..cases() {
        let interruptions = interruptions(&mut StdRng::seed_from_u64(seed));
        let case = Case {
            seed,
            has_key: true,
            has_large_values: false,
            is_written: true,
            interruptions: interruptions.clone(),
            between: "VACUUM t",
        };
        let copies = copy(&server, case).await;
        println!("seed {seed}, interrupted after {interruptions:?}: {copies:?}");
        // The last ones may have had less left than that.
        assert!(
            (2..=interruptions.len() + 1).contains(&copies.len()),
            "seed {seed}"
        );
        let rows: usize = copies.iter().map(|(_, rows)| rows).sum();
        assert!(rows < 2 * ROWS as usize, "seed {seed}: {rows} rows were read");
        assert!(
            copies[1..].iter().all(|(goes_on, _)| *goes_on),
            "seed {seed}: {copies:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_begins_anew_only_when_a_value_that_was_not_sent_is_nowhere() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let (mut anew, mut on) = (0, 0);
    for seed in 100..100 + cases() {
        let case = Case {
            seed,
            has_key: true,
            has_large_values: true,
            is_written: true,
            interruptions: vec![6],
            between: "VACUUM t",
        };
        let copies = copy(&server, case).await;
        println!("seed {seed}: {copies:?}");
        let (goes_on, _) = copies.last().unwrap();
        *(if *goes_on { &mut on } else { &mut anew }) += 1;
    }
    assert!(anew > 0 && on > 0, "{anew} began anew, {on} went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_begins_anew_when_the_table_was_written_anew_or_has_no_key() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    for (has_key, between) in [(true, "VACUUM FULL t"), (false, "VACUUM t")] {
        let case = Case {
            seed: 7,
            has_key,
            has_large_values: false,
            is_written: has_key,
            interruptions: vec![3],
            between,
        };
        let copies = copy(&server, case).await;
        assert!(
            matches!(copies[..], [_, (false, rows)] if rows > 500),
            "{between}: {copies:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_takes_no_values_from_the_one_that_has_its_former_key_by_now() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let case = Case {
        seed: 7,
        has_key: true,
        has_large_values: true,
        is_written: false,
        interruptions: vec![3],
        // Both are in pages that were not read: the second snapshot has both, the log only says that the first one moved.
        between: "UPDATE t SET id = 1000 WHERE id = 500; INSERT INTO t VALUES (500, 'later', repeat(md5('later'), 100))",
    };
    let copies = copy(&server, case).await;
    assert!(
        matches!(copies[..], [(false, _), (true, _), (false, _)]),
        "{copies:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_copied_again_goes_on_beside_its_old_rows() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    for seed in 200..200 + cases() / 4 {
        let case = Case {
            seed,
            has_key: true,
            has_large_values: false,
            is_written: true,
            interruptions: vec![],
            between: "VACUUM t",
        };
        let followed = Followed::start(&server, case).await;
        assert_eq!(followed.copies().await.len(), 1);
        followed.target.script.lock().await.interruptions = vec![2, 5];
        followed.running.again(None).await.unwrap();
        let copies = followed.copies().await;
        println!("seed {seed}: {copies:?}");
        assert!(
            matches!(copies[..], [(false, _), (true, _), (true, _)]),
            "seed {seed}: {copies:?}"
        );
        followed.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_twice_from_the_same_point_are_there_once() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let case = Case {
        seed: 7,
        has_key: true,
        has_large_values: false,
        is_written: false,
        interruptions: vec![3],
        // The second snapshot is said to be of the point of the first one, as on a standby on which nothing arrives.
        between: "SELECT 1",
    };
    let followed = Followed::start_at_one_point(&server, case).await;
    let copies = followed.copies().await;
    assert!(matches!(copies[..], [(false, _), (true, _)]), "{copies:?}");
    followed.end().await;
}
