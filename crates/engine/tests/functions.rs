//! Functions written in Rust, in views.

use crate::world::World;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, ColumnarValue, ScalarUDF, Volatility, create_udaf, create_udf,
};
use std::sync::Arc;
use viewfeed_engine::Rung;
use viewfeed_query::{Functions, Planner};

const INT: DataType = DataType::Int64;

/// `name(x)`: one more than `x`.
fn next(name: &str, volatility: Volatility) -> ScalarUDF {
    let body = |arguments: &[ColumnarValue]| {
        let values = ColumnarValue::values_to_arrays(arguments)?;
        let next: Int64Array = values[0].as_primitive::<Int64Type>().unary(|x| x + 1);
        Ok(ColumnarValue::Array(Arc::new(next) as ArrayRef))
    };
    create_udf(name, vec![INT], INT, volatility, Arc::new(body))
}

/// `product(x)`.
fn product(volatility: Volatility) -> AggregateUDF {
    create_udaf(
        "product",
        vec![INT],
        Arc::new(INT),
        volatility,
        Arc::new(|_| Ok(Box::new(Product(1)))),
        Arc::new(vec![INT]),
    )
}

#[derive(Debug)]
struct Product(i64);

impl Accumulator for Product {
    fn update_batch(&mut self, values: &[ArrayRef]) -> datafusion::error::Result<()> {
        let values = values[0].as_primitive::<Int64Type>().iter().flatten();
        self.0 = values.fold(self.0, i64::wrapping_mul);
        Ok(())
    }

    fn evaluate(&mut self) -> datafusion::error::Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.0)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> datafusion::error::Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.0))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> datafusion::error::Result<()> {
        self.update_batch(states)
    }
}

fn planner() -> Planner {
    let functions = Functions {
        scalars: vec![
            Arc::new(next("next", Volatility::Immutable)),
            Arc::new(next("dice", Volatility::Volatile)),
        ],
        aggregates: vec![Arc::new(product(Volatility::Immutable))],
        ..Functions::default()
    };
    Planner::new().unwrap().with_functions(functions).unwrap()
}

fn shop() -> World {
    let mut world = World::with(planner());
    world.table(
        "orders",
        &[("id", INT), ("customer_id", INT), ("amount", INT)],
        &[0],
    );
    world
}

/// The rung of a view of this query that stays true, also over a restart.
fn rung_of(sql: &str) -> Rung {
    let mut world = shop();
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 7), (3, 2, NULL)")]);
    world.view("v", sql);
    world.epoch(&[("orders", '+', "(4, 2, 3), (5, NULL, 2)")]);
    assert!(world.restart().is_empty());
    world.epoch(&[("orders", '-', "(1, 1, 5), (5, NULL, 2)")]);
    world.engine.explain(world.relation("v").id).unwrap().worst_rung()
}

#[test]
fn a_function_of_a_row_is_incremental() {
    assert_eq!(
        rung_of("SELECT id, next(amount) AS n FROM orders WHERE next(id) > 2"),
        Rung::Incremental
    );
    assert_eq!(
        rung_of(
            "SELECT next(customer_id) AS c, sum(next(amount)) AS s FROM orders GROUP BY next(customer_id)"
        ),
        Rung::Incremental
    );
}

#[test]
fn an_aggregate_is_computed_by_its_groups_and_a_window_by_its_partitions() {
    assert_eq!(
        rung_of("SELECT customer_id, product(amount) AS p FROM orders GROUP BY customer_id"),
        Rung::Scoped
    );
    assert_eq!(
        rung_of("SELECT id, product(amount) OVER (PARTITION BY customer_id) AS p FROM orders"),
        Rung::Scoped
    );
    assert_eq!(
        rung_of("SELECT product(amount) AS p FROM orders"),
        Rung::Recompute
    );
}

#[test]
fn one_that_gives_another_value_each_time_is_refused_in_views() {
    let error = shop()
        .try_view("v", "SELECT dice(id) AS d FROM orders")
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a view cannot call dice(), which gives another value each time"),
        "{error}"
    );
}

#[test]
fn a_name_that_is_taken_is_refused() {
    for name in ["abs", "sum", "next"] {
        let functions = Functions {
            scalars: vec![Arc::new(next(name, Volatility::Immutable))],
            ..Functions::default()
        };
        let error = planner().with_functions(functions).err().unwrap();
        assert_eq!(error.reason(), "FUNCTION_EXISTS", "{error}");
    }
}
