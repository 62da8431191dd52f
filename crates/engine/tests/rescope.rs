//! Windows by their partitions, and aggregates without an incremental form by their groups: computed again only for what
//! a change touches, and true after every epoch.

use crate::world::{FLOAT, INT, TEXT, World};
use viewfeed_engine::Rung;

const SCRIPT: [(&str, char, &str); 8] = [
    ("orders", '+', "(1, 1, 5), (2, 1, 7), (3, 2, NULL), (4, NULL, 7)"),
    ("log", '+', "(1, 'b'), (1, 'b'), (2, 'a'), (NULL, 'c'), (2, NULL)"),
    ("orders", '+', "(5, 2, 1), (6, 1, 9), (7, NULL, 3), (8, 3, 7)"),
    ("log", '+', "(1, 'a'), (0, 'z'), (2, 'a'), (2, 'a')"),
    ("orders", '-', "(6, 1, 9), (2, 1, 7), (5, 2, 1)"),
    ("log", '-', "(1, 'b'), (0, 'z'), (2, 'a')"),
    (
        "orders",
        '-',
        "(1, 1, 5), (3, 2, NULL), (4, NULL, 7), (7, NULL, 3), (8, 3, 7)",
    ),
    (
        "log",
        '-',
        "(1, 'b'), (2, 'a'), (2, 'a'), (1, 'a'), (NULL, 'c'), (2, NULL)",
    ),
];

/// Runs the script over a view of this query, created before it and in its middle, with a restart; checks each epoch.
fn is_per_group(sql: &str) {
    for created_after in [0, 3] {
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
        assert_eq!(explained.worst_rung(), Rung::Scoped, "{explained}");
    }
}

/// A window function that has no incremental form.
const NTILE: &str = "ntile(2) OVER (PARTITION BY";

#[test]
fn windows_by_a_column() {
    for call in [
        "ntile(2) OVER (PARTITION BY customer_id ORDER BY id)",
        "percent_rank() OVER (PARTITION BY customer_id ORDER BY amount DESC)",
        "cume_dist() OVER (PARTITION BY customer_id ORDER BY amount)",
        "sum(amount) OVER (PARTITION BY customer_id ORDER BY id RANGE BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "count(*) OVER (PARTITION BY customer_id ORDER BY amount GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "sum(amount) OVER (PARTITION BY customer_id ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
        "lag(amount) IGNORE NULLS OVER (PARTITION BY customer_id ORDER BY id)",
        "array_agg(id) OVER (PARTITION BY customer_id ORDER BY id)",
    ] {
        is_per_group(&format!("SELECT id, {call} AS w FROM orders"));
    }
}

#[test]
fn windows_over_rows_that_are_there_often_count_each() {
    is_per_group("SELECT who, text, percent_rank() OVER (PARTITION BY who ORDER BY text) AS n FROM log");
    is_per_group(&format!("SELECT text, {NTILE} who, text) AS n FROM log"));
}

#[test]
fn windows_by_what_they_have_in_common() {
    is_per_group(&format!(
        "SELECT id, {NTILE} customer_id ORDER BY id) AS s, {NTILE} customer_id, amount ORDER BY id) AS n FROM orders",
    ));
    is_per_group(&format!(
        "SELECT id, {NTILE} customer_id ORDER BY id) AS s, {NTILE} amount ORDER BY id) AS n FROM orders",
    ));
}

#[test]
fn windows_by_what_is_computed() {
    is_per_group(&format!(
        "SELECT id, {NTILE} customer_id % 2 ORDER BY id) AS s FROM orders"
    ));
    is_per_group(&format!(
        "SELECT id, {NTILE} amount > 5, customer_id ORDER BY id) AS s FROM orders"
    ));
    is_per_group(&format!(
        "SELECT who, {NTILE} upper(text) ORDER BY text, who) AS m FROM log"
    ));
}

#[test]
fn windows_over_and_under_other_operators() {
    is_per_group(&format!(
        "SELECT customer_id, total, {NTILE} big ORDER BY total, customer_id) AS r FROM
         (SELECT customer_id, sum(amount) AS total, sum(amount) > 8 AS big FROM orders GROUP BY customer_id) AS t",
    ));
    is_per_group(&format!(
        "SELECT n, count(*) AS c FROM (SELECT {NTILE} customer_id ORDER BY id) AS n FROM orders WHERE amount > 1) AS t
         GROUP BY n",
    ));
}

#[test]
fn a_window_over_all_rows_is_computed_again_and_says_why() {
    let mut world = World::shop();
    world.view("v", "SELECT id, ntile(2) OVER (ORDER BY id) AS s FROM orders");
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 7)")]);
    let explained = world.engine.explain(world.relation("v").id).unwrap().to_string();
    assert!(
        explained.contains("recompute  O(n)  reason: no incremental form of ntile()")
            && explained.contains("no PARTITION BY"),
        "{explained}"
    );
}

