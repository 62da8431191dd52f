//! Random expressions that never fail: no division by a column, no cast of text.

use super::plans::Column;
use super::tables::Type;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

/// The columns expressions may name.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) columns: Vec<Column>,
}

impl Scope {
    /// An expression of any type.
    pub(crate) fn any(&self, rng: &mut SmallRng, depth: usize) -> (String, Type) {
        let column = self.columns.choose(rng).expect("a scope has columns");
        let data_type = match column.data_type {
            _ if depth > 0 && rng.random_bool(0.05) => Type::Bool,
            data_type => data_type,
        };
        if rng.random_bool(0.6) && data_type == column.data_type {
            return (column.name.clone(), data_type);
        }
        (self.of(rng, data_type, depth), data_type)
    }

    /// An expression of this type.
    pub(crate) fn of(&self, rng: &mut SmallRng, data_type: Type, depth: usize) -> String {
        let same = self.columns.iter().filter(|column| column.data_type == data_type);
        let columns: Vec<&Column> = same.collect();
        let column = columns.choose(rng).map(|column| column.name.clone());
        if depth == 0 || rng.random_bool(0.4) {
            return match column {
                Some(column) if rng.random_bool(0.9) => column,
                _ => literal(rng, data_type),
            };
        }
        let inner = |rng: &mut SmallRng| self.of(rng, data_type, depth - 1);
        match (rng.random_range(0..5), data_type) {
            (_, Type::Bool) => self.condition(rng, depth - 1),
            (0, Type::Text) => format!("upper({})", inner(rng)),
            (1, Type::Text) => format!("({} || {})", inner(rng), inner(rng)),
            (0, Type::Float) => format!("({} * 2.0)", inner(rng)),
            (0, Type::Int) => format!("abs({} - 2)", inner(rng)),
            (1, Type::Int) => format!("({} % 3)", inner(rng)),
            (0..=2, Type::Int | Type::Decimal | Type::Float) => {
                let operator = if rng.random_bool(0.5) { "+" } else { "-" };
                format!("({} {operator} {})", inner(rng), inner(rng))
            }
            (3, _) => format!("coalesce({}, {})", inner(rng), inner(rng)),
            _ => {
                let condition = self.condition(rng, 0);
                format!(
                    "CASE WHEN {condition} THEN {} ELSE {} END",
                    inner(rng),
                    inner(rng)
                )
            }
        }
    }

    /// A boolean.
    pub(crate) fn condition(&self, rng: &mut SmallRng, depth: usize) -> String {
        if depth > 0 && rng.random_bool(0.4) {
            let (left, right) = (self.condition(rng, depth - 1), self.condition(rng, depth - 1));
            return match rng.random_range(0..3) {
                0 => format!("({left} AND {right})"),
                1 => format!("({left} OR {right})"),
                _ => format!("(NOT {left})"),
            };
        }
        let column = self.columns.choose(rng).expect("a scope has columns").clone();
        let (name, data_type) = (column.name, column.data_type);
        match rng.random_range(0..6) {
            0 => format!("({name} IS NULL)"),
            1 => format!("({name} IS NOT NULL)"),
            2 => format!(
                "({name} IN ({}, {}))",
                literal(rng, data_type),
                literal(rng, data_type)
            ),
            _ => {
                let operator = ["=", "<>", "<", "<=", ">", ">="]
                    .choose(rng)
                    .expect("there are some");
                format!("({name} {operator} {})", self.of(rng, data_type, depth.min(1)))
            }
        }
    }

    /// A comparison with the time, which is a few seconds, or days, around what small numbers stand for.
    pub(crate) fn clock_condition(&self, rng: &mut SmallRng) -> String {
        let number = self.of(rng, Type::Int, 1);
        let operator = *["<", "<=", ">", ">=", "="].choose(rng).expect("there are some");
        let time = format!("to_timestamp_seconds(1700000000 + {number})");
        let day = format!("CAST(to_timestamp_seconds(1700000000 + {number} * 43200) AS DATE)");
        match rng.random_range(0..12) {
            0..=2 => format!("{time} {operator} now()"),
            3 => format!("now() - interval '2 seconds' {operator} {time}"),
            4 => format!("{time} BETWEEN now() - interval '3 seconds' AND now()"),
            5 => format!("{day} {operator} current_date"),
            6 => format!("{day} {operator} date_trunc('day', now()) - interval '1 month'"),
            7 => format!("({number} IS NULL OR {time} > now())"),
            8 => format!("({time} {operator} now() OR {})", self.condition(rng, 0)),
            9..=10 => format!("1700000000 + {number} {operator} extract(epoch FROM now())"),
            _ => format!("({time} < now() OR {time} > now() + interval '1 second')"),
        }
    }

    /// Equal columns of both sides, with more conditions now and then, or others instead.
    pub(crate) fn join_condition(&self, right: &Self, rng: &mut SmallRng) -> String {
        let joined = |left: &Column| {
            let same = right
                .columns
                .iter()
                .filter(|column| column.data_type == left.data_type);
            let pair = |column: &Column| format!("{} = {}", left.name, column.name);
            same.map(pair).collect::<Vec<_>>()
        };
        let pairs: Vec<String> = self.columns.iter().flat_map(joined).collect();
        let Some(first) = pairs.choose(rng) else {
            return "true".to_owned();
        };
        let mut on = match rng.random_range(0..12) {
            0 => first.replace(
                " = ",
                [" < ", " <= ", " > ", " <> "]
                    .choose(rng)
                    .expect("there are some"),
            ),
            1 => format!("({})", first.replace(" = ", " IS NOT DISTINCT FROM ")),
            _ => first.clone(),
        };
        if rng.random_bool(0.2) {
            on = format!("{on} AND {}", pairs.choose(rng).expect("there is one"));
        }
        if rng.random_bool(0.02) {
            on = format!("{on} AND {}", right.clock_condition(rng));
        }
        if rng.random_bool(0.25) {
            let both = Self {
                columns: [self.columns.clone(), right.columns.clone()].concat(),
            };
            on = format!("{on} AND {}", both.condition(rng, 0));
        }
        on
    }
}

fn literal(rng: &mut SmallRng, data_type: Type) -> String {
    if rng.random_bool(0.05) {
        let sql_type = match data_type {
            Type::Int => "BIGINT",
            Type::Small => "INT",
            Type::Text => "TEXT",
            Type::Decimal => "DECIMAL(10, 2)",
            Type::Float | Type::Ratio | Type::Approximate => "DOUBLE",
            Type::Bool => "BOOLEAN",
            Type::List => "BIGINT[]",
        };
        return format!("CAST(NULL AS {sql_type})");
    }
    match data_type {
        Type::Int => rng.random_range(0..4).to_string(),
        Type::Small => format!("CAST({} AS INT)", rng.random_range(0..4)),
        Type::Text => format!("'{}'", ["", "a", "b", "ab"].choose(rng).expect("there are some")),
        Type::Decimal => {
            let value = ["0", "0.5", "1.25", "2"].choose(rng).expect("there are some");
            format!("CAST({value} AS DECIMAL(10, 2))")
        }
        Type::List => "NULL".to_owned(),
        Type::Float | Type::Ratio | Type::Approximate => {
            (*["0.0", "0.5", "1.5"].choose(rng).expect("there are some")).to_owned()
        }
        Type::Bool => rng.random_bool(0.5).to_string(),
    }
}
