//! A second server that follows a first one, and takes its place.

use super::{Postgres, as_server, give_to_server, is_root, new_folder, succeeded};
use std::fs;

/// The slot that keeps the log of the first server for the second.
const SLOT: &str = "standby";
/// The first version that keeps slots of a standby up to date.
const SYNCHRONIZES_SLOTS: u32 = 17;
/// What it needs for that.
const SYNCHRONIZING: [&str; 2] = ["sync_replication_slots=on", "hot_standby_feedback=on"];

impl Postgres {
    /// A running standby of this server, with its settings and, from version 17 on, its failover slots. It is made of the files of
    /// the server, which is stopped for that: connections are lost. (Not every version that is chosen by its folder has
    /// `pg_basebackup`.)
    ///
    /// # Panics
    /// If it cannot be made or does not start: the message says what it said.
    pub fn standby(&mut self) -> Self {
        let slot = format!("SELECT pg_create_physical_replication_slot('{SLOT}', true)");
        self.connect().query(&slot).expect("a slot can be made");
        self.crash();
        let folder = new_folder();
        if is_root() {
            give_to_server(folder.path());
        }
        let copied = as_server("cp".as_ref())
            .arg("-a")
            .args([self.data(), folder.path().join("data")])
            .output();
        succeeded("cp", &copied.expect("cp can be started"));
        self.resume();
        let mut settings = self.settings.clone();
        settings.push(format!("primary_conninfo={}", self.connection()));
        settings.push(format!("primary_slot_name={SLOT}"));
        if self.major() >= SYNCHRONIZES_SLOTS {
            settings.extend(SYNCHRONIZING.map(str::to_owned));
        }
        let _ = fs::remove_file(folder.path().join("data/postmaster.pid"));
        fs::write(folder.path().join("data/standby.signal"), "").expect("the data folder can be written");
        Self::made(folder, self.programs.clone(), settings)
    }

    /// Lets a standby go on as a server of its own. Returns when it does.
    ///
    /// # Panics
    /// If it is no standby.
    pub fn promote(&self) {
        let promoted = self.connect().query("SELECT pg_promote()");
        let promoted = promoted.expect("a standby can be promoted");
        assert_eq!(promoted, [[Some("t".to_owned())]]);
    }

    /// Its version: 15 of 15.4.
    ///
    /// # Panics
    /// If it does not say so.
    pub fn major(&self) -> u32 {
        let output = as_server(&self.programs.join("postgres"))
            .arg("--version")
            .output();
        let said = output.expect("the server can be started").stdout;
        let said = String::from_utf8_lossy(&said);
        let version = said
            .split_whitespace()
            .nth(2)
            .and_then(|version| version.split(['.', 'b', 'r', 'd']).next());
        let major = version.and_then(|major| major.parse().ok());
        major.expect("a server says its version")
    }
}
