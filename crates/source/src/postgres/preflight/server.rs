//! The server's settings and what the role may do there.

mod resources;

pub(super) use resources::slots;

use super::super::answer::{self, Row};
use super::{Finding, Settings, VERSION_MIN};
use postgres_protocol::escape::escape_identifier;
use std::collections::BTreeMap;
use tokio_postgres::Client;
use viewfeed_change::Result;

/// How often the number of our server process is asked for: behind a pooler that shares processes between clients it is not
/// always the same.
const POOLER_PROBES: usize = 4;
const READING: &str = "reading the server's settings";
/// What must be set, by its name there.
const WAL_LEVEL: &str = "wal_level";
/// From this version on the server raises its `wal_level` by itself when a logical slot is made.
const VERSION_OF_RISING_WAL_LEVEL: u32 = 19;
const VERSION_OF_FAILOVER_SLOTS: u32 = 17;
const VERSION_OF_STANDBY_DECODING: u32 = 16;
const VERSION_OF_STREAMING: u32 = 14;

/// What the server says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    /// `server_version_num`, for example 150018.
    pub(super) version: u32,
    /// Values of `pg_settings` and their units.
    pub(super) settings: BTreeMap<String, (String, Option<String>)>,
    pub(super) role: String,
    pub(super) database: String,
    pub(super) hosting: Hosting,
    pub(super) may_replicate: bool,
    pub(super) may_create: bool,
    pub(super) is_standby: bool,
    /// Replication slots that exist.
    pub(super) slots: i64,
    /// Processes that send the log to somebody.
    pub(super) senders: i64,
    /// Standbys that are being followed by a slot.
    pub(super) standbys: i64,
    /// Whether a role or the database overrides `synchronous_commit`.
    pub(super) asynchronous_roles: i64,
    pub(super) is_pooled: bool,
}

/// Who runs the server: settings are changed differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hosting {
    /// Its user.
    #[default]
    Own,
    /// Amazon RDS and Aurora.
    Rds,
    /// Google Cloud SQL.
    CloudSql,
    /// Azure Database.
    Azure,
}

impl Server {
    /// Asks.
    pub(super) async fn read(client: &Client) -> Result<Self> {
        let settings = answer::rows(client, READING, SETTINGS).await?;
        let setting = |row: &Row| {
            let unit = row.text("unit").map(str::to_owned);
            Ok((row.name("name")?, (row.name("setting")?, unit)))
        };
        let row = answer::row(client, READING, FACTS).await?;
        Ok(Self {
            version: row.value("version")?,
            settings: settings.iter().map(setting).collect::<Result<_>>()?,
            role: row.name("role")?,
            database: row.name("database")?,
            hosting: match row.text("hosting") {
                Some("rds_superuser") => Hosting::Rds,
                Some("cloudsqlsuperuser") => Hosting::CloudSql,
                Some("azure_pg_admin") => Hosting::Azure,
                _ => Hosting::Own,
            },
            may_replicate: row.is("may_replicate"),
            may_create: row.is("may_create"),
            is_standby: row.is("is_standby"),
            slots: row.value("slots")?,
            senders: row.value("senders")?,
            standbys: row.value("standbys")?,
            asynchronous_roles: row.value("asynchronous_roles")?,
            is_pooled: is_pooled(client).await?,
        })
    }

