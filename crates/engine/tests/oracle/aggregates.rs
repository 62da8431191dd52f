//! Random calls of aggregate functions with one answer: where order matters it is total.

use super::expressions::Scope;
use super::tables::Type;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

/// Functions of one number.
const OF_ONE: [&str; 5] = ["var_pop", "var_samp", "stddev_pop", "stddev", "variance"];
/// Functions of two numbers.
const OF_TWO: [&str; 11] = [
    "covar_pop",
    "covar_samp",
    "corr",
    "regr_slope",
    "regr_intercept",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
];

impl Scope {
    /// An aggregate of some of the columns.
    pub(crate) fn call(&self, rng: &mut SmallRng) -> (String, Type) {
        let (call, result) = match rng.random_range(0..20) {
            _ if rng.random_bool(0.05) => self.call_per_group(rng),
            0 => self.rank_call(rng),
            1..9 => self.plain_call(rng),
            9..12 => self.distinct_call(rng),
            12..15 => self.ordered_call(rng),
            15..17 => self.bits_call(rng),
            _ => self.statistic(rng),
        };
        match rng.random_range(0..8) {
            0 if !call.ends_with("NULLS") => (filtered(&call, &self.condition(rng, 0)), result),
            _ => (call, result),
        }
    }

    fn plain_call(&self, rng: &mut SmallRng) -> (String, Type) {
        let (argument, data_type) = self.any(rng, 1);
        match rng.random_range(0..8) {
            0 => ("count(*)".to_owned(), Type::Int),
            1 => (format!("count({argument})"), Type::Int),
            2 => (format!("count({argument}, {})", self.any(rng, 0).0), Type::Int),
            3 | 4 if is_number(data_type) => (format!("sum({argument})"), summed(data_type)),
            5 if is_number(data_type) => (format!("avg({argument})"), averaged(data_type)),
            3..=5 => (format!("min({argument})"), data_type),
            _ => (format!("max({argument})"), data_type),
        }
    }

    /// The value at a place of the order.
    fn rank_call(&self, rng: &mut SmallRng) -> (String, Type) {
        let data_type = *[Type::Int, Type::Float, Type::Decimal]
            .choose(rng)
            .expect("there are some");
        let number = self.of(rng, data_type, 1);
        let fraction = ["0", "0.1", "0.25", "0.5", "0.9", "1"].choose(rng);
        let fraction = fraction.expect("there are some");
        match (rng.random_range(0..3), data_type) {
            (0, Type::Float) => (
                format!("percentile_cont({fraction}) WITHIN GROUP (ORDER BY {number})"),
                Type::Ratio,
            ),
            (1, Type::Float) => (
                format!("percentile_cont({fraction}) WITHIN GROUP (ORDER BY {number} DESC)"),
                Type::Ratio,
            ),
            (_, Type::Decimal) => (format!("median({number})"), Type::Decimal),
            _ => (format!("median({number})"), Type::Ratio),
        }
    }

    fn distinct_call(&self, rng: &mut SmallRng) -> (String, Type) {
        let (argument, data_type) = self.any(rng, 1);
        match rng.random_range(0..5) {
            0 | 1 if is_number(data_type) => (format!("sum(DISTINCT {argument})"), summed(data_type)),
            2 if is_number(data_type) => (format!("avg(DISTINCT {argument})"), averaged(data_type)),
            3 => (format!("min(DISTINCT {argument})"), data_type),
            _ => (format!("count(DISTINCT {argument})"), Type::Int),
        }
    }

    /// A call that depends on order; the value itself is the last key, so that only equal values are tied. No key is
    /// there twice: DataFusion 55.2 panics on that.
    fn ordered_call(&self, rng: &mut SmallRng) -> (String, Type) {
        let mut column = || self.columns.choose(rng).expect("a scope has columns").clone();
        let (key, value) = (column(), column());
        let first = match key.name == value.name {
            true => String::new(),
            false => format!("{} {}, ", key.name, direction(rng)),
        };
        let (value, data_type) = (value.name, value.data_type);
        let order = format!("ORDER BY {first}{value} {}", direction(rng));
        match rng.random_range(0..7) {
            0 => (format!("first_value({value} {order})"), data_type),
            1 => (format!("last_value({value} {order})"), data_type),
            2 => self.distinct_list(rng),
            _ if data_type == Type::Text => (format!("string_agg({value}, ', ' {order})"), Type::Text),
            3 => (format!("first_value({value} {order}) IGNORE NULLS"), data_type),
            _ => (format!("array_agg({value} {order})"), Type::List),
        }
    }

