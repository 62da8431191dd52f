//! Rows of one table, column by column.

use super::{ColumnBuilder, Decoded, Fault};
use crate::postgres::TableShape;
use crate::postgres::pgoutput::{Field, Tuple};
use crate::postgres::settings::quoted;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use viewfeed_change::{Error, ErrorKind, Result};

/// The reason of the error that says that a value has no place in its column.
const NOT_REPRESENTABLE: &str = "VALUE_NOT_REPRESENTABLE";

/// Makes record batches of the rows that Postgres sends, with the schema [`TableShape::row_schema`].
///
/// After an error the rows not yet taken by [`RowBuilder::finish`] are gone: nobody gets half a row.
pub struct RowBuilder {
    /// `schema.table`, as the settings name it.
    table: String,
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    is_key: Vec<bool>,
    rows: usize,
    bytes: usize,
}

impl RowBuilder {
    /// For the rows of this table.
    pub fn new(shape: &TableShape) -> Self {
        let columns = shape.columns.iter();
        Self {
            table: format!("{}.{}", quoted(&shape.schema), quoted(&shape.name)),
            schema: shape.row_schema(),
            columns: columns
                .clone()
                .map(|column| ColumnBuilder::new(&column.value))
                .collect(),
            is_key: columns.map(|column| column.is_key).collect(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds a row. Gives the places of the columns that were not sent because they are large and did not change: they
    /// are NULL in the row and mean nothing. Fails as `Precondition`/`VALUE_NOT_REPRESENTABLE` on a value that its
    /// column here cannot hold, as `Corrupt` on what is no value.
    pub fn append(&mut self, tuple: &Tuple<'_>) -> Result<Vec<u16>> {
        self.append_chosen(tuple.len(), tuple.fields(), false)
    }

    /// Adds a row of which only the columns of the key are there; the others are NULL.
    pub fn append_key(&mut self, tuple: &Tuple<'_>) -> Result<()> {
        match self.append_chosen(tuple.len(), tuple.fields(), true)?.as_slice() {
            [] => Ok(()),
            _ => {
                self.clear();
                let message = format!("{}: the key of an old row was not sent", self.table);
                Err(Error::corrupt(message))
            }
        }
    }

    /// Adds a row of `count` fields, as [`RowBuilder::append`].
    pub(crate) fn append_fields<'a>(
        &mut self,
        count: usize,
        fields: impl Iterator<Item = Field<'a>>,
    ) -> Result<Vec<u16>> {
        self.append_chosen(count, fields, false)
    }

    /// Of the columns of the key, or of all.
    fn append_chosen<'a>(
        &mut self,
        count: usize,
        fields: impl Iterator<Item = Field<'a>>,
        only_key: bool,
    ) -> Result<Vec<u16>> {
        if count != self.columns.len() {
            return Err(self.other_columns(count));
        }
        let mut unchanged = Vec::new();
        for (place, field) in fields.enumerate() {
            let field = match only_key && !self.is_key[place] {
                true => Field::Null,
                false => field,
            };
            let pushed = self.push(place, field);
            if field == Field::Unchanged {
                unchanged.push(place as u16);
            }
            if let Err(fault) = pushed {
                self.clear();
                return Err(self.not_a_value(place, fault));
            }
        }
        self.rows += 1;
        Ok(unchanged)
    }

    fn push(&mut self, place: usize, field: Field<'_>) -> Decoded<()> {
        let column = &mut self.columns[place];
        match field {
            Field::Null | Field::Unchanged => {
                column.push_null();
                Ok(())
            }
            Field::Text(bytes) => {
                self.bytes += bytes.len();
                column.push_text(bytes)
            }
            Field::Binary(bytes) => {
                self.bytes += bytes.len();
                column.push_binary(bytes)
            }
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many bytes their values were when they came. No column can hold more than 2 GiB: take the rows before.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows, in order; none are left.
    pub fn finish(&mut self) -> RecordBatch {
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .expect("every row has a value of the schema's type for every column")
    }

    fn clear(&mut self) {
        for column in &mut self.columns {
            column.clear();
        }
        (self.rows, self.bytes) = (0, 0);
    }

    fn other_columns(&self, count: usize) -> Error {
        let expected = self.columns.len();
        Error::corrupt(format!(
            "{}: Postgres sent a row of {count} columns where {expected} are known",
            self.table
        ))
    }

    fn not_a_value(&self, place: usize, fault: Fault) -> Error {
        let name = self.schema.field(place).name();
        let column = format!("{}.{}", self.table, quoted(name));
        match fault {
            Fault::Malformed => Error::corrupt(format!(
                "{column}: Postgres sent bytes that are no {}",
                self.schema.field(place).data_type()
            ))
            .hint("its type may have changed, or the session shows values in another style"),
            Fault::NotRepresentable(why) => {
                let message = format!("{column} holds a value that has no place here: {why}");
                Error::new(ErrorKind::Precondition, NOT_REPRESENTABLE, message).hint(format!(
                    "add '{column}' to text_columns of the source: the column is then text, just as Postgres shows it"
                ))
            }
            Fault::TooMany => {
                let message = format!("{column}: the changes of one transaction are more than 2 GiB");
                Error::new(ErrorKind::Exhausted, "COLUMN_TOO_LARGE", message)
                    .hint("change fewer rows in one transaction")
            }
        }
    }
}
