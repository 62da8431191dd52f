//! The replication stream of a real server: slots, changes, positions, slow consumers, running transactions, a server that is gone.

use crate::postgres_connection::settings;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use viewfeed_change::ErrorKind;
use viewfeed_source::postgres::pgoutput::{Field, Message, Oid, OldRow, Tuple};
use viewfeed_source::postgres::{
    Assembled, Assembler, Committed, Connector, Lsn, NewSlot, Received, Replication, ReplicationStream,
    StartOptions,
};
use viewfeed_testbed::{Postgres, Psql};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);

fn slot(name: &str) -> NewSlot {
    NewSlot {
        name: name.to_owned(),
        is_temporary: false,
        exports_snapshot: false,
        is_failover: false,
    }
}

fn connector(server: &Postgres) -> Connector {
    Connector::new(&settings(&server.connection())).unwrap()
}

async fn replication(server: &Postgres) -> Replication {
    Replication::open(&connector(server), "viewfeed test")
        .await
        .unwrap()
}

/// With the table `t (id, value)`, the publication `p` of it, and the slot `s`.
async fn server(settings: &[&str]) -> (Postgres, Psql) {
    let server = Postgres::start_with(&[&["wal_level=logical"], settings].concat());
    let mut psql = server.connect();
    psql.query("CREATE TABLE t (id int PRIMARY KEY, value text)")
        .unwrap();
    psql.query("CREATE PUBLICATION p FOR TABLE t").unwrap();
    replication(&server).await.create_slot(&slot("s")).await.unwrap();
    (server, psql)
}

/// From where the slot is; values as text.
async fn start(server: &Postgres) -> ReplicationStream {
    let replication = replication(server).await;
    let mut options = StartOptions::for_server(replication.server_major(), "s", "p", Lsn(0));
    options.is_binary = false;
    replication.start(&options).await.unwrap()
}

async fn next(stream: &mut ReplicationStream) -> Received {
    let next = tokio::time::timeout(PATIENCE, stream.next()).await;
    next.expect("the server sends something").unwrap()
}

/// Reads on until a transaction is whole.
async fn next_transaction(stream: &mut ReplicationStream, assembler: &mut Assembler) -> Committed {
    loop {
        if let Received::Wal { start, data, .. } = next(stream).await
            && let Some(Assembled::Transaction(committed)) = assembler.push(&data, start).unwrap()
        {
            return committed;
        }
    }
}

fn one(psql: &mut Psql, query: &str) -> String {
    let rows = psql.query(query).unwrap();
    rows[0][0].clone().unwrap()
}

/// What the transactions say of `t`.
#[derive(Default)]
struct Replica {
    /// Its number, once it was described. Descriptions hold for later transactions too.
    table: Option<Oid>,
    rows: BTreeMap<i64, String>,
}

impl Replica {
    fn apply(&mut self, mut committed: Committed) {
        let rows = &mut self.rows;
        let key = |tuple: &Tuple<'_>| text(tuple, 0).parse::<i64>().unwrap();
        while let Some(message) = committed.messages.next().unwrap() {
            if let Message::Insert { relation, .. }
            | Message::Update { relation, .. }
            | Message::Delete { relation, .. } = &message
            {
                assert_eq!(Some(*relation), self.table, "its table was described");
            }
            match &message {
                Message::Relation(relation) => {
                    assert_eq!((relation.name, relation.columns.len()), ("t", 2));
                    self.table = Some(relation.oid);
                }
                Message::Insert { new, .. } => {
                    let was = rows.insert(key(new), text(new, 1));
                    assert_eq!(was, None, "a row comes once");
                }
                Message::Update { old, new, .. } => {
                    let before = match old {
                        Some(OldRow::Key(old) | OldRow::Full(old)) => key(old),
                        None => key(new),
                    };
                    rows.remove(&before).expect("what changes is there");
                    rows.insert(key(new), text(new, 1));
                }
                Message::Delete {
                    old: OldRow::Key(old),
                    ..
                } => {
                    rows.remove(&key(old)).expect("what goes is there");
                }
                other => panic!("{other:?} is not expected"),
            }
        }
    }
}

fn text(tuple: &Tuple<'_>, column: usize) -> String {
    match tuple.fields().nth(column) {
        Some(Field::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?} is not text"),
    }
}

