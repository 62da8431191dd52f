//! LIMIT, OFFSET, DISTINCT ON and row numbers as conditions: incremental, and true after every epoch.

use crate::world::{FLOAT, INT, TEXT, World};
use viewfeed_engine::Rung;

/// Runs a script over a view of this query, created before it, in the middle and after a restart; checks each epoch.
fn stays_true(sql: &str, rung: Rung) {
    for created_after in [0, 2] {
        let mut world = World::shop();
        for (i, (table, sign, rows)) in SCRIPT.iter().enumerate() {
            if i == created_after {
                world.view("v", sql);
                world.check();
            }
            if i == 5 {
                assert!(world.restart().is_empty());
            }
            world.epoch(&[(table, *sign, rows)]);
        }
        let explained = world.engine.explain(world.relation("v").id).unwrap();
        assert_eq!(explained.worst_rung(), rung, "{explained}");
    }
}

const SCRIPT: [(&str, char, &str); 9] = [
    ("orders", '+', "(1, 1, 5), (2, 1, 7), (3, 2, NULL), (4, NULL, 7)"),
    ("log", '+', "(1, 'b'), (1, 'b'), (2, 'a'), (NULL, 'c'), (2, NULL)"),
    ("orders", '+', "(5, 2, 1), (6, 1, 9), (7, NULL, 3), (8, 3, 7)"),
    ("log", '+', "(1, 'a'), (0, 'z'), (2, 'a'), (2, 'a')"),
    ("orders", '-', "(6, 1, 9), (2, 1, 7), (5, 2, 1)"),
    ("log", '-', "(1, 'b'), (0, 'z'), (2, 'a')"),
    ("orders", '+', "(0, 2, 100), (9, 3, -1)"),
    ("log", '-', "(1, 'b'), (2, 'a'), (2, 'a')"),
    (
        "orders",
        '-',
        "(1, 1, 5), (3, 2, NULL), (4, NULL, 7), (7, NULL, 3), (8, 3, 7), (0, 2, 100), (9, 3, -1)",
    ),
];

fn is_incremental(sql: &str) {
    stays_true(sql, Rung::Incremental);
}

#[test]
fn the_first_rows_of_an_order() {
    is_incremental("SELECT id, amount FROM orders ORDER BY amount DESC, id LIMIT 2");
    is_incremental("SELECT id, amount FROM orders ORDER BY amount NULLS FIRST, id DESC LIMIT 3");
    is_incremental("SELECT id, amount FROM orders ORDER BY amount DESC NULLS LAST, id LIMIT 3");
    is_incremental("SELECT id FROM orders ORDER BY id LIMIT 1 OFFSET 1");
    is_incremental("SELECT id FROM orders ORDER BY id OFFSET 2");
    is_incremental("SELECT id FROM orders ORDER BY id LIMIT 100");
    is_incremental("SELECT sum(amount) AS s FROM (SELECT amount FROM orders ORDER BY id LIMIT 2) AS t");
}

#[test]
fn rows_that_are_there_often_take_as_many_places() {
    is_incremental("SELECT who, text FROM log ORDER BY who, text LIMIT 3");
    is_incremental("SELECT who, text FROM log ORDER BY text DESC, who LIMIT 2 OFFSET 2");
    is_incremental("SELECT who, text FROM log ORDER BY who, text OFFSET 1");
    let mut world = World::shop();
    world.view("first", "SELECT who FROM log ORDER BY who LIMIT 3");
    world.epoch(&[("log", '+', "(1, 'a'), (1, 'a'), (1, 'b'), (1, 'b')")]);
    assert_eq!(world.rows("first"), ["×3 1"]);
    assert_eq!(
        world.change_of("first", &[("log", '+', "(0, 'x')")]),
        ["0", "- 1"]
    );
    assert!(world.change_of("first", &[("log", '+', "(7, 'x')")]).is_empty());
    assert!(world.change_of("first", &[("log", '-', "(1, 'b')")]).is_empty());
}

#[test]
fn an_order_by_what_is_computed_or_not_selected() {
    is_incremental("SELECT id FROM orders ORDER BY amount % 3, id LIMIT 2");
    is_incremental("SELECT customer_id FROM orders ORDER BY amount DESC, id LIMIT 2");
    is_incremental("SELECT amount + 1 AS more FROM orders ORDER BY -amount, id LIMIT 2");
    is_incremental("SELECT upper(text) AS t FROM log ORDER BY upper(text), who LIMIT 2");
}

#[test]
fn a_limit_takes_the_order_of_a_subquery_and_of_a_limit() {
    is_incremental("SELECT id FROM (SELECT id, amount FROM orders ORDER BY amount, id LIMIT 4) AS t LIMIT 2");
    is_incremental("SELECT id + 1 AS i FROM (SELECT * FROM orders ORDER BY id DESC) AS t LIMIT 2 OFFSET 1");
    is_incremental(
        "SELECT id FROM (SELECT id FROM orders ORDER BY id OFFSET 1) AS t ORDER BY id DESC LIMIT 2",
    );
}

