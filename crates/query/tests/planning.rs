//! What plans look like, for a query and for a view.

use crate::house::{plan_text, relations, table};
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::DataType;
use std::sync::Arc;
use viewfeed_change::{RelationId, Relations};
use viewfeed_query::{Planner, Purpose};

fn columns(sql: &str) -> Vec<String> {
    let plan = Planner::new()
        .unwrap()
        .plan_sql(sql, &relations(), "talk", Purpose::Batch);
    let plan = plan.unwrap_or_else(|error| panic!("{sql}: {error}"));
    plan.schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

#[test]
fn distinct_stays_distinct_in_a_view() {
    let sql = "SELECT DISTINCT author FROM message";
    assert!(
        plan_text(sql, Purpose::View).starts_with("Distinct:"),
        "{}",
        plan_text(sql, Purpose::View)
    );
    assert!(
        plan_text(sql, Purpose::Batch).starts_with("Aggregate:"),
        "{}",
        plan_text(sql, Purpose::Batch)
    );
}

#[test]
fn now_stays_a_call() {
    for purpose in [Purpose::View, Purpose::Batch] {
        for call in ["now()", "current_timestamp"] {
            let plan = plan_text(&format!("SELECT id FROM message WHERE sent_at > {call}"), purpose);
            assert!(plan.contains("now()"), "{plan}");
        }
        let plan = plan_text("SELECT current_date, id FROM message", purpose);
        assert!(plan.contains("current_date()"), "{plan}");
    }
}

#[test]
fn a_view_does_not_push_limits_or_filters_into_scans() {
    let plan = plan_text(
        "SELECT * FROM message WHERE id = 3 ORDER BY likes LIMIT 5",
        Purpose::View,
    );
    assert!(plan.contains("Limit: skip=0, fetch=5"), "{plan}");
    assert!(plan.contains("Filter: message.id = Int64(3)"), "{plan}");
    assert!(
        !plan.contains("filters") && !plan.contains("fetch=5\n    TableScan"),
        "{plan}"
    );
}

#[test]
fn a_view_has_subqueries_as_joins_and_scans_only_what_it_needs() {
    let plan = plan_text(
        "SELECT id FROM message WHERE chat_id IN (SELECT id FROM chat WHERE topic = 'tea')",
        Purpose::View,
    );
    assert!(plan.contains("LeftSemi Join"), "{plan}");
    assert!(
        plan.contains("TableScan: message projection=[id, chat_id]"),
        "{plan}"
    );
}

#[test]
fn a_view_keeps_distinct_within_its_call() {
    let plan = plan_text(
        "SELECT count(DISTINCT author) AS n FROM message GROUP BY chat_id",
        Purpose::View,
    );
    assert_eq!(plan.matches("Aggregate").count(), 1, "{plan}");
    assert!(plan.contains("count(DISTINCT"), "{plan}");
}

#[test]
fn the_same_sql_gives_the_same_plan_every_time() {
    let sql = "SELECT id FROM chat c WHERE EXISTS (SELECT 1 FROM message m WHERE m.chat_id = c.id)";
    let planner = Planner::new().unwrap();
    let plan = || {
        planner
            .plan_sql(sql, &relations(), "talk", Purpose::View)
            .unwrap()
            .display_indent_schema()
            .to_string()
    };
    assert_eq!(plan(), plan());
}

#[test]
fn a_query_hands_key_filters_to_the_scan_and_checks_them_again() {
    let plan = plan_text("SELECT author FROM message WHERE id = 3", Purpose::Batch);
    assert!(plan.contains("partial_filters=[message.id = Int64(3)]"), "{plan}");
    assert!(plan.contains("Filter: message.id = Int64(3)"), "{plan}");
}

#[test]
fn unnamed_columns_are_named_like_in_postgres() {
    assert_eq!(
        columns("SELECT count(*), max(likes), 1 + 1, upper(author) FROM message GROUP BY author"),
        ["count", "max", "?column?", "upper"]
    );
    assert_eq!(
        columns("SELECT count(*), count(likes), count(id) AS count_2 FROM message"),
        ["count", "count_3", "count_2"]
    );
    assert_eq!(
        columns("SELECT CASE WHEN true THEN 1 END, likes::bigint, '1'::int FROM message"),
        ["case", "likes", "int"]
    );
    assert_eq!(
        columns("SELECT m.id, m.author, c.topic FROM message m, chat c"),
        ["id", "author", "topic"]
    );
    assert_eq!(
        columns("SELECT channel.name, p.channel.topic FROM post p"),
        ["name", "topic"]
    );
    assert_eq!(
        columns("SELECT t.count FROM (SELECT count(*) FROM message) t"),
        ["count"]
    );
    assert_eq!(columns("SELECT count(*) FROM chat UNION ALL SELECT 1"), ["count"]);
}

#[test]
fn names_are_looked_up_in_the_search_schema_then_in_public() {
    let planner = Planner::new().unwrap();
    let plan = |sql: &str, schema: &str| planner.plan_sql(sql, &relations(), schema, Purpose::Batch);
    assert!(plan("SELECT * FROM post", "talk").is_ok());
    assert!(plan("SELECT * FROM talk.post", "public").is_ok());
    assert!(plan("SELECT * FROM chat", "talk").is_ok());
    assert!(plan("SELECT * FROM public.chat", "talk").is_ok());
    assert!(plan("SELECT Sender FROM TALK.Post", "public").is_ok());
    let error = plan("SELECT * FROM post", "public").unwrap_err();
    assert_eq!(
        (error.reason(), error.advice()),
        ("UNKNOWN_RELATION", Some("did you mean \"talk.post\"?"))
    );
    assert!(plan("SELECT \"Sender\" FROM post", "talk").is_err());
}

#[test]
fn a_key_lets_other_columns_follow_in_group_by() {
    assert_eq!(
        columns(
            "SELECT c.id, c.topic, count(*) FROM chat c JOIN message m ON m.chat_id = c.id GROUP BY c.id"
        )
        .len(),
        3
    );
}

#[test]
fn parameters_have_the_types_of_their_values() {
    let planner = Planner::new().unwrap();
    let params: [ArrayRef; 2] = [
        Arc::new(Int64Array::from(vec![3])),
        Arc::new(StringArray::from(vec!["ann"])),
    ];
    let sql = "SELECT id, $2 AS who FROM message WHERE id = $1 AND author = $2";
    let plan = planner
        .plan_with_params(sql, &params, &relations(), "talk", Purpose::Batch)
        .unwrap();
    let text = plan.display_indent().to_string();
    assert!(
        text.contains("message.id = Int64(3)") && text.contains("Utf8(\"ann\")"),
        "{text}"
    );
}

#[test]
fn inputs_are_the_relations_a_plan_reads() {
    let planner = Planner::new().unwrap();
    let sql = "SELECT id FROM message WHERE likes > (SELECT avg(likes) FROM message) AND author IN (SELECT sender FROM post)";
    let plan = planner
        .plan_sql(sql, &relations(), "talk", Purpose::View)
        .unwrap();
    let names: Vec<_> = Planner::inputs(&plan)
        .unwrap()
        .iter()
        .map(|relation| relation.name.to_string())
        .collect();
    assert_eq!(names, ["message", "talk.post"]);
}

#[test]
fn a_star_leaves_out_hidden_columns() {
    let mut relations = Relations::default();
    for (id, name) in [(20, "ping"), (21, "pong")] {
        let columns = [("text", DataType::Utf8), ("_id", DataType::Int64)];
        let mut relation = table(RelationId(id), "public", name, &columns, &[1]);
        relation.columns[1].hidden = true;
        relations.put(relation).unwrap();
    }
    let relations = Arc::new(relations);
    let planner = Planner::new().unwrap();
    let columns = |sql: &str| {
        let plan = planner.plan_sql(sql, &relations, "public", Purpose::Batch);
        let plan = plan.unwrap_or_else(|error| panic!("{sql}: {error}"));
        plan.schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(columns("SELECT * FROM ping"), ["text"]);
    assert_eq!(columns("SELECT _id, * FROM ping"), ["_id", "text"]);
    assert_eq!(columns("SELECT p.*, _id FROM public.ping p"), ["text", "_id"]);
    assert_eq!(columns("SELECT ping.* FROM public.ping ORDER BY _id"), ["text"]);
    assert_eq!(
        columns("SELECT * FROM ping, pong WHERE ping._id = pong._id"),
        ["text", "text"]
    );
    assert_eq!(columns("SELECT * FROM ping JOIN pong USING (text)"), ["text"]);
    assert_eq!(
        columns("SELECT * FROM (SELECT * FROM ping) x CROSS JOIN pong"),
        ["text", "text"]
    );
    assert_eq!(
        columns("SELECT * FROM ping UNION ALL SELECT * FROM pong"),
        ["text"]
    );
    assert_eq!(
        columns("SELECT * FROM ping WHERE EXISTS (SELECT * FROM pong)"),
        ["text"]
    );
    assert_eq!(
        columns("WITH ping AS (SELECT 1 AS _id) SELECT * FROM ping"),
        ["_id"]
    );
    assert_eq!(
        columns("SELECT * FROM ping, generate_series(1, 2)"),
        ["text", "value"]
    );
}
