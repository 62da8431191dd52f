//! Tables of a Postgres source that are copied again: what can be read of them meanwhile. The real server, the real binary, and
//! between them a proxy that holds the copy back.

use crate::postgres::{is_same, primary, rows, run, wait_for_column};
use crate::server::{Running, sql, start};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use viewfeed_testbed::{Postgres, Proxy, Psql, Viewfeed};

/// How long a change may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// Connections of a copy before it reads rows: the one with the slot, and one that reads what the tables look like.
const BEFORE_ROWS: usize = 2;
/// Connections of a source: one for the stream, one for SQL.
const OF_SOURCE: usize = 2;
/// Ids of changes that are no transaction of the server begin here.
const OWN_IDS: u64 = 1 << 63;
/// What must not be said while changes fit.
const STANDS: [&str; 2] = ["stands still", "the table is copied again"];

const ITEMS: &[&str] = &[
    "CREATE TABLE item (id int PRIMARY KEY, name text, size int, note text)",
    "ALTER TABLE item ALTER note SET STORAGE EXTERNAL",
    "INSERT INTO item SELECT i, 'n' || i, i % 7, repeat('x', 3000) FROM generate_series(1, 2000) i",
];
const ITEM_SIZES: &str =
    "SELECT size, count(*) AS n, sum(id) AS ids, sum(length(name)) AS names, sum(length(note)) AS notes";

/// A source with a view over one table, whose copies can be held back.
struct World {
    /// Goes first when all this goes.
    server: Option<Viewfeed>,
    proxy: Proxy,
    psql: Psql,
    primary: Postgres,
    dir: TempDir,
    /// The view's query, without FROM and GROUP BY.
    columns: &'static str,
    table: &'static str,
}

impl World {
    fn new(statements: &[&str], table: &'static str, columns: &'static str) -> Self {
        let primary = primary();
        let mut psql = primary.connect();
        run(&mut psql, statements);
        let proxy = Proxy::start(([127, 0, 0, 1], primary.port()).into());
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path());
        let connection = primary.connection_by(proxy.port());
        let create =
            format!("CREATE SOURCE shop FROM POSTGRES (connection = '{connection}', tables = 'public.*')");
        sql(&server, &create);
        let create = format!("CREATE MATERIALIZED VIEW sizes AS {columns} FROM shop.{table} GROUP BY size");
        sql(&server, &format!("WAIT FOR SOURCE shop; {create}"));
        Self {
            server: Some(server),
            proxy,
            psql,
            primary,
            dir,
            columns,
            table,
        }
    }

    fn server(&self) -> &Viewfeed {
        self.server.as_ref().expect("it runs")
    }

    fn run(&mut self, statements: &[&str]) {
        run(&mut self.psql, statements);
    }

    /// Returns when a copy is under way whose rows do not come.
    fn wait_for_held_copy(&self) {
        self.proxy.wait_for_held();
        let tables = sql(self.server(), "SELECT state FROM viewfeed.source_tables");
        assert_ne!(tables[0]["state"], "live");
    }

    /// Returns when somebody waits for a lock to empty a table.
    fn wait_until_emptied_waits(&mut self) {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'TRUNCATE%'";
        let began = Instant::now();
        while self.psql.query(waiting).unwrap()[0][0].as_deref() == Some("0") {
            assert!(began.elapsed() < SEEN_WITHIN, "nobody waits");
        }
    }

    /// What the view holds, as text.
    fn view(&self) -> Vec<Vec<Option<String>>> {
        let names: Vec<&str> = self.columns["SELECT ".len()..]
            .split(", ")
            .map(|column| column.rsplit(' ').next().unwrap())
            .collect();
        let rows = sql(self.server(), "SELECT * FROM sizes ORDER BY size");
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        rows.iter()
            .map(|row| names.iter().map(|name| text(&row[*name])).collect())
            .collect()
    }

    /// What the view's query gives at the server.
    fn there(&mut self) -> Vec<Vec<Option<String>>> {
        let query = format!("{} FROM {} GROUP BY size ORDER BY size", self.columns, self.table);
        self.psql.query(&query).unwrap()
    }

    /// Who waits for what was written last reads it: the view is what its query gives at the server.
    fn wait_until_true(&mut self) {
        let there = self.there();
        let position = self.psql.query("SELECT pg_current_wal_lsn()").unwrap()[0][0].clone();
        let wait = format!("WAIT FOR SOURCE shop UNTIL '{}'", position.unwrap());
        sql(self.server(), &wait);
        let here = self.view();
        assert!(
            here == there,
            "here {here:?}\nthere {there:?}\n{}",
            self.server().log()
        );
    }

    fn restart_after(&mut self, statements: &[&str]) {
        self.server.take().expect("it runs").kill();
        self.run(statements);
        self.proxy.hold_after(OF_SOURCE + BEFORE_ROWS, 0);
        self.server = Some(start(self.dir.path()));
    }

    fn has_never_stood_still(&self) {
        let log = self.server().log();
        assert!(STANDS.iter().all(|stands| !log.contains(stands)), "{log}");
    }
}

