//! Views are created over data, read by views, dropped, and are there again after a restart.

use crate::world::{INT, TEXT, World, shown};
use std::sync::Arc;
use viewfeed_change::{Relation, RelationKind, RelationName, View};

const TOTALS: &str = "SELECT customer_id, sum(amount) AS total FROM orders GROUP BY customer_id";

#[test]
fn a_view_over_existing_data_starts_complete() {
    let mut world = World::shop();
    world.epoch(&[
        ("orders", '+', "(1, 1, 5), (2, 1, 6), (3, 2, 7)"),
        ("customer", '+', "(1, 'ann', 'x')"),
    ]);
    let sql = "SELECT c.name, sum(o.amount) AS total FROM customer c JOIN orders o ON o.customer_id = c.id GROUP BY c.name";
    assert_eq!(world.view("totals", sql), ["ann|11"]);
    world.check();
    assert_eq!(
        world.change_of("totals", &[("orders", '-', "(2, 1, 6)")]),
        ["ann|5", "- ann|11"]
    );
}

#[test]
fn more_rows_than_one_chunk_are_filled_in() {
    let mut world = World::shop();
    let rows: Vec<String> = (0..20_000)
        .map(|i| format!("({i}, {}, {})", i % 100, i % 7))
        .collect();
    world.epoch(&[("orders", '+', &rows.join(","))]);
    let sql = "SELECT a.customer_id, count(*) AS n, max(b.amount) AS m FROM orders a
               JOIN (SELECT customer_id AS c, amount FROM orders WHERE amount > 5) AS b ON a.customer_id = b.c
               GROUP BY a.customer_id";
    world.view("counts", sql);
    world.view(
        "top",
        "SELECT customer_id, n FROM counts ORDER BY n DESC, customer_id LIMIT 3",
    );
    world.check();
    world.epoch(&[("orders", '-', "(6, 6, 6)")]);
}

#[test]
fn a_view_depends_on_every_relation_it_names() {
    let mut world = World::shop();
    let sql = "SELECT id FROM orders WHERE true OR EXISTS (SELECT 1 FROM customer)";
    world.view("ids", sql);
    let view = world
        .relations
        .named(&RelationName::new("public", "ids"))
        .unwrap();
    let inputs = &view.as_view().unwrap().inputs;
    assert_eq!(inputs.len(), 2, "{inputs:?}");
}

#[test]
fn views_read_views_in_the_same_epoch() {
    let mut world = World::shop();
    world.view("totals", TOTALS);
    world.view("rich", "SELECT customer_id FROM totals WHERE total > 10");
    world.view(
        "named",
        "SELECT c.name FROM rich r JOIN customer c ON c.id = r.customer_id",
    );
    let output = world.epoch(&[
        ("customer", '+', "(1, 'ann', 'x')"),
        ("orders", '+', "(1, 1, 11)"),
    ]);
    assert_eq!(output.deltas.len(), 3);
    assert_eq!(world.rows("named"), ["ann"]);
    world.epoch(&[("orders", '-', "(1, 1, 11)"), ("orders", '+', "(1, 1, 1)")]);
    assert!(world.rows("named").is_empty());
}

#[test]
fn a_view_joined_with_itself_and_its_own_input() {
    let mut world = World::shop();
    world.view("totals", TOTALS);
    world.view(
        "share",
        "SELECT o.id, t.total, u.total AS again FROM orders o JOIN totals t ON t.customer_id = o.customer_id
         JOIN totals u ON u.total = t.total",
    );
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 2, 5)")]);
    assert_eq!(world.rows("share").len(), 2);
    world.epoch(&[("orders", '+', "(3, 1, 1)"), ("orders", '-', "(2, 2, 5)")]);
    world.epoch(&[("orders", '+', "(2, 2, 6)")]);
    assert_eq!(world.rows("share").len(), 3);
}

#[test]
fn keys_are_followed_through_the_plan() {
    let world = World::shop();
    let key = |sql: &str| world.engine.plan(sql, "public", &world.relations).unwrap().key;
    assert_eq!(key("SELECT amount, id FROM orders WHERE amount > 1"), [1]);
    assert_eq!(key("SELECT amount FROM orders"), [0; 0]);
    assert_eq!(key("SELECT id + 0 AS id FROM orders"), [0; 0]);
    assert_eq!(
        key("SELECT c.name, o.id FROM orders o JOIN customer c ON c.id = o.customer_id"),
        [1]
    );
    assert_eq!(
        key("SELECT o.id, l.product FROM orders o JOIN line l ON l.order_id = o.id"),
        [0, 1]
    );
    assert_eq!(
        key("SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.amount = b.amount"),
        [0, 1]
    );
    assert_eq!(
        key("SELECT sum(amount) AS s, customer_id FROM orders GROUP BY customer_id"),
        [1]
    );
    assert_eq!(key("SELECT DISTINCT city, name FROM customer"), [0, 1]);
    assert_eq!(key("SELECT who FROM log UNION ALL SELECT id FROM orders"), [0; 0]);
    assert_eq!(key("SELECT who FROM log UNION SELECT id FROM orders"), [0]);
    assert_eq!(key("SELECT who, text FROM log"), [0; 0]);
    assert_eq!(key("SELECT amount, id FROM orders ORDER BY amount LIMIT 3"), [1]);
    assert_eq!(
        key("SELECT c.id, c.name, o.amount FROM customer c LEFT JOIN orders o ON o.id = c.id"),
        [0]
    );
    assert_eq!(key("SELECT count(*) AS n FROM orders"), [0; 0]);
}

