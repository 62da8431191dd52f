//! What a user says of a Postgres source: where it is, which tables, what things are called there and here.
//!
//! Owns the settings and their defaults; what a connection string means is left to `connection`, what a pattern matches
//! to `shape`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The settings of a source, as `CREATE SOURCE` or the settings file gives them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A libpq connection string or URL: host, port, user, dbname, sslmode, sslrootcert, …
    pub connection: String,
    /// The name of the environment variable that holds the password, if the connection string has none.
    pub password_env: Option<String>,
    /// The path of the file whose first line is the password, likewise.
    pub password_file: Option<String>,
    /// Which tables: `schema.table` or `schema.*`.
    pub tables: Vec<String>,
    /// The schema of ours that the tables appear in; by default the source's name.
    pub schema: String,
    /// The publication, made if it is absent.
    pub publication: String,
    /// The replication slot, made if it is absent.
    pub slot: String,
    /// Columns (`schema.table.column`) that are read as the text Postgres shows, whatever their type.
    pub text_columns: Vec<String>,
    /// Bytes of WAL that the slot may keep at the server before the source says so and acts (see `guardian`).
    pub wal_bytes_max: u64,
}

impl fmt::Debug for Settings {
    /// Without the connection string: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("tables", &self.tables)
            .field("schema", &self.schema)
            .field("publication", &self.publication)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}
