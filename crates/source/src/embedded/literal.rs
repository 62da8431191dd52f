//! Values that need no planner: literals, casts of literals to the column's own type, DEFAULT, `now()`, new uuids.
//!
//! Planning costs milliseconds, so what is a plain value must be seen in the parsed statement. Anything else is left to
//! the planner.

use super::name;
use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{self, Expr, Value};
use std::borrow::Cow;
use viewfeed_change::{Column, LogicalType, Timestamp};

/// One value of a statement, before it is of the column's type.
#[derive(Clone, Debug)]
pub(super) enum Cell<'a> {
    /// NULL.
    Null,
    /// The column's default.
    Default,
    /// `true` or `false`.
    Bool(bool),
    /// A number as written, with its sign.
    Number(Cow<'a, str>),
    /// Text, which becomes whatever the column is.
    Text(Cow<'a, str>),
    /// `ARRAY[…]`.
    List(Vec<Cell<'a>>),
    /// The value at this place among those the planner computes.
    Computed(usize),
}

impl<'a> Cell<'a> {
    /// The value of `expr` for `column`, if it needs no planner.
    pub(super) fn of(expr: &'a Expr, column: &Column, now: Timestamp) -> Option<Self> {
        match expr {
            Expr::Value(value) => Self::of_value(&value.value),
            Expr::Nested(inner) => Self::of(inner, column, now),
            Expr::UnaryOp { op, expr } => signed(op, Self::of(expr, column, now)?),
            Expr::Identifier(ident) if is_default(ident) => Some(Self::Default),
            Expr::Cast {
                kind,
                expr,
                data_type,
                array: false,
                format: None,
            } if matches!(kind, ast::CastKind::Cast | ast::CastKind::DoubleColon)
                && same_type(data_type, column) =>
            {
                Self::of(expr, column, now)
            }
            Expr::TypedString(typed) if same_type(&typed.data_type, column) => {
                Self::of_value(&typed.value.value)
            }
            Expr::Interval(interval) if interval.leading_field.is_none() => {
                Self::of(&interval.value, column, now)
            }
            Expr::Array(array) => {
                let DataType::List(item) = &column.data_type else {
                    return None;
                };
                let item = Column::new(0, &column.name, item.data_type().clone(), true);
                let cells = array
                    .elem
                    .iter()
                    .map(|cell| Self::of(cell, &item, now).filter(Cell::is_plain));
                cells.collect::<Option<_>>().map(Self::List)
            }
            Expr::Function(function) => of_function(function, now),
            _ => None,
        }
    }

    fn of_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Boolean(value) => Some(Self::Bool(*value)),
            Value::Number(text, _) => Some(Self::Number(Cow::Borrowed(text))),
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => Some(Self::Text(Cow::Borrowed(text))),
            Value::DollarQuotedString(text) => Some(Self::Text(Cow::Borrowed(&text.value))),
            _ => None,
        }
    }

    /// Whether it is a value by itself: neither a default nor computed.
    fn is_plain(&self) -> bool {
        !matches!(self, Self::Default | Self::Computed(_))
    }
}

/// Whether the word is DEFAULT.
pub(super) fn is_default(ident: &ast::Ident) -> bool {
    ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default")
}

/// `-5`, `+5`: the parser knows no negative numbers.
fn signed<'a>(op: &ast::UnaryOperator, cell: Cell<'a>) -> Option<Cell<'a>> {
    match (op, cell) {
        (ast::UnaryOperator::Plus, Cell::Number(text)) => Some(Cell::Number(text)),
        (ast::UnaryOperator::Minus, Cell::Number(text)) => Some(Cell::Number(match text.strip_prefix('-') {
            Some(positive) => Cow::Owned(positive.to_owned()),
            None => Cow::Owned(format!("-{text}")),
        })),
        _ => None,
    }
}

/// Whether a cast to `sql` gives exactly what the column holds, so that the cast may be left out. Not for types that a
/// cast cuts to length.
fn same_type(sql: &ast::DataType, column: &Column) -> bool {
    viewfeed_query::column_type(sql).is_ok_and(|(data_type, logical)| {
        data_type == column.data_type
            && logical == column.logical
            && !matches!(logical, LogicalType::Text { .. })
            && !matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
    })
}

fn of_function<'a>(function: &ast::Function, now: Timestamp) -> Option<Cell<'a>> {
    let no_argument = match &function.args {
        ast::FunctionArguments::None => true,
        ast::FunctionArguments::List(list) => list.args.is_empty(),
        ast::FunctionArguments::Subquery(_) => false,
    };
    if !no_argument || function.over.is_some() {
        return None;
    }
    match name::last(&function.name).ok()?.as_str() {
        "now" | "current_timestamp" | "transaction_timestamp" => {
            Some(Cell::Text(Cow::Owned(timestamp_text(now))))
        }
        "gen_random_uuid" | "uuid" => Some(Cell::Text(Cow::Owned(uuid::Uuid::new_v4().to_string()))),
        _ => None,
    }
}

/// A timestamp in a form every date and time type can be read from.
fn timestamp_text(now: Timestamp) -> String {
    arrow::temporal_conversions::timestamp_us_to_datetime(now.0).map_or_else(String::new, |time| {
        time.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string()
    })
}
