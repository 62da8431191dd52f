//! The publication and the slot of a Postgres source at a real server: made, altered, adopted, refused, lost and dropped; and
//! the log that the server keeps for it.

use crate::postgres_world::{SOURCE, World, assert_error, connect, find, settings};
use viewfeed_change::{ErrorKind, Timestamp};
use viewfeed_source::postgres::{
    Ensured, Guardian, MembershipChanges, Settings, Severity, SlotLag, SlotState, Verdict, WalLimit,
    WalStatus, drop_publication, drop_slot, heartbeat, observe_slot, read_publication, wanted_tables,
};

#[test]
fn our_publication_is_made_and_follows_the_wanted_tables_and_goes() {
    let world = World::ready();
    world.sql("CREATE TABLE bare (id int); CREATE SCHEMA crm; CREATE TABLE crm.\"P\" (id int PRIMARY KEY)");
    assert_eq!(world.ensure(&[]).unwrap(), Ensured::Created);
    assert_eq!(
        world.published(),
        "public.item",
        "without an identity it is not added"
    );
    assert_eq!(world.ensure(&[]).unwrap(), Ensured::Unchanged);
    let both = [("tables", "item, crm.*")];
    find(&world.check(&both), "does not have \"crm\".\"P\"");
    let altered = Ensured::Altered {
        added: vec!["\"crm\".\"P\"".to_owned()],
        dropped: Vec::new(),
    };
    assert_eq!(world.ensure(&both).unwrap(), altered);
    let altered = Ensured::Altered {
        added: Vec::new(),
        dropped: vec!["\"public\".\"item\"".to_owned()],
    };
    find(
        &world.check(&[("tables", "crm.*")]),
        "also has \"public\".\"item\"",
    );
    assert_eq!(world.ensure(&[("tables", "crm.*")]).unwrap(), altered);
    assert_eq!(world.published(), "crm.P");
    // A table that lost its identity goes, before its users notice.
    world.sql("CREATE TABLE crm.q (id int PRIMARY KEY)");
    assert!(matches!(
        world.ensure(&[("tables", "crm.*")]),
        Ok(Ensured::Altered { .. })
    ));
    world.sql("ALTER TABLE crm.q DROP CONSTRAINT q_pkey");
    let altered = Ensured::Altered {
        added: Vec::new(),
        dropped: vec!["\"crm\".\"q\"".to_owned()],
    };
    assert_eq!(world.ensure(&[("tables", "crm.*")]).unwrap(), altered);
    // What somebody changed by hand is set right.
    world.sql("ALTER PUBLICATION viewfeed_shop SET (publish = 'insert', publish_via_partition_root = false)");
    assert!(matches!(world.ensure(&both), Ok(Ensured::Altered { .. })));
    let publication = world
        .wait(read_publication(&world.owner, &settings(&[])))
        .unwrap()
        .unwrap();
    assert!(publication.is_made_by(SOURCE) && !publication.is_made_by("other"));
    assert!(publication.lacks.is_empty() && publication.is_via_root);
    assert!(
        !world
            .wait(drop_publication(&world.owner, "other", &settings(&[])))
            .unwrap()
    );
    assert!(
        world
            .wait(drop_publication(&world.owner, SOURCE, &settings(&[])))
            .unwrap()
    );
    assert!(
        !world
            .wait(drop_publication(&world.owner, SOURCE, &settings(&[])))
            .unwrap()
    );
    assert_eq!(world.published(), "");
}

