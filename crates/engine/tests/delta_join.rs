//! Joins of three and more inputs keep nothing between, and are what DataFusion computes, whichever input changes.

use crate::world::{Change, INT, TEXT, World};
use viewfeed_engine::Rung;

/// Tables without keys: rows may repeat, and every key may be NULL.
fn three_tables() -> World {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.table(name, &[("k", INT), ("n", INT), ("x", TEXT)], &[]);
    }
    world
}

/// Changes of one, two and three inputs at a time, of rows that repeat, with NULLs, that meet only one another.
const CHANGES: [&[Change<'static>]; 8] = [
    &[("a", '+', "(1, 1, 'p'), (1, 1, 'p'), (2, 2, 'q'), (NULL, 1, 'r')")],
    &[("b", '+', "(1, 2, 'u'), (1, 2, 'u'), (2, NULL, 'v')")],
    &[("c", '+', "(1, 2, 'y'), (2, 2, 'z'), (NULL, NULL, 'n')")],
    &[
        ("a", '+', "(3, 3, 's')"),
        ("b", '+', "(3, 3, 'w')"),
        ("c", '+', "(3, 3, 'm')"),
    ],
    &[
        ("a", '-', "(1, 1, 'p')"),
        ("b", '-', "(1, 2, 'u')"),
        ("c", '+', "(1, 2, 'y')"),
    ],
    &[
        ("b", '+', "(2, 2, 'v')"),
        ("b", '-', "(2, NULL, 'v')"),
        ("c", '-', "(2, 2, 'z')"),
        ("c", '+', "(2, 2, 'zz')"),
    ],
    &[
        ("a", '-', "(1, 1, 'p'), (3, 3, 's')"),
        ("c", '-', "(3, 3, 'm')"),
        ("a", '+', "(2, 2, 'q')"),
    ],
    &[("b", '-', "(1, 2, 'u'), (2, 2, 'v')"), ("a", '+', "(1, 1, 'p')")],
];

const QUERIES: [&str; 9] = [
    // a chain, a star, a circle
    "SELECT a.x, b.x AS y, c.x AS z FROM a JOIN b ON a.k = b.k JOIN c ON b.n = c.n",
    "SELECT a.x, b.x AS y, c.x AS z FROM a JOIN b ON a.k = b.k JOIN c ON a.k = c.k",
    "SELECT a.x FROM a JOIN b ON a.k = b.k JOIN c ON b.n = c.n AND a.n = c.k",
    // one table as all inputs
    "SELECT l.x, m.x AS y, r.x AS z FROM a l JOIN a m ON l.k = m.n JOIN a r ON m.k = r.n",
    "SELECT l.x, r.n FROM b l JOIN b m ON l.k = m.k JOIN b r ON m.n = r.n",
    // conditions between two inputs that are not equalities, and between three
    "SELECT a.x, c.x AS z FROM a JOIN b ON a.k = b.k JOIN c ON b.n = c.n AND a.x < c.x",
    "SELECT a.x, c.n FROM a JOIN b ON a.k = b.k JOIN c ON b.k = c.k AND a.n + b.n > c.n",
    // four inputs, one of them filtered
    "SELECT a.x, d.x AS z FROM a JOIN b ON a.k = b.k JOIN c ON b.k = c.k JOIN a d ON d.n = c.n WHERE b.x <> 'v'",
    // nothing of the inputs but how many there are
    "SELECT count(*) AS n FROM a JOIN b ON a.k = b.k JOIN c ON b.n = c.n",
];

#[test]
fn follow_a_change_of_any_input() {
    let mut world = three_tables();
    let create = |world: &mut World, round: usize| {
        for (i, sql) in QUERIES.iter().enumerate() {
            let name = format!("v{round}_{i}");
            world.view(&name, sql);
            let explained = world.engine.explain(world.relation(&name).id).unwrap();
            assert_eq!(explained.worst_rung(), Rung::Incremental, "{sql}\n{explained}");
            assert!(explained.to_string().contains("DeltaJoin"), "{sql}\n{explained}");
        }
        world.check();
    };
    create(&mut world, 0);
    for (i, changes) in CHANGES.iter().enumerate() {
        if i == 4 {
            create(&mut world, i);
            assert!(world.restart().is_empty());
        }
        world.epoch(changes);
    }
}

#[test]
fn keep_no_state_where_all_inputs_are_relations() {
    let mut world = World::shop();
    let sql = "SELECT c.name, l.count FROM customer c JOIN orders o ON o.customer_id = c.id \
        JOIN line l ON l.order_id = o.id";
    world.view("pieces", sql);
    let explained = world.engine.explain(world.relation("pieces").id).unwrap();
    let join = explained.flattened();
    let (_, join) = join
        .iter()
        .find(|(_, node)| node.operator.starts_with("DeltaJoin"))
        .expect("a join of many");
    assert!(!join.note.contains("own"), "{explained}");
}

#[test]
fn go_through_inputs_that_are_computed_themselves() {
    let mut world = three_tables();
    let grouped = |table: &str| format!("(SELECT k, n, count(*) AS x FROM {table} GROUP BY k, n)");
    let sql = format!(
        "SELECT a.x, b.x AS y, c.x AS z FROM {} AS a JOIN {} AS b ON a.k = b.k JOIN c ON b.n = c.n \
            JOIN {} AS d ON d.n = b.x",
        grouped("a"),
        grouped("b"),
        grouped("a"),
    );
    world.view("before", &sql);
    let explained = world.engine.explain(world.relation("before").id).unwrap();
    assert!(explained.to_string().contains("DeltaJoin"), "{explained}");
    for (i, changes) in CHANGES.iter().enumerate() {
        if i == 4 {
            world.view("amid", &sql);
            assert!(world.restart().is_empty());
        }
        world.epoch(changes);
    }
}
