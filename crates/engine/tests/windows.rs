//! Window functions over an order that is kept: incremental, and true after every epoch.

use crate::world::{FLOAT, INT, TEXT, World};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use viewfeed_engine::Rung;

const SCRIPT: [(&str, char, &str); 10] = [
    ("orders", '+', "(1, 1, 5), (2, 1, 7), (3, 2, NULL), (4, NULL, 7)"),
    ("log", '+', "(1, 'b'), (1, 'b'), (2, 'a'), (NULL, 'c'), (2, NULL)"),
    ("orders", '+', "(5, 2, 1), (6, 1, 9), (7, NULL, 3), (8, 3, 7)"),
    ("log", '+', "(1, 'a'), (0, 'z'), (2, 'a'), (2, 'a')"),
    ("orders", '-', "(6, 1, 9), (2, 1, 7), (5, 2, 1)"),
    ("log", '-', "(1, 'b'), (0, 'z'), (2, 'a')"),
    (
        "orders",
        '+',
        "(0, 2, 100), (9, 3, -1), (10, 1, 5), (11, 1, NULL), (12, 1, 6)",
    ),
    ("log", '-', "(1, 'b'), (2, 'a'), (2, 'a')"),
    ("orders", '-', "(1, 1, 5), (3, 2, NULL), (11, 1, NULL), (8, 3, 7)"),
    (
        "orders",
        '-',
        "(4, NULL, 7), (7, NULL, 3), (0, 2, 100), (9, 3, -1), (10, 1, 5), (12, 1, 6)",
    ),
];

/// Runs the script over a view of this query, created before it and in its middle, with a restart; checks each epoch.
fn stays_true(sql: &str, rung: Rung) {
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
        assert_eq!(explained.worst_rung(), rung, "{explained}");
    }
}

/// Each call over the orders, by customer and over all of them.
fn are_incremental(calls: &[&str]) {
    for call in calls {
        for partition in ["PARTITION BY customer_id ", ""] {
            let call = call.replace("OVER (", &format!("OVER ({partition}"));
            stays_true(&format!("SELECT id, {call} AS w FROM orders"), Rung::Incremental);
        }
    }
}

#[test]
fn values_of_the_rows_around() {
    are_incremental(&[
        "lag(amount) OVER (ORDER BY id)",
        "lag(amount, 2, -1) OVER (ORDER BY id DESC)",
        "lead(amount) OVER (ORDER BY amount NULLS FIRST, id)",
        "lead(id, 2, 0) OVER (ORDER BY amount DESC NULLS LAST, id)",
        "lag(amount, -1) OVER (ORDER BY id)",
        "lead(amount, 0) OVER (ORDER BY id)",
        "lag(amount + 1, 100, 7) OVER (ORDER BY id)",
        "lag(CAST(id AS TEXT)) OVER (ORDER BY id)",
    ]);
}

#[test]
fn frames_of_rows() {
    are_incremental(&[
        "sum(amount) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        "count(amount) OVER (ORDER BY id ROWS 2 PRECEDING)",
        "count(*) OVER (ORDER BY id ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING)",
        "avg(amount) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "min(amount) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING)",
        "max(amount) OVER (ORDER BY amount, id ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING)",
        "first_value(amount) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        "last_value(amount) OVER (ORDER BY id DESC ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        "nth_value(amount, 2) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        "max(id) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND CURRENT ROW)",
        "sum(amount) OVER (ORDER BY id ROWS BETWEEN 100 PRECEDING AND 100 FOLLOWING)",
        "sum(amount) FILTER (WHERE id > 2) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
    ]);
}

#[test]
fn numbers_and_ranks() {
    are_incremental(&[
        "row_number() OVER (ORDER BY amount, id)",
        "row_number() OVER (ORDER BY amount DESC NULLS LAST, id)",
        "rank() OVER (ORDER BY amount)",
        "dense_rank() OVER (ORDER BY amount DESC)",
        "rank() OVER (ORDER BY amount NULLS FIRST)",
    ]);
}

