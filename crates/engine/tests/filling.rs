//! Views are filled piece by piece while what they read changes.

use crate::world::{INT, World, shown};
use std::sync::Arc;
use viewfeed_change::{Relation, RelationKind, RelationName, View};
use viewfeed_engine::{FillOutput, StepInput};
use viewfeed_store::{Txn, arrange};

const TOTALS: &str =
    "SELECT customer_id, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer_id";
const NAMED: &str = "SELECT o.id, c.name FROM orders o LEFT JOIN customer c ON c.id = o.customer_id";

impl World {
    /// Creates a view to be filled piece by piece.
    fn begin_view(&mut self, name: &str, sql: &str) {
        let plan = self.engine.plan(sql, "public", &self.relations).unwrap();
        let relations = Arc::make_mut(&mut self.relations);
        let view = Relation {
            id: relations.allocate(),
            name: RelationName::new("public", name),
            columns: plan.columns,
            key: plan.key,
            kind: RelationKind::View(View {
                sql: sql.to_owned(),
                search_schema: "public".to_owned(),
                inputs: plan.inputs,
                require_incremental: false,
                on_error: Default::default(),
            }),
            schema_version: 1,
        };
        let view = relations.put(view).unwrap();
        let mut txn = self.begin();
        self.engine.begin_view(&view, &self.relations, &mut txn).unwrap();
        self.commit(txn);
    }

    /// An epoch in which one piece is filled.
    fn fill(&mut self, rows_max: usize) -> FillOutput {
        let mut txn = self.begin();
        let output = self.engine.fill_next(rows_max, &self.relations, &mut txn);
        assert!(output.rows <= rows_max);
        self.commit(txn);
        output
    }

    /// Epochs until everything is filled; gives how many.
    fn fill_up(&mut self, rows_max: usize) -> usize {
        let mut epochs = 0;
        while self.engine.is_filling() {
            assert!(self.fill(rows_max).failed.is_empty());
            epochs += 1;
            assert!(epochs < 10_000, "filling never ends");
        }
        self.check();
        epochs
    }

    /// An epoch without a look at the views, some of which cannot be read.
    fn change(&mut self, table: &str, sign: char, rows: &str) -> usize {
        let mut txn = self.begin();
        let delta = self.stage(&mut txn, table, sign, rows);
        let input = StepInput {
            deltas: vec![delta],
            now: self.now,
        };
        let output = self.engine.step(&input, &self.relations, &mut txn);
        assert!(output.failed.is_empty());
        self.commit(txn);
        output.deltas.len()
    }

    fn stage(&self, txn: &mut Txn, table: &str, sign: char, rows: &str) -> viewfeed_change::Delta {
        let relation = self.relation(table);
        let batch = self.rows_of(&relation, rows);
        let batch = if sign == '-' { batch.negate() } else { batch };
        for arrangement in arrange::all(&txn.now(), &relation).unwrap() {
            arrangement.stage(txn, &batch).unwrap();
        }
        viewfeed_change::Delta {
            relation: relation.id,
            batch,
        }
    }

    fn percent(&self, view: &str) -> Option<u64> {
        let filling = arrange::filling(&self.store().reader(), &self.relation(view)).unwrap();
        filling.map(|filling| filling.percent())
    }

    fn refusal(&self, view: &str) -> Option<&'static str> {
        let primary = arrange::primary(&self.store().reader(), &self.relation(view));
        primary.err().map(|error| error.reason())
    }

    fn entries(&self, prefix: &[u8]) -> usize {
        let mut count = 0;
        let mut each = |_: &[u8], _: &[u8]| {
            count += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        };
        self.store().reader().scan(prefix, prefix, &mut each).unwrap();
        count
    }
}

fn orders(ids: std::ops::Range<i64>) -> String {
    let rows: Vec<String> = ids.map(|id| format!("({id}, {}, {})", id % 7, id % 11)).collect();
    rows.join(",")
}

fn shop() -> World {
    let mut world = World::shop();
    world.epoch(&[("orders", '+', &orders(0..100))]);
    let customers: Vec<String> = (0..5).map(|id| format!("({id}, 'n{id}', 'c')")).collect();
    world.epoch(&[("customer", '+', &customers.join(","))]);
    world
}

#[test]
fn a_view_follows_changes_on_both_sides_of_the_position() {
    let mut world = shop();
    world.begin_view("totals", TOTALS);
    world.begin_view("named", NAMED);
    for round in 0..10 {
        world.fill(5);
        world.fill(5);
        world.change("orders", '-', &orders(round..round + 1));
        world.change("orders", '-', &orders(90 - round..91 - round));
        world.change("orders", '+', &orders(round..round + 1));
        world.change("orders", '+', &orders(200 + round..201 + round));
        world.change("customer", '+', &format!("({}, 'x', 'y')", 5 + round));
    }
    assert!(world.fill_up(3) > 10);
    world.epoch(&[
        ("orders", '-', &orders(0..3)),
        ("customer", '-', "(0, 'n0', 'c')"),
    ]);
}