#[test]
fn without_an_order_the_encoding_of_the_rows_decides() {
    is_incremental("SELECT who, text FROM log /* ORDER BY who NULLS FIRST, text NULLS FIRST */ LIMIT 2");
    is_incremental("SELECT text FROM log /* ORDER BY text NULLS FIRST */ LIMIT 2 OFFSET 1");
    is_incremental("SELECT who, text FROM log ORDER BY text /*, who NULLS FIRST */ LIMIT 3");
    is_incremental("SELECT count(*) AS n FROM (SELECT 1 FROM log LIMIT 3) AS t");
}

#[test]
fn the_first_rows_of_each_group_by_their_number() {
    let numbered = "(SELECT id, customer_id, amount, row_number() OVER (PARTITION BY customer_id
                     ORDER BY amount DESC, id) AS n FROM orders) AS t";
    for condition in [
        "n <= 2",
        "n < 2",
        "n = 1",
        "n = 2",
        "2 > n",
        "n BETWEEN 2 AND 3",
        "n <= 2 AND amount > 5",
        "n <= 0",
    ] {
        is_incremental(&format!("SELECT id, amount FROM {numbered} WHERE {condition}"));
    }
    is_incremental(&format!("SELECT * FROM {numbered} WHERE n = 2"));
    is_incremental(&format!(
        "SELECT customer_id, count(*) AS c FROM {numbered} WHERE n <= 2 GROUP BY customer_id"
    ));
    is_incremental(
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY customer_id % 2, amount > 5 ORDER BY -id) AS n
         FROM orders) AS t WHERE n <= 1",
    );
    is_incremental(
        "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY amount, id) AS n FROM orders) AS t WHERE n < 3",
    );
}

#[test]
fn numbers_that_are_selected_too_are_given_to_the_first_rows_only() {
    let numbered =
        |over: &str| format!("(SELECT id, amount, row_number() OVER ({over}) AS n FROM orders) AS t");
    let by_customer = numbered("PARTITION BY customer_id ORDER BY amount DESC, id");
    for condition in ["n <= 2", "n BETWEEN 2 AND 3", "n < 4 AND amount > 5"] {
        stays_true(
            &format!("SELECT id, n FROM {by_customer} WHERE {condition}"),
            Rung::Incremental,
        );
    }
    stays_true(
        &format!("SELECT *, n * 2 AS m FROM {by_customer} WHERE n <= 2"),
        Rung::Incremental,
    );
    let of_all = numbered("ORDER BY amount, id");
    stays_true(
        &format!("SELECT id, n FROM {of_all} WHERE n <= 3"),
        Rung::Incremental,
    );
    stays_true(
        "SELECT * FROM (SELECT who, text, row_number() OVER (PARTITION BY who ORDER BY text) AS n FROM log) AS t WHERE n <= 2",
        Rung::Incremental,
    );
}

#[test]
fn a_number_that_is_compared_with_something_else_is_no_limit() {
    let numbered =
        "(SELECT id, amount, row_number() OVER (PARTITION BY customer_id ORDER BY id) AS n FROM orders) AS t";
    for condition in [
        "n > 1",
        "n <> 1",
        "n <= amount",
        "n % 2 = 0",
        "n = 1 OR amount = 7",
    ] {
        let mut world = World::shop();
        let sql = format!("SELECT id FROM {numbered} WHERE {condition}");
        world.view("v", &sql);
        for (table, sign, rows) in SCRIPT {
            world.epoch(&[(table, sign, rows)]);
        }
        let explained = world.engine.explain(world.relation("v").id).unwrap();
        assert!(!explained.to_string().contains("TopK"), "{sql}\n{explained}");
    }
}

#[test]
fn one_row_for_each_distinct_on() {
    is_incremental(
        "SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders ORDER BY customer_id, amount DESC, id",
    );
    is_incremental(
        "SELECT DISTINCT ON (customer_id) id FROM orders ORDER BY customer_id, amount NULLS FIRST, id",
    );
    is_incremental("SELECT DISTINCT ON (who) who, text FROM log ORDER BY who DESC, text DESC NULLS LAST");
    is_incremental("SELECT DISTINCT ON (amount % 2) id + 1 AS i FROM orders ORDER BY amount % 2, id");
}

#[test]
fn a_condition_over_a_distinct_on_is_asked_of_the_chosen_rows() {
    let chosen = "(SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders ORDER BY customer_id, amount DESC, id) AS t";
    is_incremental(&format!("SELECT customer_id FROM {chosen} WHERE amount < 8"));
    is_incremental(&format!(
        "SELECT customer_id FROM {chosen} WHERE amount < 8 AND customer_id > 0"
    ));
    is_incremental(&format!(
        "SELECT n FROM (SELECT customer_id AS n, amount AS a FROM {chosen}) AS u WHERE a < 8 AND n = 1"
    ));
}

