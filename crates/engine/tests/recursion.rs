//! WITH RECURSIVE: every view is checked against its query after each epoch, and nearly all of them are incremental.

use crate::world::{Change, INT, TEXT, World};
use arrow::array::ArrayRef;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use viewfeed_engine::Rung;
use viewfeed_query::{Functions, Planner};

/// The pairs of nodes with a way from the first to the second.
const CLOSURE: &str =
    "WITH RECURSIVE way AS (SELECT a, b FROM edge UNION SELECT w.a, e.b FROM way w JOIN edge e ON e.a = w.b)
                       SELECT a, b FROM way";
/// The nodes that can be reached from those of `start`.
const REACHED: &str =
    "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT e.b FROM r JOIN edge e ON e.a = r.n)
                       SELECT n FROM r";

/// A graph, people with their managers, and parts of parts, empty.
fn graph() -> World {
    graph_with(Planner::new().unwrap())
}

fn graph_with(planner: Planner) -> World {
    let mut world = World::with(planner);
    world.table("edge", &[("a", INT), ("b", INT)], &[]);
    world.table("start", &[("n", INT)], &[]);
    world.table("person", &[("id", INT), ("name", TEXT), ("boss", INT)], &[0]);
    world.table("part", &[("whole", TEXT), ("part", TEXT), ("times", INT)], &[]);
    world
}

fn is_incremental(world: &World, view: &str) {
    let explained = world.engine.explain(world.relation(view).id).unwrap();
    assert_eq!(explained.worst_rung(), Rung::Incremental, "{explained}");
}