fn table(psql: &mut Psql) -> BTreeMap<i64, String> {
    let rows = psql.query("SELECT id, value FROM t").unwrap();
    let row =
        |row: &Vec<Option<String>>| (row[0].as_ref().unwrap().parse().unwrap(), row[1].clone().unwrap());
    rows.iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_made_once_used_by_one_and_dropped() {
    let (server, mut psql) = server(&[]).await;
    let mut commands = replication(&server).await;
    let error = commands.create_slot(&slot("s")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    let stream = start(&server).await;
    let error = commands.drop_slot("s", false).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Unavailable, "POSTGRES_IN_USE"),
        "{error}"
    );
    stream.close().await;
    // Closed means free.
    commands.drop_slot("s", false).await.unwrap();
    assert_eq!(one(&mut psql, "SELECT count(*) FROM pg_replication_slots"), "0");
    let error = commands.drop_slot("s", true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let options = StartOptions::for_server(commands.server_major(), "s", "p", Lsn(0));
    let error = commands.start(&options).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_has_what_the_stream_has_not() {
    let (server, mut psql) = server(&[]).await;
    psql.query("INSERT INTO t VALUES (1, 'before')").unwrap();
    let mut exporting = replication(&server).await;
    let created = exporting
        .create_slot(&NewSlot {
            exports_snapshot: true,
            is_temporary: true,
            ..slot("with snapshot".replace(' ', "_").as_str())
        })
        .await
        .unwrap();
    psql.query("INSERT INTO t VALUES (2, 'after')").unwrap();
    let session = connector(&server).sql("viewfeed test").await.unwrap();
    let snapshot = created.snapshot.unwrap();
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{snapshot}'");
    session.client().batch_execute(&begin).await.unwrap();
    let rows = session
        .client()
        .query("SELECT value FROM public.t", &[])
        .await
        .unwrap();
    let values: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(values, ["before"]);

    let mut options = StartOptions::for_server(
        exporting.server_major(),
        "with_snapshot",
        "p",
        created.consistent_point,
    );
    options.is_binary = false;
    let mut stream = exporting.start(&options).await.unwrap();
    let mut assembler = Assembler::new("", 1 << 20);
    let mut replica = Replica::default();
    replica.apply(next_transaction(&mut stream, &mut assembler).await);
    assert_eq!(replica.rows, BTreeMap::from([(2, "after".to_owned())]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_reported_as_durable_is_not_sent_again() {
    let (server, mut psql) = server(&[]).await;
    let mut stream = start(&server).await;
    let mut assembler = Assembler::new("", 1 << 20);
    let mut replica = Replica::default();
    for id in 1..=3 {
        psql.query(&format!("INSERT INTO t VALUES ({id}, 'v{id}')"))
            .unwrap();
        let committed = next_transaction(&mut stream, &mut assembler).await;
        if id == 2 {
            stream.report(committed.end);
            // Never back.
            stream.report(Lsn(1));
        }
        replica.apply(committed);
    }
    stream.close().await;
    let mut stream = start(&server).await;
    let mut again = Replica::default();
    again.apply(next_transaction(&mut stream, &mut Assembler::new("", 1 << 20)).await);
    assert_eq!(again.rows, BTreeMap::from([(3, "v3".to_owned())]));
    assert_eq!(replica.rows, table(&mut psql));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_reaches_the_server_while_the_stream_goes_on() {
    let (server, mut psql) = server(&["wal_sender_timeout=2s"]).await;
    let mut stream = start(&server).await;
    psql.query("INSERT INTO t VALUES (1, 'a')").unwrap();
    let committed = next_transaction(&mut stream, &mut Assembler::new("", 1 << 20)).await;
    stream.report(committed.end);
    let confirmed = format!(
        "SELECT confirmed_flush_lsn >= '{}' FROM pg_replication_slots, pg_sleep(0.01)",
        committed.end
    );
    while one(&mut psql, &confirmed) != "t" {}
    // Nothing of ours happens; the server's log goes on, and keepalives say how far.
    psql.query("CREATE TABLE elsewhere AS SELECT generate_series(1, 1000)")
        .unwrap();
    let there: Lsn = one(&mut psql, "SELECT pg_current_wal_lsn()").parse().unwrap();
    loop {
        match next(&mut stream).await {
            Received::Keepalive { end } if end >= there => break,
            Received::Keepalive { .. } => {}
            Received::Wal { .. } => panic!("nothing was written to our table"),
        }
    }
    assert_eq!(
        stream
            .next_now()
            .ok()
            .flatten()
            .filter(|next| matches!(next, Received::Wal { .. })),
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_does_not_read_is_not_disconnected() {
    let (server, mut psql) = server(&["wal_sender_timeout=1s"]).await;
    let mut stream = start(&server).await;
    let pid = "SELECT active_pid FROM pg_replication_slots";
    let before = one(&mut psql, pid);
    // More than all the buffers on the way hold.
    let insert = "INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(1, 60000) id";
    psql.query(insert).unwrap();
    psql.query("SELECT pg_sleep(4)").unwrap();
    assert_eq!(one(&mut psql, pid), before, "it is connected still");
    let folder = tempfile::tempdir().unwrap();
    let mut assembler = Assembler::new(folder.path(), 1 << 20);
    let mut replica = Replica::default();
    replica.apply(next_transaction(&mut stream, &mut assembler).await);
    assert_eq!(replica.rows.len(), 60_000);
    assert_eq!(one(&mut psql, pid), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_an_error_that_a_retry_may_cure() {
    let (mut server, mut psql) = server(&[]).await;
    let mut stream = start(&server).await;
    psql.query("INSERT INTO t VALUES (1, 'a')").unwrap();
    next_transaction(&mut stream, &mut Assembler::new("", 1 << 20)).await;
    server.crash();
    let error = loop {
        match tokio::time::timeout(PATIENCE, stream.next())
            .await
            .expect("an error")
        {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(stream.next().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.resume();
    // Nothing was acknowledged.
    let mut stream = start(&server).await;
    let mut replica = Replica::default();
    replica.apply(next_transaction(&mut stream, &mut Assembler::new("", 1 << 20)).await);
    assert_eq!(replica.rows, BTreeMap::from([(1, "a".to_owned())]));
}

/// Adds all that was written before this is called to `received`, and a note.
async fn read_until_now(received: &mut Vec<(Lsn, Bytes)>, stream: &mut ReplicationStream, psql: &mut Psql) {
    psql.query("SELECT pg_logical_emit_message(false, 'test', 'until now')")
        .unwrap();
    loop {
        if let Received::Wal { start, data, .. } = next(stream).await {
            let is_now = data.ends_with(b"until now");
            received.push((start, data));
            if is_now {
                return;
            }
        }
    }
}

/// A statement of a session of [`run_beside_each_other`].
type Statement = (usize, String);

/// Two transactions beside each other, each larger than the server keeps, with parts rolled back, and a third rolled back whole.
fn beside_each_other() -> Vec<Statement> {
    let rows = |from: u32, to: u32| {
        format!("INSERT INTO t SELECT id, 'value ' || id FROM generate_series({from}, {to}) id")
    };
    let statement = |session: usize, sql: &str| (session, sql.to_owned());
    vec![
        statement(0, "BEGIN"),
        statement(1, "BEGIN"),
        statement(2, "BEGIN"),
        statement(0, "SAVEPOINT first"),
        (0, rows(100_000, 103_000)),
        (1, rows(200_000, 202_000)),
        (2, rows(300_000, 302_000)),
        statement(0, "ROLLBACK TO SAVEPOINT first"),
        (0, rows(110_000, 113_000)),
        statement(1, "SAVEPOINT wide"),
        statement(1, "UPDATE t SET value = value || '!' WHERE id % 3 = 0"),
        statement(1, "SAVEPOINT narrow"),
        (1, rows(210_000, 213_000)),
        statement(0, "SAVEPOINT second"),
        statement(0, "UPDATE t SET id = id + 10000 WHERE id % 7 = 0 AND id < 200000"),
        (2, rows(310_000, 312_000)),
        statement(1, "RELEASE SAVEPOINT narrow"),
        statement(1, "ROLLBACK TO SAVEPOINT wide"),
        statement(1, "DELETE FROM t WHERE id % 5 = 0 AND id >= 200000"),
        statement(0, "RELEASE SAVEPOINT second"),
        statement(2, "ROLLBACK"),
        (1, rows(220_000, 223_000)),
        (0, rows(130_000, 133_000)),
        statement(1, "COMMIT"),
        statement(0, "COMMIT"),
    ]
}

/// Runs it so that the server has sent what it then has to make void.
async fn run_beside_each_other(server: &Postgres, stream: &mut ReplicationStream) -> Vec<(Lsn, Bytes)> {
    let mut psql = server.connect();
    let mut sessions = [server.connect(), server.connect(), server.connect()];
    let mut received = Vec::new();
    psql.query("INSERT INTO t VALUES (1, 'before'), (2, 'before')")
        .unwrap();
    for (session, sql) in beside_each_other() {
        if sql.starts_with("ROLLBACK") {
            read_until_now(&mut received, stream, &mut psql).await;
        }
        sessions[session].query(&sql).unwrap();
    }
    psql.query("UPDATE t SET value = 'after' WHERE id = 1").unwrap();
    read_until_now(&mut received, stream, &mut psql).await;
    received
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_transactions_beside_each_other_add_up_to_the_tables() {
    let (server, mut psql) = server(&["logical_decoding_work_mem=64kB"]).await;
    let mut stream = start(&server).await;
    let received = run_beside_each_other(&server, &mut stream).await;
    let count = |kind: u8| received.iter().filter(|(_, data)| data[0] == kind).count();
    assert!(count(b'S') > 6, "they are sent in blocks");
    assert_eq!(count(b'c'), 2);
    assert!(
        count(b'A') >= 4,
        "parts of them are rolled back, and one whole: {}",
        count(b'A')
    );
    let expected = table(&mut psql);
    let folder = tempfile::tempdir().unwrap();
    for memory_bytes_max in [0, 100_000, 1 << 30] {
        let mut assembler = Assembler::new(folder.path(), memory_bytes_max);
        let (mut replica, mut transactions, mut notes) = (Replica::default(), 0, 0);
        let mut last = Lsn(0);
        for (start, data) in &received {
            match assembler.push(data, *start).unwrap() {
                Some(Assembled::Transaction(committed)) => {
                    assert!(committed.commit >= last && committed.end > committed.commit);
                    last = committed.end;
                    transactions += 1;
                    replica.apply(committed);
                }
                Some(Assembled::Note(note)) => {
                    assert_eq!(
                        (note.prefix.as_str(), note.content.as_slice()),
                        ("test", &b"until now"[..])
                    );
                    notes += 1;
                }
                None => {}
            }
        }
        assert_eq!((transactions, notes), (4, 4));
        assert_eq!(replica.rows, expected, "with {memory_bytes_max} bytes of memory");
        assert_eq!(assembler.load().transactions, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_changed_in_a_part_that_is_rolled_back_is_as_before() {
    let (server, mut psql) = server(&["logical_decoding_work_mem=64kB"]).await;
    let (mut stream, mut other) = (start(&server).await, server.connect());
    let rows = |from: u32, more: &str| {
        format!(
            "INSERT INTO t SELECT id, 'value ' || id{more} FROM generate_series({from}, {from} + 2000) id"
        )
    };
    let mut received = Vec::new();
    for statement in [
        "BEGIN",
        &rows(10_000, ""),
        "SAVEPOINT changed",
        "ALTER TABLE t ADD extra int",
        &rows(20_000, ", 7"),
        "ROLLBACK TO SAVEPOINT changed",
        &rows(30_000, ""),
        "COMMIT",
        "INSERT INTO t VALUES (1, 'after')",
    ] {
        if statement.starts_with("ROLLBACK") {
            read_until_now(&mut received, &mut stream, &mut other).await;
        }
        psql.query(statement).unwrap();
    }
    read_until_now(&mut received, &mut stream, &mut other).await;
    let is_changed =
        |(_, data): &(Lsn, Bytes)| data[0] == b'R' && data.windows(5).any(|part| part == b"extra");
    assert!(received.iter().any(is_changed), "the change was sent");
    let (mut assembler, mut replica) = (Assembler::new("", 1 << 30), Replica::default());
    for (start, data) in received {
        if let Some(Assembled::Transaction(committed)) = assembler.push(&data, start).unwrap() {
            replica.apply(committed);
        }
    }
    assert_eq!(replica.rows, table(&mut psql));
    assert_eq!(replica.rows.len(), 4_003);
}