#[test]
fn a_dropped_view_is_forgotten_and_can_be_made_anew() {
    let mut world = World::shop();
    world.view("totals", TOTALS);
    world.epoch(&[("orders", '+', "(1, 1, 5)")]);
    world.drop_view("totals");
    assert!(world.epoch(&[("orders", '+', "(2, 1, 6)")]).deltas.is_empty());
    assert_eq!(world.view("totals", TOTALS), ["1|11"]);
    world.epoch(&[("orders", '-', "(1, 1, 5)")]);
    assert_eq!(world.rows("totals"), ["1|6"]);
}

#[test]
fn a_restart_keeps_the_state_and_fills_nothing_anew() {
    let mut world = World::shop();
    world.view("totals", TOTALS);
    world.view("rich", "SELECT customer_id FROM totals WHERE total > 10");
    world.view("top", "SELECT id FROM orders ORDER BY amount LIMIT 1");
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 2, 12)")]);
    // A row the views have not seen: would they be filled anew, it would be in them.
    world.stage_unseen("orders", "(3, 1, 100)");
    assert!(world.restart().is_empty());
    assert_eq!(world.rows("totals"), ["1|5", "2|12"]);
    assert_eq!(world.rows("rich"), ["2"]);
}

#[test]
fn deltas_after_a_restart_continue_from_the_state() {
    let mut world = World::shop();
    world.view("totals", TOTALS);
    world.view(
        "best",
        "SELECT customer_id FROM totals ORDER BY total DESC, customer_id LIMIT 1",
    );
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 2, 12)")]);
    world.restart();
    assert_eq!(
        world.change_of("totals", &[("orders", '+', "(3, 1, 10)")]),
        ["- 1|5", "1|15"]
    );
    assert_eq!(world.rows("best"), ["1"]);
}

#[test]
fn a_changed_plan_is_filled_anew_and_says_how_the_view_changed() {
    let mut world = World::shop();
    world.view("rich", "SELECT id, amount FROM orders WHERE amount > 10");
    world.view("count_of", "SELECT count(*) AS n FROM rich");
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 2, 12)")]);
    // as if another version of the program planned it otherwise
    let mut other = world.relation("rich").as_ref().clone();
    if let viewfeed_change::RelationKind::View(view) = &mut other.kind {
        view.sql = view.sql.replace("> 10", "< 10");
    }
    Arc::make_mut(&mut world.relations).put(other).unwrap();
    let changed: Vec<Vec<String>> = world.restart().iter().map(|delta| shown(&delta.batch)).collect();
    assert_eq!(changed, [["1|5", "- 2|12"]]);
    world.check();
    world.epoch(&[("orders", '+', "(3, 1, 1)")]);
    assert_eq!(world.rows("count_of"), ["2"]);
}

#[test]
fn a_new_column_does_not_get_into_a_view_of_everything() {
    let mut world = World::new();
    world.table("t", &[("id", INT), ("a", TEXT)], &[0]);
    world.view("v", "SELECT * FROM t");
    world.view("w", "SELECT a, count(*) AS n FROM t GROUP BY a");
    world.epoch(&[("t", '+', "(1, 'x')")]);
    world.widen("t", "b", "(1, 'x', NULL)");
    let changed = world.restart();
    assert!(changed.is_empty());
    for view in ["v", "w"] {
        assert_eq!(world.failure(view), None);
    }
    world.epoch(&[("t", '+', "(2, 'y', 5)")]);
    assert_eq!(world.rows("v"), ["1|x", "2|y"]);
}

#[test]
fn steps_are_the_same_each_time() {
    let run = || {
        let mut world = World::shop();
        world.view(
            "totals",
            "SELECT city, count(*) AS n, sum(id) AS s FROM customer GROUP BY city",
        );
        let rows: Vec<String> = (0..200)
            .map(|i| format!("({i}, 'n{i}', 'c{}')", i % 50))
            .collect();
        world.change_of("totals", &[("customer", '+', &rows.join(","))])
    };
    assert_eq!(run(), run());
}

#[test]
fn a_view_planned_before_a_relation_it_names_changed_is_planned_again() {
    let mut world = World::shop();
    let plan = |world: &World| {
        world
            .engine
            .plan("SELECT * FROM log", "public", &world.relations)
            .unwrap()
    };
    let stale = plan(&world);
    world.widen("log", "stars", "(1, 'a', 5), (2, 'b', 3)");
    // Planned last among other relations than those it is created among: it keeps the columns it was planned with.
    let mut relations = world.relations.as_ref().clone();
    let view = Relation {
        id: relations.allocate(),
        name: RelationName::new("public", "copy"),
        columns: stale.columns,
        key: stale.key,
        kind: RelationKind::View(View {
            sql: "SELECT * FROM log".to_owned(),
            search_schema: "public".to_owned(),
            inputs: stale.inputs,
            require_incremental: false,
            on_error: Default::default(),
        }),
        schema_version: 1,
    };
    let view = relations.put(view).unwrap();
    let mut txn = world.begin();
    let delta = world
        .engine
        .create_view(&view, &Arc::new(relations), &mut txn)
        .unwrap();
    assert_eq!(shown(&delta.batch), ["1|a", "2|b"]);
    assert_eq!(plan(&world).columns.len(), 3);
}
