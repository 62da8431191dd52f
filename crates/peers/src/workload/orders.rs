//! A shop: orders of customers in cities, and the join + aggregate over them, a view of ten nodes.
//!
//! Half of a change is new orders, half takes the oldest away, so that the table keeps its size.

use crate::ours::TableShape;
use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::DataType;
use std::ops::Range;
use std::sync::Arc;
use viewfeed_change::{Batch, Relation, Result};

/// The view: per city how many orders of more than nothing, and their sum.
pub(crate) const SQL: &str = "SELECT city, n * 10 AS n, total FROM (
    SELECT c.city, count(*) AS n, sum(o.amount) AS total FROM orders o JOIN customer c ON c.id = o.customer_id
    WHERE o.amount > 0 GROUP BY c.city) AS t WHERE n > 0";

/// How many customers there are.
pub(crate) const CUSTOMERS: i64 = 1_000;
const CITIES: i64 = 100;

/// The places of the tables.
pub(crate) const CUSTOMER: usize = 0;
/// See [`CUSTOMER`].
pub(crate) const ORDERS: usize = 1;

/// An order with its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Its key.
    pub(crate) id: i64,
    /// Who ordered.
    pub(crate) customer: i64,
    /// For how much.
    pub(crate) amount: i64,
    /// Whether it comes (1) or goes (−1).
    pub(crate) weight: i64,
}

/// The orders that are there, and the next ones.
pub(crate) struct Orders {
    ids: Range<i64>,
    size: i64,
}

impl Orders {
    /// None yet; `size` of them once loaded.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            ids: 0..0,
            size: size as i64,
        }
    }

    /// Up to `count` more of the first ones; none when all are loaded.
    pub(crate) fn load(&mut self, count: usize) -> Vec<Order> {
        let new = self.ids.end..self.size.min(self.ids.end + count as i64);
        self.ids.end = new.end;
        new.map(|id| order(id, 1)).collect()
    }

    /// A change of `count` rows: half come, half go; a single one comes and goes in turn.
    pub(crate) fn turn_over(&mut self, count: usize) -> Vec<Order> {
        let old = match count {
            1 => i64::from(self.ids.end - self.ids.start > self.size),
            count => count as i64 / 2,
        };
        let new = self.ids.end..self.ids.end + count as i64 - old;
        let gone = self.ids.start..self.ids.start + old;
        self.ids = gone.end..new.end;
        let came = new.map(|id| order(id, 1));
        came.chain(gone.map(|id| order(id, -1))).collect()
    }
}

/// The tables' shapes, by place.
pub(crate) fn tables() -> Vec<TableShape> {
    let customer = vec![("id", DataType::Int64), ("city", DataType::Utf8)];
    let orders = ["id", "customer_id", "amount"].map(|name| (name, DataType::Int64));
    vec![
        TableShape {
            name: "customer",
            columns: customer,
            key: 1,
        },
        TableShape {
            name: "orders",
            columns: orders.to_vec(),
            key: 1,
        },
    ]
}

/// Where a customer lives.
pub(crate) fn city(customer: i64) -> String {
    format!("city {}", customer % CITIES)
}

/// All customers as columns.
pub(crate) fn customer_batch(relation: &Relation) -> Result<Batch> {
    let ids: Int64Array = (0..CUSTOMERS).collect();
    let cities: StringArray = (0..CUSTOMERS).map(|id| Some(city(id))).collect();
    let weights = vec![1; CUSTOMERS as usize];
    super::batch(relation, vec![Arc::new(ids), Arc::new(cities)], weights)
}

/// Orders as columns.
pub(crate) fn order_batch(relation: &Relation, orders: &[Order]) -> Result<Batch> {
    let column = |value: fn(&Order) -> i64| Arc::new(orders.iter().map(value).collect::<Int64Array>()) as _;
    let columns = vec![column(|o| o.id), column(|o| o.customer), column(|o| o.amount)];
    super::batch(
        relation,
        columns,
        orders.iter().map(|order| order.weight).collect(),
    )
}

fn order(id: i64, weight: i64) -> Order {
    Order {
        id,
        customer: id * 7919 % CUSTOMERS,
        amount: id % 100 + 1,
        weight,
    }
}
