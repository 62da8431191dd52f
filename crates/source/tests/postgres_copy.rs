//! Copying a snapshot: whatever goes on beside it, the rows are those of the snapshot, each once.

use crate::postgres_literals::{NATIVE, make_types};
use crate::postgres_rows::{Session, copied, shown};
use arrow::array::RecordBatch;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use viewfeed_change::ErrorKind;
use viewfeed_source::postgres::{CopyOptions, SnapshotCopy, TableShape, Tables, read_shapes};
use viewfeed_testbed::Postgres;

fn tiny(random: &mut StdRng) -> CopyOptions {
    CopyOptions {
        workers: random.random_range(1..4),
        piece_pages: random.random_range(1..4),
        binary: random.random(),
    }
}

async fn shapes(session: &Session, pattern: &str) -> Vec<TableShape> {
    let patterns = [pattern.to_owned()];
    let found = read_shapes(session, Tables::Matching(&patterns), &[])
        .await
        .unwrap();
    assert!(
        found.refused.is_empty() && found.unmatched.is_empty(),
        "{found:?}"
    );
    found.tables
}

/// The rows in the form of the server's, in order.
fn rows_of(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    let columns: Vec<_> = batch.columns().iter().map(|column| shown(column)).collect();
    let row = |row: usize| columns.iter().map(|column| column[row].clone()).collect();
    let mut rows: Vec<Vec<_>> = (0..batch.num_rows()).map(row).collect();
    rows.sort();
    rows
}

/// The same, as the server says in the transaction of `session`. The table has an `id`.
async fn rows_there(session: &Session, shape: &TableShape) -> Vec<Vec<Option<String>>> {
    let name = format!("\"{}\".\"{}\"", shape.schema, shape.name);
    let mut columns = Vec::new();
    for column in &shape.columns {
        columns.push(
            session
                .says(&name, &format!("\"{}\"", column.name), &column.value)
                .await,
        );
    }
    let row = |row: usize| columns.iter().map(|column| column[row].clone()).collect();
    let mut rows: Vec<Vec<_>> = (0..columns[0].len()).map(row).collect();
    rows.sort();
    rows
}

async fn assert_same(
    server: &Postgres,
    holder: &Session,
    snapshot: &str,
    shapes: &[TableShape],
    how: CopyOptions,
) {
    let copied = copied(server, snapshot, shapes, how).await.unwrap();
    for shape in shapes {
        let (ours, theirs) = (rows_of(&copied[&shape.oid]), rows_there(holder, shape).await);
        assert_eq!(ours.len(), theirs.len(), "{} {how:?}", shape.name);
        assert!(ours == theirs, "{} {how:?}", shape.name);
    }
}

/// Some values for the columns of some types, as SQL.
fn random_row(columns: &[(&str, &[&str])], random: &mut StdRng) -> String {
    let value = |(_, values): &(&str, &[&str])| match values.choose(random) {
        Some(value) if !random.random_bool(0.2) => (*value).to_owned(),
        _ => "NULL".to_owned(),
    };
    columns.iter().map(value).collect::<Vec<_>>().join(", ")
}

async fn random_table(session: &Session, name: &str, random: &mut StdRng) {
    let count = random.random_range(1..7);
    let columns: Vec<_> = (0..count).map(|_| *NATIVE.choose(random).unwrap()).collect();
    let definitions = columns
        .iter()
        .enumerate()
        .map(|(place, (of, _))| format!(", \"C {place}\" {of}"));
    let definitions: String = definitions.collect();
    session
        .run(&format!(
            "CREATE TABLE r.{name} (gone text, id int PRIMARY KEY {definitions})"
        ))
        .await;
    for id in 0..random.random_range(0..300) {
        let values = random_row(&columns, random);
        session
            .run(&format!("INSERT INTO r.{name} VALUES ('x', {id}, {values})"))
            .await;
    }
    session
        .run(&format!("ALTER TABLE r.{name} DROP COLUMN gone"))
        .await;
    session
        .run(&format!("DELETE FROM r.{name} WHERE id % 5 = 0"))
        .await;
    session
        .run(&format!("UPDATE r.{name} SET id = -id WHERE id % 3 = 0"))
        .await;
}

#[tokio::test]
async fn random_tables_are_copied_as_they_are() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    make_types(&session).await;
    session.run("CREATE SCHEMA r").await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for table in 0..12 {
        random_table(&session, &format!("t{table}"), &mut random).await;
    }
    let shapes = shapes(&session, "r.*").await;
    assert_eq!(shapes.len(), 12);
    let snapshot = session.export().await;
    for _ in 0..3 {
        assert_same(&server, &session, &snapshot, &shapes, tiny(&mut random)).await;
    }
}

