//! ALTER TABLE.

use crate::database::Database;
use arrow::datatypes::DataType;
use viewfeed_change::{Column, ColumnPath};
use viewfeed_store::arrange;

fn table() -> Database {
    Database::with(
        "CREATE TABLE t (id INT PRIMARY KEY, name TEXT UNIQUE);
         INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    )
}

#[test]
fn stored_rows_get_the_default_of_a_new_column() {
    let mut database = table();
    let done = database.run("ALTER TABLE t ADD COLUMN n INT DEFAULT 7, ADD COLUMN s TEXT");
    assert!(done.changes.is_empty(), "widened rows are no change");
    assert_eq!(database.relation("t").schema_version, 3);
    assert_eq!(database.rows("SELECT * FROM t"), ["1|a|7|∅", "2|b|7|∅"]);
    database.run("INSERT INTO t VALUES (3, 'c'); UPDATE t SET s = 'x' WHERE id = 1; DELETE FROM t WHERE n = 7 AND id = 2");
    assert_eq!(database.rows("SELECT * FROM t"), ["1|a|7|x", "3|c|7|∅"]);
    assert_eq!(database.reason("INSERT INTO t VALUES (4, 'c')"), "DUPLICATE_KEY");
    database.check_arrangements("t", false);
}

#[test]
fn arrangements_that_views_made_are_made_again() {
    let mut database = table();
    let relation = database.relation("t");
    let by_both = [ColumnPath::from(1), ColumnPath::from(0)];
    database
        .transaction(|_, context| arrange::ensure(context.txn, &relation, &by_both).map(drop))
        .unwrap();
    database.run("ALTER TABLE t ADD COLUMN n INT");
    let relation = database.relation("t");
    let reader = database.store.reader();
    let found = arrange::find(&reader, &relation, &by_both).unwrap().unwrap();
    assert_eq!(found.count(&reader, &[], 10).unwrap(), 2);
    assert_eq!(arrange::all(&reader, &relation).unwrap().len(), 3);
    database.check_arrangements("t", false);
}

#[test]
fn a_new_column_may_have_constraints() {
    let mut database = table();
    assert_eq!(
        database.reason("ALTER TABLE t ADD COLUMN n INT NOT NULL"),
        "NOT_NULL_VIOLATION"
    );
    assert_eq!(
        database.reason("ALTER TABLE t ADD COLUMN n INT DEFAULT 1 UNIQUE"),
        "DUPLICATE_KEY"
    );
    assert_eq!(
        database.reason("ALTER TABLE t ADD COLUMN n INT DEFAULT 1 CHECK (n > 1)"),
        "CHECK_VIOLATION"
    );
    assert_eq!(
        database.reason("ALTER TABLE t ADD COLUMN name INT"),
        "DUPLICATE_COLUMN"
    );
    assert_eq!(
        database.reason("ALTER TABLE t ADD COLUMN n INT PRIMARY KEY"),
        "MULTIPLE_KEYS"
    );
    assert_eq!(database.relation("t").schema_version, 1);
    database.run("ALTER TABLE t ADD COLUMN IF NOT EXISTS name INT, ADD COLUMN n BIGSERIAL UNIQUE");
    assert_eq!(database.rows("SELECT n FROM t"), ["1", "2"]);
    database.run("INSERT INTO t VALUES (3, 'c')");
    assert_eq!(database.rows("SELECT n FROM t WHERE id = 3"), ["3"]);
    assert_eq!(
        database.reason("INSERT INTO t VALUES (4, 'd', 1)"),
        "DUPLICATE_KEY"
    );
}

#[test]
fn columns_of_messages_get_zero_values() {
    let mut database = table();
    let id = database.relation("t").id;
    let columns = vec![
        Column::new(7, "text", DataType::Utf8, false),
        Column::new(8, "maybe", DataType::Int64, true),
        Column {
            default: Some("5".into()),
            ..Column::new(9, "five", DataType::Int64, false)
        },
        Column::new(10, "list", DataType::new_list(DataType::Utf8, true), false),
        Column::new(
            11,
            "inner",
            DataType::Struct(vec![arrow::datatypes::Field::new("x", DataType::Int32, false)].into()),
            true,
        ),
    ];
    let (changed, changes, _) = database
        .transaction(|embedded, context| embedded.add_columns(id, columns, context))
        .unwrap();
    assert!(changes.is_empty());
    assert_eq!(changed.columns[2].id, 7);
    assert_eq!(
        database.rows("SELECT * FROM t"),
        ["1|a||∅|5|[]|∅", "2|b||∅|5|[]|∅"]
    );
    database.check_arrangements("t", false);
}