#[test]
fn a_limit_of_one_and_a_row_per_group_are_keys() {
    let world = World::shop();
    let key = |sql: &str| world.engine.plan(sql, "public", &world.relations).unwrap().key;
    assert_eq!(
        key("SELECT DISTINCT ON (who) text, who FROM log ORDER BY who, text"),
        [1]
    );
    assert_eq!(key("SELECT DISTINCT ON (customer_id) id FROM orders"), [0]);
    assert_eq!(key("SELECT who, text FROM log ORDER BY who LIMIT 2"), [0; 0]);
    assert_eq!(key("SELECT amount, id FROM orders ORDER BY amount LIMIT 3"), [1]);
}

#[test]
fn every_type_is_ordered_as_in_a_query() {
    let mut world = World::new();
    world.table("v", &[("f", FLOAT), ("t", TEXT), ("n", INT)], &[]);
    let keys = [
        "f",
        "f DESC",
        "f NULLS FIRST",
        "-f",
        "CAST(f AS REAL) DESC",
        "t",
        "t DESC NULLS LAST",
        "arrow_cast(t, 'Utf8View')",
        "CAST(n AS DECIMAL(10, 2)) / 4 DESC",
        "CAST(n AS SMALLINT)",
        "to_timestamp(n)",
        "to_timestamp(n) DESC NULLS LAST",
        "n > 1",
        "n > 1 DESC",
        "CAST(t AS BYTEA)",
        "CAST(to_timestamp(n) AS DATE) - INTERVAL '1 day'",
        "[n, 1]",
        "[n, 1] DESC",
        "[n, n + 1] NULLS FIRST",
        "[n, 1] DESC NULLS LAST",
        "named_struct('n', n, 't', t)",
        "named_struct('n', n) DESC",
    ];
    for (i, key) in keys.iter().enumerate() {
        let sql = format!("SELECT f, t, n FROM v ORDER BY {key}, t, n, f LIMIT 3");
        world.view(&format!("first{i}"), &sql);
        let sql = format!("SELECT f, t, n FROM v ORDER BY {key}, t DESC, n DESC, f LIMIT 2 OFFSET 2");
        world.view(&format!("next{i}"), &sql);
    }
    world.epoch(&[(
        "v",
        '+',
        "(1.5, 'b', 1), (-0.5, 'B', 2), (NULL, NULL, NULL), (0.0, '', -3)",
    )]);
    world.epoch(&[(
        "v",
        '+',
        "(CAST('NaN' AS DOUBLE), 'ä', 4), (CAST('-0' AS DOUBLE), 'bb', -3), (1e300, 'zz', NULL)",
    )]);
    world.epoch(&[(
        "v",
        '+',
        "(CAST('-inf' AS DOUBLE), 'a', 0), (CAST('inf' AS DOUBLE), NULL, 70000)",
    )]);
    world.epoch(&[("v", '-', "(1.5, 'b', 1), (0.0, '', -3), (NULL, NULL, NULL)")]);
    world.epoch(&[(
        "v",
        '-',
        "(CAST('NaN' AS DOUBLE), 'ä', 4), (CAST('-inf' AS DOUBLE), 'a', 0)",
    )]);
    for i in 0..keys.len() {
        let explained = world
            .engine
            .explain(world.relation(&format!("first{i}")).id)
            .unwrap();
        assert_eq!(explained.worst_rung(), Rung::Incremental, "{explained}");
    }
}

#[test]
fn groups_by_a_float_are_those_of_a_query() {
    let mut world = World::new();
    world.table("v", &[("f", FLOAT), ("n", INT)], &[]);
    world.view("on_f", "SELECT DISTINCT ON (f) n FROM v ORDER BY f, n");
    world.view("by_f", "SELECT n FROM (SELECT n, row_number() OVER (PARTITION BY f ORDER BY n) AS i FROM v) AS t WHERE i = 1");
    world.epoch(&[(
        "v",
        '+',
        "(0.0, 2), (CAST('-0' AS DOUBLE), 1), (CAST('NaN' AS DOUBLE), 4), (NULL, 5)",
    )]);
    world.epoch(&[("v", '+', "(0.0, 0), (CAST('NaN' AS DOUBLE), 3), (NULL, 6)")]);
    world.epoch(&[("v", '-', "(0.0, 0), (CAST('-0' AS DOUBLE), 1), (NULL, 5)")]);
}

#[test]
fn a_limit_over_many_rows_reads_on_past_those_that_leave() {
    let mut world = World::shop();
    let rows = |range: std::ops::Range<u32>| {
        let rows: Vec<String> = range.map(|i| format!("({i}, {}, {})", i % 10, i % 97)).collect();
        rows.join(",")
    };
    world.epoch(&[("orders", '+', &rows(0..3000))]);
    world.view(
        "first",
        "SELECT id, amount FROM orders ORDER BY amount, id LIMIT 50 OFFSET 10",
    );
    world.view(
        "best",
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY customer_id ORDER BY id) AS n FROM orders) AS t
         WHERE n <= 20",
    );
    world.epoch(&[("orders", '-', &rows(0..1000))]);
    world.epoch(&[
        ("orders", '+', &rows(500..700)),
        ("orders", '-', &rows(1000..2500)),
    ]);
}
