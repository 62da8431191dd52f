//! Before a Postgres source starts, against a real server: every finding of the preflight made true and seen.

use crate::postgres_world::{SOURCE, World, assert_error, connect, find, settings};
use viewfeed_change::ErrorKind;
use viewfeed_source::postgres::{Ensured, Severity, SlotState, check, orphan_slots, wanted_tables};

#[test]
fn a_ready_server_has_nothing_wrong_and_is_not_changed_by_asking() {
    let world = World::ready();
    let findings = world.check(&[]);
    assert_eq!(world.wrong(&[]), []);
    find(&findings, "wal_level is logical");
    find(
        &findings,
        "there is no publication \"viewfeed_shop\": it will be made, with 1 table",
    );
    find(&findings, "there is no slot viewfeed_shop: it will be made");
    find(&findings, "1 table can be read");
    assert_eq!(world.published(), "");
    assert_eq!(world.slot(), SlotState::Missing);
}

#[test]
fn a_server_as_it_is_installed_is_told_what_to_set_and_then_is_ready() {
    let mut world = World::with(&[
        "max_replication_slots=1",
        "max_wal_senders=1",
        "wal_sender_timeout=2s",
    ]);
    let wrong = world.wrong(&[]);
    assert_error(
        &wrong,
        "wal_level is replica",
        "ALTER SYSTEM SET wal_level = 'logical'",
    );
    for warning in [
        "1 of 1 replication slots are free",
        "1 of 1 WAL senders are free",
        "max_slot_wal_keep_size is -1",
        "wal_sender_timeout is 2000 ms",
    ] {
        assert_eq!(find(&wrong, warning).severity, Severity::Warning);
    }
    // Settings on the command line would win over ALTER SYSTEM: only what was not set there can be mended.
    for run in [&find(&wrong, "wal_level").run, &find(&wrong, "keep_size").run] {
        let (alter, _) = run.as_ref().unwrap().split_once(';').unwrap();
        world.sql(alter);
    }
    world.server.crash();
    world.server.resume();
    world.owner = connect(&world.runtime, &world.server.connection());
    let findings = world.check(&[]);
    assert_eq!(find(&findings, "wal_level is logical").severity, Severity::Good);
    assert_eq!(find(&findings, "max_slot_wal_keep_size").severity, Severity::Good);
}

#[test]
fn settings_of_the_session_and_of_roles_are_seen() {
    let world = World::with(&[
        "wal_level=logical",
        "max_slot_wal_keep_size=1GB",
        "logical_decoding_work_mem=64kB",
        "wal_sender_timeout=0",
        "synchronous_commit=off",
    ]);
    let findings = world.check(&[]);
    for (text, severity) in [
        ("max_slot_wal_keep_size is 1GB", Severity::Warning),
        ("logical_decoding_work_mem is 64kB", Severity::Warning),
        ("wal_sender_timeout is 0", Severity::Note),
        ("synchronous_commit is off", Severity::Warning),
    ] {
        assert_eq!(find(&findings, text).severity, severity);
    }
    world.sql("SET synchronous_commit = on; ALTER ROLE viewfeed SET synchronous_commit = off");
    find(&world.check(&[]), "synchronous_commit is off for some roles");
}

#[test]
fn a_role_without_rights_is_told_each_grant_and_then_is_ready() {
    let world = World::ready();
    world.sql(
        "CREATE SCHEMA crm; CREATE TABLE crm.person (id int PRIMARY KEY);
        CREATE TABLE secret (id int PRIMARY KEY, owner text); ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
        CREATE ROLE reader LOGIN",
    );
    let connection = world.server.connection().replace("user=viewfeed", "user=reader");
    let reader = connect(&world.runtime, &connection);
    let options = [("tables", "public.*, crm.*")];
    let check = || world.wait(check(&reader, SOURCE, &settings(&options))).unwrap();
    let findings = check();
    assert_error(
        &findings,
        "may not replicate",
        "ALTER ROLE \"reader\" REPLICATION",
    );
    assert_error(
        &findings,
        "may not read 3 tables",
        "GRANT USAGE ON SCHEMA \"crm\", \"public\"",
    );
    assert_error(&findings, "row-level security hides rows", "BYPASSRLS");
    assert_error(&findings, "there is no publication", "CREATE PUBLICATION");
    for text in [
        "may not replicate",
        "may not read",
        "row-level security",
        "no publication",
    ] {
        let run = find(&findings, text).run.unwrap();
        world.sql(
            run.strip_prefix("as the owner of the tables or a superuser: ")
                .unwrap_or(&run),
        );
    }
    let errors = check()
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error);
    assert_eq!(errors.collect::<Vec<_>>(), []);
    // A role that owns the tables still needs CREATE on the database.
    world.sql(
        "DROP PUBLICATION viewfeed_shop; ALTER TABLE item OWNER TO reader; ALTER TABLE secret OWNER TO reader;
        ALTER TABLE crm.person OWNER TO reader",
    );
    assert_error(
        &check(),
        "there is no publication",
        "GRANT CREATE ON DATABASE \"postgres\" TO \"reader\"",
    );
}

