//! Each operator, changed by inserts, deletes and updates; every epoch is checked against the query run from scratch.

use crate::world::{FLOAT, INT, TEXT, World};
use viewfeed_engine::Rung;

#[test]
fn a_filter_and_a_projection_follow_the_table() {
    let mut world = World::shop();
    world.view(
        "big",
        "SELECT id, amount * 2 AS double FROM orders WHERE amount > 10",
    );
    assert_eq!(
        world.change_of(
            "big",
            &[("orders", '+', "(1, 1, 10), (2, 1, 20), (3, NULL, NULL)")]
        ),
        ["2|40"]
    );
    assert_eq!(
        world.change_of(
            "big",
            &[("orders", '-', "(2, 1, 20)"), ("orders", '+', "(2, 1, 30)")]
        ),
        ["- 2|40", "2|60"]
    );
    assert!(
        world
            .change_of("big", &[("orders", '-', "(1, 1, 10)")])
            .is_empty()
    );
}

#[test]
fn what_is_added_and_removed_in_one_epoch_was_never_there() {
    let mut world = World::shop();
    world.view("all_log", "SELECT who, text FROM log");
    let changes = [("log", '+', "(1, 'a')"), ("log", '-', "(1, 'a')")];
    assert!(world.change_of("all_log", &changes).is_empty());
}

#[test]
fn a_join_sees_changes_of_both_sides_in_one_epoch_once() {
    let mut world = World::shop();
    world.view(
        "who",
        "SELECT o.id, c.name FROM orders o JOIN customer c ON c.id = o.customer_id",
    );
    world.epoch(&[
        ("customer", '+', "(1, 'ann', 'x')"),
        ("orders", '+', "(10, 1, 5)"),
    ]);
    assert_eq!(world.rows("who"), ["10|ann"]);
    let both = [
        ("customer", '-', "(1, 'ann', 'x')"),
        ("customer", '+', "(1, 'eve', 'x')"),
        ("orders", '+', "(11, 1, 6)"),
    ];
    assert_eq!(world.change_of("who", &both), ["- 10|ann", "10|eve", "11|eve"]);
}

#[test]
fn null_keys_never_join() {
    let mut world = World::shop();
    world.view(
        "pairs",
        "SELECT a.text, b.text AS other FROM log a JOIN log b ON a.who = b.who",
    );
    world.epoch(&[("log", '+', "(NULL, 'a'), (NULL, 'b'), (1, 'c')")]);
    assert_eq!(world.rows("pairs"), ["c|c"]);
}

#[test]
fn null_joins_null_where_the_query_says_so() {
    let mut world = World::shop();
    let sql = "SELECT a.text, b.text AS other FROM log a JOIN log b ON a.who IS NOT DISTINCT FROM b.who";
    world.view("pairs", sql);
    world.epoch(&[("log", '+', "(NULL, 'a')")]);
    world.epoch(&[("log", '+', "(NULL, 'b'), (1, 'c')")]);
    assert_eq!(world.rows("pairs").len(), 5);
}

#[test]
fn a_self_join_counts_every_pair_once() {
    let mut world = World::shop();
    world.view(
        "pairs",
        "SELECT a.text, b.text AS other FROM log a JOIN log b ON a.who = b.who",
    );
    world.epoch(&[("log", '+', "(1, 'a'), (1, 'a'), (1, 'b')")]);
    assert_eq!(world.rows("pairs"), ["×4 a|a", "×2 a|b", "×2 b|a", "b|b"]);
    world.epoch(&[("log", '-', "(1, 'a')"), ("log", '+', "(1, 'c')")]);
    world.epoch(&[("log", '-', "(1, 'a'), (1, 'b'), (1, 'c')")]);
    assert!(world.rows("pairs").is_empty());
}

#[test]
fn three_tables_join_whichever_changes() {
    let mut world = World::shop();
    let sql = "SELECT c.city, l.product, l.count * o.amount AS worth FROM customer c
               JOIN orders o ON o.customer_id = c.id JOIN line l ON l.order_id = o.id WHERE l.count > 1";
    world.view("worth", sql);
    world.epoch(&[("line", '+', "(10, 'tea', 2), (10, 'nut', 1), (11, 'tea', 3)")]);
    world.epoch(&[("customer", '+', "(1, 'ann', 'x'), (2, 'bob', 'y')")]);
    assert_eq!(
        world.change_of("worth", &[("orders", '+', "(10, 1, 5), (11, 2, 7)")]),
        ["x|tea|10", "y|tea|21"]
    );
    world.epoch(&[
        ("customer", '-', "(1, 'ann', 'x')"),
        ("line", '-', "(11, 'tea', 3)"),
    ]);
    assert!(world.rows("worth").is_empty());
}

