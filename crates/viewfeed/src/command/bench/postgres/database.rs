//! The database that is measured: a schema of its own there, its rows, and what of the server keeps them.

use super::programs::Programs;
use super::{CUSTOMERS, refused};
use crate::cli::BenchPostgres;
use viewfeed_change::Result;
use viewfeed_source::postgres::Lsn;
use viewfeed_source::postgres::{
    Connector, Replication, ReplicationStream, Settings, SqlSession, StartOptions,
};

/// The publication and the slot that the source makes, and the schema.
pub(super) const NAME: &str = "viewfeed_bench";
/// The slot of those that it is compared with.
pub(super) const PEER_SLOT: &str = "viewfeed_bench_peer";
/// Every name above, and no other.
const SLOTS: &str = "slot_name IN ('viewfeed_bench', 'viewfeed_bench_peer')";
/// From here on the server counts what slots write to its disk.
const STATISTICS_MAJOR: u32 = 14;

/// A database, with a connection to it.
pub(super) struct Database {
    pub(super) programs: Programs,
    connection: String,
    connector: Connector,
    session: SqlSession,
}

impl Database {
    pub(super) async fn open(arguments: &BenchPostgres) -> Result<Self> {
        let options = [
            ("connection".to_owned(), arguments.connection.clone()),
            ("tables".to_owned(), format!("{NAME}.*")),
        ];
        let connector = Connector::new(&Settings::from_options("bench", &options)?)?;
        Ok(Self {
            programs: Programs::new(arguments.programs.clone()),
            connection: arguments.connection.clone(),
            session: connector.sql("viewfeed bench").await?,
            connector,
        })
    }

    /// The statement that makes it a source, `bench`.
    pub(super) fn create_source(&self) -> String {
        let connection = self.connection.replace('\'', "''");
        format!(
            "CREATE SOURCE bench FROM POSTGRES (connection = '{connection}', tables = '{NAME}.*',
            publication = '{NAME}', slot = '{NAME}', wal_limit = '1TB')"
        )
    }

    /// Empty tables, with the customers; nobody reads them.
    pub(super) async fn reset(&self) -> Result<()> {
        self.clear().await?;
        self.run(&format!(
            "CREATE SCHEMA {NAME};
            CREATE TABLE {NAME}.customer (id bigint PRIMARY KEY, region integer NOT NULL);
            CREATE TABLE {NAME}.orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, amount bigint NOT NULL,
                placed_at timestamptz NOT NULL, note text NOT NULL);
            INSERT INTO {NAME}.customer SELECT i, i % 20 FROM generate_series(0, {CUSTOMERS} - 1) AS i;"
        ))
        .await
    }

    /// Drops everything that was made here. A slot that is still being read is waited for.
    pub(super) async fn clear(&self) -> Result<()> {
        self.run(&format!(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE {SLOTS} AND active_pid IS NOT NULL;
            SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE {SLOTS};
            DROP PUBLICATION IF EXISTS {NAME};
            DROP SCHEMA IF EXISTS {NAME} CASCADE;"
        ))
        .await
    }

    /// Inserts `rows` orders from `first` on, in transactions of so many rows, at the server, which need not sync each of them.
    pub(super) async fn insert(&self, first: u64, rows: u64, transaction_rows: u64) -> Result<()> {
        let last = first + rows - 1;
        let insert = insert("i", &format!("LEAST(i + {transaction_rows} - 1, {last})"));
        self.run("SET synchronous_commit = off").await?;
        self.run(&format!(
            "DO $$ BEGIN FOR i IN {first} .. {last} BY {transaction_rows} LOOP {insert}; COMMIT; END LOOP; END $$"
        ))
        .await?;
        self.run("RESET synchronous_commit").await
    }

    /// Inserts orders in the transaction that is open, or in one of their own.
    pub(super) async fn insert_here(&self, first: u64, rows: u64) -> Result<()> {
        let last = first + rows - 1;
        self.run(&insert(&first.to_string(), &last.to_string())).await
    }

    pub(super) async fn run(&self, script: &str) -> Result<()> {
        self.session.client().batch_execute(script).await.map_err(refused)
    }

    /// The one value that a query gives, which is text.
    pub(super) async fn ask(&self, query: &str) -> Result<String> {
        let row = self
            .session
            .client()
            .query_one(query, &[])
            .await
            .map_err(refused)?;
        row.try_get(0).map_err(refused)
    }

    /// How far the server's log is.
    pub(super) async fn position(&self) -> Result<Lsn> {
        self.ask("SELECT pg_current_wal_insert_lsn()::text")
            .await?
            .parse()
    }

    /// A slot for others, that begins here.
    pub(super) async fn make_peer_slot(&self) -> Result<()> {
        self.run(&format!(
            "SELECT pg_create_logical_replication_slot('{PEER_SLOT}', 'pgoutput')"
        ))
        .await
    }

    /// What our own stream asks for, of the slot for others.
    pub(super) fn peer_options(&self) -> StartOptions {
        StartOptions::for_server(self.session.server_major(), PEER_SLOT, NAME, Lsn(0))
    }

    /// The stream of the slot for others, without anything behind it.
    pub(super) async fn peer_stream(&self) -> Result<ReplicationStream> {
        let replication = Replication::open(&self.connector, "viewfeed bench").await?;
        replication.start(&self.peer_options()).await
    }

    /// Bytes that the server wrote to its disk, and bytes that it sent before the commit, for the source's slot; None if it does not
    /// count.
    pub(super) async fn spilled_and_streamed_bytes(&self) -> Result<Option<(u64, u64)>> {
        if self.session.server_major() < STATISTICS_MAJOR {
            return Ok(None);
        }
        let query = format!(
            "SELECT spill_bytes::text || ' ' || stream_bytes::text FROM pg_stat_replication_slots WHERE slot_name = '{NAME}'"
        );
        let text = self.ask(&query).await?;
        let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or_default());
        Ok(numbers.next().zip(numbers.next()))
    }

    /// How psql and pg_recvlogical connect.
    pub(super) fn connection(&self) -> &str {
        &self.connection
    }
}

fn insert(first: &str, last: &str) -> String {
    format!(
        "INSERT INTO {NAME}.orders SELECT n, n * 7919 % {CUSTOMERS}, n % 1000, now(), repeat('order note ', 10)
        FROM generate_series({first}::bigint, {last}::bigint) AS n"
    )
}
