//! Random recursive queries that end: by UNION over few values, which come again in cycles, or by counting the steps.

use super::expressions::Scope;
use super::plans::{Column, Plans, Query};
use super::tables::Type;
use rand::Rng;
use rand::seq::IndexedRandom;

/// Steps of a query that counts them, at most.
const STEPS_MAX: i64 = 4;

impl Plans<'_> {
    /// `WITH RECURSIVE`, read once, or twice and joined with itself.
    pub(super) fn recursive(&mut self) -> Query {
        let (name, all) = (self.alias(), self.rng.random_bool(0.35));
        let counts = all || self.rng.random_bool(0.15);
        let (start, mut columns) = self.start(counts);
        let term = self.term(&name, &columns, counts);
        let operator = if all { "UNION ALL" } else { "UNION" };
        let with = format!("WITH RECURSIVE {name} AS ({start} {operator} {term})");
        let select = match self.rng.random_range(0..10) {
            0 => {
                columns.truncate(1);
                format!(
                    "SELECT x.c0 FROM {name} AS x JOIN {name} AS y ON x.c0 = y.c0 WHERE {}",
                    Self::scope("y", &columns).condition(self.rng, 0)
                )
            }
            1 => {
                let count = Column {
                    name: "c0".to_owned(),
                    data_type: Type::Int,
                };
                columns = vec![count];
                format!("SELECT count(*) AS c0 FROM {name}")
            }
            2..5 => {
                let condition = Self::scope(&name, &columns).condition(self.rng, 1);
                format!("SELECT * FROM {name} WHERE {condition}")
            }
            _ => format!("SELECT * FROM {name}"),
        };
        Query {
            sql: format!("{with} {select}"),
            columns,
        }
    }

    /// What it begins with: one or two columns, and the number of the step if it `counts`.
    fn start(&mut self, counts: bool) -> (String, Vec<Column>) {
        let (from, scope) = self.source(1);
        let count = self.rng.random_range(1..3);
        let (mut list, mut columns) = (Vec::new(), Vec::new());
        for i in 0..count {
            let data_type = if self.rng.random_bool(0.8) {
                Type::Int
            } else {
                Type::Text
            };
            let name = format!("c{i}");
            list.push(format!("{} AS {name}", scope.of(self.rng, data_type, 1)));
            columns.push(Column { name, data_type });
        }
        if counts {
            list.push(format!("CAST(0 AS BIGINT) AS c{count}"));
            columns.push(Column {
                name: format!("c{count}"),
                data_type: Type::Int,
            });
        }
        let filter = self.filter_of(&scope);
        (format!("SELECT {} FROM {from}{filter}", list.join(", ")), columns)
    }

    /// The rows of a step, called `alias`, alone or joined with others; all columns, and those of the others.
    fn joined(&mut self, name: &str, alias: &str, columns: &[Column]) -> (String, Scope, Scope) {
        let mut scope = Self::scope(alias, columns);
        let mut from = format!("{name} AS {alias}");
        let (mut others, joins) = (Scope { columns: Vec::new() }, [0, 1, 1, 1, 1, 2]);
        for _ in 0..*joins.choose(self.rng).expect("there are some") {
            let (right, right_scope) = self.source(1);
            let on = match self.rng.random_bool(0.7) {
                true => Self::edge(alias, columns, &right_scope, self.rng.random_range(0..4)),
                false => None,
            };
            let on = on.unwrap_or_else(|| scope.join_condition(&right_scope, self.rng));
            let nested = match from.contains(" ON ") {
                true => format!("({from})"),
                false => from.clone(),
            };
            from = match self.rng.random_range(0..10) {
                0 => format!("{from} LEFT JOIN {right} ON {on}"),
                1 => format!("{right} RIGHT JOIN {nested} ON {on}"),
                2 | 3 => format!("{right} JOIN {nested} ON {on}"),
                _ => format!("{from} JOIN {right} ON {on}"),
            };
            scope.columns.extend(right_scope.columns.clone());
            others.columns.extend(right_scope.columns);
        }
        (from, scope, others)
    }

    /// What follows from the rows of a step.
    fn term(&mut self, name: &str, columns: &[Column], counts: bool) -> String {
        let alias = self.alias();
        let (from, scope, others) = self.joined(name, &alias, columns);
        let last = columns.len() - 1;
        let values = columns
            .iter()
            .enumerate()
            .map(|(i, column)| match counts && i == last {
                true => format!("{alias}.{} + 1", column.name),
                false => self.bounded(
                    &scope,
                    &others,
                    column.data_type,
                    &format!("{alias}.{}", column.name),
                ),
            });
        let values: Vec<String> = values.collect();
        let list = values
            .iter()
            .enumerate()
            .map(|(i, value)| format!("{value} AS c{i}"));
        let list = list.collect::<Vec<_>>().join(", ");
        let mut filter = self.filter_of(&scope);
        if counts {
            let word = if filter.is_empty() { "WHERE" } else { "AND" };
            let steps = self.rng.random_range(1..STEPS_MAX);
            filter = match filter.strip_prefix(" WHERE ") {
                Some(condition) => format!(" WHERE ({condition})"),
                None => filter,
            };
            filter = format!("{filter} {word} {alias}.{} < {steps}", columns[last].name);
        }
        let distinct = if self.rng.random_bool(0.1) {
            "DISTINCT "
        } else {
            ""
        };
        match self.rng.random_range(0..40) {
            0 => format!("SELECT {list} FROM {from}{filter} GROUP BY {}", values.join(", ")),
            _ => format!("SELECT {distinct}{list} FROM {from}{filter}"),
        }
    }

    /// One of few values, whatever the step.
    fn bounded(&mut self, scope: &Scope, others: &Scope, data_type: Type, own: &str) -> String {
        let same = others
            .columns
            .iter()
            .filter(|column| column.data_type == data_type);
        let same: Vec<&Column> = same.collect();
        match (same.choose(self.rng), data_type) {
            (Some(column), _) if self.rng.random_bool(0.6) => match data_type {
                Type::Int if self.rng.random_bool(0.2) => format!("({} + 1) % 4", column.name),
                _ => column.name.clone(),
            },
            (_, Type::Int) if self.rng.random_bool(0.5) => {
                format!("({}) % 4", scope.of(self.rng, Type::Int, 2))
            }
            _ => own.to_owned(),
        }
    }

    /// The rows of a step joined by one of its columns with an equal one of `right`.
    fn edge(alias: &str, columns: &[Column], right: &Scope, choice: usize) -> Option<String> {
        let column = &columns[choice % columns.len()];
        let same = right
            .columns
            .iter()
            .filter(|other| other.data_type == column.data_type);
        let other = same.cycle().nth(choice)?;
        Some(format!("{alias}.{} = {}", column.name, other.name))
    }

    /// No condition, one on the row, or one on other relations.
    fn filter_of(&mut self, scope: &Scope) -> String {
        match self.rng.random_range(0..10) {
            0..6 => String::new(),
            6..9 => format!(" WHERE {}", scope.condition(self.rng, 1)),
            _ => format!(" WHERE {}", self.subquery(scope)),
        }
    }

    fn scope(alias: &str, columns: &[Column]) -> Scope {
        let columns = columns.iter().map(|column| Column {
            name: format!("{alias}.{}", column.name),
            data_type: column.data_type,
        });
        Scope {
            columns: columns.collect(),
        }
    }
}
