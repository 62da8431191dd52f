//! UPDATE, DELETE and TRUNCATE.

use crate::database::Database;

fn table() -> Database {
    Database::with(
        "CREATE TABLE t (id INT PRIMARY KEY, name TEXT DEFAULT 'anon', n INT);
         INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', NULL)",
    )
}

#[test]
fn a_row_is_found_by_its_key() {
    let mut database = table();
    assert_eq!(
        database.count("UPDATE t SET n = n + 1, name = upper(name) WHERE id = 2"),
        1
    );
    assert_eq!(
        database.count("UPDATE t SET name = DEFAULT WHERE 1 = id AND n = 10"),
        1
    );
    assert_eq!(
        database.count("UPDATE t SET name = 'never' WHERE id = 1 AND n = 11"),
        0
    );
    assert_eq!(database.count("UPDATE t SET name = 'never' WHERE id = 9"), 0);
    assert_eq!(database.count("UPDATE t SET name = 'never' WHERE id = 1.5"), 0);
    assert_eq!(
        database.count("UPDATE t SET name = 'never' WHERE id = 1 AND id = 2"),
        0
    );
    assert_eq!(database.count("UPDATE t SET name = 'never' WHERE id = NULL"), 0);
    assert_eq!(database.rows("SELECT * FROM t"), ["1|anon|10", "2|B|21", "3|c|∅"]);
    assert_eq!(
        database.returning("DELETE FROM t AS x WHERE x.id = 3 RETURNING name, n"),
        ["c|∅"]
    );
    assert_eq!(database.rows("SELECT id FROM t"), ["1", "2"]);
    database.check_arrangements("t", true);
}

#[test]
fn keys_may_be_passed_around_within_a_statement() {
    let mut database = table();
    assert_eq!(database.count("UPDATE t SET id = id + 1"), 3);
    assert_eq!(database.count("UPDATE t SET id = 6 - id"), 3);
    assert_eq!(database.rows("SELECT id, name FROM t"), ["2|c", "3|b", "4|a"]);
    assert_eq!(
        database.reason("UPDATE t SET id = 2 WHERE name = 'b'"),
        "DUPLICATE_KEY"
    );
    assert_eq!(database.reason("UPDATE t SET id = 7"), "DUPLICATE_KEY");
    database.check_arrangements("t", true);
}

#[test]
fn an_update_that_changes_nothing_is_no_change() {
    let mut database = table();
    let done = database.run("UPDATE t SET n = n");
    assert_eq!(done.outcomes[0].rows, 3);
    assert!(done.changes.is_empty());
}

#[test]
fn an_update_may_read_other_rows() {
    let mut database = table();
    database.run("CREATE TABLE u (t_id INT, bonus INT); INSERT INTO u VALUES (1, 5), (2, 7), (2, 6)");
    assert_eq!(
        database.count(
            "UPDATE t SET n = (SELECT sum(bonus) FROM u WHERE t_id = id) WHERE id IN (SELECT t_id FROM u)"
        ),
        2
    );
    assert_eq!(database.rows("SELECT id, n FROM t"), ["1|5", "2|13", "3|∅"]);
    assert_eq!(
        database.count("UPDATE t AS x SET n = bonus FROM u WHERE u.t_id = x.id"),
        2,
        "each row once"
    );
    assert_eq!(
        database.rows("SELECT id, n FROM t"),
        ["1|5", "2|6", "3|∅"],
        "the first match in the order of values"
    );
    assert_eq!(
        database.count("UPDATE t SET (name, n) = ('z', 0) WHERE id > 1"),
        2
    );
    assert_eq!(database.count("DELETE FROM t USING u WHERE u.t_id = t.id"), 2);
    assert_eq!(database.rows("SELECT * FROM t"), ["3|z|0"]);
    database.check_arrangements("t", true);
}

#[test]
fn rows_without_a_key_may_repeat() {
    let mut database = Database::with(
        "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, 'y'), (NULL, 'x')",
    );
    database.run("CREATE TABLE u (a INT); INSERT INTO u VALUES (1), (1), (2)");
    assert_eq!(database.rows("SELECT * FROM t").len(), 4);
    assert_eq!(
        database.count("UPDATE t SET b = 'z' FROM u WHERE u.a = t.a AND t.a = 1"),
        2,
        "both copies, each once"
    );
    assert_eq!(database.rows("SELECT * FROM t"), ["1|z", "1|z", "2|y", "∅|x"]);
    assert_eq!(
        database.count("DELETE FROM t USING u WHERE u.a = t.a AND t.a = 1"),
        2
    );
    assert_eq!(database.count("DELETE FROM t WHERE a IS NULL"), 1);
    database.check_arrangements("t", true);
    assert_eq!(database.count("DELETE FROM t"), 1);
    database.check_arrangements("t", true);
}

#[test]
fn truncate_takes_every_row_away_as_a_change() {
    let mut database = table();
    let done = database.run("TRUNCATE TABLE t");
    assert_eq!(done.changes[0].batch.weights(), [-1, -1, -1]);
    assert!(database.rows("SELECT * FROM t").is_empty());
    database.check_arrangements("t", true);
}

#[test]
fn returning_an_update_gives_the_new_rows() {
    let mut database = table();
    assert_eq!(
        database.returning("UPDATE t SET n = 1 WHERE n IS NULL RETURNING *"),
        ["3|c|1"]
    );
    let mut deleted = database.returning("DELETE FROM t RETURNING id, n");
    deleted.sort();
    assert_eq!(deleted, ["1|10", "2|20", "3|1"]);
}

#[test]
fn wrong_updates_are_refused() {
    let mut database = table();
    let cases = [
        ("UPDATE t SET nope = 1", "UNKNOWN_COLUMN"),
        ("UPDATE t SET n = 1, n = 2", "DUPLICATE_COLUMN"),
        ("UPDATE t SET n = 'x' WHERE id = 1", "INVALID_TEXT"),
        ("UPDATE t SET n = true", "TYPE_MISMATCH"),
        ("UPDATE t SET id = NULL WHERE id = 1", "NOT_NULL_VIOLATION"),
        ("UPDATE t SET n = 1 / 0 WHERE id = 1", "EVALUATION"),
    ];
    for (sql, reason) in cases {
        assert_eq!(database.reason(sql), reason, "{sql}");
    }
    database.fail("UPDATE t SET n = 1 WHERE nope = 2");
    database.fail("DELETE FROM t WHERE nope = 2");
    assert_eq!(database.rows("SELECT * FROM t"), ["1|a|10", "2|b|20", "3|c|∅"]);
}
