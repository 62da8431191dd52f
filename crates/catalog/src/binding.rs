//! What an rpc does, ready to be called: requests to what is asked of the engine, rows to responses.

mod mutate;
mod page;
mod query;
mod subscribe;

pub use mutate::{Mutate, Mutation};
pub use query::{Query, Select};
pub use subscribe::{Subscribe, SubscribeCall};

pub(crate) use mutate::{ResponseField, RowSource};
pub(crate) use page::{Order, OrderColumn, Paging};
pub(crate) use query::{QueryPlan, RequestFields, ResponseFields};
pub(crate) use subscribe::EnvelopeFields;

use crate::codec::{to_array, value_of};
use crate::form::Form;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use prost_reflect::{DynamicMessage, FieldDescriptor};
use viewfeed_change::{ColumnPath, Result};

/// What an rpc does.
#[derive(Debug)]
pub enum Binding {
    /// A read.
    Query(Query),
    /// A live query.
    Subscribe(Subscribe),
    /// A write.
    Mutate(Mutate),
    /// Nothing: no rule applied. Calls answer UNIMPLEMENTED with this reason.
    Unbound(String),
}

/// A request's field that filters rows by equality.
#[derive(Clone, Debug)]
pub(crate) struct FilterField {
    pub(crate) field: FieldDescriptor,
    pub(crate) form: Form,
    pub(crate) path: ColumnPath,
    /// The column's name for people: `channel.name`.
    pub(crate) name: String,
    /// The type of the column's values.
    pub(crate) data_type: DataType,
    /// A zero value filters too. False: only what is set filters.
    pub(crate) filters_by_zero: bool,
}

impl FilterField {
    /// The value to filter by, as a one-element array; None if the request does not filter by this field.
    fn value(&self, request: &DynamicMessage) -> Result<Option<ArrayRef>> {
        if !request.has_field(&self.field) && (self.field.supports_presence() || !self.filters_by_zero) {
            return Ok(None);
        }
        argument(request, &self.field, &self.form, &self.data_type).map(Some)
    }
}

/// The value of a request's field as a one-element array.
fn argument(
    request: &DynamicMessage,
    field: &FieldDescriptor,
    form: &Form,
    data_type: &DataType,
) -> Result<ArrayRef> {
    to_array(field, form, std::iter::once(value_of(request, field)), data_type)
}
