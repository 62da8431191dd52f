//! INSERT and RETURNING.

use crate::database::Database;

fn table() -> Database {
    Database::with("CREATE TABLE t (id INT PRIMARY KEY, name TEXT DEFAULT 'anon', n INT DEFAULT 1 + 1)")
}

#[test]
fn columns_that_are_left_out_get_their_default() {
    let mut database = table();
    assert_eq!(
        database.count("INSERT INTO t (name, id) VALUES ('a', 1), (DEFAULT, 2), (NULL, 3)"),
        3
    );
    database.run("INSERT INTO t VALUES (4); INSERT INTO t VALUES (5, 'e', -7)");
    assert_eq!(
        database.rows("SELECT * FROM t"),
        ["1|a|2", "2|anon|2", "3|∅|2", "4|anon|2", "5|e|-7"]
    );
    database.check_arrangements("t", true);
}

#[test]
fn values_may_be_computed() {
    let mut database = table();
    database.run("INSERT INTO t VALUES (1, upper('x') || 'y', 2 * 3), (2, 'plain', (SELECT count(*) + 40 FROM t)), (3, DEFAULT, abs(-4))");
    assert_eq!(
        database.rows("SELECT * FROM t"),
        ["1|Xy|6", "2|plain|40", "3|anon|4"]
    );
}

#[test]
fn a_query_sees_the_table_as_it_was_before_the_statement() {
    let mut database = table();
    database.run("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)");
    assert_eq!(database.count("INSERT INTO t SELECT id + 10, name, n FROM t"), 2);
    assert_eq!(database.count("INSERT INTO t (id) SELECT max(id) + 1 FROM t"), 1);
    assert_eq!(
        database.rows("SELECT * FROM t"),
        ["11|a|1", "12|b|2", "13|anon|2", "1|a|1", "2|b|2"]
    );
}

#[test]
fn statements_of_a_transaction_see_those_before_them() {
    let mut database = table();
    let done = database.run("INSERT INTO t VALUES (1); INSERT INTO t SELECT id + 1 FROM t; UPDATE t SET n = id * 10; DELETE FROM t WHERE n = 10");
    assert_eq!(
        done.outcomes
            .iter()
            .map(|outcome| &*outcome.command)
            .collect::<Vec<_>>(),
        ["INSERT 1", "INSERT 1", "UPDATE 2", "DELETE 1"]
    );
    assert_eq!(done.changes.len(), 4, "one delta for each statement");
    assert_eq!(database.rows("SELECT * FROM t"), ["2|anon|20"]);
    database.check_arrangements("t", true);
}

#[test]
fn returning_gives_the_rows_as_they_were_stored() {
    let mut database = table();
    assert_eq!(
        database.returning("INSERT INTO t (id) VALUES (1), (2) RETURNING *"),
        ["1|anon|2", "2|anon|2"]
    );
    assert_eq!(
        database.returning("INSERT INTO t VALUES (3, 'c') RETURNING t.id * 2 AS twice, upper(name)"),
        ["6|C"]
    );
    let done = database.run("INSERT INTO t AS x VALUES (4) RETURNING x.id AS a, n, 1 + 1");
    let schema = done.outcomes[0].returning.as_ref().unwrap().0.clone();
    assert_eq!(
        schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>(),
        ["a", "n", "?column?"]
    );
}

#[test]
fn wrong_inserts_are_refused() {
    let mut database = table();
    let cases = [
        ("INSERT INTO nothing VALUES (1)", "UNKNOWN_RELATION"),
        ("INSERT INTO t (nope) VALUES (1)", "UNKNOWN_COLUMN"),
        ("INSERT INTO t (id, id) VALUES (1, 2)", "DUPLICATE_COLUMN"),
        ("INSERT INTO t VALUES (1, 'a', 2, 3)", "COLUMN_COUNT"),
        ("INSERT INTO t (id, name) VALUES (1)", "COLUMN_COUNT"),
        ("INSERT INTO t VALUES (1, 'a'), (2)", "COLUMN_COUNT"),
        ("INSERT INTO t SELECT 1, 'a', 2, 3", "COLUMN_COUNT"),
        ("INSERT INTO t VALUES ('x')", "INVALID_TEXT"),
        ("INSERT INTO t VALUES (3000000000)", "VALUE_OUT_OF_RANGE"),
        ("INSERT INTO t VALUES (true)", "TYPE_MISMATCH"),
        ("INSERT INTO t VALUES (DATE '2024-01-01')", "TYPE_MISMATCH"),
        ("INSERT INTO t VALUES (1, 'a', 1 + DEFAULT)", "INVALID_DEFAULT"),
        ("INSERT INTO t VALUES (1) RETURNING (SELECT 1)", "NOT_SUPPORTED"),
    ];
    for (sql, reason) in cases {
        assert_eq!(database.reason(sql), reason, "{sql}");
    }
    assert!(database.rows("SELECT * FROM t").is_empty());
}

#[test]
fn errors_do_not_tell_values() {
    let mut database =
        Database::with("CREATE TABLE t (a SMALLINT UNIQUE, b VARCHAR(3), c JSON, CHECK (a <> 777))");
    database.run("INSERT INTO t VALUES (555, 'x', '1')");
    for sql in [
        "INSERT INTO t VALUES (99999)",
        "INSERT INTO t VALUES ('sesame')",
        "INSERT INTO t VALUES (1, 'sesame')",
        "INSERT INTO t VALUES (1, 'x', 'sesame')",
        "INSERT INTO t VALUES (777)",
        "INSERT INTO t VALUES (555)",
        "INSERT INTO t SELECT 99999",
        "INSERT INTO t SELECT 'sesame'",
        "INSERT INTO t VALUES (100000 - 1)",
    ] {
        let error = database.fail(sql);
        let told = format!("{error} {error:?}");
        for value in ["99999", "sesame", "777", "555"] {
            assert!(!told.contains(value), "{sql} tells {told}");
        }
    }
}

#[test]
fn touched_relations_are_those_read_and_written() {
    let mut database =
        Database::with("CREATE TABLE a (x INT); CREATE TABLE b (x INT); CREATE TABLE c (x INT)");
    let done = database.run("INSERT INTO a SELECT x FROM b");
    assert_eq!(
        done.touched,
        [database.relation("a").id, database.relation("b").id].into()
    );
    let done = database.run("UPDATE c SET x = 1 WHERE x IN (SELECT x FROM a)");
    assert_eq!(
        done.touched,
        [database.relation("a").id, database.relation("c").id].into()
    );
}
