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
