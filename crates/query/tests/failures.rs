//! What errors say: the kind, a reason, no noise, advice, and never a value of a row.

use crate::house::{NOW, relations, rows, try_run};
use viewfeed_change::{Error, ErrorKind};
use viewfeed_query::{Planner, Purpose};

fn failure(sql: &str) -> Error {
    try_run(sql, Purpose::Batch).expect_err(sql)
}

fn view_failure(sql: &str) -> Error {
    try_run(sql, Purpose::View).expect_err(sql)
}

#[test]
fn unknown_names_come_with_a_proposal() {
    let error = failure("SELECT autor FROM message");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, "SQL_PLAN"));
    assert_eq!(error.message(), "column \"autor\" does not exist");
    assert_eq!(error.advice(), Some("did you mean message.author?"));
    let error = failure("SELECT * FROM mesage");
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::NotFound, "UNKNOWN_RELATION")
    );
    assert_eq!(
        error.to_string(),
        "relation \"mesage\" does not exist (did you mean \"message\"?)"
    );
    let error = failure("SELECT uper(author) FROM message");
    assert_eq!(error.to_string(), "invalid function 'uper' (did you mean upper?)");
    let error = failure("SELECT row_to_json(author) FROM message");
    assert_eq!(error.advice(), Some("docs/sql.md says which functions there are"));
    let error = failure("SELECT id FROM message a JOIN message b ON a.id = b.id");
    assert_eq!(error.message(), "column \"id\" could be of more than one table");
    let error = failure("SELECT channel.nam FROM post");
    assert_eq!(error.reason(), "SQL_PLAN");
}

#[test]
fn planning_errors_have_no_noise() {
    for sql in [
        "SELECT author + 1 FROM message WHERE likes LIKE sent_at",
        "SELECT author, count(*) FROM message GROUP BY chat_id",
        "SELECT a, a FROM (SELECT 1 AS a)",
        "SELECT id FROM message UNION SELECT id, topic FROM chat",
        "SELECT substr(1, 2, 3, 4)",
        "SELECT 'a'::money",
        "SELECT '{\"a\":1}' -> 'a'",
        "SELECT author COLLATE \"C\" FROM message",
        "SELECT (SELECT id, topic FROM chat)",
        "SELECT * FROM generate_serie(1, 2)",
        "SELECT $1 + 1",
    ] {
        let error = failure(sql);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error:?}");
        let text = error.to_string();
        let noise = [
            "Error during",
            "Internal error",
            "bug in DataFusion",
            "backtrace",
            "\n",
        ];
        assert!(noise.iter().all(|noise| !text.contains(noise)), "{sql}: {text}");
    }
}

#[test]
fn what_could_not_run_is_refused_when_it_is_planned() {
    for sql in [
        "SELECT c.id, (SELECT author FROM message m WHERE m.chat_id = c.id ORDER BY likes LIMIT 1) AS a FROM chat c",
        "SELECT x.author FROM chat c, LATERAL (SELECT author FROM message m WHERE m.chat_id = c.id LIMIT 1) x",
        "SELECT id, id IN (SELECT chat_id FROM message) AS used FROM chat",
        "SELECT id INTO other FROM message",
        "SELECT * FROM message TABLESAMPLE BERNOULLI (10)",
        "SELECT sum(likes) OVER (w ROWS UNBOUNDED PRECEDING) FROM message",
        "SELECT sum(likes) OVER (w PARTITION BY id) FROM message WINDOW w AS (ORDER BY id)",
    ] {
        for purpose in [Purpose::Batch, Purpose::View] {
            let error = Planner::new()
                .unwrap()
                .plan_sql(sql, &relations(), "talk", purpose)
                .expect_err(sql);
            assert_eq!(
                (error.kind(), error.reason()),
                (ErrorKind::Invalid, "SQL_PLAN"),
                "{sql}: {error:?}"
            );
            assert!(error.advice().is_some(), "{sql}: {error:?}");
        }
    }
    assert_eq!(
        failure("SELECT id, id FROM message").message(),
        "column \"id\" is specified more than once"
    );
    assert_eq!(
        failure("SELECT *, id FROM message").message(),
        "column \"id\" is specified more than once"
    );
}

