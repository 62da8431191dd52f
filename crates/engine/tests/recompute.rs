//! What has no incremental operator is computed again, and is just as true.

use crate::world::{Change, World};
use viewfeed_engine::Rung;

const CHANGES: [&[Change<'static>]; 5] = [
    &[
        (
            "customer",
            '+',
            "(1, 'ann', 'x'), (2, 'bob', 'y'), (3, 'cat', NULL)",
        ),
        ("orders", '+', "(10, 1, 5), (11, 1, 7), (12, 9, 9)"),
        ("log", '+', "(1, 'a'), (1, 'a'), (NULL, 'b')"),
    ],
    &[
        ("orders", '-', "(10, 1, 5)"),
        ("orders", '+', "(10, 2, 50)"),
        ("line", '+', "(10, 'tea', 1)"),
    ],
    &[("customer", '-', "(2, 'bob', 'y')"), ("log", '-', "(1, 'a')")],
    &[
        ("customer", '+', "(2, 'bea', 'x')"),
        ("orders", '-', "(11, 1, 7), (12, 9, 9)"),
    ],
    &[
        ("log", '-', "(1, 'a'), (NULL, 'b')"),
        ("orders", '-', "(10, 2, 50)"),
    ],
];

/// Runs the changes over a view of this query, once created before them, once in the middle; each epoch is checked.
fn stays_true(sql: &str, rung: Rung) {
    for created_after in [0, 2] {
        let mut world = World::shop();
        for (i, changes) in CHANGES.iter().enumerate() {
            if i == created_after {
                world.view("v", sql);
                world.check();
            }
            world.epoch(changes);
        }
        let explained = world.engine.explain(world.relation("v").id).unwrap();
        assert_eq!(explained.worst_rung(), rung, "{explained}");
    }
}

#[test]
fn windows_without_partitions() {
    stays_true(
        "SELECT id, ntile(2) OVER (ORDER BY amount, id) AS place FROM orders",
        Rung::Recompute,
    );
}

#[test]
fn an_order_without_a_limit_costs_nothing() {
    stays_true("SELECT id, amount FROM orders ORDER BY amount", Rung::Incremental);
}

#[test]
fn aggregates_without_groups_that_need_all_values() {
    stays_true(
        "SELECT median(DISTINCT amount) AS middle FROM orders",
        Rung::Recompute,
    );
    stays_true(
        "SELECT approx_distinct(name) AS names FROM customer",
        Rung::Recompute,
    );
}

#[test]
fn recursions_that_aggregate() {
    stays_true(
        "WITH RECURSIVE up AS (SELECT id AS n FROM customer UNION ALL SELECT max(n) + 1 FROM up WHERE n < 4 GROUP BY n % 2)
         SELECT n, count(*) AS times FROM up GROUP BY n",
        Rung::Recompute,
    );
}

#[test]
fn only_the_part_that_needs_it_is_computed_again() {
    let mut world = World::shop();
    let sql = "SELECT t.customer_id, c.name FROM (SELECT customer_id, s + ntile(2) OVER (ORDER BY s, customer_id) AS s FROM
               (SELECT customer_id, sum(amount) AS s FROM orders GROUP BY customer_id) AS u) AS t
               JOIN customer c ON c.id = t.customer_id WHERE t.s > 5";
    world.view("best", sql);
    for changes in CHANGES {
        world.epoch(changes);
    }
    let explained = world.engine.explain(world.relation("best").id).unwrap();
    let recomputed = explained.flattened();
    let recomputed = recomputed.iter().filter(|(_, node)| node.rung == Rung::Recompute);
    assert_eq!(recomputed.count(), 1, "{explained}");
}

#[test]
fn a_view_that_asks_for_the_time_follows_it_by_the_second() {
    let mut world = World::shop();
    world.view(
        "recent",
        "SELECT id FROM orders WHERE to_timestamp(amount) > now()",
    );
    let second = world.now.0 / 1_000_000 + 2;
    world.epoch(&[(
        "orders",
        '+',
        &format!("(1, 1, {second}), (2, 1, {})", second + 10),
    )]);
    assert_eq!(world.rows("recent"), ["1", "2"]);
    world.now.0 += 5_000_000;
    let output = world.epoch(&[]);
    assert_eq!(world.rows("recent"), ["2"]);
    assert_eq!(output.deltas.len(), 1);
    assert!(world.epoch(&[]).deltas.is_empty());
}

#[test]
fn a_recursion_that_never_ends_is_an_error_that_says_what_to_do() {
    let mut world = World::shop();
    world.epoch(CHANGES[0]);
    let sql = "WITH RECURSIVE up AS (SELECT id AS n FROM customer UNION ALL SELECT n % 3 FROM up) SELECT count(*) AS c FROM up";
    let error = world.try_view("v", sql).unwrap_err();
    assert_eq!(error.reason(), "RECURSION_LIMIT", "{error}");
    assert!(
        error.to_string().contains("WHERE depth < 100") || format!("{error:?}").contains("WHERE depth < 100")
    );
}

#[test]
fn a_recursion_follows_edges_that_come_and_go() {
    let mut world = World::shop();
    world.view(
        "reached",
        "WITH RECURSIVE r AS (SELECT id AS n FROM customer UNION SELECT o.amount FROM r JOIN orders o ON o.customer_id = r.n)
         SELECT n FROM r",
    );
    world.epoch(&[
        ("customer", '+', "(1, 'ann', 'x')"),
        ("orders", '+', "(10, 1, 2), (11, 2, 3), (12, 3, 1), (13, 5, 6)"),
    ]);
    world.epoch(&[("orders", '-', "(11, 2, 3)")]);
    world.epoch(&[("orders", '+', "(14, 2, 5)")]);
    world.epoch(&[("customer", '-', "(1, 'ann', 'x')")]);
}
