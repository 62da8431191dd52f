//! Large transactions, decoded while they are applied: the rows are those of the server in the end, whatever happens on the way, and
//! only a few pieces are there at any time.

mod target;

use crate::postgres_rows::{Session, shown};
use crate::postgres_world::{SOURCE, settings_of};
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use target::{AHEAD_MAX, Copies, Script, Seen, Shared, Target};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use viewfeed_change::{ManualClock, Timestamp};
use viewfeed_source::postgres::{CopyOptions, RunningSource, Source, SourceStatus, StreamOptions, stored};
use viewfeed_store::{Options, Store, arrange};
use viewfeed_testbed::Postgres;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a decoder says that met more than rows.
const NOT_PLAIN: &str = "TRANSACTION_CHANGES_TABLES";
/// Two tables with a key and one without.
const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, large text, amount numeric(8, 2));
    ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
    CREATE TABLE u (id int PRIMARY KEY, n int);
    CREATE TABLE bag (n int, v text); ALTER TABLE bag REPLICA IDENTITY FULL;
    INSERT INTO t SELECT i, 'before', repeat(md5(i::text), 100), i + 0.25 FROM generate_series(1, 300) i;
    INSERT INTO u SELECT i, i FROM generate_series(1, 300) i;
    INSERT INTO bag SELECT i % 3, 'before' FROM generate_series(1, 30) i";
/// So that a few thousand rows are large, come from a file, and make many pieces.
const SMALL: StreamOptions = StreamOptions {
    open_bytes_max: 200_000,
    large_bytes: 300_000,
    piece_bytes: 50_000,
};

/// Every row as text, and how often it is there.
type Rows = BTreeMap<Vec<Option<String>>, i64>;

/// A source that follows the tables.
struct Followed {
    session: Session,
    target: Arc<Target>,
    running: RunningSource,
    _folder: TempDir,
    _server: Postgres,
}

