//! Filters that name the values a column may have: `a = 1`, `a IN (1, 2)`, `a = 1 OR a = 2`, `channel.name = 'x'`.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use viewfeed_change::{ColumnPath, Relation, row};

/// The only values that the column at a path has in rows that pass a filter. NULL is never among them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(super) path: ColumnPath,
    pub(super) values: Vec<ScalarValue>,
}

impl Condition {
    /// What `filter`, a filter on rows of `relation`, says of a column, if it is of that form and equality of the
    /// column's values is equality of their bytes.
    pub(crate) fn of(filter: &Expr, relation: &Relation) -> Option<Self> {
        match filter {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) => Self::new(left, [right.as_ref()], relation)
                .or_else(|| Self::new(right, [left.as_ref()], relation)),
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Or,
                right,
            }) => {
                let (mut left, right) = (Self::of(left, relation)?, Self::of(right, relation)?);
                if left.path != right.path {
                    return None;
                }
                left.values.extend(right.values);
                left.values.dedup();
                Some(left)
            }
            Expr::InList(list) if !list.negated => Self::new(&list.expr, &list.list, relation),
            _ => None,
        }
    }

    fn new<'a>(
        column: &Expr,
        values: impl IntoIterator<Item = &'a Expr>,
        relation: &Relation,
    ) -> Option<Self> {
        let path = path_of(column, relation)?;
        let data_type = row::field_at(&relation.schema(), &path).ok()?.data_type().clone();
        if !equal_is_same_bytes(&data_type) {
            return None;
        }
        let value = |expr: &Expr| match expr {
            Expr::Literal(value, _) if value.data_type() == data_type => Some(value.clone()),
            _ => None,
        };
        let values = values.into_iter().map(value).collect::<Option<Vec<_>>>()?;
        let values = values.into_iter().filter(|value| !value.is_null()).collect();
        Some(Self { path, values })
    }
}

/// The column, or field inside a column, that `expr` is.
fn path_of(expr: &Expr, relation: &Relation) -> Option<ColumnPath> {
    match expr {
        Expr::Column(column) => relation.column(&column.name).map(ColumnPath::from),
        Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
            let (root, fields) = call.args.split_first()?;
            let mut path = path_of(root, relation)?;
            for field in fields {
                let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = field else {
                    return None;
                };
                let parent = row::field_at(&relation.schema(), &path).ok()?;
                let DataType::Struct(children) = parent.data_type() else {
                    return None;
                };
                path.0
                    .push(children.iter().position(|child| child.name() == name)?);
            }
            Some(path)
        }
        _ => None,
    }
}

/// Not so for floats (two zeros), intervals (a month or 30 days) and what is composed of others.
fn equal_is_same_bytes(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8
                | DataType::Binary
                | DataType::Date32
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        )
}
