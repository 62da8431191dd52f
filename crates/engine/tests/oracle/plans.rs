//! Random SELECTs, as SQL text with the types of their columns; those over the places of an order are in `orders`, recursive
//! ones in `recursion`.
//!
//! What is in comments is part of the query that a view is compared with, but not of the view: see [`compared_with`].

use super::expressions::Scope;
use super::tables::{Shape, Type};
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// A column that can be named in an expression.
#[derive(Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data_type: Type,
}

/// A SELECT and what it gives.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) sql: String,
    pub(crate) columns: Vec<Column>,
}

/// How the names of columns start that are compared with tolerance.
pub(super) const APPROXIMATE: &str = "approximate";

impl Query {
    /// The same without the columns that expressions may not use: there is always another.
    pub(super) fn usable(mut self) -> Self {
        self.columns.retain(|column| column.data_type.is_usable());
        self
    }
}

/// Makes SELECTs over tables and earlier views.
pub(crate) struct Plans<'a> {
    pub(crate) rng: &'a mut SmallRng,
    /// What can be read: names and columns.
    relations: Vec<(String, Vec<Column>)>,
    aliases: usize,
}

impl<'a> Plans<'a> {
    /// Over the tables.
    pub(crate) fn new(rng: &'a mut SmallRng, tables: &[Shape]) -> Self {
        let column = |(name, data_type): &(String, Type)| Column {
            name: name.clone(),
            data_type: *data_type,
        };
        let table = |shape: &Shape| (shape.name.clone(), shape.columns.iter().map(column).collect());
        Self {
            rng,
            relations: tables.iter().map(table).collect(),
            aliases: 0,
        }
    }

    /// `count` views, later ones likely over earlier ones.
    pub(crate) fn views(&mut self, count: usize) -> Vec<String> {
        let mut views = Vec::new();
        for i in 0..count {
            let query = match self.rng.random_range(0..100) {
                _ if only_recursive() => self.recursive(),
                0..5 => self.limited_by_encoding(),
                5..10 => self.limited_by_some(1),
                10..18 => self.failing(),
                18..25 => self.recursive(),
                _ => self.query(2),
            };
            self.relations.push((format!("v{i}"), query.columns));
            views.push(query.sql);
        }
        views
    }

    pub(super) fn query(&mut self, depth: usize) -> Query {
        match self.rng.random_range(0..100) {
            0..32 => self.select(depth, false),
            32..57 => self.aggregate(depth),
            57..64 => self.select(depth, true),
            64..74 => self.union(depth, "UNION ALL"),
            74..77 => self.union(depth, "UNION"),
            77 => self.union(depth, "EXCEPT"),
            78 => self.union(depth, "INTERSECT"),
            79 => self.union(depth, "EXCEPT ALL"),
            80 => self.union(depth, "INTERSECT ALL"),
            81..89 => self.window(depth),
            89..93 => self.limited(depth),
            93..97 => self.numbered(depth),
            _ => self.distinct_on(depth),
        }
    }

    pub(super) fn select(&mut self, depth: usize, distinct: bool) -> Query {
        let (from, scope) = self.from(depth);
        let columns = self.columns(&scope);
        let list = columns
            .iter()
            .map(|(sql, column)| format!("{sql} AS {}", column.name));
        let list = list.collect::<Vec<_>>().join(", ");
        let filter = self.filter(&scope);
        let distinct = if distinct { "DISTINCT " } else { "" };
        Query {
            sql: format!("SELECT {distinct}{list} FROM {from}{filter}"),
            columns: columns.into_iter().map(|(_, column)| column).collect(),
        }
    }

    fn aggregate(&mut self, depth: usize) -> Query {
        let (from, scope) = self.from(depth);
        let filter = self.filter(&scope);
        let in_sets = self.rng.random_bool(0.15);
        let (groups, group) = match in_sets {
            true => self.grouping_sets(&scope),
            false => self.groups(&scope),
        };
        let mut calls: Vec<(String, Type)> = (0..self.rng.random_range(1..4))
            .map(|_| scope.call(self.rng))
            .collect();
        if in_sets {
            calls.extend(
                groups
                    .iter()
                    .map(|(sql, _)| (format!("grouping({sql})"), Type::Small)),
            );
        }
        if groups
            .iter()
            .chain(&calls)
            .all(|(_, data_type)| !data_type.is_usable())
        {
            calls.push(("count(*)".to_owned(), Type::Int));
        }
        let all: Vec<(String, Column)> = groups.iter().chain(&calls).enumerate().map(named).collect();
        let list = all
            .iter()
            .map(|(sql, column)| format!("{sql} AS {}", column.name));
        let list = list.collect::<Vec<_>>().join(", ");
        let having = match self.rng.random_range(0..4) {
            0 => format!(" HAVING count(*) > {}", self.rng.random_range(0..3)),
            _ => String::new(),
        };
        Query {
            sql: format!("SELECT {list} FROM {from}{filter}{group}{having}"),
            columns: all.into_iter().map(|(_, column)| column).collect(),
        }
    }

