//! What is said of servers of every version and every setting, without one.

use super::super::Severity;
use super::*;

/// A server that is as it should be.
fn good() -> Server {
    let settings = [
        ("wal_level", "logical", None),
        ("max_replication_slots", "10", None),
        ("max_wal_senders", "10", None),
        ("max_slot_wal_keep_size", "20480", Some("MB")),
        ("wal_sender_timeout", "60000", Some("ms")),
        ("logical_decoding_work_mem", "65536", Some("kB")),
        ("synchronous_commit", "on", None),
        ("wal_writer_delay", "200", Some("ms")),
        ("idle_replication_slot_timeout", "0", Some("s")),
        ("synchronized_standby_slots", "", None),
        ("server_encoding", "UTF8", None),
    ];
    let owned =
        settings.map(|(name, value, unit)| (name.to_owned(), (value.to_owned(), unit.map(str::to_owned))));
    Server {
        version: 180_001,
        settings: owned.into_iter().collect(),
        role: "reader".to_owned(),
        database: "shop".to_owned(),
        may_replicate: true,
        may_create: true,
        ..Server::default()
    }
}

fn findings(server: &Server) -> Vec<Finding> {
    let options = [("connection".to_owned(), "host=db".to_owned())];
    let settings = Settings::from_options("shop", &options).unwrap();
    let mut findings = server.findings(&settings);
    findings.push(slots(server, false));
    findings
}

/// The one finding that is not good.
fn bad(change: impl FnOnce(&mut Server)) -> Finding {
    let mut server = good();
    change(&mut server);
    let mut bad = findings(&server);
    bad.retain(|finding| finding.severity != Severity::Good);
    assert_eq!(bad.len(), 1, "{bad:?}");
    bad.remove(0)
}

fn set(server: &mut Server, name: &str, value: &str) {
    server.settings.get_mut(name).unwrap().0 = value.to_owned();
}

#[test]
fn a_server_that_is_as_it_should_be_is_good() {
    let findings = findings(&good());
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity == Severity::Good && finding.run.is_none()),
        "{findings:?}"
    );
}

/// A setting, a value that hurts, how much, what is said of it and what is to be run.
const HURTING: &[(&str, &str, Severity, &str, &str)] = &[
    (
        "wal_level",
        "replica",
        Severity::Error,
        "wal_level is replica",
        "ALTER SYSTEM SET wal_level = 'logical'",
    ),
    (
        "max_replication_slots",
        "0",
        Severity::Error,
        "0 of 0 replication slots are free",
        "max_replication_slots = '2'",
    ),
    (
        "max_replication_slots",
        "1",
        Severity::Warning,
        "1 of 1 replication slots are free",
        "max_replication_slots = '2'",
    ),
    (
        "max_wal_senders",
        "0",
        Severity::Error,
        "0 of 0 WAL senders are free",
        "max_wal_senders = '2'",
    ),
    (
        "max_slot_wal_keep_size",
        "-1",
        Severity::Warning,
        "max_slot_wal_keep_size is -1",
        "max_slot_wal_keep_size = '20GB'",
    ),
    (
        "max_slot_wal_keep_size",
        "1024",
        Severity::Warning,
        "max_slot_wal_keep_size is 1GB",
        "'20GB'",
    ),
    (
        "wal_sender_timeout",
        "0",
        Severity::Note,
        "wal_sender_timeout is 0",
        "'60s'",
    ),
    (
        "wal_sender_timeout",
        "1000",
        Severity::Warning,
        "wal_sender_timeout is 1000 ms",
        "'60s'",
    ),
    (
        "logical_decoding_work_mem",
        "64",
        Severity::Warning,
        "logical_decoding_work_mem is 64kB",
        "'64MB'",
    ),
    (
        "synchronous_commit",
        "off",
        Severity::Warning,
        "synchronous_commit is off",
        "synchronous_commit = 'on'",
    ),
    (
        "idle_replication_slot_timeout",
        "3600",
        Severity::Warning,
        "idle_replication_slot_timeout is 3600 s",
        "'0'",
    ),
    (
        "server_encoding",
        "SQL_ASCII",
        Severity::Warning,
        "the database's encoding is SQL_ASCII",
        "UTF8",
    ),
];

#[test]
fn each_setting_that_hurts_is_named_with_what_to_run() {
    for (name, value, severity, what, run) in HURTING {
        let finding = bad(|server| set(server, name, value));
        assert_eq!((&finding.severity, finding.what.as_str()), (severity, *what));
        assert!(finding.run.as_ref().unwrap().contains(run), "{finding:?}");
        assert!(!finding.why.is_empty(), "{finding:?}");
    }
}

#[test]
fn what_a_version_lacks_is_said() {
    let at = |version: u32| bad(|server| server.version = version);
    assert_eq!(at(120_009).severity, Severity::Error);
    assert!(at(120_009).run.unwrap().contains("upgrade"));
    assert!(at(130_009).why.contains("only after its COMMIT"));
    assert!(at(160_009).why.contains("promotion"));
    for version in [170_000, 190_000] {
        let mut server = good();
        server.version = version;
        assert!(
            findings(&server)
                .iter()
                .all(|finding| finding.severity == Severity::Good)
        );
    }
}

#[test]
fn a_setting_that_a_version_does_not_have_is_nothing_to_say() {
    let mut server = good();
    server.version = 170_000;
    for name in ["idle_replication_slot_timeout", "synchronized_standby_slots"] {
        server.settings.remove(name);
    }
    assert!(
        findings(&server)
            .iter()
            .all(|finding| finding.severity == Severity::Good)
    );
    // From 19 on a logical slot raises the level by itself.
    server.version = 190_000;
    set(&mut server, "wal_level", "replica");
    assert!(
        findings(&server)
            .iter()
            .all(|finding| finding.severity == Severity::Good)
    );
}

#[test]
fn who_runs_the_server_decides_how_it_is_set() {
    for (hosting, level, role) in [
        (Hosting::Rds, "rds.logical_replication", "GRANT rds_replication"),
        (Hosting::CloudSql, "cloudsql.logical_decoding", "ALTER ROLE"),
        (Hosting::Azure, "server parameter wal_level", "ALTER ROLE"),
    ] {
        let finding = bad(|server| {
            server.hosting = hosting;
            set(server, "wal_level", "replica");
        });
        assert!(finding.run.unwrap().contains(level));
        let finding = bad(|server| {
            server.hosting = hosting;
            server.may_replicate = false;
        });
        assert!(finding.run.unwrap().contains(role));
        let finding = bad(|server| {
            server.hosting = hosting;
            set(server, "max_wal_senders", "0");
        });
        assert!(
            finding
                .run
                .unwrap()
                .starts_with("set the server parameter max_wal_senders to 2")
        );
    }
}

#[test]
fn a_pooler_a_standby_and_roles_that_commit_asynchronously_are_seen() {
    assert_eq!(bad(|server| server.is_pooled = true).severity, Severity::Error);
    assert_eq!(bad(|server| server.is_standby = true).severity, Severity::Warning);
    let finding = bad(|server| server.asynchronous_roles = 1);
    assert_eq!(
        finding.what,
        "synchronous_commit is off for some roles or for the database"
    );
    let finding = bad(|server| server.standbys = 1);
    assert_eq!(
        finding.what,
        "synchronized_standby_slots is empty, but there are standbys"
    );
    let mut old = good();
    (old.version, old.is_standby) = (150_000, true);
    let standby = findings(&old)
        .into_iter()
        .find(|finding| finding.what.contains("standby"));
    assert_eq!(standby.unwrap().severity, Severity::Error);
}
