//! Values to bytes whose order is that of an ORDER BY: descending or not, NULLs first or last. The bytes cannot be
//! decoded; who needs the values keeps the row beside them.
//!
//! The order is the one of `arrow-row` with the same options, on every level: within a list or struct, too, NULLs come
//! first exactly if they do outside. Descending is the ascending form with every bit flipped, which keeps that no
//! encoded value is the start of another.

use super::Rows;
use super::encode::{NULL, NULL_LAST, Values};
use crate::{Error, Result};
use arrow::array::ArrayRef;
use arrow_schema::SortOptions;

/// The bytes by which `count` rows are ordered that have these values in `columns`, each ordered as the options at the
/// same place say. Columns are of plain types.
pub fn encode_ordered(columns: &[ArrayRef], options: &[SortOptions], count: usize) -> Result<Rows> {
    if columns.len() != options.len() {
        return Err(Error::internal(
            "an order with more or fewer columns than options",
        ));
    }
    let null = |options: &SortOptions| match options.nulls_first != options.descending {
        true => NULL,
        false => NULL_LAST,
    };
    let values = columns
        .iter()
        .zip(options)
        .map(|(column, options)| Ok((Values::new(column, null(options))?, options.descending)))
        .collect::<Result<Vec<_>>>()?;
    let mut rows = Rows::default();
    for row in 0..count {
        for (column, descending) in &values {
            let start = rows.bytes.len();
            column.write(row, &mut rows.bytes);
            if *descending {
                rows.bytes[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        rows.ends.push(rows.bytes.len());
    }
    Ok(rows)
}