    /// What is grouped by, and the clause that says so.
    fn groups(&mut self, scope: &Scope) -> (Vec<(String, Type)>, String) {
        let count = *[0, 1, 1, 1, 2].choose(self.rng).expect("there are some");
        let groups: Vec<(String, Type)> = (0..count).map(|_| not_a_place(scope.any(self.rng, 1))).collect();
        let list: Vec<&str> = groups.iter().map(|(sql, _)| sql.as_str()).collect();
        let clause = match list.len() {
            0 => String::new(),
            _ => format!(" GROUP BY {}", list.join(", ")),
        };
        (groups, clause)
    }

    /// One or two columns in several sets.
    fn grouping_sets(&mut self, scope: &Scope) -> (Vec<(String, Type)>, String) {
        let mut columns = scope.columns.clone();
        columns.shuffle(self.rng);
        columns.truncate(self.rng.random_range(1..3));
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let list = names.join(", ");
        let (first, last) = (names[0], names[names.len() - 1]);
        let clause = match self.rng.random_range(0..5) {
            0 => format!("ROLLUP({list})"),
            1 => format!("CUBE({list})"),
            2 => grouping_sets(&[&list, first, ""]),
            3 => grouping_sets(&[last, "", first]),
            _ => grouping_sets(&[&list, last]),
        };
        let groups = columns.into_iter().map(|column| (column.name, column.data_type));
        (groups.collect(), format!(" GROUP BY {clause}"))
    }

    fn union(&mut self, depth: usize, operator: &str) -> Query {
        let (left_from, left_scope) = self.from(depth.saturating_sub(1));
        let (right_from, right_scope) = self.from(depth.saturating_sub(1));
        let mut columns = Vec::new();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for i in 0..self.rng.random_range(1..4) {
            let (sql, data_type) = left_scope.any(self.rng, 1);
            left.push(format!("{sql} AS c{i}"));
            right.push(format!("{} AS c{i}", right_scope.of(self.rng, data_type, 1)));
            let name = format!("c{i}");
            columns.push(Column { name, data_type });
        }
        let (left_filter, right_filter) = (self.filter(&left_scope), self.filter(&right_scope));
        let (left, right) = (left.join(", "), right.join(", "));
        Query {
            sql: format!(
                "SELECT {left} FROM {left_from}{left_filter} {operator} SELECT {right} FROM {right_from}{right_filter}"
            ),
            columns,
        }
    }

