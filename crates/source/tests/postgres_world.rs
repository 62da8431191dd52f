//! A real server and the questions that the tests of Postgres sources ask it.

use std::future::Future;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};
use viewfeed_change::Timestamp;
use viewfeed_source::postgres::{
    Ensured, Finding, Settings, Severity, SlotState, check, ensure, slot_state, wanted_tables,
};
use viewfeed_store::EpochRecord;
use viewfeed_testbed::Postgres;

pub(crate) const SOURCE: &str = "shop";

/// A server, and its owner's connection.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) server: Postgres,
    pub(crate) owner: Client,
}

impl World {
    /// Ready for replication, with a table that has a key.
    pub(crate) fn ready() -> Self {
        Self::with(&["wal_level=logical", "max_slot_wal_keep_size=100GB"])
    }

    pub(crate) fn with(settings: &[&str]) -> Self {
        let server = Postgres::start_with(settings);
        let runtime = Runtime::new().unwrap();
        let owner = connect(&runtime, &server.connection());
        let world = Self {
            runtime,
            server,
            owner,
        };
        world.sql("CREATE TABLE item (id int PRIMARY KEY, name text)");
        world
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn sql(&self, sql: &str) {
        let done = self.wait(self.owner.batch_execute(sql));
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) fn check(&self, options: &[(&str, &str)]) -> Vec<Finding> {
        self.wait(check(&self.owner, SOURCE, &settings(options))).unwrap()
    }

    /// What is wrong, without notes.
    pub(crate) fn wrong(&self, options: &[(&str, &str)]) -> Vec<Finding> {
        let mut findings = self.check(options);
        findings.retain(|finding| finding.severity >= Severity::Warning);
        findings
    }

    pub(crate) fn ensure(&self, options: &[(&str, &str)]) -> viewfeed_change::Result<Ensured> {
        let settings = settings(options);
        self.wait(async {
            let wanted = wanted_tables(&self.owner, &settings).await?;
            ensure(&self.owner, SOURCE, &settings, &wanted).await
        })
    }

    pub(crate) fn published(&self) -> String {
        let sql =
            "SELECT string_agg(schemaname || '.' || tablename, ' ' ORDER BY 1) FROM pg_publication_tables";
        let row = self.wait(self.owner.query_one(sql, &[])).unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    pub(crate) fn slot(&self) -> SlotState {
        self.wait(slot_state(&self.owner, &settings(&[]))).unwrap()
    }
}

pub(crate) fn connect(runtime: &Runtime, connection: &str) -> Client {
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(connection, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    })
}

pub(crate) fn settings(options: &[(&str, &str)]) -> Settings {
    let options = [&[("connection", "host=anywhere")], options].concat();
    let options: Vec<_> = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::from_options(SOURCE, &options).unwrap()
}

/// Those of a source that follows these tables of `server`.
pub(crate) fn settings_of(server: &Postgres, tables: &str) -> Settings {
    let options = [("connection", server.connection()), ("tables", tables.to_owned())];
    let options = options.map(|(name, value)| (name.to_owned(), value));
    Settings::from_options(SOURCE, &options).unwrap()
}

/// What is logged of an epoch that no feed is told of.
pub(crate) fn nothing_told() -> EpochRecord {
    EpochRecord {
        commit_time: Timestamp(0),
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    }
}

/// The only finding whose `what` holds `text`.
pub(crate) fn find(findings: &[Finding], text: &str) -> Finding {
    let found: Vec<_> = findings
        .iter()
        .filter(|finding| finding.what.contains(text))
        .collect();
    assert_eq!(found.len(), 1, "{text:?} in {findings:#?}");
    found[0].clone()
}

pub(crate) fn assert_error(findings: &[Finding], text: &str, run: &str) {
    let finding = find(findings, text);
    assert_eq!(finding.severity, Severity::Error, "{finding:?}");
    assert!(finding.run.as_ref().unwrap().contains(run), "{finding:?}");
    assert!(!finding.why.is_empty(), "{finding:?}");
}
