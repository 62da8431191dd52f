//! One bad row must not stop a view: what users see of rows on which an expression fails, and of what views cost.

use crate::server::{Running, sql, sql_error, start, text, tool};
use serde_json::{Value, json};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, n INT)";

#[test]
fn a_bad_row_is_left_out_told_in_view_errors_and_forgotten_when_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        &format!("{TABLE}; CREATE MATERIALIZED VIEW ratio AS SELECT id, 12 / n AS r FROM t"),
    );
    let mut feed = Running::start(&server, "tail", &["viewfeed.view_errors"]);
    while feed.next_of("SNAPSHOT")["caught_up"] != true {}
    sql(&server, "INSERT INTO t VALUES (1, 4), (2, 0), (3, 0)");
    let told = feed.next_of("DELTA");
    assert_eq!(told["rows"][0]["view"], "ratio");
    assert_eq!(sql(&server, "SELECT * FROM ratio"), [json!({"id": 1, "r": 3})]);
    let errors = "SELECT view, message, rows FROM viewfeed.view_errors";
    let two = json!({"view": "ratio", "message": "division by zero", "rows": 2});
    assert_eq!(sql(&server, errors), std::slice::from_ref(&two));
    assert_eq!(sql(&server, "SHOW VIEWS")[0]["errors"], 2);
    assert_eq!(
        sql(&server, "SELECT name, state, errors FROM viewfeed.views"),
        [json!({"name": "ratio", "state": "errors", "errors": 2})]
    );
    assert!(text(&tool(&server, "status", &[])).contains("2 rows left out"));

    server.kill();
    let server = start(dir.path());
    assert_eq!(sql(&server, errors), [two]);
    sql(
        &server,
        "DELETE FROM t WHERE id = 2; UPDATE t SET n = 6 WHERE id = 3",
    );
    assert!(sql(&server, errors).is_empty());
    assert_eq!(
        sql(&server, "SELECT r FROM ratio WHERE id = 3"),
        [json!({"r": 2})]
    );
    sql(
        &server,
        "INSERT INTO t VALUES (4, 0); DROP MATERIALIZED VIEW ratio",
    );
    assert!(sql(&server, errors).is_empty());
}

#[test]
fn a_strict_view_is_not_read_while_it_leaves_out_rows() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        &format!(
            "{TABLE}; CREATE MATERIALIZED VIEW ratio WITH (on_error = 'strict') AS SELECT id, 12 / n AS r FROM t;
             CREATE MATERIALIZED VIEW total AS SELECT count(*) AS c FROM ratio;
             INSERT INTO t VALUES (1, 4)"
        ),
    );
    let mut feed = Running::start(&server, "tail", &["ratio"]);
    while feed.next_of("SNAPSHOT")["caught_up"] != true {}
    sql(&server, "INSERT INTO t VALUES (2, 0)");
    assert_eq!(feed.next_of("BYE")["reason"], "VIEW_ERRORS");
    let refused = sql_error(&server, "SELECT * FROM ratio");
    assert!(
        refused.contains("division by zero") && refused.contains("viewfeed.view_errors"),
        "{refused}"
    );
    assert!(sql_error(&server, "BEGIN; SELECT * FROM ratio; COMMIT").contains("strict"));
    assert!(sql_error(&server, "INSERT INTO t SELECT id + 10, r FROM ratio").contains("strict"));
    assert!(text(&tool(&server, "tail", &["ratio"])).contains("strict"));
    assert_eq!(sql(&server, "SELECT c FROM total"), [json!({"c": 1})]);
    let created = sql(&server, "SHOW CREATE ratio")[0]["create"].to_string();
    assert!(created.contains("WITH (on_error = 'strict')"), "{created}");

    sql(&server, "DELETE FROM t WHERE id = 2");
    assert_eq!(sql(&server, "SELECT * FROM ratio"), [json!({"id": 1, "r": 3})]);
    let mut feed = Running::start(&server, "tail", &["ratio"]);
    assert_eq!(feed.next_of("SNAPSHOT")["rows"], json!([{"id": 1, "r": 3}]));
}

#[test]
fn explain_view_measures_states_and_steps() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        &format!(
            "{TABLE}; CREATE TABLE u (id INT PRIMARY KEY, t INT);
             CREATE MATERIALIZED VIEW a AS SELECT u.id, t.n FROM u JOIN t ON u.t = t.id;
             CREATE MATERIALIZED VIEW b AS SELECT u.id FROM t JOIN u ON u.t = t.id WHERE t.n > 0;
             INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO u VALUES (1, 1), (2, 1), (3, 2)"
        ),
    );
    let explained = |statement: &str| {
        let lines = sql(&server, statement);
        let line = |line: &Value| format!("{}\n", line["view"].as_str().unwrap());
        lines.iter().map(line).collect::<String>()
    };
    let plain = explained("EXPLAIN VIEW a");
    for part in [
        "on_error isolate",
        "u(t): 3 rows",
        "shared with b",
        "p99",
        "incremental",
    ] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    assert!(!plain.contains("[r/"), "{plain}");
    assert!(explained("EXPLAIN VIEW VERBOSE a").contains("[r/"));
    let arrangements =
        "SELECT columns, rows, used_by FROM viewfeed.arrangements WHERE relation = 'u' ORDER BY columns";
    assert_eq!(
        sql(&server, arrangements),
        [
            json!({"columns": "id", "rows": 3, "used_by": ""}),
            json!({"columns": "t", "rows": 3, "used_by": "a, b"})
        ]
    );
}

#[test]
fn the_relations_of_the_server_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    assert!(sql(&server, "SHOW RELATIONS").is_empty());
    for refused in [
        "INSERT INTO viewfeed.view_errors VALUES ('a', 'b', 'c', 1)",
        "DROP TABLE viewfeed.view_errors",
        "ALTER TABLE viewfeed.view_errors ADD COLUMN x INT",
        "CREATE TABLE viewfeed.t (id INT)",
        "CREATE MATERIALIZED VIEW viewfeed.v AS SELECT 1 AS a",
        "CREATE MATERIALIZED VIEW v AS SELECT view FROM viewfeed.view_errors",
        "CREATE MATERIALIZED VIEW v AS SELECT name FROM viewfeed.views",
        "CREATE MATERIALIZED VIEW v WITH (on_error = 'ignore') AS SELECT 1 AS a",
    ] {
        sql_error(&server, refused);
    }
}
