//! A row on which an expression fails is left out and counted; everything else goes on.

use crate::world::World;

const RATIO: &str = "SELECT id, 100 / amount AS ratio FROM orders";

#[test]
fn a_bad_row_is_left_out_and_the_others_are_there() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    let output = world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 0), (3, 1, 4), (4, 1, 0)")]);
    assert!(output.failed.is_empty());
    assert_eq!(world.rows("ratio"), ["1|20", "3|25"]);
    assert_eq!(world.errors("ratio"), ["2 FilterProject: division by zero"]);
}

#[test]
fn an_error_goes_with_its_row() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 0), (3, 1, 0)")]);
    world.epoch(&[("orders", '-', "(2, 1, 0)")]);
    assert_eq!(world.errors("ratio"), ["1 FilterProject: division by zero"]);
    let change = world.change_of(
        "ratio",
        &[("orders", '-', "(3, 1, 0)"), ("orders", '+', "(3, 1, 50)")],
    );
    assert_eq!(change, ["3|2"]);
    assert!(world.errors("ratio").is_empty());
}

#[test]
fn a_row_that_comes_and_goes_within_an_epoch_is_no_error() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    world.epoch(&[("orders", '+', "(2, 1, 0)"), ("orders", '-', "(2, 1, 0)")]);
    assert!(world.errors("ratio").is_empty());
}

#[test]
fn errors_are_counted_when_a_view_is_filled_and_kept_over_a_restart() {
    let mut world = World::shop();
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 0)")]);
    assert_eq!(world.view("ratio", RATIO), ["1|20"]);
    assert_eq!(world.errors("ratio"), ["1 FilterProject: division by zero"]);
    assert!(world.restart().is_empty());
    assert_eq!(world.errors("ratio"), ["1 FilterProject: division by zero"]);
    world.epoch(&[("orders", '-', "(2, 1, 0)")]);
    assert!(world.errors("ratio").is_empty());
}

#[test]
fn a_view_over_a_view_with_errors_sees_the_rows_that_are_there() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    world.view("over", "SELECT count(*) AS n FROM ratio");
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 0)")]);
    assert_eq!(world.rows("over"), ["1"]);
    assert!(world.errors("over").is_empty());
}

#[test]
fn a_message_tells_no_value() {
    let mut world = World::shop();
    world.view("number", "SELECT CAST(text AS BIGINT) AS n FROM log");
    world.epoch(&[("log", '+', "(1, 'secret'), (1, 'secret'), (2, '7')")]);
    assert_eq!(world.rows("number"), ["7"]);
    assert_eq!(
        world.errors("number"),
        ["2 FilterProject: a value cannot be converted to bigint"]
    );
}

#[test]
fn an_aggregate_leaves_out_rows_whose_argument_or_group_fails() {
    let mut world = World::shop();
    world.view(
        "total",
        "SELECT customer_id, count(*) AS n, sum(100 / amount) AS s FROM orders GROUP BY customer_id",
    );
    world.view(
        "by_ratio",
        "SELECT 100 / amount AS r, count(*) AS n FROM orders GROUP BY 1",
    );
    world.view(
        "filtered",
        "SELECT customer_id, count(*) AS n, sum(amount) FILTER (WHERE 100 / amount > 1) AS s \
         FROM orders GROUP BY customer_id",
    );
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 0), (3, 2, 0)")]);
    assert_eq!(world.rows("total"), ["1|1|20"]);
    assert_eq!(world.rows("filtered"), ["1|1|5"]);
    assert_eq!(world.errors("filtered"), ["2 FilterProject: division by zero"]);
    assert_eq!(world.rows("by_ratio"), ["20|1"]);
    assert_eq!(world.errors("total"), ["2 FilterProject: division by zero"]);
    world.epoch(&[("orders", '-', "(2, 1, 0), (3, 2, 0)")]);
    assert!(world.errors("filtered").is_empty() && world.errors("total").is_empty());
    assert!(world.errors("by_ratio").is_empty());
}