/// Runs the changes over a view that is created before them, in the middle, and at the end; over a restart, too.
fn stays_true(sql: &str, epochs: &[&[Change<'_>]]) {
    for created_after in [0, epochs.len() / 2, epochs.len()] {
        let mut world = graph();
        for (i, changes) in epochs.iter().enumerate() {
            if i == created_after {
                world.view("v", sql);
                world.check();
            }
            world.epoch(changes);
            if i == epochs.len() / 2 {
                assert!(world.restart().is_empty());
            }
        }
        if created_after == epochs.len() {
            world.view("v", sql);
            world.check();
        }
        is_incremental(&world, "v");
    }
}

/// The same changes in one epoch, and one by one.
fn stays_true_at_any_pace(sql: &str, epochs: &[&[Change<'_>]]) {
    stays_true(sql, epochs);
    let merged: Vec<Change<'_>> = epochs.iter().copied().flatten().copied().collect();
    stays_true(sql, &[&merged]);
    let single: Vec<&[Change<'_>]> = merged.chunks(1).collect();
    stays_true(sql, &single);
}

#[test]
fn a_closure_follows_edges_that_come_and_go() {
    let mut world = graph();
    world.view("way", CLOSURE);
    world.epoch(&[("edge", '+', "(1, 2), (2, 3), (4, 5)")]);
    assert_eq!(world.rows("way"), ["1|2", "1|3", "2|3", "4|5"]);
    let change = world.change_of("way", &[("edge", '+', "(3, 4)")]);
    assert_eq!(change, ["1|4", "1|5", "2|4", "2|5", "3|4", "3|5"]);
    let change = world.change_of("way", &[("edge", '-', "(2, 3)")]);
    assert_eq!(change, ["- 1|3", "- 1|4", "- 1|5", "- 2|3", "- 2|4", "- 2|5"]);
    is_incremental(&world, "way");
}

#[test]
fn a_cycle_that_is_cut_off_does_not_keep_itself() {
    let mut world = graph();
    world.view("reached", REACHED);
    world.epoch(&[
        ("start", '+', "(1)"),
        ("edge", '+', "(1, 2), (2, 3), (3, 4), (4, 2), (4, 4)"),
    ]);
    assert_eq!(world.rows("reached"), ["1", "2", "3", "4"]);
    let change = world.change_of("reached", &[("edge", '-', "(1, 2)")]);
    assert_eq!(change, ["- 2", "- 3", "- 4"]);
    let change = world.change_of("reached", &[("edge", '+', "(1, 3)")]);
    assert_eq!(change, ["2", "3", "4"]);
    let change = world.change_of("reached", &[("start", '-', "(1)")]);
    assert_eq!(change, ["- 1", "- 2", "- 3", "- 4"]);
}

#[test]
fn what_is_reached_another_way_stays() {
    let mut world = graph();
    world.view("reached", REACHED);
    world.epoch(&[
        ("start", '+', "(1)"),
        (
            "edge",
            '+',
            "(1, 2), (1, 3), (2, 4), (3, 4), (4, 5), (1, 6), (6, 7), (7, 5)",
        ),
    ]);
    assert_eq!(world.change_of("reached", &[("edge", '-', "(2, 4)")]), [""; 0]);
    assert_eq!(world.change_of("reached", &[("edge", '-', "(3, 4)")]), ["- 4"]);
    let both = [("edge", '-', "(7, 5)"), ("edge", '+', "(2, 4)")];
    assert_eq!(world.change_of("reached", &both), ["4"]);
    assert_eq!(
        world.change_of("reached", &[("edge", '-', "(1, 2)")]),
        ["- 2", "- 4", "- 5"]
    );
}

const CHANGES: [&[Change<'static>]; 7] = [
    &[
        ("start", '+', "(1), (1), (NULL)"),
        (
            "edge",
            '+',
            "(1, 2), (2, 3), (3, 1), (3, 3), (NULL, 1), (2, NULL)",
        ),
    ],
    &[("edge", '+', "(2, 3), (3, 4), (4, 5), (5, 3), (6, 7)")],
    &[("edge", '-', "(2, 3)"), ("start", '-', "(1)")],
    &[("edge", '-', "(2, 3)"), ("edge", '+', "(1, 3)")],
    &[("edge", '-', "(3, 3), (1, 3)"), ("start", '+', "(6)")],
    &[("edge", '+', "(7, 4)"), ("edge", '-', "(1, 2)")],
    &[("start", '-', "(1), (6), (NULL)")],
];

#[test]
fn closures_and_reached_nodes_are_right_at_any_pace() {
    stays_true_at_any_pace(CLOSURE, &CHANGES);
    stays_true_at_any_pace(REACHED, &CHANGES);
}

#[test]
fn ways_found_from_either_end_or_with_conditions_are_right() {
    let backwards = "WITH RECURSIVE way AS (SELECT a, b FROM edge UNION SELECT e.a, w.b FROM edge e JOIN way w ON e.b = w.a)
                     SELECT a, b FROM way WHERE a <> b";
    stays_true(backwards, &CHANGES);
    let two_at_once = "WITH RECURSIVE r AS (SELECT n FROM start UNION
                       SELECT f.b FROM r JOIN edge e ON e.a = r.n JOIN edge f ON f.a = e.b) SELECT n FROM r";
    stays_true(two_at_once, &CHANGES);
    let less = "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT e.b FROM r JOIN edge e ON e.a > r.n) SELECT n FROM r";
    stays_true(less, &CHANGES);
    let not_back = "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT e.b FROM r JOIN edge e ON e.a = r.n
                    WHERE NOT EXISTS (SELECT 1 FROM start s WHERE s.n = e.b + 1) AND r.n IN (SELECT a FROM edge)) SELECT n FROM r";
    stays_true(not_back, &CHANGES);
    let padded = "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT e.b FROM r LEFT JOIN edge e ON e.a = r.n) SELECT n FROM r";
    stays_true(padded, &CHANGES);
    let grouped = "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT e.m FROM r
                   JOIN (SELECT a, max(b) AS m FROM edge GROUP BY a) e ON e.a = r.n) SELECT n FROM r";
    stays_true(grouped, &CHANGES);
}

#[test]
fn a_tree_has_its_depth_and_its_paths() {
    let sql = "WITH RECURSIVE staff AS (SELECT id, name, 0 AS depth, name AS path FROM person WHERE boss IS NULL UNION ALL
               SELECT p.id, p.name, s.depth + 1, s.path || '/' || p.name FROM staff s JOIN person p ON p.boss = s.id)
               SELECT id, depth, path FROM staff";
    let mut world = graph();
    world.view("staff", sql);
    world.epoch(&[(
        "person",
        '+',
        "(1, 'ann', NULL), (2, 'bob', 1), (3, 'cat', 2), (4, 'dan', 2), (5, 'eve', 1)",
    )]);
    assert_eq!(
        world.rows("staff"),
        [
            "1|0|ann",
            "2|1|ann/bob",
            "3|2|ann/bob/cat",
            "4|2|ann/bob/dan",
            "5|1|ann/eve"
        ]
    );
    let moves = [("person", '-', "(2, 'bob', 1)"), ("person", '+', "(2, 'bob', 5)")];
    assert_eq!(
        world.change_of("staff", &moves),
        [
            "- 2|1|ann/bob",
            "2|2|ann/eve/bob",
            "- 3|2|ann/bob/cat",
            "3|3|ann/eve/bob/cat",
            "- 4|2|ann/bob/dan",
            "4|3|ann/eve/bob/dan"
        ]
    );
    // From one tree to another one in which a part of the old one would go round in circles.
    let round = [
        ("person", '-', "(2, 'bob', 5), (5, 'eve', 1)"),
        ("person", '+', "(2, 'bob', 3), (5, 'eve', 4)"),
    ];
    assert_eq!(world.change_of("staff", &round).len(), 4);
    assert_eq!(world.rows("staff"), ["1|0|ann"]);
    is_incremental(&world, "staff");
}

#[test]
fn parts_of_parts_are_counted_as_often_as_they_are_needed() {
    let sql = "WITH RECURSIVE needs AS (SELECT part, times FROM part WHERE whole = 'car' UNION ALL
               SELECT p.part, n.times * p.times FROM needs n JOIN part p ON p.whole = n.part)
               SELECT part, count(*) AS ways, sum(times) AS total FROM needs GROUP BY part";
    stays_true_at_any_pace(
        sql,
        &[
            &[(
                "part",
                '+',
                "('car', 'wheel', 4), ('car', 'axle', 2), ('axle', 'wheel', 2), ('wheel', 'bolt', 5)",
            )],
            &[("part", '+', "('wheel', 'bolt', 5), ('axle', 'bolt', 3)")],
            &[("part", '-', "('wheel', 'bolt', 5)")],
            &[("part", '+', "('bolt', 'steel', 1), ('car', 'bolt', 7)")],
            &[("part", '-', "('axle', 'wheel', 2), ('car', 'axle', 2)")],
        ],
    );
}

#[test]
fn distinct_within_a_step_counts_for_that_step() {
    let sql = "WITH RECURSIVE r AS (SELECT n, 0 AS d FROM start UNION ALL
               SELECT DISTINCT e.b, r.d + 1 FROM r JOIN edge e ON e.a = r.n WHERE r.d < 5) SELECT n, d FROM r";
    stays_true_at_any_pace(sql, &CHANGES);
}