#[test]
fn frames_from_the_first_row() {
    are_incremental(&[
        "sum(amount) OVER (ORDER BY id)",
        "sum(amount) OVER (ORDER BY amount)",
        "count(*) OVER (ORDER BY amount DESC)",
        "avg(amount) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING)",
        "min(amount) OVER (ORDER BY id)",
        "max(amount) OVER (ORDER BY amount, id ROWS UNBOUNDED PRECEDING)",
        "max(id) OVER (ORDER BY amount)",
        "first_value(amount) OVER (ORDER BY id)",
        "first_value(id) OVER (ORDER BY amount NULLS FIRST, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING)",
        "last_value(amount) OVER (ORDER BY amount)",
        "last_value(amount) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING)",
        "count(*) FILTER (WHERE amount > 5) OVER (ORDER BY id)",
        "bool_and(amount > 5) OVER (ORDER BY id)",
    ]);
}

#[test]
fn whole_partitions() {
    are_incremental(&[
        "sum(amount) OVER ()",
        "min(amount) OVER ()",
        "count(*) FILTER (WHERE amount > 5) OVER ()",
        "avg(amount) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
        "max(id) OVER (ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
        "first_value(id) OVER (ORDER BY id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
    ]);
}

#[test]
fn rows_that_are_there_often_take_as_many_places() {
    for call in [
        "row_number() OVER (PARTITION BY who ORDER BY text)",
        "row_number() OVER (PARTITION BY who, text)",
        "rank() OVER (ORDER BY text)",
        "dense_rank() OVER (ORDER BY who)",
        "count(*) OVER (PARTITION BY who)",
        "count(*) OVER (ORDER BY who)",
        "count(*) OVER (ORDER BY who, text ROWS UNBOUNDED PRECEDING)",
        "lag(text) OVER (ORDER BY who, text)",
        "lead(text, 2) OVER (PARTITION BY who ORDER BY text)",
        "sum(who) OVER (ORDER BY who, text ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING)",
    ] {
        stays_true(
            &format!("SELECT who, text, {call} AS w FROM log"),
            Rung::Incremental,
        );
    }
}

#[test]
fn several_windows_of_a_query() {
    stays_true(
        "SELECT id, row_number() OVER w AS n, sum(amount) OVER w AS s, lag(amount) OVER w AS l,
                lead(id) OVER (PARTITION BY customer_id ORDER BY id DESC) AS d, count(*) OVER (PARTITION BY customer_id) AS c,
                max(amount) OVER () AS m, rank() OVER (ORDER BY amount) AS r
         FROM orders WINDOW w AS (PARTITION BY customer_id ORDER BY id)",
        Rung::Incremental,
    );
    stays_true(
        "SELECT id, sum(amount) OVER (PARTITION BY customer_id) AS a, sum(amount) OVER (PARTITION BY customer_id ORDER BY id
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS b FROM orders",
        Rung::Incremental,
    );
    stays_true(
        "SELECT id, ntile(2) OVER (PARTITION BY customer_id ORDER BY id) AS t, lag(amount) OVER (ORDER BY id) AS l,
                sum(amount) OVER (PARTITION BY customer_id) AS s FROM orders",
        Rung::Scoped,
    );
}

#[test]
fn windows_by_what_is_computed_and_over_other_operators() {
    stays_true(
        "SELECT id, sum(amount) OVER (PARTITION BY customer_id % 2 ORDER BY amount % 3, id) AS s FROM orders",
        Rung::Incremental,
    );
    stays_true(
        "SELECT who, max(text) OVER (PARTITION BY upper(text)) AS m FROM log",
        Rung::Incremental,
    );
    stays_true(
        "SELECT customer_id, total, rank() OVER (PARTITION BY big ORDER BY total) AS r, sum(total) OVER () AS s FROM
         (SELECT customer_id, sum(amount) AS total, sum(amount) > 8 AS big FROM orders GROUP BY customer_id) AS t",
        Rung::Incremental,
    );
    stays_true(
        "SELECT o.id FROM (SELECT id, amount, avg(amount) OVER (PARTITION BY customer_id) AS m FROM orders) AS o WHERE amount > m",
        Rung::Incremental,
    );
    stays_true(
        "SELECT n, count(*) AS c FROM (SELECT row_number() OVER (PARTITION BY customer_id ORDER BY id) AS n FROM orders) AS t
         GROUP BY n",
        Rung::Incremental,
    );
    stays_true(
        "SELECT id, row_number() OVER (ORDER BY l, id) AS n FROM (SELECT id, lag(amount) OVER (ORDER BY id) AS l FROM orders) AS t",
        Rung::Incremental,
    );
    stays_true("SELECT count(*) OVER () AS n FROM orders", Rung::Recompute);
}

