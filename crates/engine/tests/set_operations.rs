//! INTERSECT and EXCEPT, with and without ALL, counted here: a batch query and a view share how they are planned, so
//! that comparing the two would not tell.

use crate::world::{FLOAT, INT, TEXT, World};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// How often each row is there, by its text.
type Counts = BTreeMap<&'static str, i64>;

/// Rows as SQL and as they are shown.
const ROWS: [(&str, &str); 6] = [
    ("(1, 'a')", "1|a"),
    ("(1, 'b')", "1|b"),
    ("(2, 'a')", "2|a"),
    ("(NULL, 'a')", "NULL|a"),
    ("(1, NULL)", "1|NULL"),
    ("(NULL, NULL)", "NULL|NULL"),
];

/// Each operation with how often a row is in it that is so often on the left and on the right.
type Operation = (&'static str, fn(i64, i64) -> i64);

const OPERATIONS: [Operation; 4] = [
    ("INTERSECT ALL", |l, r| l.min(r)),
    ("EXCEPT ALL", |l, r| (l - r).max(0)),
    ("INTERSECT", |l, r| l.min(r).min(1)),
    ("EXCEPT", |l, r| i64::from(l > 0 && r == 0)),
];

fn world() -> World {
    let mut world = World::new();
    for table in ["l", "r"] {
        world.table(table, &[("n", INT), ("t", TEXT)], &[]);
    }
    world
}

fn check(world: &World, left: &Counts, right: &Counts) {
    for (i, (operation, count)) in OPERATIONS.iter().enumerate() {
        let shown = |(_, row): &(&str, &'static str)| {
            let of = |counts: &Counts| counts.get(row).copied().unwrap_or(0);
            match count(of(left), of(right)) {
                0 => None,
                1 => Some((*row).to_owned()),
                times => Some(format!("×{times} {row}")),
            }
        };
        let mut expected: Vec<String> = ROWS.iter().filter_map(shown).collect();
        let mut found = world.rows(&format!("v{i}"));
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{operation} of {left:?} and {right:?}");
    }
}

#[test]
fn rows_are_counted_on_both_sides() {
    let mut rng = SmallRng::seed_from_u64(7);
    for created_after in [0, 3] {
        let (mut world, mut counts) = (world(), [Counts::new(), Counts::new()]);
        for epoch in 0..12 {
            if epoch == created_after {
                for (i, (operation, _)) in OPERATIONS.iter().enumerate() {
                    world.view(
                        &format!("v{i}"),
                        &format!("SELECT n, t FROM l {operation} SELECT * FROM r"),
                    );
                }
            }
            let mut changes = Vec::new();
            for _ in 0..rng.random_range(1..6) {
                let (side, (sql, row)) = (rng.random_range(0..2), ROWS[rng.random_range(0..ROWS.len())]);
                let count = counts[side].entry(row).or_insert(0);
                let sign = if *count > 0 && rng.random_bool(0.4) {
                    '-'
                } else {
                    '+'
                };
                *count += if sign == '+' { 1 } else { -1 };
                changes.push((["l", "r"][side], sign, sql));
            }
            world.epoch(&changes);
            if epoch >= created_after {
                check(&world, &counts[0], &counts[1]);
            }
        }
    }
}

#[test]
fn set_operations_stand_in_each_other_and_in_subqueries() {
    let mut world = world();
    world.view(
        "nested",
        "SELECT t FROM l EXCEPT ALL (SELECT t FROM r INTERSECT ALL SELECT t FROM l)",
    );
    world.view(
        "below",
        "SELECT d.t, count(*) AS c FROM (SELECT t FROM l EXCEPT ALL SELECT t FROM r) AS d GROUP BY d.t",
    );
    world.view(
        "with",
        "WITH d AS (SELECT n FROM l INTERSECT ALL SELECT n FROM r) SELECT n + 1 AS m FROM d",
    );
    world.epoch(&[
        ("l", '+', "(1, 'a'), (1, 'a'), (1, 'a'), (2, 'b')"),
        ("r", '+', "(1, 'a'), (1, 'c'), (2, 'b')"),
    ]);
    assert_eq!(world.rows("nested"), ["×2 a"]);
    assert_eq!(world.rows("below"), ["a|2"]);
    assert_eq!(world.rows("with"), ["×2 2", "3"]);
}

#[test]
fn both_zeros_are_one_value_and_other_types_are_compared_as_numbers() {
    let mut world = World::new();
    world.table("f", &[("x", FLOAT)], &[]);
    world.table("i", &[("x", INT)], &[]);
    world.view(
        "zeros",
        "SELECT x FROM f EXCEPT ALL SELECT x FROM f WHERE x > 0 OR x = 0",
    );
    world.view("both", "SELECT x FROM i INTERSECT ALL SELECT x FROM f");
    world.epoch(&[
        ("f", '+', "(0.0), (CAST('-0' AS DOUBLE)), (2.0), (2.0), (NULL)"),
        ("i", '+', "(2), (2), (2), (NULL)"),
    ]);
    assert_eq!(world.rows("zeros"), ["NULL"]);
    assert_eq!(world.rows("both"), ["NULL", "×2 2"]);
}