#[test]
fn a_join_by_expressions_and_with_a_further_condition() {
    let mut world = World::shop();
    let sql =
        "SELECT o.id, l.product FROM orders o JOIN line l ON o.id + 1 = l.order_id AND o.amount < l.count";
    world.view("odd", sql);
    world.epoch(&[
        ("orders", '+', "(1, 1, 5), (2, 1, 50)"),
        ("line", '+', "(2, 'a', 6), (3, 'b', 6)"),
    ]);
    assert_eq!(world.rows("odd"), ["1|a"]);
    world.epoch(&[("orders", '-', "(2, 1, 50)"), ("orders", '+', "(2, 1, 1)")]);
    assert_eq!(world.rows("odd"), ["1|a", "2|b"]);
}

#[test]
fn a_cross_join_and_an_inequality_follow_both_sides() {
    let mut world = World::shop();
    world.view(
        "less",
        "SELECT a.id, b.id AS more FROM orders a, orders b WHERE a.amount < b.amount",
    );
    world.view("every", "SELECT c.name, l.text FROM customer c CROSS JOIN log l");
    world.view("how_many", "SELECT count(*) AS n FROM customer CROSS JOIN orders");
    world.epoch(&[
        ("orders", '+', "(1, 1, 5), (2, 1, 6), (3, 1, NULL)"),
        ("log", '+', "(1, 'x'), (1, 'x')"),
    ]);
    world.epoch(&[("orders", '+', "(4, 1, 1)"), ("customer", '+', "(1, 'ann', 'x')")]);
    assert_eq!(world.rows("less").len(), 3);
    assert_eq!(world.rows("every"), ["×2 ann|x"]);
    assert_eq!(world.rows("how_many"), ["4"]);
}

#[test]
fn union_all_keeps_duplicates_and_union_does_not() {
    let mut world = World::shop();
    world.view(
        "bag",
        "SELECT who AS id FROM log UNION ALL SELECT customer_id FROM orders UNION ALL SELECT who FROM log",
    );
    world.view(
        "set_of",
        "SELECT who AS id FROM log UNION SELECT customer_id FROM orders",
    );
    world.epoch(&[("log", '+', "(1, 'a'), (2, 'b')"), ("orders", '+', "(1, 1, 1)")]);
    assert_eq!(world.rows("bag"), ["×3 1", "×2 2"]);
    assert_eq!(world.rows("set_of"), ["1", "2"]);
    assert!(world.change_of("set_of", &[("log", '-', "(1, 'a')")]).is_empty());
    assert_eq!(
        world.change_of("set_of", &[("orders", '-', "(1, 1, 1)")]),
        ["- 1"]
    );
}

#[test]
fn distinct_rows_stay_while_one_is_left() {
    let mut world = World::shop();
    world.view("texts", "SELECT DISTINCT text FROM log");
    world.epoch(&[("log", '+', "(1, 'a'), (2, 'a'), (3, NULL)")]);
    assert_eq!(world.rows("texts"), ["NULL", "a"]);
    assert!(world.change_of("texts", &[("log", '-', "(1, 'a')")]).is_empty());
    assert_eq!(world.change_of("texts", &[("log", '-', "(2, 'a')")]), ["- a"]);
}

#[test]
fn groups_come_and_go_and_rows_move_between_them() {
    let mut world = World::shop();
    let sql = "SELECT customer_id, count(*) AS n, sum(amount) AS total, min(amount) AS low, max(amount) AS high,
               avg(amount) AS mean, count(amount) FILTER (WHERE amount > 5) AS big FROM orders GROUP BY customer_id";
    world.view("totals", sql);
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 9), (3, 2, NULL), (4, NULL, 7)")]);
    assert_eq!(world.rows("totals").len(), 3);
    world.epoch(&[("orders", '-', "(2, 1, 9)"), ("orders", '+', "(2, 2, 9)")]);
    assert_eq!(world.rows("totals")[2], "2|2|9|9|9|9.0|1");
    world.epoch(&[("orders", '-', "(2, 2, 9), (3, 2, NULL)")]);
    assert_eq!(world.rows("totals").len(), 2);
    world.epoch(&[("orders", '+', "(2, 2, 1)")]);
    assert_eq!(world.rows("totals").len(), 3);
}

#[test]
fn an_aggregate_without_groups_has_a_row_before_there_is_any() {
    let mut world = World::shop();
    assert_eq!(
        world.view("total", "SELECT count(*) AS n, sum(amount) AS s FROM orders"),
        ["0|NULL"]
    );
    assert_eq!(
        world.change_of("total", &[("orders", '+', "(1, 1, 5)")]),
        ["- 0|NULL", "1|5"]
    );
    assert_eq!(
        world.change_of("total", &[("orders", '-', "(1, 1, 5)")]),
        ["0|NULL", "- 1|5"]
    );
}

