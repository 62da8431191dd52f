//! Random SELECTs that depend on an order: limits, windows, row numbers as conditions, DISTINCT ON. Orders name every
//! column, so that there is one answer; what a view decides where its query does not is in comments.

use super::plans::{Column, Plans, Query};
use super::tables::Type;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

impl Plans<'_> {
    /// The first rows of a total order.
    pub(super) fn limited(&mut self, depth: usize) -> Query {
        let inner = self.query(depth.saturating_sub(1)).usable();
        let alias = self.alias();
        let names = names(&inner, &alias);
        let (list, order) = (names.join(", "), self.order(&names));
        let sql = format!(
            "SELECT {list} FROM ({}) AS {alias} ORDER BY {order}{}",
            inner.sql,
            self.places(false)
        );
        Query { sql, ..inner }
    }

    /// The first rows of an order by some columns: a view breaks ties by the encoding of the row. To be a whole view,
    /// since inside of another query the columns may become others.
    pub(super) fn limited_by_some(&mut self, depth: usize) -> Query {
        let inner = self.query(depth).usable();
        let alias = self.alias();
        let names = names(&inner, &alias);
        let count = self.rng.random_range(1..=names.len());
        let (list, some) = (names.join(", "), self.order(&names[..count]));
        let sql = format!(
            "SELECT {list} FROM ({}) AS {alias} ORDER BY {some} /*, {} */{}",
            inner.sql,
            encoding(&names),
            self.places(true)
        );
        Query { sql, ..inner }
    }

    /// The first rows without an order: by their encoding. To be a whole view, as above, and over no order below.
    pub(super) fn limited_by_encoding(&mut self) -> Query {
        let inner = self.select(0, false).usable();
        let alias = self.alias();
        let names = names(&inner, &alias);
        let sql = format!(
            "SELECT {} FROM ({}) AS {alias} /* ORDER BY {} */{}",
            names.join(", "),
            inner.sql,
            encoding(&names),
            self.places(true)
        );
        Query { sql, ..inner }
    }

    /// A window function over a total order.
    pub(super) fn window(&mut self, depth: usize) -> Query {
        let inner = self.query(depth.saturating_sub(1)).usable();
        let alias = self.alias();
        let (call, data_type) = self.window_call(&inner, &alias);
        let (name, all) = (format!("w{alias}"), names(&inner, &alias).join(", "));
        let sql = format!("SELECT {all}, {call} AS {name} FROM ({}) AS {alias}", inner.sql);
        let mut columns = inner.columns;
        columns.push(Column { name, data_type });
        Query { sql, columns }
    }

    /// A condition on a row number, which may be selected too.
    pub(super) fn numbered(&mut self, depth: usize) -> Query {
        let inner = self.query(depth.saturating_sub(1)).usable();
        let (below, alias) = (self.alias(), self.alias());
        let of = names(&inner, &below);
        let over = self.over(&of, true);
        let condition = *[
            "n <= 1",
            "n < 3",
            "n = 1",
            "n = 2",
            "n BETWEEN 2 AND 3",
            "n >= 2",
            "n <= 2 AND n <> 1",
        ]
        .choose(self.rng)
        .expect("there are some");
        let mut columns = inner.columns.clone();
        let mut list: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        if self.rng.random_bool(0.3) {
            let name = format!("w{alias}");
            list.push(format!("n AS {name}"));
            columns.push(Column {
                name,
                data_type: Type::Int,
            });
        }
        let sql = format!(
            "SELECT {} FROM (SELECT {}, row_number() OVER ({over}) AS n FROM ({}) AS {below}) AS {alias} WHERE {condition}",
            list.join(", "),
            of.join(", "),
            inner.sql
        );
        Query { sql, columns }
    }

    /// The first row of each group.
    pub(super) fn distinct_on(&mut self, depth: usize) -> Query {
        let inner = self.query(depth.saturating_sub(1)).usable();
        let alias = self.alias();
        let mut names = names(&inner, &alias);
        let all = names.join(", ");
        names.shuffle(self.rng);
        let on = names[..self.rng.random_range(1..=names.len().min(2))].join(", ");
        let order = self.order(&names);
        let sql = format!(
            "SELECT DISTINCT ON ({on}) {all} FROM ({}) AS {alias} ORDER BY {order}",
            inner.sql
        );
        Query { sql, ..inner }
    }

    fn window_call(&mut self, inner: &Query, alias: &str) -> (String, Type) {
        let all = names(inner, alias);
        let place = self.rng.random_range(0..all.len());
        let (argument, data_type) = (&all[place], inner.columns[place].data_type);
        let summed = matches!(data_type, Type::Int | Type::Decimal | Type::Float);
        let (call, result, framed) = match self.rng.random_range(0..20) {
            0 | 1 => ("row_number()".to_owned(), Type::Int, false),
            2 => ("rank()".to_owned(), Type::Int, false),
            3 => ("dense_rank()".to_owned(), Type::Int, false),
            4 => ("ntile(2)".to_owned(), Type::Int, false),
            5 | 6 => (
                format!("lag({argument}, {})", self.rng.random_range(0..3)),
                data_type,
                false,
            ),
            7 => (format!("lead({argument}, 2)"), data_type, false),
            8 | 9 => (format!("first_value({argument})"), data_type, true),
            10 => (format!("last_value({argument})"), data_type, true),
            11 => (format!("nth_value({argument}, 2)"), data_type, true),
            12 => ("percent_rank()".to_owned(), Type::Ratio, false),
            13..16 if summed => (format!("sum({argument})"), data_type, true),
            13..16 => (format!("max({argument})"), data_type, true),
            16 => (format!("min({argument})"), data_type, true),
            17 => (format!("count({argument})"), Type::Int, true),
            _ => ("count(*)".to_owned(), Type::Int, true),
        };
        let frame = match self.rng.random_range(0..10) {
            0 | 1 if framed => " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
            2 if framed => " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
            3 if framed => " ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING",
            4 if framed => " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
            5 | 6 if framed => " ROWS UNBOUNDED PRECEDING",
            7 if framed => " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            _ => "",
        };
        let by_peers = ["rank(", "dense_rank(", "sum(", "count(", "min(", "max("];
        let is_total = !frame.is_empty() || !by_peers.iter().any(|name| call.starts_with(name));
        let over = self.over(&all, is_total);
        (format!("{call} OVER ({over}{frame})"), result)
    }

    /// Mostly by some columns, in a total order, or in one that leaves rows equal.
    fn over(&mut self, names: &[String], is_total: bool) -> String {
        let mut by = names.to_vec();
        by.shuffle(self.rng);
        let partition = match self.rng.random_range(0..8) {
            0 => String::new(),
            1 => format!("PARTITION BY ({} IS NULL) ", by[0]),
            2 | 3 => format!("PARTITION BY {} ", by[..by.len().min(2)].join(", ")),
            _ => format!("PARTITION BY {} ", by[0]),
        };
        by.shuffle(self.rng);
        by.truncate(if is_total { names.len() } else { 1 });
        format!("{partition}ORDER BY {}", self.order(&by))
    }

    /// By all of `names`, each in a direction.
    fn order(&mut self, names: &[String]) -> String {
        let directions = ["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"];
        let by = names.iter().map(|name| {
            let direction = directions.choose(self.rng).expect("there are some");
            format!("{name}{direction}")
        });
        by.collect::<Vec<_>>().join(", ")
    }

    /// An OFFSET alone only in a whole view: within another query DataFusion 55.2 loses the order below it if what is
    /// above wants another one.
    fn places(&mut self, is_whole: bool) -> String {
        let (limit, offset) = (self.rng.random_range(0..5), self.rng.random_range(0..3));
        match self.rng.random_range(0..5) {
            0 if is_whole => format!(" OFFSET {offset}"),
            1 | 2 => format!(" LIMIT {limit}"),
            _ => format!(" LIMIT {limit} OFFSET {offset}"),
        }
    }
}

fn names(query: &Query, alias: &str) -> Vec<String> {
    let name = |column: &Column| format!("{alias}.{}", column.name);
    query.columns.iter().map(name).collect()
}

/// The order of encoded rows.
fn encoding(names: &[String]) -> String {
    let by: Vec<String> = names.iter().map(|name| format!("{name} NULLS FIRST")).collect();
    by.join(", ")
}