    pub(super) fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// All that is to say of the server itself.
    pub(super) fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let mut findings = vec![self.version_finding()];
        if self.major() < VERSION_MIN {
            return findings;
        }
        findings.extend([self.wal_level(), self.replication()]);
        findings.extend(self.pooler());
        findings.extend(self.standby());
        findings.extend(resources::findings(self, settings));
        findings
    }

    fn version_finding(&self) -> Finding {
        let major = self.major();
        let what = format!("the server is Postgres {major}");
        if major < VERSION_MIN {
            let why = format!("{VERSION_MIN} is the oldest version whose replication viewfeed reads");
            return Finding::error(what, why, format!("upgrade the server to {VERSION_MIN} or later"));
        }
        if major < VERSION_OF_STREAMING {
            let why = "before 14 a transaction is sent only after its COMMIT, large ones are spilled on the server's disk, \
                       and a table is copied by one worker; failover slots came with 17";
            return Finding::note(what, why);
        }
        match major < VERSION_OF_FAILOVER_SLOTS {
            true => Finding::note(
                what,
                "before 17 a slot does not survive the promotion of a standby: the tables are copied anew then",
            ),
            false => Finding::good(what),
        }
    }

    fn wal_level(&self) -> Finding {
        let level = self.text(WAL_LEVEL).unwrap_or("unknown");
        let effective = self.text("effective_wal_level").unwrap_or(level);
        let rises = self.major() >= VERSION_OF_RISING_WAL_LEVEL && level == "replica";
        if level == "logical" || effective == "logical" || rises {
            return Finding::good(format!("wal_level is {level}"));
        }
        let run = match self.hosting {
            Hosting::Own => {
                "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server (a reload is not enough)"
                    .into()
            }
            Hosting::Rds => "set rds.logical_replication = 1 in the parameter group, then reboot".to_owned(),
            Hosting::CloudSql => {
                "set the flag cloudsql.logical_decoding = on; the instance restarts".to_owned()
            }
            Hosting::Azure => {
                "set the server parameter wal_level to LOGICAL, then restart the server".to_owned()
            }
        };
        let why = "the log holds whole rows only with wal_level logical";
        Finding::error(format!("wal_level is {level}"), why, run)
    }

    fn replication(&self) -> Finding {
        let role = escape_identifier(&self.role);
        if self.may_replicate {
            return Finding::good(format!("role {role} may replicate"));
        }
        let run = match self.hosting {
            Hosting::Rds => format!("GRANT rds_replication TO {role};"),
            _ => format!("ALTER ROLE {role} REPLICATION;"),
        };
        let why = "without the privilege it can neither make a slot nor read one";
        Finding::error(format!("role {role} may not replicate"), why, run)
    }

    fn pooler(&self) -> Option<Finding> {
        self.is_pooled.then(|| {
            Finding::error(
                "there is a pooler between, which shares server processes between clients",
                "replication and snapshots need a server process of their own",
                "connect to the server itself: its own host and port, not the pooler's",
            )
        })
    }

    fn standby(&self) -> Option<Finding> {
        if !self.is_standby {
            return None;
        }
        let what = "the server is a standby";
        Some(match self.major() < VERSION_OF_STANDBY_DECODING {
            true => Finding::error(
                what,
                "before Postgres 16 a standby has no logical replication",
                "connect to the primary",
            ),
            false => Finding::warning(
                what,
                "publications are made on the primary; a slot is made only once the primary logs a snapshot of running \
                 transactions; heartbeats cannot be sent; without hot_standby_feedback the slot may be invalidated",
                "connect to the primary, or create the publication there, set hot_standby_feedback = on, and run SELECT \
                 pg_log_standby_snapshot() on the primary while the slot is made",
            ),
        })
    }

    /// A setting as text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|(value, _)| value.as_str())
    }

    /// A setting as a number in its basic unit: bytes or milliseconds; None if this version does not have it.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let (value, unit) = self.settings.get(name)?;
        let factor = match unit.as_deref().unwrap_or_default() {
            "kB" => 1 << 10,
            "8kB" => 8 << 10,
            "MB" => 1 << 20,
            "s" => 1000,
            "min" => 60_000,
            _ => 1,
        };
        // −1 stands for "none", not for a quantity.
        let value: i64 = value.parse().ok()?;
        if value < 0 {
            Some(value)
        } else {
            value.checked_mul(factor)
        }
    }

    /// How `name` is set to `value` here.
    pub(super) fn to_set(&self, name: &str, value: &str, needs_restart: bool) -> String {
        match (self.hosting, needs_restart) {
            (Hosting::Own, false) => format!("ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf();"),
            (Hosting::Own, true) => {
                format!("ALTER SYSTEM SET {name} = '{value}'; -- then restart the server")
            }
            (_, false) => format!("set the server parameter {name} to {value}"),
            (_, true) => format!("set the server parameter {name} to {value}, then restart the server"),
        }
    }
}

/// Whether our queries are run by several server processes.
async fn is_pooled(client: &Client) -> Result<bool> {
    let mut first = None;
    for _ in 0..POOLER_PROBES {
        let row = answer::row(client, READING, "SELECT pg_catalog.pg_backend_pid() AS process").await?;
        let process = row.name("process")?;
        if first.get_or_insert_with(|| process.clone()) != &process {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A setting that this version does not have is not in the answer.
const SETTINGS: &str = "SELECT name, setting, unit FROM pg_catalog.pg_settings WHERE name IN ('wal_level',
    'effective_wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size', 'wal_sender_timeout',
    'logical_decoding_work_mem', 'synchronous_commit', 'wal_writer_delay', 'idle_replication_slot_timeout',
    'synchronized_standby_slots', 'server_encoding')";

const FACTS: &str = "SELECT pg_catalog.current_setting('server_version_num') AS version, current_user AS role,
    pg_catalog.current_database() AS database,
    (SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin')
        LIMIT 1) AS hosting,
    (SELECT r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles g
        WHERE g.rolname = 'rds_replication' AND pg_catalog.pg_has_role(g.oid, 'MEMBER'))
        FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) AS may_replicate,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS may_create,
    pg_catalog.pg_is_in_recovery() AS is_standby,
    (SELECT count(*) FROM pg_catalog.pg_replication_slots) AS slots,
    (SELECT count(*) FROM pg_catalog.pg_stat_replication) AS senders,
    (SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical' AND active) AS standbys,
    (SELECT count(*) FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
        WHERE c = 'synchronous_commit=off' AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
            WHERE datname = pg_catalog.current_database()))) AS asynchronous_roles";

#[cfg(test)]
mod tests;