#[test]
fn tables_that_cannot_be_replicated_are_named_with_the_reason() {
    let world = World::ready();
    world.sql(
        "CREATE TABLE bare (id int);
        CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
        CREATE TABLE whole (id int); ALTER TABLE whole REPLICA IDENTITY FULL;
        CREATE TABLE chosen (id int NOT NULL, other int); CREATE UNIQUE INDEX chosen_id ON chosen (id) INCLUDE (other);
        ALTER TABLE chosen REPLICA IDENTITY USING INDEX chosen_id;
        CREATE TABLE later (id int PRIMARY KEY DEFERRABLE);
        CREATE UNLOGGED TABLE fast (id int PRIMARY KEY);
        CREATE VIEW shown AS SELECT 1 AS id;
        CREATE TABLE computed (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
        CREATE TABLE \"Odd\"\"Name\" (id int PRIMARY KEY)",
    );
    let findings = world.check(&[]);
    assert_error(
        &findings,
        "3 tables without replica identity: \"public\".\"bare\", \"public\".\"later\" and \"public\".\"nothing\"",
        "ALTER TABLE \"public\".\"bare\" REPLICA IDENTITY FULL",
    );
    assert_eq!(find(&findings, "\"fast\" is unlogged").severity, Severity::Note);
    assert_eq!(find(&findings, "generated columns").severity, Severity::Note);
    find(&findings, "5 tables can be read");
    assert!(
        !format!("{findings:?}").contains("shown"),
        "nobody asked for the view"
    );

    let named = world.check(&[
        (
            "tables",
            "fast, shown, absent, nowhere.*, pg_catalog.pg_class, \"Odd\"\"Name\"",
        ),
        ("text_columns", "item.nme, item.name"),
    ]);
    assert_error(&named, "\"fast\" is unlogged", "SET LOGGED");
    assert_error(&named, "\"shown\" is a view", "leave it out");
    assert_error(&named, "there is no table public.absent", "create the table");
    assert_error(&named, "there is no table pg_catalog.pg_class", "tables");
    assert_error(
        &named,
        "columns that do not exist: public.item.nme",
        "text_columns",
    );
    assert_eq!(
        find(&named, "nowhere.* matches no table").severity,
        Severity::Warning
    );

    let wanted = world.wait(wanted_tables(&world.owner, &settings(&[]))).unwrap();
    let identity = |name: &str| {
        let table = wanted.tables.iter().find(|table| table.name == name).unwrap();
        table.identity.clone()
    };
    assert_eq!(identity("whole"), None);
    assert_eq!(identity("chosen"), Some(vec![1]));
    assert!(wanted.check_named().is_ok());
    let error = wanted.check_all().unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Precondition, "TABLE_NOT_REPLICABLE")
    );
    let wanted = world.wait(wanted_tables(&world.owner, &settings(&[("tables", "absent")])));
    assert_eq!(
        wanted.unwrap().check_named().unwrap_err().reason(),
        "UNKNOWN_TABLE"
    );
}