/// Changes a table until told to stop; gives how often.
async fn change_all_the_time(session: Session, seed: u64, stop: Arc<AtomicBool>) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let mut changes = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = random.random_range(0..20_000);
        let statement = match random.random_range(0..20) {
            0 => "VACUUM busy".to_owned(),
            1..5 => format!("DELETE FROM busy WHERE id BETWEEN {id} AND {id} + 30"),
            5..9 => format!(
                "INSERT INTO busy SELECT g, 'new' FROM generate_series({id}, {id} + 30) g ON CONFLICT DO NOTHING"
            ),
            _ => format!("UPDATE busy SET v = v || 'x' WHERE id BETWEEN {id} AND {id} + 30"),
        };
        session.run(&statement).await;
        changes += 1;
    }
    changes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_copied_while_rows_change_is_the_snapshot() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run("CREATE TABLE busy (id int PRIMARY KEY, v text); INSERT INTO busy SELECT g, repeat('a', g % 50) FROM generate_series(1, 20000) g")
        .await;
    let shapes = shapes(&session, "public.busy").await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let stop = Arc::new(AtomicBool::new(false));
    let changing = Session::open(&server).await;
    let changing = tokio::spawn(change_all_the_time(changing, random.random(), stop.clone()));
    for _ in 0..4 {
        let holder = Session::open(&server).await;
        let snapshot = holder.export().await;
        assert_same(&server, &holder, &snapshot, &shapes, tiny(&mut random)).await;
    }
    stop.store(true, Ordering::Relaxed);
    println!("{} changes beside it", changing.await.unwrap());
}

#[tokio::test]
async fn partitions_are_parts_of_their_table_whatever_their_columns_order() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run(
            r#"CREATE TABLE "P" (id int, "where" text, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
            CREATE TABLE low PARTITION OF "P" FOR VALUES FROM (0) TO (100);
            CREATE TABLE high (gone int, n int, "where" text, id int NOT NULL);
            ALTER TABLE high DROP COLUMN gone;
            ALTER TABLE "P" ATTACH PARTITION high FOR VALUES FROM (100) TO (200);
            CREATE TABLE deep PARTITION OF "P" FOR VALUES FROM (200) TO (300) PARTITION BY HASH (id);
            CREATE TABLE deepest PARTITION OF deep FOR VALUES WITH (MODULUS 1, REMAINDER 0);
            CREATE TABLE none (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
            INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2);
            INSERT INTO "P" SELECT g, 'w' || g, -g FROM generate_series(0, 299) g"#,
        )
        .await;
    let shapes = shapes(&session, "public.*").await;
    let names: Vec<_> = shapes.iter().map(|shape| &*shape.name).collect();
    assert_eq!(names, ["P", "child", "none", "parent"]);
    let snapshot = session.export().await;
    let copied = copied(&server, &snapshot, &shapes, CopyOptions::default())
        .await
        .unwrap();
    let counts = shapes.iter().map(|shape| copied[&shape.oid].num_rows());
    // What belongs to a child table by inheritance is the child's alone.
    assert_eq!(counts.collect::<Vec<_>>(), [300, 1, 0, 1]);
    assert_eq!(
        rows_of(&copied[&shapes[0].oid]),
        rows_there(&session, &shapes[0]).await
    );
}

#[tokio::test]
async fn row_filters_and_column_lists_of_the_publication_hold() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, secret text, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
            INSERT INTO t SELECT g, 's', g FROM generate_series(1, 10) g;
            CREATE PUBLICATION p FOR TABLE t (id, n) WHERE (id > 7 AND n < 10)",
        )
        .await;
    let shapes = session.published("p", &[]).await;
    let columns: Vec<_> = shapes[0].columns.iter().map(|column| &*column.name).collect();
    assert_eq!(columns, ["id", "n"]);
    let snapshot = session.export().await;
    let copied = copied(&server, &snapshot, &shapes, CopyOptions::default())
        .await
        .unwrap();
    assert_eq!(
        shown(copied[&shapes[0].oid].column(0)),
        [Some("8".into()), Some("9".into())]
    );
}

