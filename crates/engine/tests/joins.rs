//! Joins of every form are kept incrementally, and are what DataFusion computes, whatever comes and goes on either side.

use crate::world::{Change, FLOAT, INT, TEXT, World};
use viewfeed_engine::Rung;

/// Two tables without keys: rows may repeat.
fn two_tables() -> World {
    let mut world = World::new();
    world.table("a", &[("k", INT), ("n", INT), ("x", TEXT)], &[]);
    world.table("b", &[("k", INT), ("n", INT), ("y", TEXT)], &[]);
    world
}

/// NULL keys, rows that are there more than once, rows that come and go within an epoch, changes of both sides in one
/// epoch, sides that become empty and full again.
const CHANGES: [&[Change<'static>]; 10] = [
    &[("a", '+', "(1, 1, 'p'), (1, 1, 'p'), (2, 5, 'q'), (NULL, 1, 'r')")],
    &[("b", '+', "(1, 2, 'u'), (NULL, 1, 'v')")],
    &[("b", '+', "(1, 2, 'u'), (3, 3, 'w')"), ("a", '+', "(3, 3, 's')")],
    &[
        ("b", '-', "(NULL, 1, 'v')"),
        ("a", '+', "(NULL, 1, 'r'), (4, 4, 't')"),
        ("a", '-', "(4, 4, 't')"),
    ],
    &[
        ("b", '-', "(1, 2, 'u')"),
        ("b", '+', "(2, 0, 'z')"),
        ("b", '-', "(2, 0, 'z')"),
    ],
    &[("b", '-', "(1, 2, 'u')"), ("a", '-', "(1, 1, 'p')")],
    &[
        ("a", '-', "(3, 3, 's')"),
        ("b", '-', "(3, 3, 'w')"),
        ("b", '+', "(1, 0, 'u'), (2, 9, 'z'), (2, 9, 'z')"),
    ],
    &[
        (
            "a",
            '-',
            "(1, 1, 'p'), (2, 5, 'q'), (NULL, 1, 'r'), (NULL, 1, 'r')",
        ),
        ("b", '+', "(NULL, 7, NULL)"),
    ],
    &[
        ("a", '+', "(2, 5, 'q'), (NULL, 7, NULL)"),
        ("b", '-', "(1, 0, 'u'), (2, 9, 'z'), (2, 9, 'z'), (NULL, 7, NULL)"),
    ],
    &[("b", '+', "(2, 6, 'z')"), ("a", '+', "(2, 5, 'q')")],
];

/// Runs the changes over views of these queries, created before them and amid them; each epoch is checked. All views must
/// be incremental; a restart must change nothing.
fn stay_true(queries: &[String]) {
    let mut world = two_tables();
    let create = |world: &mut World, round: usize| {
        for (i, sql) in queries.iter().enumerate() {
            let name = format!("v{round}_{i}");
            world.view(&name, sql);
            let explained = world.engine.explain(world.relation(&name).id).unwrap();
            assert_eq!(explained.worst_rung(), Rung::Incremental, "{sql}\n{explained}");
        }
        world.check();
    };
    create(&mut world, 0);
    for (i, changes) in CHANGES.iter().enumerate() {
        if i == 3 || i == 8 {
            create(&mut world, i);
        }
        if i == 5 {
            assert!(world.restart().is_empty());
        }
        world.epoch(changes);
    }
}

/// `ON` conditions: by key, by key and more, without a key, by NULL too.
const CONDITIONS: [&str; 6] = [
    "a.k = b.k",
    "a.k = b.k AND a.n < b.n",
    "a.n <= b.n",
    "true",
    "a.k IS NOT DISTINCT FROM b.k",
    "a.k = b.k AND a.n = b.n AND a.x <> b.y",
];

#[test]
fn outer_joins_follow_both_sides() {
    for side in ["LEFT", "RIGHT", "FULL"] {
        let query = |on: &&str| format!("SELECT a.*, b.n AS m, b.y FROM a {side} JOIN b ON {on}");
        stay_true(&CONDITIONS.iter().map(query).collect::<Vec<_>>());
    }
}

#[test]
fn semi_and_anti_joins_follow_both_sides() {
    for form in ["SEMI", "ANTI"] {
        let left = |on: &&str| format!("SELECT a.k, a.x FROM a LEFT {form} JOIN b ON {on}");
        let right = |on: &&str| format!("SELECT b.* FROM a RIGHT {form} JOIN b ON {on}");
        let queries = CONDITIONS.iter().map(left).chain(CONDITIONS.iter().map(right));
        stay_true(&queries.collect::<Vec<_>>());
    }
}

#[test]
fn exists_and_in_and_their_negations_follow_both_sides() {
    let conditions = [
        "EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
        "EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.n > a.n)",
        "EXISTS (SELECT 1 FROM b WHERE b.n > a.n)",
        "EXISTS (SELECT 1 FROM b)",
        "a.k IN (SELECT k FROM b)",
        "a.k IN (SELECT k FROM b WHERE b.n >= a.n)",
        "a.n + 1 IN (SELECT n FROM b)",
        "a.x = 'q' OR a.k IN (SELECT k FROM b)",
        "a.x = 'q' OR EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.n > a.n)",
    ];
    let query = |condition: &&str| format!("SELECT * FROM a WHERE {condition}");
    let negated = |condition: &&str| format!("SELECT * FROM a WHERE NOT ({condition})");
    stay_true(&conditions.iter().map(query).collect::<Vec<_>>());
    stay_true(&conditions.iter().map(negated).collect::<Vec<_>>());
}

#[test]
fn not_in_is_nothing_while_there_is_a_null_and_everything_while_there_is_nothing() {
    let mut world = two_tables();
    world.view("v", "SELECT k, x FROM a WHERE k NOT IN (SELECT k FROM b)");
    world.epoch(&[("a", '+', "(1, 1, 'p'), (1, 1, 'p'), (2, 1, 'q'), (NULL, 1, 'r')")]);
    assert_eq!(world.rows("v"), ["NULL|r", "×2 1|p", "2|q"]);
    assert_eq!(
        world.change_of("v", &[("b", '+', "(1, 0, '')")]),
        ["- NULL|r", "×-2 1|p"]
    );
    assert!(world.change_of("v", &[("b", '+', "(1, 0, '')")]).is_empty());
    assert_eq!(world.change_of("v", &[("b", '+', "(NULL, 0, '')")]), ["- 2|q"]);
    assert!(
        world
            .change_of("v", &[("b", '-', "(1, 0, '')"), ("b", '-', "(1, 0, '')")])
            .is_empty()
    );
    assert_eq!(world.change_of("v", &[("b", '-', "(NULL, 0, '')")]).len(), 3);
    let explained = world.engine.explain(world.relation("v").id).unwrap().to_string();
    assert!(explained.contains("null-aware"), "{explained}");
}

#[test]
fn a_second_partner_changes_nothing_and_the_last_one_takes_the_row_along() {
    let mut world = two_tables();
    world.view(
        "semi",
        "SELECT a.x FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.n > a.n)",
    );
    world.epoch(&[("a", '+', "(1, 1, 'p'), (1, 1, 'p')")]);
    assert_eq!(world.change_of("semi", &[("b", '+', "(1, 2, 'u')")]), ["×2 p"]);
    assert!(
        world
            .change_of("semi", &[("b", '+', "(1, 3, 'u'), (1, 0, 'u')")])
            .is_empty()
    );
    assert!(
        world
            .change_of("semi", &[("b", '-', "(1, 3, 'u')"), ("b", '+', "(1, 4, 'u')")])
            .is_empty()
    );
    assert_eq!(
        world.change_of("semi", &[("b", '-', "(1, 4, 'u')"), ("a", '+', "(1, 1, 'p')")]),
        ["p"]
    );
    assert_eq!(world.change_of("semi", &[("b", '-', "(1, 2, 'u')")]), ["×-3 p"]);
}

#[test]
fn a_table_joined_with_itself_in_every_form() {
    let queries: Vec<String> = [
        "SELECT l.x, r.x AS other FROM a l LEFT JOIN a r ON l.k = r.n",
        "SELECT l.x, r.x AS other FROM a l FULL JOIN a r ON l.k = r.n AND l.x < r.x",
        "SELECT l.x FROM a l WHERE EXISTS (SELECT 1 FROM a r WHERE r.k = l.k AND r.n < l.n)",
        "SELECT l.x FROM a l WHERE l.k NOT IN (SELECT n FROM a)",
        "SELECT l.x FROM a l WHERE NOT EXISTS (SELECT 1 FROM a r WHERE r.n = l.k)",
    ]
    .map(str::to_owned)
    .to_vec();
    stay_true(&queries);
}

#[test]
fn joins_over_joins_and_aggregates() {
    let queries: Vec<String> = [
        "SELECT a.x, s.total FROM a LEFT JOIN (SELECT k, sum(n) AS total FROM b GROUP BY k) AS s ON s.k = a.k",
        "SELECT a.x, b.y, c.y AS z FROM a LEFT JOIN b ON a.k = b.k LEFT JOIN b c ON b.n = c.n AND c.y > a.x",
        "SELECT k, count(*) AS c, count(y) AS d FROM (SELECT a.k, b.y FROM a FULL JOIN b ON a.k = b.k) AS j GROUP BY k",
        "SELECT x, (SELECT max(n) FROM b WHERE b.k = a.k) AS m FROM a",
        "SELECT x, (SELECT count(*) FROM b WHERE b.k = a.k AND b.n > 1) AS m FROM a",
        "SELECT k FROM a INTERSECT SELECT k FROM b",
        "SELECT k, n FROM a EXCEPT SELECT k, n FROM b",
    ]
    .map(str::to_owned)
    .to_vec();
    stay_true(&queries);
}

#[test]
fn both_zeros_are_one_key_and_rows_keep_their_own() {
    let mut world = World::new();
    world.table("l", &[("f", FLOAT)], &[]);
    world.table("r", &[("f", FLOAT)], &[]);
    for (name, sql) in [
        ("inner_", "SELECT l.f, r.f AS g FROM l JOIN r ON l.f = r.f"),
        ("outer_", "SELECT l.f, r.f AS g FROM l FULL JOIN r ON l.f = r.f"),
        ("not_in", "SELECT f FROM l WHERE f NOT IN (SELECT f FROM r)"),
        (
            "semi",
            "SELECT f FROM l WHERE EXISTS (SELECT 1 FROM r WHERE r.f = l.f AND r.f < 1.0)",
        ),
    ] {
        world.view(name, sql);
    }
    let minus = "(CAST('-0.0' AS DOUBLE)), (CAST('NaN' AS DOUBLE))";
    world.epoch(&[
        ("l", '+', minus),
        ("r", '+', "(0.0), (CAST('NaN' AS DOUBLE)), (1.5)"),
    ]);
    assert_eq!(world.rows("inner_"), ["-0.0|0.0", "NaN|NaN"]);
    world.epoch(&[("r", '-', "(0.0)"), ("r", '+', minus)]);
    world.epoch(&[("l", '-', minus), ("l", '+', "(0.0)")]);
    assert_eq!(world.rows("inner_"), ["0.0|-0.0"]);
}

#[test]
fn keys_of_different_types_are_compared_as_values() {
    let mut world = two_tables();
    world.table(
        "m",
        &[("f", FLOAT), ("s", arrow::datatypes::DataType::Int32)],
        &[],
    );
    world.view("by_float", "SELECT a.x, m.f FROM a LEFT JOIN m ON a.k = m.f");
    world.view("by_small", "SELECT a.x FROM a WHERE a.k IN (SELECT s FROM m)");
    world.epoch(&[
        ("a", '+', "(1, 1, 'p'), (2, 1, 'q'), (NULL, 1, 'r')"),
        ("m", '+', "(1.0, 2), (2.5, NULL)"),
    ]);
    assert_eq!(world.rows("by_float"), ["p|1.0", "q|NULL", "r|NULL"]);
    assert_eq!(world.rows("by_small"), ["q"]);
    for view in ["by_float", "by_small"] {
        let explained = world.engine.explain(world.relation(view).id).unwrap();
        assert_eq!(explained.worst_rung(), Rung::Incremental, "{explained}");
    }
}

#[test]
fn a_value_of_a_subquery_stands_beside_every_row() {
    let queries: Vec<String> = [
        "SELECT x FROM a WHERE n > (SELECT avg(n) FROM a)",
        "SELECT x, (SELECT max(n) FROM b) AS m, n - (SELECT max(n) FROM b) AS d, (SELECT count(*) FROM a) AS c FROM a",
        "SELECT k, sum(n) AS s FROM a GROUP BY k HAVING sum(n) >= (SELECT min(n) FROM b WHERE k IS NOT NULL)",
        "SELECT x FROM a WHERE n = (SELECT max(n) FROM b) OR (SELECT count(*) FROM b) = 0",
        "SELECT x FROM a WHERE n < (SELECT n FROM b WHERE y = 'none of them')",
        "SELECT y, (SELECT max(n) FROM a WHERE n < (SELECT count(*) FROM b)) AS m FROM b",
        "SELECT (SELECT count(*) FROM a) AS n, (SELECT count(*) FROM b) AS m",
    ]
    .map(str::to_owned)
    .to_vec();
    stay_true(&queries);
}

#[test]
fn a_value_that_is_more_than_one_row_fails_the_view() {
    let mut world = two_tables();
    world.view("v", "SELECT x, (SELECT n FROM b) AS m FROM a");
    world.epoch(&[("a", '+', "(1, 1, 'p')"), ("b", '+', "(1, 5, 'u')")]);
    assert_eq!(world.rows("v"), ["p|5"]);
    let moved = [("b", '+', "(1, 6, 'u')"), ("b", '-', "(1, 5, 'u')")];
    assert_eq!(world.change_of("v", &moved), ["- p|5", "p|6"]);
    world.epoch(&[("b", '+', "(1, 6, 'u')")]);
    assert!(world.failure("v").unwrap().contains("more than one row"));
}

#[test]
fn an_inequality_looks_into_a_range_and_finds_what_every_pair_would() {
    let mut queries = Vec::new();
    for test in ["<", "<=", ">", ">="] {
        queries.push(format!("SELECT a.x, b.y FROM a JOIN b ON a.n {test} b.n"));
        queries.push(format!(
            "SELECT a.x, b.y FROM a JOIN b ON b.n {test} a.n AND a.x <> b.y"
        ));
        queries.push(format!(
            "SELECT a.x, b.y FROM a FULL JOIN b ON a.n + 1 {test} b.n"
        ));
        queries.push(format!(
            "SELECT a.x FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.y {test} a.x)"
        ));
        queries.push(format!(
            "SELECT a.x FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE a.n * 0.5 {test} b.n)"
        ));
        queries.push(format!(
            "SELECT l.x, r.x AS z FROM a l LEFT JOIN a r ON l.n {test} r.k"
        ));
    }
    queries.push("SELECT a.x, b.y FROM a JOIN b ON b.n BETWEEN a.k AND a.n".to_owned());
    stay_true(&queries);
}

#[test]
fn zeros_and_not_a_number_stand_where_datafusion_has_them() {
    let mut world = World::new();
    world.table("l", &[("f", FLOAT)], &[]);
    world.table("r", &[("f", FLOAT)], &[]);
    for (i, test) in ["<", "<=", ">", ">="].iter().enumerate() {
        world.view(
            &format!("v{i}"),
            &format!("SELECT l.f, r.f AS g FROM l JOIN r ON l.f {test} r.f"),
        );
    }
    let odd = "(CAST('-0.0' AS DOUBLE)), (0.0), (CAST('NaN' AS DOUBLE)), (CAST('-Infinity' AS DOUBLE)), (NULL), (1.5)";
    world.epoch(&[("l", '+', odd)]);
    world.epoch(&[("r", '+', odd)]);
    world.epoch(&[("l", '-', "(0.0)"), ("r", '-', "(CAST('-0.0' AS DOUBLE))")]);
}

#[test]
fn a_range_longer_than_a_batch_is_read_part_by_part() {
    let mut world = two_tables();
    let rows: Vec<String> = (0..20_000).map(|i| format!("({}, {i}, 'p')", i % 5000)).collect();
    world.epoch(&[("a", '+', &rows.join(","))]);
    world.epoch(&[(
        "b",
        '+',
        "(1, 9000, 'u'), (2, 19990, 'v'), (NULL, NULL, 'w'), (7, 3, 'x')",
    )]);
    world.view("above", "SELECT a.n, b.y FROM a JOIN b ON a.n > b.n");
    world.view(
        "below",
        "SELECT b.y, count(a.n) AS c FROM b LEFT JOIN a ON a.n <= b.n GROUP BY b.y",
    );
    world.view(
        "unmatched",
        "SELECT n FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k OR b.n = a.n)",
    );
    world.check();
    world.epoch(&[("b", '-', "(2, 19990, 'v')"), ("b", '+', "(4, 10, 'z')")]);
    assert_eq!(world.rows("below"), ["u|9001", "w|0", "x|4", "z|11"]);
    world.epoch(&[("a", '-', &rows[..19_000].join(","))]);
}