    /// DataFusion 55.2 forgets the direction of these if another call of the query has the reverse order, so that only
    /// these order by such expressions, and all in one direction.
    fn distinct_list(&self, rng: &mut SmallRng) -> (String, Type) {
        match rng.random_bool(0.5) {
            true => {
                let number = format!("abs({})", self.of(rng, Type::Int, 0));
                (
                    format!("array_agg(DISTINCT {number} ORDER BY {number})"),
                    Type::List,
                )
            }
            false => {
                let text = format!("upper({})", self.of(rng, Type::Text, 0));
                (
                    format!("string_agg(DISTINCT {text}, '-' ORDER BY {text})"),
                    Type::Text,
                )
            }
        }
    }

    /// Without `bit_xor(DISTINCT …)`, whose DISTINCT DataFusion 55.2 forgets where rows are grouped.
    fn bits_call(&self, rng: &mut SmallRng) -> (String, Type) {
        let data_type = *[Type::Int, Type::Small].choose(rng).expect("there are two");
        let number = self.of(rng, data_type, 1);
        match rng.random_range(0..5) {
            0 => (format!("bool_and({})", self.condition(rng, 1)), Type::Bool),
            1 => (format!("bool_or({})", self.condition(rng, 1)), Type::Bool),
            2 => (format!("bit_and({number})"), data_type),
            3 => (format!("bit_or({number})"), data_type),
            _ => (format!("bit_xor({number})"), data_type),
        }
    }

    /// Without an incremental form: computed again by group.
    fn call_per_group(&self, rng: &mut SmallRng) -> (String, Type) {
        let data_type = *[Type::Int, Type::Decimal].choose(rng).expect("there are two");
        let number = self.of(rng, data_type, 1);
        match rng.random_range(0..3) {
            0 => (format!("median({number})"), data_type),
            1 => (
                format!("approx_distinct({})", self.of(rng, Type::Int, 1)),
                Type::Int,
            ),
            _ => (format!("nth_value({number}, 2 ORDER BY {number})"), data_type),
        }
    }

    fn statistic(&self, rng: &mut SmallRng) -> (String, Type) {
        let mut number = || {
            let types = [Type::Int, Type::Small, Type::Decimal, Type::Float];
            let data_type = *types.choose(rng).expect("there are some");
            self.of(rng, data_type, 1)
        };
        let (first, second) = (number(), number());
        if rng.random_bool(0.1) {
            return (
                format!("CAST(regr_count({first}, {second}) AS BIGINT)"),
                Type::Int,
            );
        }
        let call = match rng.random_bool(0.4) {
            true => format!("{}({first})", OF_ONE.choose(rng).expect("there are some")),
            false => format!(
                "{}({first}, {second})",
                OF_TWO.choose(rng).expect("there are some")
            ),
        };
        (call, Type::Approximate)
    }
}

fn direction(rng: &mut SmallRng) -> &'static str {
    let directions = ["", "DESC", "NULLS FIRST", "DESC NULLS LAST"];
    directions.choose(rng).expect("there are some")
}

fn is_number(data_type: Type) -> bool {
    matches!(data_type, Type::Int | Type::Small | Type::Decimal | Type::Float)
}

fn summed(data_type: Type) -> Type {
    match data_type {
        Type::Small => Type::Int,
        other => other,
    }
}

fn averaged(data_type: Type) -> Type {
    match data_type {
        Type::Decimal => Type::Decimal,
        _ => Type::Ratio,
    }
}

/// An aggregate of the rows for which `condition` is true; where it is cast, that stays outside.
fn filtered(call: &str, condition: &str) -> String {
    let filter = format!("FILTER (WHERE {condition})");
    match call
        .strip_suffix(" AS BIGINT)")
        .filter(|call| call.starts_with("CAST("))
    {
        Some(inner) => format!("{inner} {filter} AS BIGINT)"),
        None => format!("{call} {filter}"),
    }
}