#[test]
fn the_publication_of_somebody_else_is_used_as_it_is_or_refused() {
    let world = World::ready();
    world.sql("CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION viewfeed_shop FOR TABLE item");
    assert_eq!(world.ensure(&[]).unwrap(), Ensured::Adopted);
    assert_eq!(world.published(), "public.item");
    let findings = world.check(&[]);
    assert_eq!(find(&findings, "exists already").severity, Severity::Note);
    assert_eq!(
        find(&findings, "does not have \"public\".\"other\"").severity,
        Severity::Warning
    );
    let publication = world
        .wait(read_publication(&world.owner, &settings(&[])))
        .unwrap()
        .unwrap();
    let wanted = world.wait(wanted_tables(&world.owner, &settings(&[]))).unwrap();
    let names: Vec<_> = publication
        .published(&wanted.tables)
        .iter()
        .map(|table| table.name.clone())
        .collect();
    assert_eq!(names, ["item"]);

    let named = [("tables", "item, other")];
    assert_error(
        &world.check(&named),
        "does not have \"public\".\"other\"",
        "ADD TABLE ONLY",
    );
    let error = world.ensure(&named).unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Precondition, "PUBLICATION_UNFIT")
    );

    world.sql("ALTER PUBLICATION viewfeed_shop SET (publish = 'insert, update')");
    let run = find(&world.check(&[]), "does not publish delete and truncate")
        .run
        .unwrap();
    assert_eq!(world.ensure(&[]).unwrap_err().reason(), "PUBLICATION_UNFIT");
    world.sql(&run);
    assert_eq!(world.ensure(&[]).unwrap(), Ensured::Adopted);
    assert!(
        !world
            .wait(drop_publication(&world.owner, SOURCE, &settings(&[])))
            .unwrap()
    );
    assert_eq!(world.published(), "public.item", "what is not ours stays");

    world.sql("COMMENT ON PUBLICATION viewfeed_shop IS 'Made, altered and dropped by viewfeed source=crm'");
    let finding = find(&world.check(&[]), "made by another source, \"crm\"");
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn a_table_that_left_a_publication_and_came_back_is_noticed() {
    let world = World::ready();
    world.sql("CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE third (id int PRIMARY KEY)");
    world.ensure(&[("tables", "item, other")]).unwrap();
    let memberships = || {
        let publication = world
            .wait(read_publication(&world.owner, &settings(&[])))
            .unwrap();
        publication.unwrap().memberships()
    };
    let before = memberships();
    assert!(MembershipChanges::between(&before, &memberships()).is_empty());
    let (item, other) = (before[0].table, before[1].table);
    world.sql(
        "ALTER PUBLICATION viewfeed_shop DROP TABLE item; ALTER PUBLICATION viewfeed_shop ADD TABLE item, third;
        ALTER PUBLICATION viewfeed_shop DROP TABLE other",
    );
    let changes = MembershipChanges::between(&before, &memberships());
    assert_eq!((changes.replaced, changes.dropped), (vec![item], vec![other]));
    assert_eq!(changes.added.len(), 1);
    // The same table with other rows or columns is another one too; so is everything in a publication made anew.
    let before = memberships();
    world.sql("ALTER PUBLICATION viewfeed_shop SET TABLE item WHERE (id > 1), third (id)");
    assert_eq!(
        MembershipChanges::between(&before, &memberships()).replaced.len(),
        2
    );
    let before = memberships();
    world.sql("DROP PUBLICATION viewfeed_shop; CREATE PUBLICATION viewfeed_shop FOR ALL TABLES");
    let changes = MembershipChanges::between(&before, &memberships());
    assert_eq!((changes.replaced.len(), changes.added), (2, vec![other]));
    let before = memberships();
    world.sql("DROP PUBLICATION viewfeed_shop; CREATE PUBLICATION viewfeed_shop FOR TABLES IN SCHEMA public");
    assert_eq!(
        MembershipChanges::between(&before, &memberships()).replaced.len(),
        3
    );
}

