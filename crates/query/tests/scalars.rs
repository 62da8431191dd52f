//! Checks, defaults and other scalar expressions.

use crate::house::{MESSAGE, NOW, relations, rows};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use viewfeed_query::Planner;

#[test]
fn a_check_is_evaluated_over_columns() {
    let schema = relations().get(MESSAGE).unwrap().schema();
    let check = Planner::new()
        .unwrap()
        .scalar("likes > 2 AND author <> 'cid'", &schema, Some(&DataType::Boolean))
        .unwrap();
    let batch = &rows(MESSAGE).unwrap()[0];
    let values = check
        .evaluate(batch)
        .unwrap()
        .into_array(batch.num_rows())
        .unwrap();
    let values: Vec<_> = values.as_boolean().iter().collect();
    assert_eq!(values, [Some(false), Some(true), None, Some(true), Some(false)]);
}

#[test]
fn a_default_is_coerced_to_its_column() {
    let planner = Planner::new().unwrap();
    let value = planner.evaluate("1 + 2", &DataType::Int64, 2, NOW).unwrap();
    assert_eq!(value.as_primitive::<Int64Type>().values(), &[3, 3]);
    let time = planner
        .evaluate("now()", &DataType::Timestamp(TimeUnit::Microsecond, None), 1, NOW)
        .unwrap();
    assert_eq!(
        time.as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
            .value(0),
        NOW.0
    );
    let text = planner.evaluate("NULL", &DataType::Utf8, 1, NOW).unwrap();
    assert!(text.is_null(0) && text.data_type() == &DataType::Utf8);
    let day = planner
        .evaluate("current_date - interval '1 day'", &DataType::Date32, 1, NOW)
        .unwrap();
    assert_eq!(
        arrow::util::display::array_value_to_string(&day, 0).unwrap(),
        "2024-05-05"
    );
}

#[test]
fn volatile_defaults_differ_from_row_to_row() {
    let uuids = Planner::new()
        .unwrap()
        .evaluate("gen_random_uuid()", &DataType::Utf8, 3, NOW)
        .unwrap();
    let uuids = uuids.as_string::<i32>();
    assert_eq!(uuids.len(), 3);
    assert!(uuids.value(0) != uuids.value(1) && uuids.value(1) != uuids.value(2));
}

#[test]
fn a_wrong_expression_is_refused() {
    let planner = Planner::new().unwrap();
    let schema = relations().get(MESSAGE).unwrap().schema();
    let reason = |sql: &str| {
        planner
            .scalar(sql, &schema, Some(&DataType::Boolean))
            .unwrap_err()
            .reason()
            .to_owned()
    };
    assert_eq!(reason("lik > 2"), "SQL_PLAN");
    assert_eq!(reason("likes >"), "SQL_SYNTAX");
    assert_eq!(reason("likes > 1; likes"), "SQL_SYNTAX");
    assert_eq!(reason("sent_at < now()"), "SQL_PLAN");
    assert_eq!(reason("sum(likes) > 1"), "SQL_PLAN");
    assert_eq!(reason("likes > (SELECT max(id) FROM chat)"), "UNKNOWN_RELATION");
    assert_eq!(reason(""), "SQL_SYNTAX");
    assert!(planner.scalar_at("sent_at < now()", &schema, None, NOW).is_ok());
    assert_eq!(
        planner
            .evaluate("1 / 0", &DataType::Int64, 1, NOW)
            .unwrap_err()
            .reason(),
        "EVALUATION"
    );
}
