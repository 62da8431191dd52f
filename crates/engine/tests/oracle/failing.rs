//! Random SELECTs that fail on some rows: division by zero, casts. A view leaves these rows out; what it is compared with
//! guards against them, in comments. Each is a whole view: inside of another query a column that fails may be optimised
//! away, and the row with it that must go.

use super::plans::{Column, Plans, Query};
use super::tables::Type;
use rand::Rng;
use rand::seq::IndexedRandom;

/// An expression, which is NULL where it would fail with what is in comments, and when it fails.
struct Failing {
    sql: &'static str,
    fails: &'static str,
}

/// Of rows of `t0`.
const OF_T0: [Failing; 4] = [
    Failing {
        sql: "12 / /*nullif(*/k/*, 0)*/",
        fails: "k = 0",
    },
    Failing {
        sql: "k % /*nullif(*/a/*, 0)*/",
        fails: "a = 0 AND k IS NOT NULL",
    },
    Failing {
        sql: "/*TRY_*/CAST(b || '1' AS BIGINT)",
        fails: "b <> ''",
    },
    Failing {
        sql: "12 / /*nullif(*/(k - a)/*, 0)*/",
        fails: "k = a",
    },
];

/// Whether a view is one of these.
pub(super) fn may_fail(sql: &str) -> bool {
    sql.contains("/*nullif(*/") || sql.contains("/*TRY_*/") || sql.contains("12 / sum(k)")
}

impl Plans<'_> {
    /// A view that leaves out rows.
    pub(super) fn failing(&mut self) -> Query {
        let Failing { sql, fails } = OF_T0.choose(self.rng).expect("there are some");
        let guard = format!("({fails}) IS NOT TRUE");
        let number = self.rng.random_range(0..8);
        let test = ["<", ">=", "=", "<>"].choose(self.rng).expect("there are some");
        let (sql, columns): (String, &[Type]) = match self.rng.random_range(0..9) {
            0 => (format!("SELECT k, {sql} AS c1 FROM t0 /* WHERE {guard} */"), INTS),
            1 => (
                format!("SELECT k, {sql} AS c1 FROM t0 WHERE a > 0 /* AND {guard} */"),
                INTS,
            ),
            2 => (
                format!("SELECT k FROM t0 WHERE {}", format_args!("{sql} {test} {number}")),
                &[Type::Int],
            ),
            3 => (
                format!("SELECT k, count(*) AS c1, sum({sql}) AS c2 FROM t0 /* WHERE {guard} */ GROUP BY k"),
                &[Type::Int, Type::Int, Type::Int],
            ),
            4 => (
                format!("SELECT {sql} AS k, count(*) AS c1 FROM t0 /* WHERE {guard} */ GROUP BY 1"),
                INTS,
            ),
            5 => (
                format!("SELECT k, max({sql}) AS c1 FROM t0 /* WHERE {guard} */ GROUP BY k"),
                INTS,
            ),
            6 => (
                format!("SELECT DISTINCT {sql} AS k FROM t0 /* WHERE {guard} */"),
                &[Type::Int],
            ),
            7 => self.failing_having(test, number),
            _ => self.failing_join(test, number),
        };
        let names = ["k", "c1", "c2"].into_iter().zip(columns);
        Query {
            sql,
            columns: names
                .map(|(name, data_type)| Column {
                    name: name.to_owned(),
                    data_type: *data_type,
                })
                .collect(),
        }
    }

    fn failing_having(&mut self, test: &str, number: i64) -> (String, &'static [Type]) {
        match self.rng.random_bool(0.5) {
            true => (
                format!(
                    "SELECT a AS k, sum(k) AS c1 FROM t0 GROUP BY a \
                     HAVING 12 / /*nullif(*/sum(k)/*, 0)*/ {test} {number}"
                ),
                &[Type::Small, Type::Int],
            ),
            false => (
                "SELECT a AS k, 12 / sum(k) AS c1 FROM t0 GROUP BY a /* HAVING (sum(k) = 0) IS NOT TRUE */"
                    .to_owned(),
                &[Type::Small, Type::Int],
            ),
        }
    }

    /// A pair on which the condition fails is none.
    fn failing_join(&mut self, test: &str, number: i64) -> (String, &'static [Type]) {
        let on = format!("12 / /*nullif(*/(t0.k - t1.k)/*, 0)*/ {test} {number}");
        let join = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];
        let join = join.choose(self.rng).expect("there are some");
        let not = if self.rng.random_bool(0.5) { "NOT " } else { "" };
        match self.rng.random_bool(0.7) {
            true => (
                format!("SELECT t0.k AS k, t1.k AS c1 FROM t0 {join} t1 ON t0.b = t1.b AND {on}"),
                INTS,
            ),
            false => (
                format!(
                    "SELECT t0.k AS k FROM t0 WHERE {not}EXISTS (SELECT 1 FROM t1 WHERE t0.b = t1.b AND {on})"
                ),
                &[Type::Int],
            ),
        }
    }
}

const INTS: &[Type] = &[Type::Int, Type::Int];