#[test]
fn a_view_may_not_be_random_or_have_parameters() {
    for (sql, call) in [
        ("SELECT random() AS r FROM message", "random()"),
        (
            "SELECT id FROM message WHERE EXISTS (SELECT FROM chat WHERE topic = gen_random_uuid())",
            "gen_random_uuid()",
        ),
        ("SELECT uuid_v7() AS u", "uuid_v7()"),
        ("SELECT id FROM message WHERE id = $1", "$1"),
    ] {
        let error = view_failure(sql);
        assert_eq!(error.reason(), "SQL_PLAN", "{sql}");
        assert!(error.message().contains(call), "{sql}: {error}");
        assert!(error.advice().is_some());
    }
    assert!(try_run("SELECT random() < 2 AS r", Purpose::Batch).is_ok());
}

#[test]
fn a_view_needs_distinct_column_names() {
    let error = view_failure("SELECT m.id, c.id FROM message m JOIN chat c ON c.id = m.chat_id");
    assert_eq!(error.message(), "column \"id\" is specified more than once");
    assert!(
        view_failure("SELECT * FROM message m JOIN chat c ON c.id = m.chat_id")
            .message()
            .contains("\"id\"")
    );
    assert!(
        try_run(
            "SELECT m.id, c.id FROM message m JOIN chat c ON c.id = m.chat_id",
            Purpose::Batch
        )
        .is_ok()
    );
}

#[test]
fn evaluation_errors_do_not_show_values() {
    let error = failure("SELECT 10 / (likes - likes) FROM message");
    assert_eq!(
        (error.kind(), error.reason(), error.message()),
        (ErrorKind::Invalid, "EVALUATION", "division by zero")
    );
    assert_eq!(failure("SELECT 1 / 0").message(), "division by zero");
    let error = failure("SELECT CAST(author AS int) FROM message");
    assert_eq!(error.message(), "a value cannot be converted to integer");
    for sql in [
        "SELECT CAST(author AS int) FROM message",
        "SELECT CAST(author AS timestamp) FROM message",
        "SELECT CAST(author AS date) FROM message",
        "SELECT CAST(author AS numeric) FROM message",
        "SELECT CAST(author AS boolean) FROM message",
        "SELECT CAST(author AS interval) FROM message",
        "SELECT to_timestamp(author) FROM message",
        "SELECT CAST(id * 4611686018427387904 AS int) FROM message",
        "SELECT CAST(id + 3000000000 AS int) FROM message",
        "SELECT (SELECT id FROM message)",
    ] {
        let error = failure(sql);
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Invalid, "EVALUATION"),
            "{sql}: {error:?}"
        );
        let text = error.to_string().replace("cannot", "");
        assert!(
            !text.contains("ann") && !text.contains("3000000001") && !text.contains("922337"),
            "{sql}: {text}"
        );
    }
}

#[test]
fn a_function_cannot_take_all_memory() {
    for sql in [
        "SELECT lpad('x', 2000000000)",
        "SELECT rpad(author, 2000000000) FROM message",
        "SELECT repeat('xxxx', 500000000)",
        "SELECT array_repeat(1, 2000000000)",
        "SELECT array_resize(ARRAY[1], 2000000000)",
    ] {
        let error = failure(sql);
        assert_eq!(error.reason(), "EVALUATION", "{sql}: {error:?}");
        assert!(
            error.message().contains("characters or elements"),
            "{sql}: {error}"
        );
    }
    let padded = try_run(
        "SELECT lpad('x', 3, '-') AS l, repeat('ab', 2) AS r, array_repeat(1, 2) AS a",
        Purpose::Batch,
    );
    assert_eq!(padded.unwrap(), ["l | r | a", "--x | abab | [1, 1]"]);
}

#[test]
fn a_query_over_the_memory_limit_fails_as_exhausted() {
    let planner = Planner::with_memory_max(64 << 10).unwrap();
    let sql =
        "SELECT value, count(*) AS n FROM generate_series(1, 200000) GROUP BY value ORDER BY n, value DESC";
    let plan = planner
        .plan_sql(sql, &relations(), "talk", Purpose::Batch)
        .unwrap();
    let error = planner.execute_over(&plan, &rows, NOW).unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Exhausted, "MEMORY_LIMIT"),
        "{error:?}"
    );
    let small = planner
        .plan_sql(
            "SELECT count(*) FROM message",
            &relations(),
            "talk",
            Purpose::Batch,
        )
        .unwrap();
    assert!(planner.execute_over(&small, &rows, NOW).is_ok());
}

#[test]
fn only_one_select_is_planned() {
    for sql in [
        "",
        "SELECT 1; SELECT 2",
        "DELETE FROM message",
        "SHOW TABLES",
        "CREATE TABLE t (a INT)",
    ] {
        assert_eq!(failure(sql).reason(), "SQL_SYNTAX", "{sql}");
    }
}
