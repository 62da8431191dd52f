//! Random statements against a naive model in memory.

use crate::database::Database;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A row of `t (a INT, b INT, u INT UNIQUE, v TEXT CHECK (v <> 'bad'), PRIMARY KEY (a, b))`.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    a: i32,
    b: i32,
    u: Option<i32>,
    v: Option<String>,
}

impl Row {
    fn random(random: &mut StdRng) -> Self {
        Self {
            a: random.random_range(0..4),
            b: random.random_range(0..4),
            u: random.random_bool(0.7).then(|| random.random_range(0..8)),
            v: random.random_bool(0.8).then(|| {
                if random.random_bool(0.05) {
                    "bad".into()
                } else {
                    format!("v{}", random.random_range(0..3))
                }
            }),
        }
    }

    fn sql(&self) -> String {
        let u = self.u.map_or("NULL".into(), |u| u.to_string());
        let v = self.v.as_ref().map_or("NULL".into(), |v| format!("'{v}'"));
        format!("({}, {}, {u}, {v})", self.a, self.b)
    }

    fn spelled(&self) -> String {
        let u = self.u.map_or("∅".into(), |u| u.to_string());
        format!("{}|{}|{u}|{}", self.a, self.b, self.v.as_deref().unwrap_or("∅"))
    }
}

/// The table as a list of rows. Every statement gives the rows after it, or the reason it fails.
#[derive(Clone, Default)]
struct Model(Vec<Row>);

type After = Result<Vec<Row>, &'static str>;

fn valid(rows: Vec<Row>) -> After {
    if rows.iter().any(|row| row.v.as_deref() == Some("bad")) {
        return Err("CHECK_VIOLATION");
    }
    for (i, row) in rows.iter().enumerate() {
        let same =
            |other: &Row| (other.a, other.b) == (row.a, row.b) || (row.u.is_some() && other.u == row.u);
        if rows[..i].iter().any(same) {
            return Err("DUPLICATE_KEY");
        }
    }
    Ok(rows)
}

impl Model {
    fn insert(&self, new: &[Row]) -> After {
        valid(self.0.iter().chain(new).cloned().collect())
    }

    fn insert_or_nothing(&self, new: &[Row]) -> After {
        if new.iter().any(|row| row.v.as_deref() == Some("bad")) {
            return Err("CHECK_VIOLATION");
        }
        let mut rows = self.0.clone();
        for row in new {
            let mut with = rows.clone();
            with.push(row.clone());
            rows = valid(with).unwrap_or(rows);
        }
        Ok(rows)
    }

    fn upsert(&self, new: &[Row]) -> After {
        let mut rows = self.0.clone();
        let stored = rows.len();
        if new.iter().any(|row| row.v.as_deref() == Some("bad")) {
            return Err("CHECK_VIOLATION");
        }
        for (i, row) in new.iter().enumerate() {
            if new[..i].iter().any(|other| (other.a, other.b) == (row.a, row.b)) {
                return Err("CARDINALITY_VIOLATION");
            }
        }
        for row in new {
            match rows[..stored]
                .iter_mut()
                .find(|other| (other.a, other.b) == (row.a, row.b))
            {
                Some(old) => {
                    old.u = row.u;
                    old.v = old
                        .v
                        .as_ref()
                        .and_then(|old| row.v.as_ref().map(|new| format!("{old}{new}")));
                }
                None => rows.push(row.clone()),
            }
        }
        valid(rows)
    }

    fn update(&self, matches: impl Fn(&Row) -> bool, change: impl Fn(&mut Row)) -> After {
        let mut rows = self.0.clone();
        rows.iter_mut().filter(|row| matches(row)).for_each(change);
        valid(rows)
    }

    fn delete(&self, matches: impl Fn(&Row) -> bool) -> After {
        Ok(self.0.iter().filter(|row| !matches(row)).cloned().collect())
    }
}

fn random_statement(model: &Model, random: &mut StdRng) -> (String, After) {
    let rows: Vec<Row> = (0..random.random_range(1..4))
        .map(|_| Row::random(random))
        .collect();
    let values = rows.iter().map(Row::sql).collect::<Vec<_>>().join(", ");
    let (n, m) = (random.random_range(0..4), random.random_range(0..8));
    match random.random_range(0..12) {
        0..=2 => (format!("INSERT INTO t VALUES {values}"), model.insert(&rows)),
        3 => (
            format!("INSERT INTO t VALUES {values} ON CONFLICT DO NOTHING"),
            model.insert_or_nothing(&rows),
        ),
        4 => (
            format!(
                "INSERT INTO t VALUES {values} ON CONFLICT (a, b) DO UPDATE SET u = excluded.u, v = t.v || excluded.v"
            ),
            model.upsert(&rows),
        ),
        5 => (
            format!("UPDATE t SET b = b + 1 WHERE a = {n}"),
            model.update(|row| row.a == n, |row| row.b += 1),
        ),
        6 => (
            format!("UPDATE t SET a = {n}, u = {m} WHERE a = {n} AND b = {}", m % 4),
            model.update(
                |row| (row.a, row.b) == (n, m % 4),
                |row| (row.a, row.u) = (n, Some(m)),
            ),
        ),
        7 => (
            format!("UPDATE t SET u = 7 - u WHERE u < {m}"),
            model.update(
                |row| row.u.is_some_and(|u| u < m),
                |row| row.u = row.u.map(|u| 7 - u),
            ),
        ),
        8 => (
            "UPDATE t SET u = 7 - u".into(),
            model.update(|_| true, |row| row.u = row.u.map(|u| 7 - u)),
        ),
        9 => (
            format!("DELETE FROM t WHERE b = {} AND a = {n}", m % 4),
            model.delete(|row| (row.a, row.b) == (n, m % 4)),
        ),
        10 => (
            format!("DELETE FROM t WHERE u > {m} OR v IS NULL"),
            model.delete(|row| row.u.is_some_and(|u| u > m) || row.v.is_none()),
        ),
        _ => match random.random_range(0..20) {
            0 => ("TRUNCATE t".into(), Ok(Vec::new())),
            1 => ("DELETE FROM t".into(), Ok(Vec::new())),
            _ => (
                format!("UPDATE t SET v = NULL WHERE a = {n}"),
                model.update(|row| row.a == n, |row| row.v = None),
            ),
        },
    }
}

#[test]
fn random_statements_do_what_a_list_of_rows_does() {
    let seed = std::env::var("VIEWFEED_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    println!("VIEWFEED_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut database = Database::with(
        "CREATE TABLE t (a INT, b INT, u INT UNIQUE, v TEXT CHECK (v <> 'bad'), PRIMARY KEY (a, b)); CREATE INDEX ON t (v)",
    );
    let mut model = Model::default();
    let mut failures = 0;
    for step in 0..600 {
        let (sql, after) = random_statement(&model, &mut random);
        match (database.try_run(&sql), after) {
            (Ok(_), Ok(rows)) => model.0 = rows,
            (Err(error), Err(reason)) => {
                assert_eq!(error.reason(), reason, "step {step}: {sql}");
                failures += 1;
            }
            (Ok(_), Err(reason)) => panic!("step {step}: {sql} should fail with {reason}"),
            (Err(error), Ok(_)) => panic!("step {step}: {sql}: {error:?}"),
        }
        let mut want: Vec<String> = model.0.iter().map(Row::spelled).collect();
        want.sort();
        if step % 10 == 0 {
            assert_eq!(database.rows("SELECT * FROM t"), want, "step {step}: {sql}");
            database.check_arrangements("t", true);
        }
    }
    assert!(failures > 20, "too few failures were tried: {failures}");
}