#[test]
fn what_has_no_operator_says_so() {
    for (call, reason) in [
        ("ntile(2) OVER (PARTITION BY customer_id ORDER BY id)", "ntile"),
        (
            "percent_rank() OVER (PARTITION BY customer_id ORDER BY id)",
            "percent_rank",
        ),
        (
            "sum(amount) OVER (PARTITION BY customer_id ORDER BY id RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
            "RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        ),
        (
            "sum(amount) OVER (PARTITION BY customer_id ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
            "UNBOUNDED FOLLOWING",
        ),
        (
            "lag(amount) IGNORE NULLS OVER (PARTITION BY customer_id ORDER BY id)",
            "IGNORE NULLS",
        ),
    ] {
        let sql = format!("SELECT id, {call} AS w FROM orders");
        stays_true(&sql, Rung::Scoped);
        let world = World::shop();
        let plan = world.engine.plan(&sql, "public", &world.relations).unwrap();
        let explained = plan.explained.to_string();
        let (_, shown) = explained.split_once("reason: ").unwrap();
        assert!(shown.contains(reason), "{explained}");
    }
}

#[test]
fn a_change_touches_only_what_it_changes() {
    let mut world = World::shop();
    let rows: Vec<String> = (0..2000)
        .map(|i| format!("({}, {}, {})", i * 10, i % 2, i % 7))
        .collect();
    world.epoch(&[("orders", '+', &rows.join(","))]);
    world.view(
        "near",
        "SELECT id, lag(id) OVER (ORDER BY id) AS l, lead(id) OVER (ORDER BY id) AS n FROM orders",
    );
    world.view(
        "running",
        "SELECT id, max(amount) OVER (ORDER BY id) AS m FROM orders",
    );
    world.view(
        "numbered",
        "SELECT id, row_number() OVER (PARTITION BY customer_id ORDER BY id) AS n FROM orders",
    );
    let mut near = world.change_of("near", &[("orders", '+', "(105, 1, 3)")]);
    near.sort();
    assert_eq!(
        near,
        [
            "- 100|90|110",
            "- 110|100|120",
            "100|90|105",
            "105|100|110",
            "110|105|120"
        ]
    );
    assert_eq!(
        world.change_of("running", &[("orders", '+', "(106, 1, 3)")]),
        ["106|6"]
    );
    assert_eq!(
        world.change_of("numbered", &[("orders", '+', "(100000, 1, 3)")]),
        ["100000|1003"]
    );
    let later = world.change_of("numbered", &[("orders", '-', "(105, 1, 3)")]);
    assert_eq!(later.len(), 1 + 2 * 997);
}

#[test]
fn long_partitions_and_many_changes_at_once() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut world = World::new();
    world.table("v", &[("p", INT), ("o", INT), ("x", INT), ("t", TEXT)], &[]);
    let calls = "lag(x, 3) OVER w AS a, sum(x) OVER (w ROWS BETWEEN 20 PRECEDING AND 5 FOLLOWING) AS b,
                 min(t) OVER (w ROWS BETWEEN 3 PRECEDING AND 7 FOLLOWING) AS c, row_number() OVER w AS d,
                 max(x) OVER w AS e, sum(x) OVER w AS f, dense_rank() OVER (PARTITION BY p ORDER BY o) AS g,
                 count(x) OVER (PARTITION BY p ORDER BY o) AS h, first_value(t) OVER w AS i,
                 min(x) OVER (PARTITION BY p) AS j";
    let sql = format!("SELECT *, {calls} FROM v WINDOW w AS (PARTITION BY p ORDER BY o, x DESC, t)");
    world.view("early", &sql);
    let row = |rng: &mut SmallRng| {
        let (o, x) = (rng.random_range(0..4000), rng.random_range(-50..50));
        let x = if x == 0 { "NULL".to_owned() } else { x.to_string() };
        format!(
            "({}, {o}, {x}, '{}')",
            rng.random_range(0..3),
            rng.random_range(0..100)
        )
    };
    let mut all: Vec<String> = Vec::new();
    for (epoch, count) in [4000, 1, 1, 300, 2, 1, 40, 1].into_iter().enumerate() {
        let new: Vec<String> = (0..count).map(|_| row(&mut rng)).collect();
        let gone: Vec<String> = (0..all.len().min(count / 2 + epoch % 2))
            .map(|_| all.swap_remove(rng.random_range(0..all.len())))
            .collect();
        match gone.is_empty() {
            true => world.epoch(&[("v", '+', &new.join(","))]),
            false => world.epoch(&[("v", '+', &new.join(",")), ("v", '-', &gone.join(","))]),
        };
        all.extend(new);
        if epoch == 2 {
            world.view("late", &sql);
            world.check();
        }
    }
    world.epoch(&[("v", '-', &all.join(","))]);
    assert!(world.rows("early").is_empty());
}

