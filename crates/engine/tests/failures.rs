//! A view that cannot go on is left behind, the others go on.

use crate::world::World;

const RATIO: &str = "SELECT id, 100 / amount AS ratio FROM orders";

#[test]
fn a_failing_view_is_left_behind_with_the_views_over_it() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    world.view("over", "SELECT count(*) AS n FROM ratio");
    world.view("fine", "SELECT count(*) AS n FROM orders");
    world.epoch(&[("orders", '+', "(1, 1, 5)")]);
    let output = world.epoch(&[("orders", '+', "(2, 1, 0)")]);
    assert_eq!(output.failed.len(), 2);
    assert!(world.failure("ratio").unwrap().contains("keeps its last content"));
    assert!(world.failure("over").unwrap().contains("\"ratio\""));
    assert_eq!(world.rows("ratio"), ["1|20"]);
    assert_eq!(world.rows("over"), ["1"]);
    assert_eq!(world.rows("fine"), ["2"]);
    let later = world.epoch(&[("orders", '+', "(3, 1, 1)")]);
    assert!(later.failed.is_empty());
    assert_eq!(later.deltas.len(), 1);
}

#[test]
fn a_failed_view_is_still_failed_after_a_restart_while_the_reason_is() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    world.epoch(&[("orders", '+', "(2, 1, 0), (3, 1, 4)")]);
    assert!(world.restart().is_empty());
    assert!(world.failure("ratio").is_some());
    assert!(world.rows("ratio").is_empty());
}

#[test]
fn a_failed_view_is_filled_by_a_restart_once_the_reason_is_gone() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    world.view("over", "SELECT count(*) AS n FROM ratio");
    world.epoch(&[("orders", '+', "(2, 1, 0), (3, 1, 4)")]);
    world.epoch(&[("orders", '-', "(2, 1, 0)")]);
    assert_eq!(world.restart().len(), 2);
    assert_eq!(world.failure("ratio"), None);
    assert_eq!(world.rows("ratio"), ["3|25"]);
    assert_eq!(world.rows("over"), ["1"]);
    world.epoch(&[("orders", '+', "(4, 1, 5)")]);
    assert_eq!(world.rows("over"), ["2"]);
}

#[test]
fn a_view_that_cannot_be_filled_is_not_created_and_leaves_nothing() {
    let mut world = World::shop();
    world.epoch(&[("orders", '+', "(2, 1, 0)")]);
    assert!(world.try_view("ratio", RATIO).is_err());
    world.epoch(&[("orders", '-', "(2, 1, 0)"), ("orders", '+', "(2, 1, 50)")]);
    assert_eq!(world.view("ratio", RATIO), ["2|2"]);
}

#[test]
fn no_view_is_made_over_a_failed_one() {
    let mut world = World::shop();
    world.view("ratio", RATIO);
    world.epoch(&[("orders", '+', "(2, 1, 0)")]);
    let error = world
        .try_view("over", "SELECT count(*) AS n FROM ratio")
        .unwrap_err();
    assert_eq!(error.reason(), "VIEW_FAILED");
}

#[test]
fn sql_that_cannot_be_planned_says_why() {
    let mut world = World::shop();
    let error = world.try_view("v", "SELECT nothing FROM orders").unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}
