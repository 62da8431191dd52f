//! A call made ready to run: its values of a batch, and which rows count.

use super::entry::{EncodedRows, EntryForm};
use super::function::{AggregateCall, AggregateFunction, Argument};
use super::kind::{Entries, Kind};
use super::list;
use super::rank;
use super::value::{self, Value};
use crate::operator::evaluate::evaluate;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::utils::normalize_float_zero;
use std::borrow::Cow;
use viewfeed_change::{Batch, Error, Result};

/// An [`AggregateCall`] with what follows from its types.
pub(super) struct Call {
    call: AggregateCall,
    kind: Kind,
    entries: Entries,
    /// What its entries look like, if it has any.
    form: Option<EntryForm>,
}

impl Call {
    /// Fails on what [`super::supports`] denies.
    pub(super) fn new(call: AggregateCall) -> Result<Self> {
        let unsupported = || Error::internal("an aggregate that cannot be maintained was lowered");
        let kind = Kind::of(&call).ok_or_else(unsupported)?;
        let entries = Entries::of(&call, kind);
        let from_the_end = matches!(
            call.function,
            AggregateFunction::Max | AggregateFunction::LastValue
        );
        let form = match entries {
            Entries::None => None,
            _ => Some(EntryForm::new(call.input_type(), &call.order, from_the_end)?),
        };
        Ok(Self {
            call,
            kind,
            entries,
            form,
        })
    }

    pub(super) fn function(&self) -> AggregateFunction {
        self.call.function
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn entries(&self) -> Entries {
        self.entries
    }

    pub(super) fn input_type(&self) -> &DataType {
        self.call.input_type()
    }

    pub(super) fn output_type(&self) -> &DataType {
        &self.call.output_type
    }

    pub(super) fn is_distinct(&self) -> bool {
        self.call.is_distinct
    }

    pub(super) fn delimiter(&self) -> &str {
        &self.call.delimiter
    }

    /// The arguments' values for every row. Where DISTINCT counts, 0.0 and −0.0 are one value.
    pub(super) fn arguments(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let arguments = self.call.arguments.iter();
        arguments.map(|argument| self.values(argument, rows)).collect()
    }

    fn values(&self, argument: &Argument, rows: &RecordBatch) -> Result<ArrayRef> {
        let values = evaluate(&argument.value, rows)?;
        Ok(match self.call.is_distinct {
            true => normalize_float_zero(&values),
            false => values,
        })
    }

    /// The weights of `batch`, 0 for rows that do not count: filtered out, or NULL.
    pub(super) fn weights<'a>(&self, batch: &'a Batch, arguments: &[ArrayRef]) -> Result<Cow<'a, [i64]>> {
        let mut weights = Cow::Borrowed(batch.weights());
        let nullable = arguments.iter().filter(|_| self.call.skips_null);
        for nulls in nullable.filter_map(|array| array.logical_nulls()) {
            if nulls.null_count() > 0 {
                let counted = weights.to_mut().iter_mut().zip(nulls.iter());
                counted
                    .filter(|(_, is_value)| !is_value)
                    .for_each(|(weight, _)| *weight = 0);
            }
        }
        if let Some(filter) = &self.call.filter {
            let passes = evaluate(filter, batch.rows())?;
            let passes = passes
                .as_boolean_opt()
                .ok_or_else(|| Error::internal("a filter that is not boolean"))?;
            let counted = weights.to_mut().iter_mut().zip(passes.iter());
            counted
                .filter(|(_, passes)| *passes != Some(true))
                .for_each(|(weight, _)| *weight = 0);
        }
        Ok(weights)
    }

    /// What the entries of these rows are made of.
    pub(super) fn encode(&self, arguments: &[ArrayRef], rows: &RecordBatch) -> Result<EncodedRows> {
        let values = arguments.first().cloned();
        let values = values.ok_or_else(|| Error::internal("values of no argument"))?;
        let keys = self.call.order.iter().map(|key| self.values(&key.by, rows));
        self.form()?.encode(values, keys.collect::<Result<_>>()?)
    }

    /// The form of its entries. Fails if it has none.
    pub(super) fn form(&self) -> Result<&EntryForm> {
        let form = self.form.as_ref();
        form.ok_or_else(|| Error::internal("this aggregate keeps no values"))
    }

    /// A column of results.
    pub(super) fn column(&self, values: &[&Value]) -> Result<ArrayRef> {
        match self.kind {
            Kind::First => value::encoded(values, self.form()?),
            Kind::List => list::column(values, self),
            Kind::Rank => rank::column(values, self.form()?, self.output_type()),
            _ => value::column(values, self.output_type()),
        }
    }
}