#[test]
fn a_slot_is_missing_free_foreign_or_gone() {
    let world = World::ready();
    let make = |plugin: &str| {
        world.sql(&format!(
            "SELECT pg_create_logical_replication_slot('viewfeed_shop', '{plugin}')"
        ));
    };
    assert_eq!(world.slot(), SlotState::Missing);
    assert!(!world.wait(drop_slot(&world.owner, &settings(&[]))).unwrap());
    make("pgoutput");
    let SlotState::Free(slot) = world.slot() else {
        panic!("{:?}", world.slot());
    };
    assert_eq!((slot.wal_status, slot.is_failover), (WalStatus::Reserved, false));
    assert!(slot.confirmed >= slot.restart && slot.restart.0 > 0);
    assert_eq!(
        find(&world.check(&[]), "slot viewfeed_shop exists already").severity,
        Severity::Note
    );
    assert!(world.wait(drop_slot(&world.owner, &settings(&[]))).unwrap());
    assert_eq!(world.slot(), SlotState::Missing);

    make("test_decoding");
    assert!(matches!(world.slot(), SlotState::Foreign { why } if why.contains("test_decoding")));
    assert_error(&world.check(&[]), "slot viewfeed_shop is not ours", "option slot");
    assert!(
        !world.wait(drop_slot(&world.owner, &settings(&[]))).unwrap(),
        "not ours to drop"
    );
    world.sql("SELECT pg_drop_replication_slot('viewfeed_shop')");

    world.sql("SELECT pg_create_physical_replication_slot('viewfeed_shop')");
    assert!(matches!(world.slot(), SlotState::Foreign { why } if why.contains("physical")));
    world.sql("SELECT pg_drop_replication_slot('viewfeed_shop')");

    world.sql("CREATE DATABASE elsewhere");
    let elsewhere = world
        .server
        .connection()
        .replace("dbname=postgres", "dbname=elsewhere");
    let there = connect(&world.runtime, &elsewhere);
    let sql = "SELECT pg_create_logical_replication_slot('viewfeed_shop', 'pgoutput')";
    world.wait(there.batch_execute(sql)).unwrap();
    assert!(matches!(world.slot(), SlotState::Foreign { why } if why.contains("elsewhere")));
}

