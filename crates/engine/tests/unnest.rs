//! UNNEST and LATERAL: what becomes of lists and of subqueries in FROM that name the tables before them.

use crate::world::{INT, TEXT, World};
use arrow::datatypes::DataType;
use viewfeed_engine::Rung;

fn lists() -> World {
    let mut world = World::new();
    let list = |element: DataType| DataType::new_list(element, true);
    world.table("v", &[("id", INT), ("xs", list(INT)), ("ts", list(TEXT))], &[]);
    world
}

/// The rung of a view of this query that stays true over lists that come and go.
fn rung_of(sql: &str) -> Rung {
    let mut world = lists();
    world.epoch(&[(
        "v",
        '+',
        "(1, [1, 2], ['a', 'b', 'c']), (2, [], ['x']), (3, NULL, NULL)",
    )]);
    world.view("v1", sql);
    world.check();
    world.epoch(&[(
        "v",
        '+',
        "(1, [1, 2], ['a', 'b', 'c']), (4, [5, NULL, 5], []), (5, [7], [NULL])",
    )]);
    assert!(world.restart().is_empty());
    world.epoch(&[(
        "v",
        '-',
        "(1, [1, 2], ['a', 'b', 'c']), (3, NULL, NULL), (5, [7], [NULL])",
    )]);
    world.epoch(&[(
        "v",
        '-',
        "(1, [1, 2], ['a', 'b', 'c']), (2, [], ['x']), (4, [5, NULL, 5], [])",
    )]);
    assert!(world.rows("v1").is_empty());
    world
        .engine
        .explain(world.relation("v1").id)
        .unwrap()
        .worst_rung()
}

#[test]
fn lists_become_rows() {
    for sql in [
        "SELECT id, unnest(xs) AS x FROM v",
        "SELECT unnest(xs) AS x, unnest(ts) AS t FROM v",
        "SELECT xs, unnest(xs) AS x FROM v",
        "SELECT id, unnest([id, 0]) AS x FROM v",
        "SELECT x, count(*) AS n FROM (SELECT unnest(xs) AS x FROM v) AS t GROUP BY x",
        "SELECT t.x, u.id FROM (SELECT id, unnest(xs) AS x FROM v) AS t JOIN v AS u ON u.id = t.x",
        "SELECT id, unnest(array_agg(t)) AS t FROM (SELECT id, unnest(ts) AS t FROM v) AS u GROUP BY id",
    ] {
        assert_eq!(rung_of(sql), Rung::Incremental, "{sql}");
    }
}

#[test]
fn what_is_nested_deeper_is_computed_again() {
    assert_eq!(
        rung_of("SELECT id, unnest(unnest([xs, [0]])) AS x FROM v"),
        Rung::Recompute
    );
    assert_eq!(
        rung_of("SELECT id, unnest(named_struct('a', id, 'b', xs)) FROM v WHERE id > 0"),
        Rung::Recompute
    );
}

#[test]
fn lists_in_from_that_do_not_depend_on_a_row() {
    let mut world = World::shop();
    world.view(
        "v",
        "SELECT o.id, u.x FROM orders o CROSS JOIN unnest([1, 2]) AS u(x) WHERE o.amount > u.x",
    );
    world.epoch(&[("orders", '+', "(1, 1, 2), (2, 1, 3)")]);
    assert_eq!(world.rows("v"), ["1|1", "2|1", "2|2"]);
    world.epoch(&[("orders", '-', "(2, 1, 3)")]);
}

#[test]
fn lateral_subqueries_become_joins() {
    for sql in [
        "SELECT c.id, t.s FROM customer c LEFT JOIN LATERAL (SELECT sum(o.amount) AS s FROM orders o WHERE o.customer_id = c.id) AS t
         ON true",
        "SELECT c.id, t.s FROM customer c CROSS JOIN LATERAL (SELECT sum(o.amount) AS s FROM orders o WHERE o.customer_id = c.id) AS t",
        "SELECT c.id, t.amount FROM customer c JOIN LATERAL (SELECT o.amount FROM orders o WHERE o.customer_id = c.id) AS t ON true",
        "SELECT c.id, t.amount FROM customer c, LATERAL (SELECT o.amount FROM orders o WHERE o.customer_id = c.id AND o.amount > 5) AS t",
    ] {
        let mut world = World::shop();
        world.view("v", sql);
        world.epoch(&[("customer", '+', "(1, 'ann', 'x'), (2, 'bob', 'y')"), ("orders", '+', "(10, 1, 5), (11, 1, 7), (12, 9, 9)")]);
        world.epoch(&[("orders", '+', "(13, 2, 6)"), ("orders", '-', "(11, 1, 7)")]);
        world.epoch(&[("customer", '-', "(1, 'ann', 'x')"), ("orders", '-', "(13, 2, 6)")]);
        let explained = world.engine.explain(world.relation("v").id).unwrap();
        assert_eq!(explained.worst_rung(), Rung::Incremental, "{sql}\n{explained}");
    }
}

#[test]
fn what_lateral_cannot_do_is_refused_with_advice() {
    let mut world = lists();
    for (sql, advice) in [
        (
            "SELECT v.id, u.x FROM v CROSS JOIN LATERAL unnest(v.xs) AS u(x)",
            "no table function called 'unnest'",
        ),
        (
            "SELECT a.id, t.id AS other FROM v AS a CROSS JOIN LATERAL (SELECT b.id FROM v AS b WHERE b.id > a.id ORDER BY b.id LIMIT 1) AS t",
            "row_number()",
        ),
    ] {
        let error = world.try_view("refused", sql).unwrap_err();
        assert!(format!("{error:?}").contains(advice), "{error:?}");
    }
}
