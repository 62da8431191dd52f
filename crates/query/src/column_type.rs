//! SQL type names to Arrow types and back.

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast;
use viewfeed_change::{Column, LogicalType, Result};

/// The Arrow type and meaning of a SQL type.
pub fn column_type(_sql: &ast::DataType) -> Result<(DataType, LogicalType)> {
    todo!()
}

/// The SQL type of a column, for people: `varchar(32)`, `timestamptz`, `struct(name text, …)`.
pub fn sql_type(_column: &Column) -> String {
    todo!()
}