#[test]
fn a_view_moves_while_the_copy_for_a_new_column_is_held_back() {
    let mut world = World::new(ITEMS, "item", ITEM_SIZES);
    world.proxy.hold_after(BEFORE_ROWS, 0);
    world.run(&[
        "ALTER TABLE item ADD COLUMN extra text DEFAULT 'old'",
        "INSERT INTO item VALUES (9000, 'wide', 1, NULL, 'new')",
    ]);
    world.wait_for_held_copy();
    world.wait_until_true();
    let changes = [
        "UPDATE item SET size = size + 1 WHERE id % 10 = 3",
        "UPDATE item SET id = id + 10000 WHERE id BETWEEN 40 AND 49",
        "DELETE FROM item WHERE id BETWEEN 100 AND 199",
        "INSERT INTO item SELECT i, 'late', i % 3, repeat('y', 2500), 'x' FROM generate_series(20000, 20050) i",
    ];
    for change in changes {
        world.run(&[change]);
        world.wait_until_true();
    }
    // Another column, with which the rows are written anew, while the first one is being copied.
    world.run(&[
        "ALTER TABLE item ADD COLUMN second int DEFAULT (10 * random())::int",
        "UPDATE item SET second = 2, name = name || '!' WHERE id % 20 = 0",
    ]);
    world.wait_until_true();
    world.has_never_stood_still();
    // What was changed while nobody looked comes in columns that the server does not have any more like that.
    world.restart_after(&[
        "INSERT INTO item VALUES (9001, 'unseen', 2)",
        "ALTER TABLE item ADD COLUMN third int",
        "UPDATE item SET third = 3, size = 3 WHERE id % 30 = 0",
    ]);
    world.wait_for_held_copy();
    world.wait_until_true();
    world.run(&[
        "DELETE FROM item WHERE id = 9001",
        "UPDATE item SET name = 'n' WHERE id = 20000",
    ]);
    world.wait_until_true();
    world.has_never_stood_still();
    world.proxy.resume();
    wait_for_column(world.server(), "third", true);
    let columns = "id, name, size, note, extra, second, third";
    is_same(world.server.as_ref().unwrap(), &mut world.psql, "item", columns);
    world.wait_until_true();
}

#[test]
fn a_transaction_with_rows_before_and_after_new_columns_is_seen_while_its_table_is_copied() {
    let mut world = World::new(ITEMS, "item", ITEM_SIZES);
    world.proxy.hold_after(BEFORE_ROWS, 0);
    world.run(&[
        "BEGIN",
        "INSERT INTO item VALUES (9000, 'narrow', 1, NULL)",
        "UPDATE item SET size = 5 WHERE id < 10",
        "ALTER TABLE item ADD COLUMN extra text",
        "INSERT INTO item VALUES (9001, 'wide', 1, NULL, 'x')",
        "UPDATE item SET extra = 'x', size = 6 WHERE id < 20",
        "ALTER TABLE item ADD COLUMN more text DEFAULT 'm', DROP COLUMN extra",
        "DELETE FROM item WHERE id < 5",
        "ALTER TABLE item RENAME COLUMN name TO label",
        "UPDATE item SET label = 'after' WHERE id < 50",
        "COMMIT",
    ]);
    world.wait_for_held_copy();
    let renamed =
        "SELECT size, count(*) AS n, sum(id) AS ids, sum(length(label)) AS names, sum(length(note)) AS notes";
    world.columns = renamed;
    world.wait_until_true();
    world.has_never_stood_still();
    world.proxy.resume();
    wait_for_column(world.server(), "more", true);
    is_same(
        world.server.as_ref().unwrap(),
        &mut world.psql,
        "item",
        "id, label, size, note, more",
    );
}

