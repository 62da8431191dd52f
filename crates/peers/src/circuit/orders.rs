//! The join + aggregate over orders as a circuit.

use super::{Circuit, Output, Rows, append};
use crate::checksum::RowHash;
use crate::workload::orders::{CUSTOMERS, Order, city};
use dbsp::utils::{Tup2, Tup3};
use dbsp::{Runtime, ZSetHandle};
use std::time::Duration;

/// An order: id, customer, amount.
type Row = Tup3<i64, i64, i64>;

/// The running circuit.
pub(crate) struct OrdersCircuit {
    /// The circuit itself.
    pub(crate) circuit: Circuit,
    orders: ZSetHandle<Row>,
}

impl OrdersCircuit {
    /// With all customers and no order.
    pub(crate) fn new() -> Self {
        let built = Runtime::init_circuit(1, |circuit| {
            let (customers, customer_handle) = circuit.add_input_zset::<Tup2<i64, String>>();
            let (orders, order_handle) = circuit.add_input_zset::<Row>();
            let by_id = customers.map_index(|Tup2(id, city)| (*id, city.clone()));
            let by_customer = orders
                .filter(|Tup3(_, _, amount)| *amount > 0)
                .map_index(|Tup3(_, customer, amount)| (*customer, *amount));
            let by_city = by_customer.join_index(&by_id, |_, amount, city| {
                Some((city.clone(), Tup2(*amount, 1_i64)))
            });
            let totals = by_city.aggregate_linear(|sums| sums.clone());
            let rows = totals.map(|(city, Tup2(total, count))| Tup3(city.clone(), count * 10, *total));
            Ok((customer_handle, order_handle, rows.accumulate_output()))
        });
        let (handle, (customers, orders, output)) = built.expect("a worker thread can be started");
        let hash = |Tup3(city, count, total): &Tup3<String, i64, i64>| {
            RowHash::new().text(city).int(*count).int(*total)
        };
        let mut circuit = Circuit::new(handle, Box::new(Output::new(output, hash)));
        let all = (0..CUSTOMERS).map(|id| Tup2(Tup2(id, city(id)), 1)).collect();
        circuit.transaction(|| append(&customers, all));
        Self { circuit, orders }
    }

    /// One change.
    pub(crate) fn step(&mut self, orders: &[Order]) -> Duration {
        let row = |order: &Order| Tup2(Tup3(order.id, order.customer, order.amount), order.weight);
        let rows: Rows<Row> = orders.iter().map(row).collect();
        self.circuit.transaction(|| append(&self.orders, rows))
    }
}
