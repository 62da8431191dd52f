//! UNNEST of list columns.

use super::lower::Attempt;
use super::{Facts, Kind, Lowering, Node, plain_schema};
use crate::operator::unnest::UnnestSpec;
use arrow::datatypes::DataType;
use datafusion::logical_expr::Unnest;
use viewfeed_change::Result;

impl Lowering<'_> {
    pub(super) fn unnest(&self, unnest: &Unnest) -> Result<Attempt> {
        let columns = &unnest.list_type_columns;
        let mut lists: Vec<usize> = columns.iter().map(|(column, _)| *column).collect();
        lists.sort_unstable();
        lists.dedup();
        let is_deep = columns.iter().any(|(_, list)| list.depth != 1);
        if !unnest.struct_type_columns.is_empty() || is_deep || lists.len() < columns.len() {
            return Ok(Err("unnest of a struct, or of lists within lists".to_owned()));
        }
        let input = self.lower(&unnest.input)?;
        let is_list = |column: &usize| matches!(input.schema.field(*column).data_type(), DataType::List(_));
        if lists.is_empty() || !lists.iter().all(is_list) {
            return Ok(Err("unnest of what is no list".to_owned()));
        }
        let schema = plain_schema(unnest.schema.fields().iter().map(|field| field.as_ref()));
        let names: Vec<&str> = lists
            .iter()
            .map(|column| input.schema.field(*column).name().as_str())
            .collect();
        let text = names.join(", ");
        let options = &unnest.options;
        let spec = UnnestSpec {
            columns: unnest.dependency_indices.clone(),
            lists,
            rows_of_null: usize::from(options.preserve_nulls()),
            rows_of_empty: usize::from(options.expand_empty_as_null()),
        };
        Ok(Ok(Node {
            facts: Facts::unknown(schema.fields().len()),
            schema,
            kind: Kind::Unnest(spec, text),
            inputs: vec![input],
        }))
    }
}