#[test]
fn a_recursion_read_twice_and_one_over_another_are_right() {
    let twice = "WITH RECURSIVE way AS (SELECT a, b FROM edge UNION SELECT w.a, e.b FROM way w JOIN edge e ON e.a = w.b)
                 SELECT x.a, y.b FROM way x JOIN way y ON x.b = y.a AND x.a <> y.b";
    stays_true(twice, &CHANGES);
    let over_another = "WITH RECURSIVE
        way AS (SELECT a, b FROM edge UNION SELECT w.a, e.b FROM way w JOIN edge e ON e.a = w.b),
        r AS (SELECT n FROM start UNION SELECT w.b FROM r JOIN way w ON w.a = r.n)
        SELECT n FROM r";
    stays_true_at_any_pace(over_another, &CHANGES);
    let beside = "WITH RECURSIVE
        up AS (SELECT n FROM start UNION SELECT e.b FROM up JOIN edge e ON e.a = up.n),
        down AS (SELECT n FROM start UNION SELECT e.a FROM down JOIN edge e ON e.b = down.n)
        SELECT up.n FROM up JOIN down ON up.n = down.n";
    stays_true(beside, &CHANGES);
}

#[test]
fn views_over_recursive_views_follow() {
    let mut world = graph();
    world.view("way", CLOSURE);
    world.view("loops", "SELECT a FROM way WHERE a = b");
    world.view("degree", "SELECT a, count(*) AS n FROM way GROUP BY a");
    for changes in CHANGES {
        world.epoch(changes);
    }
    assert!(world.failure("degree").is_none());
}

#[test]
fn a_row_on_which_a_term_fails_is_left_out_with_what_follows_from_it() {
    let mut world = graph();
    world.view(
        "v",
        "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT 12 / e.b FROM r JOIN edge e ON e.a = r.n) SELECT n FROM r",
    );
    world.epoch(&[("start", '+', "(1)"), ("edge", '+', "(1, 2), (1, 0), (6, 3)")]);
    assert_eq!(world.rows("v"), ["1", "4", "6"]);
    assert_eq!(world.errors("v").len(), 1);
    world.epoch(&[("edge", '-', "(1, 0)")]);
    assert_eq!(world.errors("v"), [""; 0]);
}