#[test]
fn changes_that_do_not_fit_leave_the_old_rows_as_they_were_until_the_copy_is_complete() {
    let mut world = World::new(ITEMS, "item", ITEM_SIZES);
    let before = world.view();
    world.proxy.hold_after(BEFORE_ROWS, 0);
    world.run(&[
        "BEGIN",
        "UPDATE item SET size = 100 WHERE id = 1",
        "ALTER TABLE item ALTER COLUMN size TYPE bigint",
        "UPDATE item SET size = 100 WHERE id = 2",
        "COMMIT",
        "UPDATE item SET size = 100 WHERE id = 3",
    ]);
    world.wait_for_held_copy();
    world.server().wait_for_log("stands still", 1);
    assert_eq!(world.view(), before);
    world.proxy.resume();
    is_same(
        world.server.as_ref().unwrap(),
        &mut world.psql,
        "item",
        "id, name, size, note",
    );
    assert_eq!(
        rows(world.server(), "SELECT id FROM shop.item WHERE size = 100").len(),
        3
    );
}

#[test]
fn rows_without_a_key_and_an_emptied_table_are_followed_while_they_are_copied_again() {
    let mut world = World::new(
        &[
            "CREATE TABLE loose (size int, word text)",
            "ALTER TABLE loose REPLICA IDENTITY FULL",
            "INSERT INTO loose SELECT i % 5, 'w' || i % 3 FROM generate_series(1, 500) i",
        ],
        "loose",
        "SELECT size, count(*) AS n, count(DISTINCT word) AS words",
    );
    world.proxy.hold_after(BEFORE_ROWS, 0);
    sql(world.server(), "ALTER SOURCE shop RESYNC TABLE loose");
    world.wait_for_held_copy();
    let changes = [
        "DELETE FROM loose WHERE size = 1 AND word = 'w1'",
        "ALTER TABLE loose ADD COLUMN pad text DEFAULT 'p'",
        "UPDATE loose SET word = 'w9' WHERE size = 2",
        "INSERT INTO loose VALUES (1, 'w1', NULL), (1, 'w1', NULL)",
        "TRUNCATE loose",
        "INSERT INTO loose VALUES (3, 'w1', NULL), (3, 'w2', 'q')",
    ];
    for change in changes {
        world.run(&[change]);
        world.wait_until_true();
    }
    world.has_never_stood_still();
    world.proxy.resume();
    wait_for_rows(&world, "SELECT pad FROM shop.loose", 2);
    world.wait_until_true();
}

#[test]
fn a_table_without_a_key_may_be_emptied_while_its_rows_are_being_copied() {
    let rows =
        "INSERT INTO loose SELECT i, i % 5, 'w' || i % 3, repeat('p', 1500) FROM generate_series(1, 2000) i";
    let mut world = World::new(
        &[
            "CREATE TABLE loose (id int, size int, word text, pad text)",
            "ALTER TABLE loose REPLICA IDENTITY FULL",
            rows,
        ],
        "loose",
        "SELECT size, count(*) AS n, count(DISTINCT word) AS words",
    );
    for round in 0..4 {
        // Some rows have come: what reads them has locked the table against being emptied.
        world.proxy.hold_after(BEFORE_ROWS, 200_000);
        sql(world.server(), "ALTER SOURCE shop RESYNC TABLE loose");
        world.wait_for_held_copy();
        world.run(&[
            "DELETE FROM loose WHERE size = 1",
            "INSERT INTO loose VALUES (-2, 1, 'w1', NULL), (-2, 1, 'w1', NULL)",
        ]);
        let mut psql = world.primary.connect();
        thread::scope(|scope| {
            scope.spawn(|| {
                let insert = format!("INSERT INTO loose VALUES (-1, {round}, 'after', NULL)");
                run(
                    &mut psql,
                    &[
                        "DELETE FROM loose WHERE size = 2",
                        "TRUNCATE loose",
                        &insert,
                        rows,
                    ],
                );
            });
            world.wait_until_emptied_waits();
            world.proxy.resume();
        });
        sql(world.server(), "WAIT FOR SOURCE shop");
        world.wait_until_true();
        is_same(
            world.server.as_ref().unwrap(),
            &mut world.psql,
            "loose",
            "id, size, word, pad",
        );
    }
    world.has_never_stood_still();
    assert!(
        !world.server().log().contains("differed"),
        "{}",
        world.server().log()
    );
}