#[test]
fn an_aggregate_over_a_join_with_having() {
    let mut world = World::shop();
    let sql = "SELECT c.city, sum(o.amount) AS total FROM customer c JOIN orders o ON o.customer_id = c.id
               GROUP BY c.city HAVING sum(o.amount) > 10";
    world.view("cities", sql);
    world.epoch(&[
        ("customer", '+', "(1, 'ann', 'x'), (2, 'bob', 'x')"),
        ("orders", '+', "(1, 1, 6), (2, 2, 6)"),
    ]);
    assert_eq!(world.rows("cities"), ["x|12"]);
    assert_eq!(
        world.change_of("cities", &[("orders", '-', "(2, 2, 6)")]),
        ["- x|12"]
    );
}

#[test]
fn text_functions_give_plain_text_that_can_be_joined_and_grouped() {
    let mut world = World::shop();
    let sql = "SELECT upper(substr(c.name, 1, 1)) AS initial, count(*) AS n FROM customer c
               JOIN log l ON substr(l.text, 2) = substr(c.city, 1) WHERE trim(c.name) <> '' GROUP BY 1";
    world.view("initials", sql);
    world.epoch(&[
        ("customer", '+', "(1, 'ann', 'x'), (2, 'al', 'y')"),
        ("log", '+', "(1, 'ax'), (1, 'by')"),
    ]);
    assert_eq!(world.rows("initials"), ["A|2"]);
}

#[test]
fn floats_and_constants_are_values_like_others() {
    let mut world = World::new();
    world.table("point", &[("x", FLOAT), ("label", TEXT), ("n", INT)], &[]);
    world.view(
        "sums",
        "SELECT label, sum(x) AS s, 'k' AS k, 1 AS one FROM point GROUP BY label",
    );
    world.epoch(&[("point", '+', "(0.5, 'a', 1), (0.25, 'a', 2), (NULL, 'b', 3)")]);
    assert_eq!(world.rows("sums"), ["a|0.75|k|1", "b|NULL|k|1"]);
}

#[test]
fn a_view_without_any_relation_is_constant() {
    let mut world = World::shop();
    assert_eq!(world.view("one", "SELECT 1 AS one"), ["1"]);
    assert_eq!(
        world.view(
            "rows_of",
            "SELECT * FROM (VALUES (2, 'b'), (1, 'a'), (1, 'a')) AS v (n, t)"
        ),
        ["×2 1|a", "2|b"]
    );
    assert!(world.change_of("one", &[("log", '+', "(1, 'a')")]).is_empty());
    assert!(world.restart().is_empty());
    assert_eq!(world.rows("one"), ["1"]);
    for view in ["one", "rows_of"] {
        let explained = world.engine.explain(world.relation(view).id).unwrap();
        assert_eq!(explained.worst_rung(), Rung::Incremental, "{explained}");
    }
}

#[test]
fn constants_are_joined_united_and_counted_like_tables() {
    let mut world = World::shop();
    let queries = [
        "SELECT l.text, v.n FROM log l JOIN (VALUES (1, 'one'), (2, 'two'), (2, 'two')) AS v (id, n) ON v.id = l.who",
        "SELECT v.n, l.text FROM (VALUES (1, 'one'), (NULL, 'none')) AS v (id, n) LEFT JOIN log l ON v.id = l.who",
        "SELECT who, text FROM log UNION ALL VALUES (7, 'seven'), (7, 'seven')",
        "SELECT who, count(*) AS n FROM (SELECT who FROM log UNION ALL SELECT 1) AS u GROUP BY who",
        "SELECT text FROM log WHERE who NOT IN (SELECT n FROM (VALUES (1), (NULL)) AS v (n))",
        "SELECT count(*) AS n FROM (VALUES (1), (2)) AS v (n)",
        "SELECT text FROM log WHERE 1 = 2 UNION ALL SELECT name FROM customer",
    ];
    for (i, sql) in queries.iter().enumerate() {
        world.view(&format!("v{i}"), sql);
        let explained = world.engine.explain(world.relation(&format!("v{i}")).id).unwrap();
        assert_eq!(explained.worst_rung(), Rung::Incremental, "{sql}\n{explained}");
    }
    world.check();
    world.epoch(&[("log", '+', "(1, 'a'), (2, 'b'), (NULL, 'c'), (1, 'a')")]);
    assert!(world.restart().is_empty());
    world.epoch(&[
        ("log", '-', "(1, 'a'), (2, 'b')"),
        ("customer", '+', "(1, 'ann', 'x')"),
    ]);
}
