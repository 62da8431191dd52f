//! A view that cannot go on is left behind, the others go on.

use crate::world::World;

/// Fails as a whole once customer 9 has two orders.
const ONLY: &str = "SELECT id, (SELECT o.amount FROM orders o WHERE o.customer_id = 9) AS amount FROM orders";

#[test]
fn a_failing_view_is_left_behind_with_the_views_over_it() {
    let mut world = World::shop();
    world.view("lonely", ONLY);
    world.view("over", "SELECT count(*) AS n FROM lonely");
    world.view("fine", "SELECT count(*) AS n FROM orders");
    world.epoch(&[("orders", '+', "(1, 9, 5)")]);
    let output = world.epoch(&[("orders", '+', "(2, 9, 0)")]);
    assert_eq!(output.failed.len(), 2);
    assert!(
        world
            .failure("lonely")
            .unwrap()
            .contains("keeps its last content")
    );
    assert!(world.failure("over").unwrap().contains("\"lonely\""));
    assert_eq!(world.rows("lonely"), ["1|5"]);
    assert_eq!(world.rows("over"), ["1"]);
    assert_eq!(world.rows("fine"), ["2"]);
    let later = world.epoch(&[("orders", '+', "(3, 1, 1)")]);
    assert!(later.failed.is_empty());
    assert_eq!(later.deltas.len(), 1);
}

#[test]
fn a_failed_view_is_still_failed_after_a_restart_while_the_reason_is() {
    let mut world = World::shop();
    world.view("lonely", ONLY);
    world.epoch(&[("orders", '+', "(2, 9, 0), (3, 9, 4)")]);
    assert!(world.restart().is_empty());
    assert!(world.failure("lonely").is_some());
    assert!(world.rows("lonely").is_empty());
}

#[test]
fn a_failed_view_is_filled_by_a_restart_once_the_reason_is_gone() {
    let mut world = World::shop();
    world.view("lonely", ONLY);
    world.view("over", "SELECT count(*) AS n FROM lonely");
    world.epoch(&[("orders", '+', "(2, 9, 0), (3, 9, 4)")]);
    world.epoch(&[("orders", '-', "(2, 9, 0)")]);
    assert_eq!(world.restart().len(), 2);
    assert_eq!(world.failure("lonely"), None);
    assert_eq!(world.rows("lonely"), ["3|4"]);
    assert_eq!(world.rows("over"), ["1"]);
    world.epoch(&[("orders", '+', "(4, 1, 5)")]);
    assert_eq!(world.rows("over"), ["2"]);
}

#[test]
fn a_view_that_cannot_be_filled_is_not_created_and_leaves_nothing() {
    let mut world = World::shop();
    world.epoch(&[("orders", '+', "(2, 9, 0), (3, 9, 1)")]);
    assert!(world.try_view("lonely", ONLY).is_err());
    world.epoch(&[("orders", '-', "(2, 9, 0)")]);
    assert_eq!(world.view("lonely", ONLY), ["3|1"]);
}

#[test]
fn no_view_is_made_over_a_failed_one() {
    let mut world = World::shop();
    world.view("lonely", ONLY);
    world.epoch(&[("orders", '+', "(2, 9, 0), (3, 9, 1)")]);
    let error = world
        .try_view("over", "SELECT count(*) AS n FROM lonely")
        .unwrap_err();
    assert_eq!(error.reason(), "VIEW_FAILED");
}

#[test]
fn sql_that_cannot_be_planned_says_why() {
    let mut world = World::shop();
    let error = world.try_view("v", "SELECT nothing FROM orders").unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}