#[test]
fn a_column_that_was_dropped_and_added_again_is_another_one() {
    let mut world = World::new(
        &[
            "CREATE TABLE item (id int PRIMARY KEY, name text, size int)",
            "INSERT INTO item SELECT i, 'n', i % 7 FROM generate_series(1, 50) i",
        ],
        "item",
        "SELECT size, count(*) AS n",
    );
    world.run(&[
        "ALTER TABLE item DROP COLUMN size",
        "ALTER TABLE item ADD COLUMN size int",
        "UPDATE item SET size = 1 WHERE id = 3",
    ]);
    let server = world.server.as_ref().unwrap();
    is_same(server, &mut world.psql, "item", "id, name, size");
    world.wait_until_true();
}

#[test]
fn what_a_copy_finds_different_is_no_part_of_a_transaction_of_the_server() {
    let mut world = World::new(ITEMS, "item", ITEM_SIZES);
    world.run(&["UPDATE item SET size = 50 WHERE id = 1"]);
    world.wait_until_true();
    // The stream does not say that there are other values now.
    world.run(&["ALTER TABLE item ALTER COLUMN size TYPE int USING size + 1"]);
    sql(
        world.server(),
        "ALTER SOURCE shop RESYNC TABLE item; WAIT FOR SOURCE shop",
    );
    world.wait_until_true();
    let mut changes = Running::start(
        world.server(),
        "tail",
        &["shop.item", "--changes", "--from-start"],
    );
    let mut next = || changes.next().unwrap()["transaction_id"].as_u64().unwrap();
    let (updated, different) = (next(), next());
    assert!(updated < OWN_IDS && different >= OWN_IDS, "{updated} {different}");
    assert_eq!(next(), different);
}

#[test]
fn a_change_that_leaves_the_rows_what_they_are_copies_nothing() {
    let mut world = World::new(ITEMS, "item", ITEM_SIZES);
    world.proxy.hold_after(0, 0);
    for change in [
        "ALTER TABLE item ALTER size SET DEFAULT 7, ALTER name SET NOT NULL",
        "VACUUM FULL item",
        "ALTER TABLE item ADD CHECK (size < 1000)",
        "CREATE INDEX ON item (name)",
    ] {
        world.run(&[change, "UPDATE item SET name = name || '.' WHERE id % 100 = 0"]);
        world.wait_until_true();
        let tables = sql(world.server(), "SELECT state FROM viewfeed.source_tables");
        assert_eq!(tables[0]["state"], "live", "{change}");
    }
}

#[test]
fn rows_that_got_other_values_of_the_same_type_are_read_again() {
    let mut world = World::new(ITEMS, "item", ITEM_SIZES);
    // The stream does not say so: it is noticed with the next change of a row,
    world.run(&[
        "ALTER TABLE item ALTER COLUMN size TYPE int USING size + 1",
        "UPDATE item SET name = 'new' WHERE id = 1",
    ]);
    world.wait_until_true();
    // or when the source looks after a while,
    world.run(&["ALTER TABLE item ALTER COLUMN size TYPE int USING size * 2"]);
    let (there, began) = (world.there(), Instant::now());
    while world.view() != there {
        assert!(began.elapsed() < SEEN_WITHIN, "{}", world.server().log());
    }
    // or when it begins.
    world.server.take().expect("it runs").kill();
    world.run(&["ALTER TABLE item ALTER COLUMN size TYPE int USING size - 1"]);
    world.server = Some(start(world.dir.path()));
    world.wait_until_true();
}

fn wait_for_rows(world: &World, query: &str, count: usize) {
    sql(world.server(), "WAIT FOR SOURCE shop");
    assert_eq!(rows(world.server(), query).len(), count);
}