async fn refusal_to_copy(server: &Postgres, session: &Session, beside: &str) -> viewfeed_change::Error {
    let shapes = shapes(session, "public.*").await;
    let holder = Session::open(server).await;
    let snapshot = holder.export().await;
    session.run(beside).await;
    copied(server, &snapshot, &shapes, CopyOptions::default())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_table_that_was_written_anew_after_the_snapshot_is_not_taken_for_empty() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await;
    for beside in [
        "ALTER TABLE t ALTER COLUMN id TYPE bigint",
        "TRUNCATE t",
        "VACUUM FULL t",
        "DROP TABLE t",
    ] {
        let error = refusal_to_copy(&server, &session, beside).await;
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Conflict, "TABLE_REWRITTEN"),
            "{beside}"
        );
    }
}

#[tokio::test]
async fn rows_that_the_user_may_not_see_are_not_left_out_silently() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE USER reader;
            GRANT SELECT ON t TO reader; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            CREATE POLICY half ON t USING (id = 1)",
        )
        .await;
    let shapes = shapes(&session, "public.t").await;
    let snapshot = session.export().await;
    let connect = || Session::of(server.connection().replace("user=viewfeed", "user=reader"));
    let copy = SnapshotCopy::start(connect, &snapshot, &shapes, CopyOptions::default()).await;
    let error = copy.ok().unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert!(error.to_string().contains("BYPASSRLS"), "{error}");
}

#[tokio::test]
async fn one_failing_worker_ends_the_copy() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE TABLE a (id int PRIMARY KEY, v numeric); INSERT INTO a SELECT g, 1 FROM generate_series(1, 50000) g;
            CREATE TABLE b (id int PRIMARY KEY, v numeric); INSERT INTO b VALUES (1, 'NaN')",
        )
        .await;
    let shapes = shapes(&session, "public.*").await;
    let snapshot = session.export().await;
    let options = CopyOptions {
        piece_pages: 10,
        ..CopyOptions::default()
    };
    let error = copied(&server, &snapshot, &shapes, options).await.unwrap_err();
    assert_eq!(error.reason(), "VALUE_NOT_REPRESENTABLE");
    // Nothing of it is left at the server.
    let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    loop {
        session.run("COMMIT").await;
        if session.query_one(others, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            break;
        }
    }
    let other = SnapshotCopy::start(
        || Session::of(server.connection()),
        "00000003-00000001-1",
        &shapes,
        options,
    );
    assert!(other.await.is_err(), "there is no such snapshot");
}

#[tokio::test]
async fn how_long_a_copy_will_take_is_said_by_statistics_or_else_by_pages() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE TABLE counted (id int PRIMARY KEY) WITH (autovacuum_enabled = off);
            INSERT INTO counted SELECT g FROM generate_series(1, 100000) g; ANALYZE counted;
            CREATE TABLE never (id int PRIMARY KEY) WITH (autovacuum_enabled = off);
            INSERT INTO never SELECT g FROM generate_series(1, 100000) g",
        )
        .await;
    let (counted, never) = (
        shapes(&session, "public.counted").await,
        shapes(&session, "public.never").await,
    );
    let snapshot = session.export().await;
    let options = CopyOptions {
        workers: 1,
        piece_pages: 10,
        ..CopyOptions::default()
    };
    let connect = || Session::of(server.connection());
    for (of, is_counted) in [(counted, true), (never, false)] {
        let mut copy = SnapshotCopy::start(connect, &snapshot, &of, options)
            .await
            .unwrap();
        let progress = copy.progress();
        if is_counted {
            assert_eq!(progress.estimate().rows_expected, Some(100_000));
        }
        // More pieces than can wait for us were read, and not all.
        while copy.next().await.unwrap().is_some() && progress.tables()[0].pages_done < 50 {}
        let estimate = progress.estimate();
        let expected = estimate.rows_expected.unwrap();
        assert!((99_000..=130_000).contains(&expected), "{estimate:?}");
        assert!(
            estimate.rows > 0 && estimate.rows < 100_000 && estimate.rows_per_second > 0,
            "{estimate:?}"
        );
        assert!(estimate.left.is_some_and(|left| !left.is_zero()), "{estimate:?}");
        assert!(progress.left_of(of[0].oid).is_some_and(|left| !left.is_zero()));
        while copy.next().await.unwrap().is_some() {}
        let estimate = progress.estimate();
        assert_eq!((estimate.rows, estimate.rows_expected), (100_000, Some(100_000)));
        assert!(estimate.left.is_some_and(|left| left.is_zero()));
    }
}
