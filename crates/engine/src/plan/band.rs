//! Joins without an equality, but with an inequality between the sides: which one, and of which columns.

use super::expression::Unsupported;
use super::join::{Side, one_zero};
use super::{BandPlan, Lowering, Node};
use arrow::datatypes::DataType;
use datafusion::logical_expr::utils::{find_valid_equijoin_key_pair, split_conjunction};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, Operator};
use viewfeed_change::row::plain_type;

/// An inequality between the sides of a join: the left value is at most, or at least, the right one.
pub(super) struct Inequality {
    pub(super) left: Expr,
    pub(super) right: Expr,
    left_is_less: bool,
}

impl Lowering<'_> {
    /// The sides of a join without an equality, and by what inequality, if there is one, its pairs are looked for.
    pub(super) fn band_sides(
        &self,
        join: &Join,
        (left, right): (Node, Node),
    ) -> std::result::Result<(Side, Side, Option<BandPlan>), Unsupported> {
        let schemas = (join.left.schema(), join.right.schema());
        let Some(inequality) = inequality(join) else {
            let sides = (
                self.side(left, schemas.0, &[])?,
                self.side(right, schemas.1, &[])?,
            );
            return Ok((sides.0, sides.1, None));
        };
        let mut left = self.side(left, schemas.0, &[inequality.left])?;
        let mut right = self.side(right, schemas.1, &[inequality.right])?;
        let band = BandPlan {
            columns: [left.take_key(), right.take_key()],
            left_is_less: inequality.left_is_less,
        };
        Ok((left, right, Some(band)))
    }
}

/// The first inequality among the conditions that the order of the row encoding can serve.
fn inequality(join: &Join) -> Option<Inequality> {
    let conditions = split_conjunction(join.filter.as_ref()?);
    conditions.into_iter().find_map(|condition| {
        let Expr::BinaryExpr(comparison) = condition else {
            return None;
        };
        let is_less = match comparison.op {
            Operator::Lt | Operator::LtEq => true,
            Operator::Gt | Operator::GtEq => false,
            _ => return None,
        };
        let schemas = (join.left.schema(), join.right.schema());
        let pair = find_valid_equijoin_key_pair(&comparison.left, &comparison.right, schemas.0, schemas.1);
        let (left, right) = pair.ok()??;
        let is_swapped = left != *comparison.left;
        let left_type = plain_type(&left.get_type(schemas.0).ok()?);
        let right_type = plain_type(&right.get_type(schemas.1).ok()?);
        (left_type == right_type && is_ordered(&left_type)).then(|| Inequality {
            left: one_zero(left, &left_type),
            right: one_zero(right, &right_type),
            left_is_less: is_less != is_swapped,
        })
    })
}

/// Whether encoded values are ordered as SQL orders them.
pub(super) fn is_ordered(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_floating()
        || matches!(
            data_type,
            DataType::Decimal128(..)
                | DataType::Utf8
                | DataType::Binary
                | DataType::Date32
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}
