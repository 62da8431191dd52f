//! How fast the stream is read, beside the program of Postgres that throws it away.
//!
//! `cargo bench -p viewfeed-source --bench stream`. It starts a Postgres of its own.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::process::Command;
use std::time::{Duration, Instant};
use viewfeed_source::postgres::pgoutput::Message;
use viewfeed_source::postgres::{
    Assembled, Assembler, Connector, Lsn, NewSlot, Received, Replication, Settings, StartOptions,
};
use viewfeed_testbed::Postgres;

const ROWS: usize = 500_000;
/// Each reads everything so many times, in turn.
const ROUNDS: usize = 3;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    for (name, rows_per_transaction) in [("large transactions", 10_000), ("small transactions", 1)] {
        let server = Postgres::start_with(&["wal_level=logical"]);
        let rows = if rows_per_transaction == 1 {
            ROWS / 10
        } else {
            ROWS
        };
        let (theirs, first, ours) = measured(&server, rows, rows_per_transaction).await;
        println!("{name}, {rows} rows of 250 bytes; seconds until the last:");
        println!("  pg_recvlogical {theirs:.2?}");
        println!("  our stream     {first:.2?}");
        println!("  and assembled  {ours:.2?}");
    }
}

async fn replication(server: &Postgres) -> Replication {
    let options = [("connection".to_owned(), server.connection())];
    let connector = Connector::new(&Settings::from_options("bench", &options).unwrap()).unwrap();
    Replication::open(&connector, "viewfeed bench").await.unwrap()
}

fn slot(name: &str) -> NewSlot {
    NewSlot {
        name: name.to_owned(),
        is_temporary: false,
        exports_snapshot: false,
        is_failover: false,
    }
}

/// The shortest times of each.
async fn measured(
    server: &Postgres,
    rows: usize,
    rows_per_transaction: usize,
) -> (Duration, Duration, Duration) {
    let mut psql = server.connect();
    psql.query(
        "CREATE TABLE t (id bigint PRIMARY KEY, number int, value text, at timestamptz, amount numeric)",
    )
    .unwrap();
    psql.query("CREATE PUBLICATION p FOR TABLE t").unwrap();
    for name in ["ours", "theirs0", "theirs1", "theirs2"] {
        replication(server).await.create_slot(&slot(name)).await.unwrap();
    }
    let write = format!(
        "DO $$ BEGIN FOR i IN 0..{} LOOP \
         INSERT INTO t SELECT i * {rows_per_transaction} + j, j, repeat('x', 192), now(), j * 1.5 \
         FROM generate_series(1, {rows_per_transaction}) j; COMMIT; END LOOP; END $$",
        rows / rows_per_transaction - 1
    );
    psql.query(&write).unwrap();
    psql.query("CREATE TABLE last (i int)").unwrap();
    let end = psql.query("SELECT pg_current_wal_flush_lsn()").unwrap()[0][0]
        .clone()
        .unwrap();
    let mut shortest = [Duration::MAX; 3];
    for round in 0..ROUNDS {
        let times = [
            their_time(server, &format!("theirs{round}"), &end),
            our_time(server, end.parse().unwrap(), rows, false).await,
            our_time(server, end.parse().unwrap(), rows, true).await,
        ];
        for (shortest, time) in shortest.iter_mut().zip(times) {
            *shortest = time.min(*shortest);
        }
    }
    (shortest[0], shortest[1], shortest[2])
}

/// It acknowledges what it has thrown away, so each round has a slot of its own.
fn their_time(server: &Postgres, slot: &str, end: &str) -> Duration {
    let began = Instant::now();
    let status = Command::new(server.programs().join("pg_recvlogical"))
        .args([
            "-d",
            &server.connection(),
            "--slot",
            slot,
            "--start",
            "--no-loop",
            "-f",
            "/dev/null",
        ])
        .args(["--fsync-interval=0", "--status-interval=0", "--endpos", end])
        .args([
            "-o",
            "proto_version=1",
            "-o",
            "publication_names=p",
            "-o",
            "binary=true",
        ])
        .status();
    assert!(status.unwrap().success());
    began.elapsed()
}

async fn our_time(server: &Postgres, end: Lsn, rows: usize, assembles: bool) -> Duration {
    let began = Instant::now();
    let mut options = StartOptions::for_server(15, "ours", "p", Lsn(0));
    (options.protocol_version, options.streams_running) = (1, false);
    let mut stream = replication(server).await.start(&options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut assembler = Assembler::new(folder.path(), 64 << 20);
    let mut found = 0;
    loop {
        match stream.next().await.unwrap() {
            Received::Keepalive { end: there } if there >= end => break,
            Received::Keepalive { .. } => {}
            Received::Wal { data, .. } if !assembles => found += usize::from(data[0] == b'I'),
            Received::Wal { start, data, .. } => {
                if let Some(Assembled::Transaction(mut whole)) = assembler.push(&data, start).unwrap() {
                    while let Some(message) = whole.messages.next().unwrap() {
                        found += usize::from(matches!(message, Message::Insert { .. }));
                    }
                }
            }
        }
        if found == rows {
            break;
        }
    }
    let took = began.elapsed();
    assert_eq!(found, rows);
    stream.close().await;
    took
}
