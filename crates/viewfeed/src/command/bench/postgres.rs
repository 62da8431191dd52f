//! A Postgres source, with this very binary as the server that reads it: beside each figure what the same server and the same log
//! cost without viewfeed, in the same run.

mod copy;
mod database;
mod drain;
mod hop;
mod large;
mod latency;
mod programs;

use super::server::{BenchServer, execute};
use crate::cli::{BenchPostgres, BenchPostgresPart};
use crate::output;
use database::Database;
use std::time::{Duration, Instant};
use viewfeed_change::{Error, ErrorKind, Result};

/// Customers, from 0 on, that orders refer to.
const CUSTOMERS: u64 = 1000;
/// A join and an aggregate over the source's tables; `last_id` says which orders are in it.
const VIEW: &str = "CREATE MATERIALIZED VIEW by_region AS
    SELECT c.region, count(*) AS orders, sum(o.amount) AS amount, max(o.id) AS last_id
    FROM bench.orders o JOIN bench.customer c ON o.customer_id = c.id GROUP BY c.region";
/// How long the source may take to get anywhere.
const CATCH_UP_MAX: Duration = Duration::from_secs(3600);

/// Prints a table for each part.
pub(super) async fn run(arguments: &BenchPostgres) -> Result<()> {
    let database = Database::open(arguments).await?;
    let measured = parts(arguments, &database).await;
    let cleaned = database.clear().await;
    measured.and(cleaned)
}

async fn parts(arguments: &BenchPostgres, database: &Database) -> Result<()> {
    let wants = |part| arguments.only.contains(&part);
    let length = Duration::from_secs(arguments.seconds);
    if wants(BenchPostgresPart::Copy) {
        database.reset().await?;
        copy::run(database, arguments.rows).await?;
    }
    if wants(BenchPostgresPart::Drain) {
        database.reset().await?;
        drain::run(database, arguments.rows).await?;
    }
    if wants(BenchPostgresPart::Latency) {
        for (number, rate) in arguments.rates.iter().enumerate() {
            database.reset().await?;
            let line = latency::run(database, *rate, length).await?;
            print(
                if number == 0 { "latency" } else { "" },
                &latency::HEADER,
                vec![line],
            );
        }
    }
    if wants(BenchPostgresPart::Large) {
        database.reset().await?;
        large::run(database, arguments.rows).await?;
    }
    Ok(())
}

/// A server that follows the database, up to date.
async fn follow(database: &Database) -> Result<BenchServer> {
    let server = BenchServer::start().await?;
    server.sql(&database.create_source()).await?;
    catch_up(&server, database).await?;
    Ok(server)
}

/// Waits until everything that is committed now can be read at `server`.
async fn catch_up(server: &BenchServer, database: &Database) -> Result<()> {
    let wait = format!("WAIT FOR SOURCE bench UNTIL '{}'", database.position().await?);
    let (mut client, since) = (server.client().await?, Instant::now());
    loop {
        match execute(&mut client, &wait).await {
            // It waits for a limited time, and is asked again.
            Err(error) if error.kind() == ErrorKind::Unavailable && since.elapsed() < CATCH_UP_MAX => {}
            done => return done.map(drop),
        }
    }
}

fn print(title: &str, header: &[&str], lines: Vec<Vec<String>>) {
    if !title.is_empty() {
        output::line(title);
    }
    let header = header.iter().map(ToString::to_string).collect();
    output::line(&output::text_table(header, lines));
}

fn per_second(count: u64, taken: Duration) -> String {
    format!("{:.0}", count as f64 / taken.as_secs_f64())
}

/// `us` beside `them`, who may not be here.
fn ratio(us: f64, them: Option<f64>) -> String {
    them.map_or_else(|| "–".to_owned(), |them| format!("{:.2}", us / them))
}

fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

/// What Postgres said against something.
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Precondition, "BENCH_DATABASE", "the Postgres server refused")
        .because(error)
        .hint("it needs wal_level=logical, free replication slots, and a role that may create schemas, publications and slots")
}