#[test]
fn a_partitioned_table_is_one_table_and_its_partitions_need_an_identity() {
    let world = World::ready();
    world.sql(
        "CREATE TABLE sale (id int, day date) PARTITION BY RANGE (day);
        CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    );
    let wrong = world.wrong(&[]);
    assert_error(
        &wrong,
        "1 table without replica identity: \"public\".\"sale\"",
        "PRIMARY KEY",
    );
    world.sql("ALTER TABLE sale ADD PRIMARY KEY (id, day); ALTER TABLE sale_2 REPLICA IDENTITY NOTHING");
    let refused = world
        .wait(wanted_tables(&world.owner, &settings(&[])))
        .unwrap()
        .refused;
    assert!(
        refused[0].to_string().contains("has 1 partitions without"),
        "{refused:?}"
    );
    world.sql("ALTER TABLE sale_2 REPLICA IDENTITY DEFAULT");
    assert_eq!(world.wrong(&[]), []);
    find(&world.check(&[]), "partitioned: \"public\".\"sale\"");
    assert_eq!(world.ensure(&[]).unwrap(), Ensured::Created);
    assert_eq!(world.published(), "public.item public.sale");
    world.sql("ALTER PUBLICATION viewfeed_shop SET (publish_via_partition_root = false)");
    assert_eq!(world.published(), "public.item public.sale_1 public.sale_2");
    let reset = Ensured::Altered {
        added: Vec::new(),
        dropped: Vec::new(),
    };
    assert_eq!(world.ensure(&[]).unwrap(), reset);
    assert_eq!(world.published(), "public.item public.sale");
    // A partition whose table is not wanted is a table of its own.
    let leaf = world.wait(wanted_tables(&world.owner, &settings(&[("tables", "sale_1")])));
    assert_eq!(leaf.unwrap().tables[0].name, "sale_1");
}

#[test]
fn filters_and_column_lists_that_would_break_the_users_statements_are_errors() {
    let world = World::ready();
    world.sql("CREATE PUBLICATION viewfeed_shop FOR TABLE item (name) WHERE (name <> '')");
    let findings = world.check(&[]);
    let filter = find(&findings, "has a row filter on \"public\".\"item\"");
    assert!(filter.why.contains("fail for everybody"), "{filter:?}");
    let list = find(&findings, "has a column list for \"public\".\"item\"");
    assert_eq!(
        (filter.severity, list.severity),
        (Severity::Error, Severity::Error)
    );
    // They are right: this is what happens to whoever uses the table.
    world.sql("INSERT INTO item VALUES (1, 'a')");
    assert!(
        world
            .wait(world.owner.batch_execute("UPDATE item SET name = 'b'"))
            .is_err()
    );
    assert_eq!(world.ensure(&[]).unwrap_err().reason(), "PUBLICATION_UNFIT");
    world.sql(&filter.run.unwrap());
    world.sql("UPDATE item SET name = 'b'");

    world.sql("ALTER PUBLICATION viewfeed_shop SET TABLE item (id) WHERE (id > 0)");
    let findings = world.check(&[]);
    assert_eq!(find(&findings, "has a row filter").severity, Severity::Note);
    assert_eq!(find(&findings, "has a column list").severity, Severity::Note);
    world.sql("UPDATE item SET name = 'b'");
    assert_eq!(world.wrong(&[]), []);
    assert_eq!(world.ensure(&[]).unwrap(), Ensured::Adopted);

    // Without a key but with its whole row as identity, no list can cover it.
    world.sql(
        "CREATE TABLE whole (a int, b int); ALTER TABLE whole REPLICA IDENTITY FULL;
        ALTER PUBLICATION viewfeed_shop ADD TABLE whole (a)",
    );
    let whole = find(&world.check(&[]), "column list for \"public\".\"whole\"");
    assert_eq!(whole.severity, Severity::Error);
    world.sql("INSERT INTO whole VALUES (1, 2)");
    assert!(
        world
            .wait(world.owner.batch_execute("UPDATE whole SET b = 3"))
            .is_err()
    );
}

#[test]
fn slots_that_nobody_reads_are_reported() {
    let world = World::ready();
    for name in ["viewfeed_old", "somebody"] {
        world.sql(&format!(
            "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
        ));
    }
    let orphans = world.wait(orphan_slots(&world.owner, &settings(&[]))).unwrap();
    let names: Vec<_> = orphans.iter().map(|orphan| orphan.name.as_str()).collect();
    assert_eq!(names, ["viewfeed_old"]);
    let finding = find(&world.wrong(&[]), "slot viewfeed_old is read by nobody");
    let (_, run) = finding.run.as_ref().unwrap().split_once(": ").unwrap();
    world.sql(run);
    assert_eq!(world.wrong(&[]), []);
}

#[test]
fn a_transaction_that_has_only_begun_holds_up_nobody() {
    let world = World::ready();
    let other = connect(&world.runtime, &world.server.connection());
    world
        .wait(other.batch_execute("BEGIN; INSERT INTO item VALUES (1, 'a')"))
        .unwrap();
    assert_eq!(world.wrong(&[]), [], "it has only begun");
}

#[test]
fn a_server_that_goes_away_is_unavailable_not_ready() {
    let mut world = World::ready();
    world.server.crash();
    let error = world
        .wait(check(&world.owner, SOURCE, &settings(&[])))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