#[test]
fn aggregates_without_an_incremental_form() {
    for call in [
        "approx_distinct(amount)",
        "string_agg(CAST(amount AS TEXT), ',' ORDER BY id)",
        "array_agg(id ORDER BY amount DESC, id)",
        "approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY amount)",
        "nth_value(id, 2 ORDER BY id)",
    ] {
        let mut world = World::shop();
        let sql = format!("SELECT customer_id, {call} AS a, count(*) AS n FROM orders GROUP BY customer_id");
        world.view("v", &sql);
        for (table, sign, rows) in SCRIPT {
            world.epoch(&[(table, sign, rows)]);
        }
        let explained = world.engine.explain(world.relation("v").id).unwrap();
        assert!(explained.worst_rung() <= Rung::Scoped, "{explained}");
    }
    is_per_group(
        "SELECT customer_id % 2 AS odd, approx_distinct(amount) AS d FROM orders GROUP BY customer_id % 2, amount > 3",
    );
    is_per_group("SELECT approx_distinct(text) AS d FROM log GROUP BY who HAVING count(*) > 1");
}

#[test]
fn calls_that_want_other_orders_are_computed_apart() {
    let calls = [
        "nth_value(id, 2 ORDER BY id)",
        "nth_value(amount, 1 ORDER BY amount DESC, id)",
        "string_agg(CAST(id AS TEXT), ',' ORDER BY amount, id)",
    ];
    for group in ["customer_id", "customer_id % 2", ""] {
        let (by, shown) = match group {
            "" => (String::new(), "0"),
            group => (format!(" GROUP BY {group}"), group),
        };
        let mut world = World::shop();
        let [a, b, c] = calls;
        // DataFusion runs the calls together only if one order serves all of them.
        let together =
            format!("SELECT {shown} AS g, {a} AS a, {b} AS b, {c} AS c, count(*) AS n FROM orders{by}");
        world.view("v", &together);
        for (place, call) in calls.iter().enumerate() {
            let apart = format!("SELECT {shown} AS g, {call} AS c, count(*) AS n FROM orders{by}");
            world.view(&format!("apart{place}"), &apart);
        }
        let joined = "SELECT x.g, x.c AS a, y.c AS b, z.c AS c, x.n FROM apart0 x
            JOIN apart1 y ON x.g IS NOT DISTINCT FROM y.g JOIN apart2 z ON x.g IS NOT DISTINCT FROM z.g";
        world.view("w", joined);
        let mut is_empty = true;
        for (table, sign, rows) in SCRIPT {
            world.epoch_unchecked(&[(table, sign, rows)]);
            assert_eq!(world.rows("v"), world.rows("w"), "{group}");
            is_empty &= world.rows("v").is_empty();
        }
        assert!(!is_empty);
        world.restart();
        assert_eq!(world.rows("v"), world.rows("w"), "{group}");
    }
}

#[test]
fn both_zeros_are_one_group() {
    let mut world = World::new();
    world.table("v", &[("f", FLOAT), ("g", FLOAT), ("t", TEXT), ("n", INT)], &[]);
    world.view(
        "a",
        "SELECT f, g, array_agg(n ORDER BY n) AS l, approx_distinct(t) AS d FROM v GROUP BY f, g",
    );
    world.view("b", "SELECT f, n, count(*) OVER (PARTITION BY f) AS c FROM v");
    let zero = "CAST('-0' AS DOUBLE)";
    world.epoch(&[(
        "v",
        '+',
        &format!("(0.0, 0.0, 'a', 1), ({zero}, 0.0, 'b', 2), ({zero}, {zero}, 'c', 3)"),
    )]);
    world.view(
        "c",
        "SELECT f, g, array_agg(n ORDER BY n) AS l, approx_distinct(t) AS d FROM v GROUP BY f, g",
    );
    world.check();
    world.epoch(&[(
        "v",
        '+',
        "(0.0, NULL, 'a', 4), (NULL, NULL, 'b', 5), (CAST('NaN' AS DOUBLE), 0.0, 'c', 6)",
    )]);
    world.epoch(&[
        ("v", '-', &format!("({zero}, {zero}, 'c', 3)")),
        ("v", '+', "(0.0, 0.0, 'z', 7)"),
    ]);
    world.epoch(&[(
        "v",
        '-',
        &format!("(0.0, 0.0, 'a', 1), ({zero}, 0.0, 'b', 2), (0.0, 0.0, 'z', 7)"),
    )]);
}

#[test]
fn many_rows_are_filled_in_by_whole_groups() {
    let mut world = World::shop();
    let rows: Vec<String> = (0..25_000)
        .map(|i| format!("({i}, {}, {})", i / 6_000, i % 7))
        .collect();
    world.epoch(&[("orders", '+', &rows.join(","))]);
    world.view(
        "v",
        "SELECT id, ntile(5) OVER (PARTITION BY customer_id ORDER BY id) AS n FROM orders",
    );
    world.check();
    world.epoch(&[("orders", '-', "(24999, 4, 2)")]);
}

#[test]
fn only_the_touched_groups_change() {
    let mut world = World::shop();
    world.view(
        "v",
        "SELECT id, ntile(3) OVER (PARTITION BY customer_id ORDER BY id) AS s FROM orders",
    );
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 7), (3, 2, 1)")]);
    // A row the view has not seen, in another group: were everything computed again, it would be in the view.
    world.stage_unseen("orders", "(4, 2, 1)");
    let mut changed = world.change_of_unchecked("v", &[("orders", '+', "(0, 1, 1)")]);
    changed.sort();
    assert_eq!(changed, ["- 1|1", "- 2|2", "0|1", "1|2", "2|3"]);
}