#[test]
fn a_group_that_fails_its_having_is_left_out_until_it_changes() {
    let mut world = World::shop();
    world.view(
        "shown",
        "SELECT customer_id FROM orders GROUP BY customer_id HAVING 100 / sum(amount) > 1",
    );
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 2, 0)")]);
    assert_eq!(world.rows("shown"), ["1"]);
    assert_eq!(world.errors("shown"), ["1 FilterProject: division by zero"]);
    world.epoch(&[("orders", '+', "(3, 2, 7)")]);
    assert_eq!(world.rows("shown"), ["1", "2"]);
    assert!(world.errors("shown").is_empty());
}

#[test]
fn a_pair_on_which_the_condition_fails_is_no_pair() {
    let mut world = World::shop();
    world.view(
        "pairs",
        "SELECT o.id, l.product FROM orders o LEFT JOIN line l \
         ON o.id = l.order_id AND 100 / (o.amount - l.count) > 0",
    );
    world.epoch(&[
        ("orders", '+', "(1, 1, 5), (2, 1, 3)"),
        ("line", '+', "(1, 'a', 5), (1, 'b', 4), (2, 'c', 3)"),
    ]);
    assert_eq!(world.rows("pairs"), ["1|b", "2|NULL"]);
    assert_eq!(world.errors("pairs"), ["2 LeftJoin: division by zero"]);
    world.epoch(&[("line", '-', "(1, 'a', 5)")]);
    assert_eq!(world.errors("pairs"), ["1 LeftJoin: division by zero"]);
    world.epoch(&[("orders", '-', "(2, 1, 3)")]);
    assert!(world.errors("pairs").is_empty());
}

#[test]
fn a_partition_that_fails_is_left_out_alone() {
    let mut world = World::shop();
    let sql =
        "SELECT id, sum(100 / amount) OVER (PARTITION BY customer_id ORDER BY id RANGE 100 PRECEDING) AS s
               FROM orders";
    world.view("running", sql);
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 2, 0), (3, 2, 4), (4, 3, 10)")]);
    assert_eq!(world.rows("running"), ["1|20", "4|10"]);
    let errors = world.errors("running");
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("1 ") && errors[0].ends_with("division by zero"),
        "{errors:?}"
    );
    world.epoch(&[("orders", '+', "(5, 2, 1)")]);
    assert_eq!(world.errors("running"), errors);
    assert_eq!(world.view("late", sql), ["1|20", "4|10"]);
    assert!(world.restart().is_empty());
    world.epoch(&[("orders", '-', "(2, 2, 0)")]);
    assert_eq!(world.rows("running"), ["1|20", "3|25", "4|10", "5|125"]);
    assert!(world.errors("running").is_empty() && world.errors("late").is_empty());
}

#[test]
fn a_row_that_fails_within_an_incremental_window_is_left_out_alone() {
    let mut world = World::shop();
    let sql = "SELECT id, sum(100 / amount) OVER (PARTITION BY customer_id ORDER BY id) AS s, lag(100 / amount) OVER
               (PARTITION BY customer_id ORDER BY id) AS l FROM orders";
    world.view("running", sql);
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 0), (3, 1, 4)")]);
    assert_eq!(world.rows("running"), ["1|20|NULL", "3|45|20"]);
    assert_eq!(world.errors("running").len(), 1);
    world.epoch(&[("orders", '-', "(2, 1, 0)")]);
    assert!(world.errors("running").is_empty());
}

#[test]
fn a_view_that_is_dropped_takes_its_errors_along() {
    let mut world = World::shop();
    world.epoch(&[("orders", '+', "(1, 1, 0)")]);
    world.view("ratio", RATIO);
    world.drop_view("ratio");
    world.epoch(&[("orders", '-', "(1, 1, 0)")]);
    world.view("ratio", RATIO);
    assert!(world.errors("ratio").is_empty());
}

#[test]
fn equal_partitions_of_nodes_that_are_shown_alike_are_told_apart() {
    let mut world = World::shop();
    let window = |condition| {
        format!(
            "SELECT id, sum(100 / amount) OVER (PARTITION BY customer_id) AS s FROM orders WHERE {condition}"
        )
    };
    let sql = format!("{} UNION ALL {}", window("id < 10"), window("id >= 10"));
    world.view("both", &sql);
    world.epoch(&[("orders", '+', "(1, 1, 0), (11, 1, 5)")]);
    assert_eq!(world.rows("both"), ["11|20"]);
    world.epoch(&[("orders", '+', "(12, 1, 10)")]);
    assert_eq!(world.errors("both").len(), 1);
    world.epoch(&[("orders", '-', "(1, 1, 0)")]);
    assert!(world.errors("both").is_empty());
}