#[test]
fn nobody_reads_a_view_that_is_not_complete() {
    let mut world = shop();
    world.begin_view("totals", TOTALS);
    assert_eq!(world.refusal("totals"), Some("VIEW_FILLING"));
    let mut seen = Vec::new();
    while let Some(percent) = world.percent("totals") {
        seen.push(percent);
        assert_eq!(world.refusal("totals"), Some("VIEW_FILLING"));
        assert_eq!(
            world.change(
                "orders",
                '+',
                &orders(1000 + seen.len() as i64..1001 + seen.len() as i64)
            ),
            0
        );
        world.fill(20);
    }
    assert!(seen.is_sorted() && seen.len() >= 6, "{seen:?}");
    assert!(
        seen.contains(&40) || seen.iter().any(|percent| (20..80).contains(percent)),
        "{seen:?}"
    );
    assert_eq!(world.refusal("totals"), None);
    assert_eq!(world.change("orders", '+', &orders(500..501)), 1);
    world.check();
}

#[test]
fn filling_goes_on_after_a_restart() {
    let mut world = shop();
    world.begin_view("totals", TOTALS);
    world.begin_view("named", NAMED);
    let mut rows = 0;
    while world.engine.is_filling() {
        rows += world.fill(9).rows;
        assert!(world.restart().is_empty());
        world.change("orders", '-', &orders(rows as i64 % 90..rows as i64 % 90 + 1));
        world.change("orders", '+', &orders(rows as i64 % 90..rows as i64 % 90 + 1));
    }
    // Orders for each view, customers for one, and the arrangement of orders by customer: nothing was read twice.
    assert_eq!(rows, 100 + 100 + 5 + 100);
    world.check();
}

/// The orders reached from others by amount; by the rank of the amount, which is computed at the end.
const CHAINS: [&str; 2] = [
    "WITH RECURSIVE r AS (SELECT id, amount FROM orders WHERE id < 10 UNION
     SELECT o.id, o.amount FROM r JOIN orders o ON o.customer_id = r.amount) SELECT id FROM r",
    "WITH RECURSIVE r AS (SELECT id, 0 AS step FROM customer UNION ALL
     SELECT o.place, r.step + 1 FROM r JOIN (SELECT customer_id, ntile(3) OVER (ORDER BY amount, id) AS place FROM orders) o
     ON o.customer_id = r.id WHERE r.step < 2) SELECT id, step FROM r",
];

#[test]
fn recursions_are_filled_piece_by_piece() {
    for (sql, rows_max) in CHAINS.into_iter().flat_map(|sql| [(sql, 3), (sql, 1000)]) {
        let mut world = shop();
        world.begin_view("chains", sql);
        for round in 0..5 {
            world.fill(rows_max);
            world.change("orders", '-', &orders(round..round + 1));
            world.change("orders", '-', &orders(90 - round..91 - round));
            world.change("orders", '+', &orders(200 + round..201 + round));
        }
        world.fill_up(rows_max);
        world.epoch(&[
            ("orders", '-', &orders(5..9)),
            ("customer", '-', "(0, 'n0', 'c')"),
        ]);
    }
}

#[test]
fn a_view_over_one_that_is_filled_waits_for_it() {
    let mut world = shop();
    world.begin_view("totals", TOTALS);
    world.begin_view("rich", "SELECT customer_id FROM totals WHERE total > 80");
    let mut completed = Vec::new();
    while world.engine.is_filling() {
        let output = world.fill(40);
        completed.extend(
            output
                .completed
                .and_then(|id| world.relations.get(id))
                .map(|view| view.name.to_string()),
        );
    }
    assert_eq!(completed, ["totals", "rich"]);
    world.check();
    world.epoch(&[("orders", '+', "(300, 300, 300)")]);
    assert!(world.rows("rich").contains(&"300".to_owned()));
}

#[test]
fn a_view_that_is_dropped_in_the_middle_leaves_nothing() {
    let mut world = shop();
    let before = (world.entries(b"i"), world.entries(b"p"), world.entries(b"c"));
    world.begin_view("named", NAMED);
    for _ in 0..4 {
        world.fill(10);
    }
    assert!(world.entries(b"p") > 0);
    world.drop_view("named");
    assert!(!world.engine.is_filling());
    assert_eq!(
        (world.entries(b"i"), world.entries(b"p"), world.entries(b"c")),
        before
    );
    world.change("orders", '+', &orders(400..401));
}

#[test]
fn two_views_grow_an_arrangement_together() {
    let mut world = shop();
    world.begin_view("named", NAMED);
    world.begin_view(
        "pairs",
        "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.customer_id = b.customer_id",
    );
    world.fill(10);
    world.drop_view("named");
    world.change("orders", '+', &orders(400..410));
    world.fill(10);
    world.view(
        "counted",
        "SELECT c.name, o.id FROM customer c JOIN orders o ON o.customer_id = c.id",
    );
    world.fill_up(10);
    world.epoch(&[("orders", '-', &orders(0..20))]);
}