#[test]
fn a_slot_that_is_read_says_by_whom() {
    let world = World::ready();
    world.ensure(&[]).unwrap();
    world.sql("SELECT pg_create_logical_replication_slot('viewfeed_shop', 'pgoutput')");
    let reader = world.server.programs().join("pg_recvlogical");
    let connection = format!("{} application_name=a-reader", world.server.connection());
    let mut child = std::process::Command::new(reader)
        .args([
            "-d",
            &connection,
            "-S",
            "viewfeed_shop",
            "--start",
            "-f",
            "/dev/null",
        ])
        .args(["-o", "proto_version=1", "-o", "publication_names=viewfeed_shop"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let state = loop {
        match world.slot() {
            SlotState::Free(_) if std::time::Instant::now() < deadline => std::thread::yield_now(),
            state => break state,
        }
    };
    let SlotState::InUse { reader, slot } = state else {
        panic!("{state:?}");
    };
    assert_eq!(reader.application, "a-reader");
    assert!(slot.restart.0 > 0);
    assert_eq!(
        find(&world.wrong(&[]), "is being read by process").severity,
        Severity::Warning
    );
    let error = world.wait(drop_slot(&world.owner, &settings(&[]))).unwrap_err();
    assert_eq!(error.reason(), "SLOT_IN_USE");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A server that keeps 32 MB of log for a slot, and the guardian of a source whose limit is 8 MB.
struct Watched {
    world: World,
    settings: Settings,
    guardian: Guardian,
    second: i64,
}

impl Watched {
    fn new() -> Self {
        let world = World::with(&[
            "wal_level=logical",
            "max_slot_wal_keep_size=32MB",
            // No checkpoint but that of the test.
            "max_wal_size=4GB",
            "checkpoint_timeout=1d",
        ]);
        world.sql("SELECT pg_create_logical_replication_slot('viewfeed_shop', 'pgoutput')");
        let settings = settings(&[("wal_limit", "8MB")]);
        Self {
            world,
            guardian: Guardian::new(&settings),
            settings,
            second: 0,
        }
    }

    /// A second later.
    fn look(&mut self) -> (Option<SlotLag>, Verdict) {
        self.second += 1;
        let observation = observe_slot(&self.world.owner, &self.settings);
        let observation = self.world.wait(observation).unwrap();
        self.guardian
            .observe(&observation, Timestamp(self.second * 1_000_000))
    }

    /// Writes so many messages of a million bytes into the log and nowhere else. They are of transactions: a message of
    /// none is not flushed when its statement ends, and the server counts the log from where it has been written to.
    fn grow(&self, messages: usize) {
        for _ in 0..messages {
            self.world
                .sql("SELECT pg_logical_emit_message(true, 'grow', repeat('x', 1000000))");
        }
    }
}

#[test]
fn the_guardian_sees_the_log_grow_past_the_limit_of_the_source() {
    let mut watched = Watched::new();
    let (lag, verdict) = watched.look();
    let first = lag.unwrap();
    assert_eq!((verdict, first.wal_status), (Verdict::Fine, WalStatus::Reserved));
    assert!(first.safe_wal_bytes.unwrap() > 0);
    watched.grow(6);
    let (lag, verdict) = watched.look();
    let lag = lag.unwrap();
    assert!(lag.kept_bytes >= 6_000_000 && lag.kept_bytes < 8 << 20, "{lag:?}");
    assert!(lag.lag_bytes <= lag.kept_bytes, "{lag:?}");
    assert!(lag.exhausted_in.is_some(), "{lag:?}");
    assert!(
        matches!(
            verdict,
            Verdict::Warn {
                limit: WalLimit::Source,
                ..
            }
        ),
        "{verdict:?}"
    );
    watched.grow(4);
    let (_, verdict) = watched.look();
    assert!(
        matches!(
            verdict,
            Verdict::OverLimit {
                limit: WalLimit::Source,
                ..
            }
        ),
        "{verdict:?}"
    );
}

#[test]
fn the_guardian_sees_that_the_server_is_about_to_give_up_the_slot_and_that_it_did() {
    let mut watched = Watched::new();
    watched.grow(60);
    let (lag, verdict) = watched.look();
    assert_eq!(lag.unwrap().wal_status, WalStatus::Unreserved);
    assert!(
        matches!(
            verdict,
            Verdict::OverLimit {
                limit: WalLimit::Server,
                ..
            }
        ),
        "{verdict:?}"
    );
    watched.world.sql("CHECKPOINT");
    assert_eq!(watched.look(), (None, Verdict::NoSlot));
    let world = &watched.world;
    assert!(matches!(world.slot(), SlotState::Lost { why } if why == "wal_removed"));
    assert_error(
        &world.check(&[]),
        "slot viewfeed_shop is lost: wal_removed",
        "pg_drop_replication_slot",
    );
    let dropped = world.wait(drop_slot(&world.owner, &watched.settings));
    assert!(dropped.unwrap());
    assert_eq!(world.slot(), SlotState::Missing);
}

#[test]
fn a_heartbeat_is_in_the_log_for_the_slot_to_read() {
    let world = World::ready();
    world.sql("SELECT pg_create_logical_replication_slot('viewfeed_shop', 'pgoutput')");
    world.ensure(&[]).unwrap();
    let place = world.wait(heartbeat(&world.owner, "it's \\ sent")).unwrap();
    assert!(place.0 > 0);
    // The server sends what is on its disk: any commit sees to that at once, else its WAL writer.
    world.sql("INSERT INTO item VALUES (1, 'a')");
    let sql =
        "SELECT encode(data, 'escape') FROM pg_logical_slot_peek_binary_changes('viewfeed_shop', NULL, NULL,
        'proto_version', '1', 'publication_names', 'viewfeed_shop', 'messages', 'true')";
    let rows = world.wait(world.owner.query(sql, &[])).unwrap();
    let sent = rows.iter().map(|row| row.get::<_, String>(0));
    assert!(
        sent.into_iter()
            .any(|data| data.contains("viewfeed.heartbeat") && data.contains("it's"))
    );
    assert_eq!(
        world.wait(heartbeat(&world.owner, "a\0")).unwrap_err().kind(),
        ErrorKind::Invalid
    );
}