#[test]
fn a_column_that_nothing_needs_can_be_dropped() {
    let mut database = Database::with(
        "CREATE TABLE t (a INT, id INT PRIMARY KEY, b TEXT, c INT CHECK (c > 0), d INT UNIQUE);
         INSERT INTO t VALUES (1, 2, 'x', 3, 4), (5, 6, 'y', 7, 8)",
    );
    for column in ["id", "c", "d"] {
        assert_eq!(
            database.reason(&format!("ALTER TABLE t DROP COLUMN {column}")),
            "COLUMN_IN_USE",
            "{column}"
        );
    }
    database.run("ALTER TABLE t DROP COLUMN a, DROP COLUMN b, DROP COLUMN IF EXISTS z");
    assert_eq!(database.rows("SELECT * FROM t"), ["2|3|4", "6|7|8"]);
    assert_eq!(database.reason("INSERT INTO t VALUES (9, 1, 4)"), "DUPLICATE_KEY");
    assert_eq!(database.reason("INSERT INTO t VALUES (2, 1, 9)"), "DUPLICATE_KEY");
    assert_eq!(
        database.reason("INSERT INTO t VALUES (9, 0, 9)"),
        "CHECK_VIOLATION"
    );
    database.check_arrangements("t", false);
}

#[test]
fn columns_and_tables_can_be_renamed_while_no_view_reads_them() {
    let mut database = Database::with(
        "CREATE TABLE t (id SERIAL PRIMARY KEY, n INT CHECK (n > 0)); INSERT INTO t (n) VALUES (5)",
    );
    database.run("ALTER TABLE t RENAME COLUMN n TO \"Count\"");
    assert_eq!(database.rows("SELECT \"Count\" FROM t"), ["5"]);
    assert_eq!(
        database.reason("INSERT INTO t (\"Count\") VALUES (0)"),
        "CHECK_VIOLATION"
    );
    assert_eq!(
        database.reason("ALTER TABLE t RENAME COLUMN id TO \"Count\""),
        "DUPLICATE_COLUMN"
    );
    database.run("ALTER TABLE t RENAME TO u; INSERT INTO u (\"Count\") VALUES (6)");
    assert_eq!(database.rows("SELECT * FROM u"), ["1|5", "2|6"]);
    database.check_arrangements("u", false);
    database.add_view("v", "u");
    for sql in [
        "ALTER TABLE u RENAME TO w",
        "ALTER TABLE u RENAME COLUMN id TO x",
        "ALTER TABLE u DROP COLUMN \"Count\"",
    ] {
        assert_eq!(database.reason(sql), "DEPENDENT_VIEWS", "{sql}");
    }
    database.run("ALTER TABLE u ADD COLUMN more INT");
}

#[test]
fn constraints_and_defaults_come_and_go() {
    let mut database = Database::with("CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 1), (2, 1)");
    assert_eq!(
        database.reason("ALTER TABLE t ADD CONSTRAINT one UNIQUE (b)"),
        "DUPLICATE_KEY"
    );
    assert_eq!(
        database.reason("ALTER TABLE t ADD CHECK (a < 2)"),
        "CHECK_VIOLATION"
    );
    database.run("ALTER TABLE t ADD CONSTRAINT one UNIQUE (a), ADD CONSTRAINT low CHECK (a < 9), ALTER COLUMN b SET DEFAULT 4");
    assert_eq!(database.reason("INSERT INTO t VALUES (1)"), "DUPLICATE_KEY");
    assert_eq!(database.reason("INSERT INTO t VALUES (9)"), "CHECK_VIOLATION");
    database.run("ALTER TABLE t DROP CONSTRAINT one, DROP CONSTRAINT low, DROP CONSTRAINT IF EXISTS nope; INSERT INTO t VALUES (1), (9)");
    database.run("ALTER TABLE t ALTER COLUMN b DROP DEFAULT; INSERT INTO t VALUES (10)");
    assert_eq!(
        database.rows("SELECT * FROM t WHERE a <> 2"),
        ["10|∅", "1|1", "1|4", "9|4"]
    );
    assert_eq!(
        database.reason("ALTER TABLE t DROP CONSTRAINT one"),
        "UNKNOWN_CONSTRAINT"
    );
    assert_eq!(
        database.reason("ALTER TABLE t ALTER COLUMN a TYPE TEXT"),
        "NOT_SUPPORTED"
    );
    database.check_arrangements("t", true);
}

#[test]
fn a_table_made_in_the_transaction_can_be_altered_after_it_was_filled() {
    let mut database = Database::with(
        "CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 1), (1, 1), (2, 2); DELETE FROM t WHERE a = 2;
         ALTER TABLE t RENAME COLUMN b TO c, ADD COLUMN d TEXT DEFAULT 'x'; INSERT INTO t VALUES (3, 3, 'y')",
    );
    assert_eq!(
        database.rows("SELECT a, c, d FROM t"),
        ["1|1|x", "1|1|x", "3|3|y"]
    );
    database.check_arrangements("t", true);
    let refused = "INSERT INTO t VALUES (4, 4, 'z'); ALTER TABLE t ADD COLUMN e INT";
    assert_eq!(database.reason(refused), "ALTER_AFTER_CHANGE");
    database.run(
        "INSERT INTO t VALUES (5, 5, 'z'); ALTER TABLE t RENAME COLUMN d TO e; INSERT INTO t VALUES (6)",
    );
    database.check_arrangements("t", true);
    let done = database.run("INSERT INTO t VALUES (7); DROP TABLE t");
    assert!(
        done.changes.is_empty(),
        "what was changed in a dropped table is forgotten"
    );
}