#[test]
fn every_type_is_a_value_and_an_order() {
    let mut world = World::new();
    world.table("v", &[("f", FLOAT), ("t", TEXT), ("n", INT)], &[]);
    let over = "OVER (PARTITION BY n IS NULL ORDER BY f DESC, t NULLS FIRST, n)";
    let values = [
        "f",
        "t",
        "n",
        "-f",
        "arrow_cast(t, 'Utf8View')",
        "CAST(n AS DECIMAL(10, 2)) / 4",
        "CAST(n AS SMALLINT)",
        "to_timestamp(n)",
        "n > 1",
        "CAST(t AS BYTEA)",
        "[n, 1]",
        "named_struct('n', n, 't', t)",
        "CAST(f AS REAL)",
    ];
    for (i, value) in values.iter().enumerate() {
        let is_nested = value.starts_with('[') || value.starts_with("named");
        // DataFusion has no order of bytes and nested values for frames
        let extreme = match is_nested || value.contains("BYTEA") {
            true => String::new(),
            false => format!(", max({value}) {over} AS m, rank() OVER (ORDER BY {value}) AS r"),
        };
        let sql = format!(
            "SELECT f, t, n, lag({value}) {over} AS a, first_value({value}) {over} AS b{extreme} FROM v"
        );
        world.view(&format!("v{i}"), &sql);
    }
    world.view("by_f", "SELECT n, count(*) OVER (PARTITION BY f ORDER BY n) AS c, row_number() OVER (PARTITION BY f ORDER BY n) AS r FROM v");
    world.epoch(&[(
        "v",
        '+',
        "(1.5, 'b', 1), (-0.5, 'B', 2), (NULL, NULL, NULL), (0.0, '', -3)",
    )]);
    world.epoch(&[(
        "v",
        '+',
        "(CAST('NaN' AS DOUBLE), 'ä', 4), (CAST('-0' AS DOUBLE), 'bb', -3), (1e300, 'zz', NULL)",
    )]);
    world.epoch(&[(
        "v",
        '+',
        "(CAST('-inf' AS DOUBLE), 'a', 0), (CAST('inf' AS DOUBLE), NULL, 70)",
    )]);
    world.epoch(&[("v", '-', "(1.5, 'b', 1), (0.0, '', -3), (NULL, NULL, NULL)")]);
    world.epoch(&[(
        "v",
        '-',
        "(CAST('NaN' AS DOUBLE), 'ä', 4), (CAST('-inf' AS DOUBLE), 'a', 0)",
    )]);
    for i in 0..values.len() {
        let explained = world.engine.explain(world.relation(&format!("v{i}")).id).unwrap();
        assert_eq!(explained.worst_rung(), Rung::Incremental, "{explained}");
    }
}
