//! What values may be compared with and wait for: expressions over the clock alone that never fall as time passes. They
//! are listed here; what is not listed is computed again.
//!
//! Months and years have no fixed length: `now() - interval '1 month'` falls in March, because it is 28 February 23:00
//! on the 30th at 23:00 and 28 February 1:00 on the 31st at 1:00. So they may only be added to times that are whole days
//! apart.

use crate::operator::clock_filter::clock_schema;
use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, cast};
use std::sync::Arc;

/// How a bound moves as time passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Motion {
    /// Through times.
    Times,
    /// From one time to another that is whole days later.
    Days,
    /// Through numbers.
    Numbers,
}

/// The units of `date_trunc` that leave whole days.
const UNITS_OF_DAYS: [&str; 5] = ["day", "week", "month", "quarter", "year"];

/// `bound` over the column of [`clock_schema`], in microseconds at the finest; None if it may fall as time passes.
pub(super) fn moving(bound: &Expr) -> Option<Expr> {
    motion(bound).map(|(bound, _)| bound)
}

fn motion(expr: &Expr) -> Option<(Expr, Motion)> {
    match expr {
        Expr::Alias(alias) => motion(&alias.expr),
        Expr::ScalarFunction(call) => called(call),
        Expr::Cast(converted) => {
            let (inner, motion) = motion(&converted.expr)?;
            let wanted = converted.field.data_type();
            let motion = match motion {
                Motion::Numbers if wanted.is_integer() || wanted.is_floating() => motion,
                Motion::Times if *wanted == DataType::Date32 => Motion::Days,
                Motion::Times | Motion::Days if *wanted == DataType::Date32 || is_utc_type(wanted) => motion,
                _ => return None,
            };
            Some((cast(inner, wanted.clone()), motion))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right, motion) = match (left.as_ref(), right.as_ref()) {
                (_, Expr::Literal(amount, _)) => {
                    let (inner, motion) = motion(left)?;
                    may_apply(motion, *op, amount).then(|| (inner, right.as_ref().clone(), motion))?
                }
                (Expr::Literal(amount, _), _) if matches!(op, Operator::Plus | Operator::Multiply) => {
                    let (inner, motion) = motion(right)?;
                    may_apply(motion, *op, amount).then(|| (left.as_ref().clone(), inner, motion))?
                }
                _ => return None,
            };
            let applied = BinaryExpr::new(Box::new(left), *op, Box::new(right));
            Some((Expr::BinaryExpr(applied), motion))
        }
        _ => None,
    }
}

fn called(call: &ScalarFunction) -> Option<(Expr, Motion)> {
    let now = || Expr::Column(Column::from_name(clock_schema().field(0).name()));
    let (unit, inner) = match (call.name(), call.args.as_slice()) {
        ("now", []) => return Some((now(), Motion::Times)),
        ("current_date", []) => return Some((cast(now(), DataType::Date32), Motion::Days)),
        (_, [Expr::Literal(unit, _), inner]) => (unit.try_as_str()??.to_lowercase(), inner),
        (_, [inner]) => (String::new(), inner),
        _ => return None,
    };
    let (inner, motion) = motion(inner)?;
    let motion = match call.name() {
        _ if motion == Motion::Numbers => return None,
        "date_trunc" if UNITS_OF_DAYS.contains(&unit.as_str()) => Motion::Days,
        "date_trunc" => motion,
        "date_part" if unit == "epoch" || unit == "year" => Motion::Numbers,
        "to_unixtime" if unit.is_empty() => Motion::Numbers,
        _ => return None,
    };
    let mut args = call.args.clone();
    *args.last_mut()? = inner;
    Some((
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&call.func), args)),
        motion,
    ))
}

/// Whether what moves like this still never falls, and is as exact, after `operator` with `amount`.
fn may_apply(motion: Motion, operator: Operator, amount: &ScalarValue) -> bool {
    let is_shift = matches!(operator, Operator::Plus | Operator::Minus);
    let is_days = motion == Motion::Days;
    match (motion, amount) {
        (Motion::Times | Motion::Days, ScalarValue::IntervalMonthDayNano(Some(interval))) => {
            is_shift && interval.nanoseconds % 1000 == 0 && (is_days || interval.months == 0)
        }
        (Motion::Times | Motion::Days, ScalarValue::IntervalDayTime(Some(_))) => is_shift,
        (Motion::Days, ScalarValue::IntervalYearMonth(Some(_))) => is_shift,
        (Motion::Days, amount) => is_shift && amount.data_type().is_integer() && !amount.is_null(),
        (Motion::Numbers, amount) => {
            let number = match amount.cast_to(&DataType::Float64) {
                Ok(ScalarValue::Float64(Some(number))) if is_number(&amount.data_type()) => number,
                _ => return false,
            };
            let is_stretch = matches!(operator, Operator::Multiply | Operator::Divide) && number > 0.0;
            number.is_finite() && (is_shift || is_stretch)
        }
        _ => false,
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating()
}

/// Whether these are points in time, in the clock's time zone: where no hour comes twice.
pub(super) fn is_utc_type(data_type: &DataType) -> bool {
    let is_utc = |zone: &str| zone == "UTC" || zone == "+00:00";
    matches!(data_type, DataType::Timestamp(_, zone) if zone.as_deref().is_none_or(is_utc))
}
