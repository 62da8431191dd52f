//! NOT NULL, CHECK, UNIQUE, lengths and forms.

use crate::database::Database;
use viewfeed_change::ErrorKind;

#[test]
fn every_constraint_refuses_what_breaks_it() {
    let mut database = Database::with(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(3), b CHAR(2) NOT NULL DEFAULT 'x', c INT CHECK (c > 0), d UUID, e JSONB, f INT UNIQUE,
         CHECK (a <> b))",
    );
    database.run(
        "INSERT INTO t (id, a, c, f) VALUES (1, 'äöü', 5, 1), (2, NULL, NULL, NULL), (3, NULL, NULL, NULL)",
    );
    let cases = [
        ("INSERT INTO t (id) VALUES (1)", "DUPLICATE_KEY"),
        ("INSERT INTO t (id) VALUES (7), (7)", "DUPLICATE_KEY"),
        ("INSERT INTO t (id, a) VALUES (9, 'four')", "VALUE_TOO_LONG"),
        ("INSERT INTO t (id, b) VALUES (9, NULL)", "NOT_NULL_VIOLATION"),
        ("INSERT INTO t (id, c) VALUES (9, 0)", "CHECK_VIOLATION"),
        ("INSERT INTO t (id, a) VALUES (9, 'x')", "CHECK_VIOLATION"),
        ("INSERT INTO t (id, d) VALUES (9, 'no')", "INVALID_TEXT"),
        ("INSERT INTO t (id, e) VALUES (9, '{a:1}')", "INVALID_TEXT"),
        ("INSERT INTO t (id, f) VALUES (9, 1)", "DUPLICATE_KEY"),
        ("UPDATE t SET f = 1", "DUPLICATE_KEY"),
        ("UPDATE t SET c = -1 WHERE id = 1", "CHECK_VIOLATION"),
        ("UPDATE t SET c = -1", "CHECK_VIOLATION"),
        ("UPDATE t SET b = 'abc' WHERE id = 1", "VALUE_TOO_LONG"),
    ];
    for (sql, reason) in cases {
        assert_eq!(database.reason(sql), reason, "{sql}");
    }
    assert_eq!(
        database.rows("SELECT id, a, b, c, f FROM t"),
        ["1|äöü|x|5|1", "2|∅|x|∅|∅", "3|∅|x|∅|∅"]
    );
    database.check_arrangements("t", true);
}

#[test]
fn failures_name_the_column_or_constraint() {
    let mut database = Database::with(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(3) NOT NULL, n INT, CONSTRAINT small CHECK (n < 10))",
    );
    let told = |database: &mut Database, sql: &str| database.fail(sql).to_string();
    assert!(told(&mut database, "INSERT INTO t VALUES (1, 'four')").contains("\"name\""));
    assert!(told(&mut database, "INSERT INTO t VALUES (1)").contains("\"name\""));
    assert!(told(&mut database, "INSERT INTO t VALUES (1, 'x', 11)").contains("\"small\""));
    let error = database.fail("INSERT INTO t VALUES (1, 'x'), (1, 'y')");
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(error.to_string().contains("t_pkey"));
}

#[test]
fn uuids_are_one_text_whatever_was_written() {
    let mut database =
        Database::with("CREATE TABLE t (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), n INT)");
    database.run("INSERT INTO t VALUES ('{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', 1)");
    assert_eq!(
        database.reason("INSERT INTO t VALUES ('a0eebc999c0b4ef8bb6d6bb9bd380a11', 2)"),
        "DUPLICATE_KEY"
    );
    assert_eq!(
        database.count("UPDATE t SET n = 3 WHERE id = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
        1
    );
    assert_eq!(
        database.rows("SELECT * FROM t"),
        ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|3"]
    );
    database.run("INSERT INTO t (n) VALUES (4), (5); INSERT INTO t VALUES (gen_random_uuid(), 6)");
    assert_eq!(database.rows("SELECT DISTINCT id FROM t").len(), 4);
}

#[test]
fn a_check_may_call_functions_and_ask_the_time() {
    let mut database = Database::with(
        "CREATE TABLE t (at TIMESTAMPTZ DEFAULT now() CHECK (at <= now()), s TEXT CHECK (length(trim(s)) > 0))",
    );
    database.run("INSERT INTO t (s) VALUES ('x')");
    assert_eq!(database.rows("SELECT at FROM t"), ["2024-05-06T07:08:09.123456Z"]);
    assert_eq!(
        database.reason("INSERT INTO t VALUES ('2030-01-01', 'x')"),
        "CHECK_VIOLATION"
    );
    assert_eq!(
        database.reason("INSERT INTO t (s) VALUES ('  ')"),
        "CHECK_VIOLATION"
    );
}
