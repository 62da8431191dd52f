//! Whether computing a condition can fail on a row: where it is decided early whether a pair is worth following, how often
//! it is computed depends on the path, so errors could not be counted. In doubt it can.

use arrow::datatypes::{DataType, Schema};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr, TryCastExpr,
};
use std::sync::Arc;

/// Whether `expr` over the columns of `schema` can fail.
pub(super) fn may_fail(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    !is_harmless(expr, schema) || expr.children().into_iter().any(|child| may_fail(child, schema))
}

/// Whether `expr` itself never fails, whatever it is given.
fn is_harmless(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let data_type = expr.data_type(schema).ok();
        return is_test(binary.op())
            || is_wrapping(binary.op()) && data_type.is_some_and(|data_type| wraps(&data_type));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema).ok();
        return from.is_some_and(|from| holds(&from, cast.cast_type()));
    }
    expr.downcast_ref::<Column>().is_some()
        || expr.downcast_ref::<Literal>().is_some()
        || expr.downcast_ref::<NotExpr>().is_some()
        || expr.downcast_ref::<IsNullExpr>().is_some()
        || expr.downcast_ref::<IsNotNullExpr>().is_some()
        || expr.downcast_ref::<InListExpr>().is_some()
        || expr.downcast_ref::<TryCastExpr>().is_some()
}

/// Whether it compares values, or joins tests.
fn is_test(operator: &Operator) -> bool {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    matches!(
        operator,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | And | Or
    )
}

fn is_wrapping(operator: &Operator) -> bool {
    matches!(operator, Operator::Plus | Operator::Minus | Operator::Multiply)
}

/// Whether sums and products of this type have a value always.
fn wraps(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating()
}

/// Whether every value of `from` has one of `to`.
fn holds(from: &DataType, to: &DataType) -> bool {
    let width = |data_type: &DataType| data_type.primitive_width().unwrap_or_default();
    let is_wider = width(to) > width(from);
    from == to
        || from.is_signed_integer() && to.is_signed_integer() && is_wider
        || from.is_unsigned_integer() && to.is_integer() && is_wider
        || from.is_integer() && to.is_floating()
        || *from == DataType::Float32 && *to == DataType::Float64
}