    pub(super) fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("s{}", self.aliases - 1)
    }

    fn columns(&mut self, scope: &Scope) -> Vec<(String, Column)> {
        let count = self.rng.random_range(1..5);
        let made: Vec<(String, Type)> = (0..count).map(|_| scope.any(self.rng, 2)).collect();
        made.iter().enumerate().map(named).collect()
    }

    fn filter(&mut self, scope: &Scope) -> String {
        if self.rng.random_bool(0.08) {
            let clock = scope.clock_condition(self.rng);
            return match self.rng.random_range(0..3) {
                0 => format!(" WHERE {clock}"),
                1 => format!(" WHERE {} AND {clock}", scope.condition(self.rng, 1)),
                _ => format!(" WHERE {clock} AND {}", scope.clock_condition(self.rng)),
            };
        }
        match self.rng.random_range(0..10) {
            0..4 => String::new(),
            4..6 => format!(" WHERE {}", scope.condition(self.rng, 2)),
            6..8 => format!(" WHERE {}", self.subquery(scope)),
            8 => format!(
                " WHERE {} AND {}",
                scope.condition(self.rng, 1),
                self.subquery(scope)
            ),
            _ => format!(
                " WHERE {} OR {}",
                scope.condition(self.rng, 0),
                self.subquery(scope)
            ),
        }
    }

    /// A condition on another relation: semi, anti and mark joins, and scalars.
    pub(super) fn subquery(&mut self, scope: &Scope) -> String {
        let (outer, number) = (
            scope.of(self.rng, Type::Int, 0),
            scope.of(self.rng, Type::Float, 0),
        );
        let alias = self.alias();
        let not = if self.rng.random_bool(0.5) { "NOT " } else { "" };
        let test = ["=", "<", ">=", "<>"].choose(self.rng).expect("there are some");
        match self.rng.random_range(0..10) {
            0 => format!("{outer} {not}IN (SELECT {alias}.k FROM t1 AS {alias} WHERE {alias}.f > 0.0)"),
            1 => format!("{outer} {not}IN (SELECT {alias}.id FROM t2 AS {alias})"),
            2 => format!("{outer} {not}IN (SELECT {alias}.k FROM t0 AS {alias})"),
            3 => format!(
                "{outer} {not}IN (SELECT {alias}.k FROM t1 AS {alias} WHERE {alias}.f {test} {number})"
            ),
            4 => format!("{not}EXISTS (SELECT 1 FROM t1 AS {alias} WHERE {alias}.k = {outer})"),
            5 => format!(
                "{not}EXISTS (SELECT 1 FROM t2 AS {alias} WHERE {alias}.k = {outer} AND {alias}.f {test} {number})"
            ),
            6 => format!("{not}EXISTS (SELECT 1 FROM t1 AS {alias} WHERE {alias}.f {test} {number})"),
            7 => format!("{not}EXISTS (SELECT 1 FROM t0 AS {alias} WHERE {alias}.k = 3)"),
            8 => format!("{outer} {test} (SELECT count(*) FROM t1 AS {alias} WHERE {alias}.f = {number})"),
            _ => format!("{outer} {test} (SELECT min({alias}.k) FROM t2 AS {alias})"),
        }
    }

    /// One to three relations or subqueries, joined.
    fn from(&mut self, depth: usize) -> (String, Scope) {
        let (mut sql, mut scope) = self.source(depth);
        for _ in 0..*[0, 0, 1, 1, 2].choose(self.rng).expect("there are some") {
            let (right, right_scope) = self.source(depth.saturating_sub(1));
            let join = match self.rng.random_range(0..20) {
                0..9 => "JOIN",
                9..13 => "LEFT JOIN",
                13..16 => "RIGHT JOIN",
                16..19 => "FULL JOIN",
                _ => "CROSS JOIN",
            };
            let on = match join {
                "CROSS JOIN" => String::new(),
                _ => format!(" ON {}", scope.join_condition(&right_scope, self.rng)),
            };
            sql = format!("{sql} {join} {right}{on}");
            scope.columns.extend(right_scope.columns);
        }
        (sql, scope)
    }

    pub(super) fn source(&mut self, depth: usize) -> (String, Scope) {
        let alias = self.alias();
        let (sql, columns) = if depth > 0 && self.rng.random_bool(0.35) {
            let query = self.query(depth - 1);
            (format!("({})", query.sql), query.columns)
        } else {
            // The latest relations are the views: chosen more often than each table.
            let from = if self.rng.random_bool(0.4) {
                self.relations.len() - 1
            } else {
                0
            };
            let choice = self.rng.random_range(from..self.relations.len());
            self.relations[choice].clone()
        };
        let usable = columns.into_iter().filter(|column| column.data_type.is_usable());
        let qualified = usable.map(|column| Column {
            name: format!("{alias}.{}", column.name),
            data_type: column.data_type,
        });
        let scope = Scope {
            columns: qualified.collect(),
        };
        (format!("{sql} AS {alias}"), scope)
    }
}

/// Whether every view is to be a recursive one: `VIEWFEED_ORACLE_PLANS=recursive`.
fn only_recursive() -> bool {
    std::env::var("VIEWFEED_ORACLE_PLANS").is_ok_and(|plans| plans == "recursive")
}

/// The query a view is compared with: what the view's own leaves open is in its comments.
pub(crate) fn compared_with(sql: &str) -> String {
    sql.replace("/*", "").replace("*/", "")
}

/// The expression at a place, under a name that says the place.
fn named((i, (sql, data_type)): (usize, &(String, Type))) -> (String, Column) {
    let name = match data_type {
        Type::Approximate => format!("{APPROXIMATE}{i}"),
        _ => format!("c{i}"),
    };
    (
        sql.clone(),
        Column {
            name,
            data_type: *data_type,
        },
    )
}

/// `GROUP BY 2` means the second column: a number is grouped by as an expression.
fn not_a_place((sql, data_type): (String, Type)) -> (String, Type) {
    match sql.parse::<i64>() {
        Ok(number) => (format!("abs({number})"), data_type),
        Err(_) => (sql, data_type),
    }
}

/// Each set once: of a set that is there twice, DataFusion 55.2 takes the rows to be unique and forgets a DISTINCT above.
fn grouping_sets(sets: &[&str]) -> String {
    let mut different: Vec<String> = Vec::new();
    for set in sets.iter().map(|set| format!("({set})")) {
        if !different.contains(&set) {
            different.push(set);
        }
    }
    format!("GROUPING SETS ({})", different.join(", "))
}