#[test]
fn a_change_after_which_a_recursion_never_ends_fails_the_view_alone() {
    let mut world = graph();
    let sql = "WITH RECURSIVE r AS (SELECT n FROM start UNION ALL SELECT e.b FROM r JOIN edge e ON e.a = r.n) SELECT n FROM r";
    world.view("all_ways", sql);
    world.view("reached", REACHED);
    world.epoch(&[("start", '+', "(1)"), ("edge", '+', "(1, 2), (2, 3), (2, 3)")]);
    assert_eq!(world.rows("all_ways"), ["1", "2", "×2 3"]);
    let output = world.epoch_unchecked(&[("edge", '+', "(3, 1)")]);
    assert_eq!(output.failed.len(), 1);
    let failure = world.failure("all_ways").unwrap();
    assert!(failure.contains("did not end"), "{failure}");
    assert_eq!(world.rows("reached"), ["1", "2", "3"]);
    world.epoch(&[("edge", '-', "(1, 2)")]);
}

#[test]
fn what_cannot_be_done_step_by_step_is_computed_again_and_says_why() {
    let because = |sql: &str, reason: &str| {
        let mut world = graph();
        world.view("v", sql);
        let explained = world.engine.explain(world.relation("v").id).unwrap();
        assert_eq!(explained.worst_rung(), Rung::Recompute, "{explained}");
        assert!(explained.to_string().contains(reason), "{explained}");
        for changes in CHANGES {
            world.epoch(changes);
        }
    };
    because(
        "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT max(e.b) FROM r JOIN edge e ON e.a = r.n GROUP BY r.n) SELECT n FROM r",
        "an aggregate in the recursive term",
    );
    because(
        "WITH RECURSIVE r AS (SELECT n FROM start UNION SELECT e.b FROM edge e LEFT JOIN r ON e.a = r.n) SELECT n FROM r",
        "LeftJoin of other rows",
    );
    because(
        "WITH RECURSIVE r AS (SELECT n FROM start UNION (SELECT n + 1 FROM r WHERE n < 3 UNION ALL SELECT a FROM edge)) SELECT n FROM r",
        "a union in the recursive term",
    );
}

/// A function that counts the rows it is called with.
fn counting(rows: &Arc<AtomicUsize>) -> ScalarUDF {
    let rows = rows.clone();
    let body = move |arguments: &[ColumnarValue]| {
        let values: Vec<ArrayRef> = ColumnarValue::values_to_arrays(arguments)?;
        rows.fetch_add(values[0].len(), Ordering::Relaxed);
        Ok(ColumnarValue::Array(values[0].clone()))
    };
    create_udf("counted", vec![INT], INT, Volatility::Immutable, Arc::new(body))
}

#[test]
fn a_change_costs_what_follows_from_it_not_the_view() {
    let rows = Arc::new(AtomicUsize::new(0));
    let functions = Functions {
        scalars: vec![Arc::new(counting(&rows))],
        ..Functions::default()
    };
    let mut world = graph_with(Planner::new().unwrap().with_functions(functions).unwrap());
    world.view(
        "way",
        "WITH RECURSIVE way AS (SELECT a, b FROM edge UNION SELECT w.a, counted(e.b) FROM way w JOIN edge e ON e.a = w.b)
         SELECT a, b FROM way",
    );
    let mut cost_of = |changes: &[Change<'_>]| {
        let before = rows.load(Ordering::Relaxed);
        let changed = world.change_of_unchecked("way", changes).len();
        (changed, rows.load(Ordering::Relaxed) - before)
    };
    // Ten chains of twenty nodes each: 10 · 20 · 19 / 2 pairs.
    let edges = (0..10).flat_map(|chain| (0..19).map(move |node| chain * 100 + node));
    let edges: Vec<String> = edges.map(|node| format!("({node}, {})", node + 1)).collect();
    let (pairs, derived) = cost_of(&[("edge", '+', &edges.join(", "))]);
    assert_eq!((pairs, derived), (1900, 1900 - 190));
    // To the end of a chain: the pairs that come, derived once each, but for the edge itself.
    assert_eq!(cost_of(&[("edge", '+', "(19, 20)")]), (20, 19));
    assert_eq!(cost_of(&[("edge", '-', "(19, 20)")]), (20, 19));
    // A second way between nodes that have one: what is derived once more is noted, nothing follows.
    let (changed, derived) = cost_of(&[("edge", '+', "(100, 119)")]);
    assert_eq!((changed, derived), (0, 0));
    // The first way goes: all pairs over the middle do, but for the one that has the second way.
    let (changed, derived) = cost_of(&[("edge", '-', "(109, 110)")]);
    assert_eq!(changed, 99);
    assert!(derived <= 2 * 100, "{derived} rows for {changed} pairs");
}