impl Followed {
    async fn start(settings: &[&str], options: StreamOptions) -> Self {
        let server = Postgres::start_with(&[&["wal_level=logical"], settings].concat());
        let session = Session::open(&server).await;
        session.run(TABLES).await;
        let settings = settings_of(&server, "public.*");
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Options::default()).unwrap();
        let target = Arc::new(Target {
            store: store.clone(),
            settings: settings.clone(),
            state: Mutex::default(),
            copies: watch::Sender::new(Copies::Free),
        });
        let source = Source {
            name: SOURCE.to_owned(),
            settings,
            target: Shared(target.clone()),
            store,
            spool: folder.path().join("spool"),
            copying: CopyOptions::default(),
            clock: Arc::new(ManualClock::at(Timestamp(0))),
            chance: || 0.1,
        };
        let followed = Self {
            session,
            target,
            running: source.start_with(options),
            _folder: folder,
            _server: server,
        };
        followed.is_equal(&["t", "u", "bag"]).await;
        followed
    }

    /// The loop stops within the next large transaction: the first end tells of it, the second lets it go on.
    fn hold_next(&self) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
        let (entered, has_entered) = oneshot::channel();
        let (release, released) = mpsc::channel();
        self.script(Script {
            hold: Some((entered, released)),
            ..Script::default()
        });
        (has_entered, release)
    }

    fn script(&self, script: Script) {
        self.target.state.lock().unwrap().script = script;
    }

    /// What became of the large transactions since this was asked last.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.target.state.lock().unwrap().seen)
    }

    /// Waits until everything that was committed is here. Then the rows are those of the server.
    async fn is_equal(&self, tables: &[&str]) {
        // Before it has its tables, it is complete without them.
        let has_tables = |status: &SourceStatus| status.tables.len() == 3;
        let mut watched = self.running.watch();
        let known = tokio::time::timeout(PATIENCE, watched.wait_for(has_tables)).await;
        known.expect("it connects").unwrap();
        let position = self.running.reach(None).await.unwrap();
        let reached = watched.wait_for(|status| status.is_complete(position));
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        let reached = reached
            .unwrap_or_else(|_| panic!("{:?}", self.running.status()))
            .unwrap()
            .clone();
        for name in tables {
            let table = reached.tables.iter().find(|table| table.shape.name == *name);
            let (here, there) = (self.here(table.unwrap()), self.there(name).await);
            let counts = (here.len(), there.len());
            assert!(here == there, "{name}: {counts:?} rows differ");
        }
    }

    fn here(&self, table: &stored::StoredTable) -> Rows {
        let relations = self.target.state.lock().unwrap().relations.clone();
        let (reader, mut rows) = (self.target.store.reader(), Rows::new());
        let relation = relations.get(table.relation).unwrap();
        let mut add = |batch: &RecordBatch, weights: &[i64]| {
            let columns: Vec<_> = batch.columns().iter().map(|column| shown(column)).collect();
            for (row, weight) in weights.iter().enumerate() {
                let row = columns.iter().map(|column| column[row].clone()).collect();
                *rows.entry(row).or_default() += weight;
            }
        };
        let arrangement = arrange::find(&reader, relation, &relation.key_paths()).unwrap();
        arrangement
            .expect("it is complete")
            .scan(&reader, &[], 1000, &mut |batch| {
                add(batch.rows(), batch.weights());
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        rows
    }

    async fn there(&self, table: &str) -> Rows {
        let sql = format!("SELECT ARRAY(SELECT value FROM json_each_text(row_to_json(x))) FROM {table} x");
        let mut rows = Rows::new();
        for row in self.session.query(&sql, &[]).await.unwrap() {
            *rows.entry(row.get(0)).or_default() += 1;
        }
        rows
    }
}

fn inserts(from: usize, rows: usize) -> String {
    format!(
        "INSERT INTO t SELECT i, 'inserted ' || i, repeat(md5(i::text), 10 + i % 80), i % 1000 + 0.25
        FROM generate_series({from}, {from} + {rows} - 1) i"
    )
}

/// Everything that can happen to rows, in one transaction; new ones have keys from there on.
fn everything(from: usize) -> String {
    let (first, void) = (inserts(from, 2000), inserts(from + 10_000, 1500));
    let later = inserts(from + 20_000, 1000);
    format!(
        "BEGIN; {first}; INSERT INTO u SELECT i, -i FROM generate_series({from}, {from} + 1000) i;
        SAVEPOINT a; {void}; DELETE FROM t WHERE id < 100; TRUNCATE bag; ROLLBACK TO SAVEPOINT a;
        UPDATE t SET v = v || ', updated' WHERE id % 2 = 0;
        DELETE FROM t WHERE id % 5 = 0; UPDATE t SET id = id + 1000000 WHERE id % 3 = 0;
        INSERT INTO bag SELECT i % 7, 'within' FROM generate_series(1, 900) i;
        DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE n = 2 LIMIT 5);
        TRUNCATE u; INSERT INTO u SELECT i, i * 2 FROM generate_series(1500, 1700) i;
        SAVEPOINT b; {later}; RELEASE SAVEPOINT b; UPDATE u SET n = 0 WHERE id = 1600; COMMIT"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_is_applied_in_pieces_while_it_is_decoded() {
    let in_memory = StreamOptions {
        open_bytes_max: 1 << 30,
        ..SMALL
    };
    for (settings, options) in [
        (&["logical_decoding_work_mem=64kB"][..], SMALL),
        (&[][..], in_memory),
    ] {
        let followed = Followed::start(settings, options).await;
        followed.script(Script {
            is_slow: true,
            ..Script::default()
        });
        followed.session.run(&everything(1000)).await;
        followed
            .session
            .run("UPDATE t SET v = 'after' WHERE id = 1")
            .await;
        followed.is_equal(&["t", "u", "bag"]).await;
        let seen = followed.seen();
        assert!(
            matches!(
                seen[..],
                [Seen {
                    pieces: 20..,
                    ahead: AHEAD_MAX,
                    error: None
                }]
            ),
            "{seen:?}"
        );
        // What is known of the tables is true still, also of those that were emptied.
        followed.session.run(&everything(300_000)).await;
        followed.session.run("UPDATE u SET n = 5").await;
        followed.is_equal(&["t", "u", "bag"]).await;
        let seen = followed.seen();
        assert!(matches!(seen[..], [Seen { error: None, .. }]), "{seen:?}");
        // That they are in other files since is known too: such a change is not taken for one that writes rows anew.
        followed.session.run("ALTER TABLE u ALTER n SET NOT NULL").await;
        followed.session.run("UPDATE u SET n = 6").await;
        followed.is_equal(&["t", "u", "bag"]).await;
        let status = followed.running.status();
        let copies: Vec<u64> = status.tables.iter().map(|table| table.attempt).collect();
        assert_eq!((copies, status.connections), (vec![1, 1, 1], 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_that_changes_a_table_ends_in_the_rows_of_the_server() {
    let followed = Followed::start(&["logical_decoding_work_mem=64kB"], SMALL).await;
    let (before, behind) = (
        inserts(1000, 1000),
        inserts(5000, 1000).replace("0.25", "0.25, i"),
    );
    let change = format!(
        "BEGIN; {before}; ALTER TABLE t ADD extra int DEFAULT 7; {behind}; UPDATE u SET n = 1; COMMIT"
    );
    followed.session.run(&change).await;
    followed.is_equal(&["t", "u", "bag"]).await;
    assert_eq!(followed.seen(), []);
    // From here on it is known.
    followed.session.run(&inserts(10_000, 1000)).await;
    followed.is_equal(&["t", "u", "bag"]).await;
    let seen = followed.seen();
    assert!(matches!(seen[..], [Seen { error: None, .. }]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_copied_again_follows_a_large_transaction_in_the_columns_it_had() {
    let followed = Followed::start(&["logical_decoding_work_mem=64kB"], SMALL).await;
    let copies = &followed.target.copies;
    copies.send_replace(Copies::Held);
    let change = "ALTER TABLE t ADD extra int DEFAULT 7; INSERT INTO t VALUES (999, 'new', '', 1.25, 8)";
    followed.session.run(change).await;
    let mut waits = copies.subscribe();
    let is_waiting = waits.wait_for(|copies| *copies == Copies::Waiting);
    let is_waiting = tokio::time::timeout(PATIENCE, is_waiting).await;
    is_waiting.expect("it is to be copied").unwrap();
    // Its snapshot is from before this.
    followed.session.run(&everything(1000)).await;
    let position = followed.running.reach(None).await.unwrap();
    let mut watched = followed.running.watch();
    let reached = watched.wait_for(|status| status.has_reached(position));
    let reached = tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("it goes on")
        .unwrap()
        .clone();
    let seen = followed.seen();
    assert!(
        matches!(
            seen[..],
            [Seen {
                pieces: 20..,
                error: None,
                ..
            }]
        ),
        "{seen:?}"
    );
    let table = reached
        .tables
        .iter()
        .find(|table| table.shape.name == "t")
        .unwrap();
    assert!(table.flows.is_some());
    let earlier = "(SELECT id, v, large, amount FROM t)";
    assert!(
        followed.here(table) == followed.there(earlier).await,
        "its rows differ"
    );
    copies.send_replace(Copies::Free);
    followed.is_equal(&["t", "u", "bag"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_large_transaction_with_a_value_that_cannot_be_read_nothing_is_half_applied() {
    let followed = Followed::start(&["logical_decoding_work_mem=64kB"], SMALL).await;
    let (before, behind) = (inserts(1000, 1000), inserts(5000, 1000));
    let change = format!(
        "BEGIN; INSERT INTO bag SELECT 1, 'once' FROM generate_series(1, 100); UPDATE u SET id = id + 1000; {before};
        INSERT INTO t VALUES (3000, 'bad', '', 'NaN'); {behind}; DELETE FROM u WHERE id = 1007; COMMIT"
    );
    followed.session.run(&change).await;
    followed.is_equal(&["u", "bag"]).await;
    let seen = followed.seen();
    assert!(
        matches!(
            seen[..],
            [Seen {
                pieces: 5..,
                error: Some(NOT_PLAIN),
                ..
            }]
        ),
        "{seen:?}"
    );
    let status = followed.running.status();
    let broken = |table: &&stored::StoredTable| matches!(table.phase, stored::Phase::Broken { .. });
    let broken: Vec<&str> = status
        .tables
        .iter()
        .filter(broken)
        .map(|table| &*table.shape.name)
        .collect();
    assert_eq!((broken, status.connections), (vec!["t"], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_that_fails_midway_is_applied_once_all_the_same() {
    let followed = Followed::start(&["logical_decoding_work_mem=64kB"], SMALL).await;
    followed.script(Script {
        fails_at: Some(4),
        ..Script::default()
    });
    followed.session.run(&everything(1000)).await;
    followed.is_equal(&["t", "u", "bag"]).await;
    let seen = followed.seen();
    assert!(
        matches!(
            seen[..],
            [
                Seen {
                    pieces: 4,
                    error: Some("INTERRUPTED"),
                    ..
                },
                Seen { error: None, .. },
            ]
        ),
        "{seen:?}"
    );
    assert_eq!(followed.running.status().connections, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_obeyed_while_a_large_transaction_is_applied_and_what_follows_waits() {
    let followed = Followed::start(&["logical_decoding_work_mem=64kB"], SMALL).await;
    let (has_entered, release) = followed.hold_next();
    followed.session.run(&everything(1000)).await;
    followed.session.run("INSERT INTO u VALUES (1, 1)").await;
    has_entered.await.unwrap();
    let before = followed.running.status().position;
    let reach = tokio::time::timeout(PATIENCE, followed.running.reach(None)).await;
    assert!(reach.expect("it answers").unwrap() > before);
    assert_eq!(followed.running.status().position, before);
    release.send(()).unwrap();
    followed.is_equal(&["t", "u", "bag"]).await;
    assert_eq!(followed.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_that_the_loop_has_is_applied_whole_although_its_source_is_stopped() {
    let followed = Followed::start(&["logical_decoding_work_mem=64kB"], SMALL).await;
    let (has_entered, release) = followed.hold_next();
    followed.session.run(&everything(1000)).await;
    has_entered.await.unwrap();
    let before = followed.running.status().position;
    let Followed { target, running, .. } = followed;
    let stopped = tokio::time::timeout(PATIENCE, running.stop()).await;
    stopped.expect("it does not wait for the loop");
    release.send(()).unwrap();
    // The loop has this until it is done.
    let state = target.state.lock().unwrap();
    assert!(
        matches!(state.seen[..], [Seen { error: None, .. }]),
        "{:?}",
        state.seen
    );
    let stored = stored::progress(&target.store.reader(), SOURCE).unwrap();
    assert!(stored.position > before);
}