#[test]
fn what_is_computed_again_is_computed_once_at_the_end() {
    let mut world = shop();
    world.begin_view(
        "ranks",
        "SELECT id, ntile(3) OVER (PARTITION BY customer_id ORDER BY amount, id) AS r FROM orders",
    );
    world.begin_view("spread", "SELECT r, count(*) AS n FROM (SELECT ntile(4) OVER (ORDER BY amount, id) AS r FROM orders) AS t GROUP BY r");
    world.begin_view("nothing", "SELECT count(*) AS n, max(order_id) AS m FROM line");
    for round in 0..8 {
        world.fill(7);
        world.change("orders", '+', &orders(500 + round..501 + round));
    }
    world.fill_up(7);
    assert_eq!(world.rows("nothing"), ["0|NULL"]);
    world.epoch(&[("orders", '-', &orders(10..20))]);
}

#[test]
fn what_fails_on_a_part_is_filled_at_once() {
    let mut world = shop();
    // Over no rows, and over the first ones, it divides by zero.
    world.begin_view(
        "share",
        "SELECT 100 / (SELECT count(*) FROM orders WHERE id > 50) AS share",
    );
    world.fill_up(10);
    assert_eq!(world.rows("share"), ["2"]);
    world.epoch(&[("orders", '-', &orders(60..70))]);
}

#[test]
fn what_fails_on_the_whole_stays_failed_and_begins_anew_after_a_restart() {
    let mut world = shop();
    world.begin_view(
        "ratio",
        "SELECT id, (SELECT amount FROM orders WHERE id IN (30, 31)) AS ratio FROM orders",
    );
    world.begin_view("over", "SELECT count(*) AS n FROM ratio");
    let mut failed = Vec::new();
    while world.engine.is_filling() {
        failed.extend(world.fill(10).failed);
    }
    assert_eq!(failed.len(), 2);
    assert!(world.failure("ratio").unwrap().contains("failed"));
    assert!(world.failure("over").unwrap().contains("ratio"));
    assert_eq!(world.refusal("ratio"), Some("VIEW_FILLING"));
    world.change("orders", '-', &orders(30..31));
    world.restart();
    world.fill_up(10);
    assert_eq!(world.rows("over"), ["99"]);
}

#[test]
fn an_arrangement_that_grows_can_be_completed_at_once() {
    let mut world = shop();
    world.begin_view(
        "named",
        "SELECT c.name, o.id FROM customer c LEFT JOIN orders o ON o.customer_id = c.id",
    );
    world.fill(10);
    world.fill(10);
    let orders = world.relation("orders");
    let mut txn = world.begin();
    let by_customer = [viewfeed_change::ColumnPath::from(1)];
    assert!(
        arrange::find(&txn.now(), &orders, &by_customer)
            .unwrap()
            .is_none()
    );
    let whole = arrange::ensure(&mut txn, &orders, &by_customer).unwrap();
    assert_eq!(whole.count(&txn.now(), &[], 1000).unwrap(), 100);
    world.commit(txn);
    world.fill_up(30);
}

#[test]
fn a_view_takes_the_place_of_another_and_changes_only_by_the_difference() {
    let mut world = World::new();
    world.table("t", &[("id", INT), ("a", INT)], &[0]);
    world.epoch(&[(
        "t",
        '+',
        &(0..50)
            .map(|id| format!("({id}, {})", id % 5))
            .collect::<Vec<_>>()
            .join(","),
    )]);
    world.view("v", "SELECT id, a FROM t WHERE id < 40");
    world.view("n", "SELECT a, count(*) AS n FROM v GROUP BY a");
    world.view("w", "SELECT v.id, t.a FROM v JOIN t ON v.a = t.id");
    let old = world.relation("v");
    world.begin_view("beside", "SELECT id, a FROM t WHERE id >= 2 AND id < 41");
    world.fill_up(20);
    let beside = world.relation("beside");
    let new = Relation {
        id: old.id,
        name: old.name.clone(),
        ..beside.as_ref().clone()
    };
    let relations = Arc::make_mut(&mut world.relations);
    relations.remove(beside.id);
    let new = relations.put(new).unwrap();
    let mut txn = world.begin();
    let output = world
        .engine
        .replace_view(&old, &beside, &new, &world.relations.clone(), &mut txn)
        .unwrap();
    world.commit(txn);
    assert_eq!(shown(&output.deltas[0].batch), ["- 0|0", "- 1|1", "40|0"]);
    assert_eq!(output.deltas.len(), 3);
    world.check();
    world.epoch(&[("t", '-', "(3, 3), (40, 0), (45, 0)"), ("t", '+', "(3, 4)")]);
    world.restart();
    world.check();
    world.epoch(&[("t", '-', "(3, 4)")]);
    world.drop_view("w");
    world.drop_view("n");
    world.drop_view("v");
}
