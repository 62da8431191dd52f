//! ON CONFLICT.

use crate::database::Database;

fn table() -> Database {
    Database::with(
        "CREATE TABLE t (id INT PRIMARY KEY, code TEXT UNIQUE, n INT DEFAULT 0 CHECK (n < 100));
         INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
    )
}

#[test]
fn do_nothing_keeps_the_stored_row() {
    let mut database = table();
    assert_eq!(
        database.count(
            "INSERT INTO t VALUES (1, 'x', 9), (3, 'c', 3), (3, 'd', 4), (4, 'b', 5) ON CONFLICT DO NOTHING"
        ),
        1
    );
    assert_eq!(database.rows("SELECT * FROM t"), ["1|a|1", "2|b|2", "3|c|3"]);
    assert_eq!(
        database.reason("INSERT INTO t VALUES (5, 'b', 0) ON CONFLICT (id) DO NOTHING"),
        "DUPLICATE_KEY"
    );
    assert_eq!(
        database.count("INSERT INTO t VALUES (5, 'b', 0) ON CONFLICT (code) DO NOTHING"),
        0
    );
    assert_eq!(
        database.count("INSERT INTO t VALUES (5, 'b', 0) ON CONFLICT ON CONSTRAINT t_code_key DO NOTHING"),
        0
    );
    database.check_arrangements("t", true);
}

#[test]
fn a_row_that_is_left_out_blocks_no_other() {
    let mut database = table();
    // (1, 'new') meets row 1 and is left out, so 'new' is free for the next.
    assert_eq!(
        database.count("INSERT INTO t VALUES (1, 'new', 0), (9, 'new', 0) ON CONFLICT DO NOTHING"),
        1
    );
    assert_eq!(database.rows("SELECT id FROM t WHERE code = 'new'"), ["9"]);
}

#[test]
fn do_update_changes_the_stored_row() {
    let mut database = table();
    let upsert = "INSERT INTO t AS old VALUES (1, 'a', 5), (7, 'g', 7) ON CONFLICT (id) DO UPDATE SET n = old.n + excluded.n, code = excluded.code || '!'
                  RETURNING id, code, n";
    let mut returned = database.returning(upsert);
    returned.sort();
    assert_eq!(returned, ["1|a!|6", "7|g|7"]);
    assert_eq!(database.rows("SELECT * FROM t"), ["1|a!|6", "2|b|2", "7|g|7"]);
    assert_eq!(
        database.count("INSERT INTO t VALUES (9, 'b', 1) ON CONFLICT (code) DO UPDATE SET id = excluded.id"),
        1
    );
    assert_eq!(database.rows("SELECT id FROM t WHERE code = 'b'"), ["9"]);
    database.check_arrangements("t", true);
}

#[test]
fn a_condition_decides_which_rows_are_updated() {
    let mut database = table();
    let sql = "INSERT INTO t VALUES (1, 'a', 50), (2, 'b', 1) ON CONFLICT (id) DO UPDATE SET n = excluded.n WHERE t.n < excluded.n";
    assert_eq!(database.count(sql), 1);
    assert_eq!(database.rows("SELECT id, n FROM t"), ["1|50", "2|2"]);
    assert_eq!(
        database.count("INSERT INTO t VALUES (1, 'a', 7) ON CONFLICT (id) DO UPDATE SET n = DEFAULT"),
        1
    );
    assert_eq!(database.rows("SELECT n FROM t WHERE id = 1"), ["0"]);
}

#[test]
fn wrong_conflict_clauses_are_refused() {
    let mut database = table();
    let cases = [
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (n) DO NOTHING",
            "UNKNOWN_CONFLICT_TARGET",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT nope DO NOTHING",
            "UNKNOWN_CONFLICT_TARGET",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET n = 1",
            "CONFLICT_TARGET_MISSING",
        ),
        (
            "INSERT INTO t VALUES (8, 'h'), (8, 'i') ON CONFLICT (id) DO UPDATE SET n = 1",
            "CARDINALITY_VIOLATION",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET n = 100",
            "CHECK_VIOLATION",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET code = 'b'",
            "DUPLICATE_KEY",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET n = (SELECT 1)",
            "NOT_SUPPORTED",
        ),
    ];
    for (sql, reason) in cases {
        assert_eq!(database.reason(sql), reason, "{sql}");
    }
    assert_eq!(database.rows("SELECT * FROM t"), ["1|a|1", "2|b|2"]);
}

#[test]
fn keys_of_several_columns_and_null_keys_are_compared_rightly() {
    let mut database =
        Database::with("CREATE TABLE t (a INT, b INT, v INT, PRIMARY KEY (a, b), UNIQUE (b, v))");
    database.run("INSERT INTO t VALUES (1, 2, NULL), (2, 2, NULL)");
    assert_eq!(
        database.count("INSERT INTO t VALUES (1, 2, 5) ON CONFLICT (b, a) DO UPDATE SET v = excluded.v"),
        1
    );
    assert_eq!(
        database.count("INSERT INTO t VALUES (9, 2, 5) ON CONFLICT (b, v) DO UPDATE SET v = 6"),
        1
    );
    assert_eq!(
        database.count("INSERT INTO t VALUES (9, 2, NULL) ON CONFLICT (b, v) DO NOTHING"),
        1,
        "NULLs are distinct"
    );
    assert_eq!(database.rows("SELECT * FROM t"), ["1|2|6", "2|2|∅", "9|2|∅"]);
    database.check_arrangements("t", true);
}