/// Wherever an expression may stand, a row on which it fails stops nothing.
#[test]
fn expressions_fail_row_by_row_wherever_they_stand() {
    let queries = [
        "SELECT 1 / 0 AS never",
        "SELECT id FROM orders ORDER BY 100 / amount, id LIMIT 2",
        "SELECT DISTINCT ON (100 / amount) id FROM orders ORDER BY 100 / amount, id",
        "SELECT o.id FROM orders o JOIN line l ON 100 / o.amount = l.count",
        "SELECT o.id FROM orders o LEFT JOIN line l ON l.count = 100 / o.amount",
        "SELECT id FROM orders WHERE 100 / amount IN (SELECT count FROM line)",
        "SELECT id FROM orders WHERE 100 / amount > (SELECT min(count) FROM line)",
        "SELECT id FROM orders WHERE to_timestamp(100 / amount) < now()",
        "SELECT 100 / amount AS r FROM orders UNION SELECT count FROM line",
        "SELECT 100 / amount AS r FROM orders EXCEPT SELECT count FROM line",
        "SELECT customer_id, array_agg(100 / amount ORDER BY id) AS r FROM orders GROUP BY customer_id",
        "SELECT customer_id, first_value(id ORDER BY 100 / amount) AS f FROM orders GROUP BY customer_id",
        "SELECT 100 / amount AS g, sum(amount) AS s FROM orders GROUP BY ROLLUP (100 / amount)",
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY customer_id ORDER BY 100 / amount) AS n \
         FROM orders) AS o WHERE n <= 1",
        "SELECT customer_id, median(100 / amount) AS m FROM orders GROUP BY customer_id",
    ];
    let mut world = World::shop();
    for (i, sql) in queries.iter().enumerate() {
        world.view(&format!("v{i}"), sql);
    }
    let rows = "(1, 1, 5), (2, 1, 0), (3, 2, 7), (4, 3, 0)";
    world.epoch(&[("orders", '+', rows), ("line", '+', "(1, 'a', 20)")]);
    for (i, sql) in queries.iter().enumerate() {
        assert_eq!(world.failure(&format!("v{i}")), None, "{sql}");
        assert!(!world.errors(&format!("v{i}")).is_empty(), "{sql}");
        let late = world.view(&format!("late{i}"), sql);
        assert_eq!(late, world.rows(&format!("v{i}")), "{sql}");
        assert_eq!(
            world.errors(&format!("late{i}")),
            world.errors(&format!("v{i}")),
            "{sql}"
        );
    }
    world.epoch(&[("orders", '-', "(2, 1, 0), (4, 3, 0)")]);
    for (i, sql) in queries.iter().enumerate().skip(1) {
        assert!(world.errors(&format!("v{i}")).is_empty(), "{sql}");
        assert!(world.errors(&format!("late{i}")).is_empty(), "{sql}");
    }
}

#[test]
fn a_join_of_three_counts_a_failure_once_whatever_came_last() {
    let sql = "SELECT c.name, l.product FROM customer c JOIN orders o ON o.customer_id = c.id \
               JOIN line l ON l.order_id = o.id AND 100 / (o.amount - l.count) > 0";
    let parts = [
        ("customer", "(1, 'ann', 'x')"),
        ("orders", "(1, 1, 5)"),
        ("line", "(1, 'bad', 5), (1, 'good', 4)"),
    ];
    for first in 0..3 {
        let mut world = World::shop();
        world.view("v", sql);
        for i in 0..3 {
            let (table, rows) = parts[(first + i) % 3];
            world.epoch(&[(table, '+', rows)]);
        }
        assert_eq!(world.rows("v"), ["ann|good"]);
        let errors = world.errors("v");
        assert!(errors.len() == 1 && errors[0].starts_with("1 "), "{errors:?}");
        assert_eq!(world.view("late", sql), ["ann|good"]);
        assert_eq!(world.errors("late"), errors);
        for i in 0..3 {
            let (table, rows) = parts[(first + 2 * i) % 3];
            world.epoch(&[(table, '-', rows)]);
        }
        assert!(world.errors("v").is_empty() && world.errors("late").is_empty());
    }
}
