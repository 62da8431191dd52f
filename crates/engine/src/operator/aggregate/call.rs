//! A call made ready to run: its values of a batch, and which rows count.

use super::function::{AggregateCall, AggregateFunction, Kind};
use super::value::{self, Value};
use crate::operator::evaluate::evaluate;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use std::borrow::Cow;
use std::sync::Arc;
use viewfeed_change::row::{self, RowCodec, Rows};
use viewfeed_change::{Batch, Error, Result};

/// An [`AggregateCall`] with what follows from its types.
pub(super) struct Call {
    call: AggregateCall,
    kind: Kind,
    /// For the extremes: the form their values are ordered by.
    codec: Option<RowCodec>,
}

impl Call {
    /// Fails on what [`super::supports`] denies.
    pub(super) fn new(call: AggregateCall) -> Result<Self> {
        let unsupported = || Error::internal("an aggregate that cannot be maintained was lowered");
        let kind = Kind::of(call.function, &call.input_type, &call.output_type).ok_or_else(unsupported)?;
        if call.argument.is_none() != (call.function == AggregateFunction::CountRows) {
            return Err(unsupported());
        }
        let codec = match kind {
            Kind::Smallest | Kind::Largest => {
                let field = Field::new("value", row::plain_type(&call.input_type), true);
                Some(RowCodec::for_schema(&Arc::new(Schema::new(vec![field])))?)
            }
            _ => None,
        };
        Ok(Self { call, kind, codec })
    }

    pub(super) fn function(&self) -> AggregateFunction {
        self.call.function
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn input_type(&self) -> &DataType {
        &self.call.input_type
    }

    pub(super) fn output_type(&self) -> &DataType {
        &self.call.output_type
    }

    /// The argument's value for every row, durations as integers; None for `count(*)`.
    pub(super) fn arguments(&self, rows: &RecordBatch) -> Result<Option<ArrayRef>> {
        let Some(argument) = &self.call.argument else {
            return Ok(None);
        };
        let values = evaluate(argument, rows)?;
        match (self.kind, values.data_type()) {
            (Kind::Integer, DataType::Duration(_)) => Ok(Some(cast(&values, &DataType::Int64)?)),
            _ => Ok(Some(values)),
        }
    }

    /// The weights of `batch`, 0 for rows that do not count: filtered out, or NULL.
    pub(super) fn weights<'a>(
        &self,
        batch: &'a Batch,
        arguments: Option<&ArrayRef>,
    ) -> Result<Cow<'a, [i64]>> {
        let mut weights = Cow::Borrowed(batch.weights());
        if let Some(nulls) = arguments.and_then(|array| array.logical_nulls())
            && nulls.null_count() > 0
        {
            let counted = weights.to_mut().iter_mut().zip(nulls.iter());
            counted
                .filter(|(_, is_value)| !is_value)
                .for_each(|(weight, _)| *weight = 0);
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

    /// The values of an extreme's argument in the row encoding.
    pub(super) fn encode(&self, arguments: ArrayRef) -> Result<Rows> {
        let codec = self
            .codec
            .as_ref()
            .ok_or_else(|| Error::internal("this aggregate has no order"))?;
        let rows = RecordBatch::try_from_iter_with_nullable([("value", arguments, true)])?;
        codec.encode(&row::conform(&rows, codec.schema())?)
    }

    /// Appends the bytes an encoded value is ordered by. Every bit is inverted for `max`: no encoding is the start of
    /// another, so that inverts the order, and the extreme is always the first.
    pub(super) fn write_ordered(&self, encoded: &[u8], out: &mut Vec<u8>) {
        match self.kind {
            Kind::Largest => out.extend(encoded.iter().map(|byte| !byte)),
            _ => out.extend(encoded),
        }
    }

    /// The encoded value that is ordered by these bytes.
    pub(super) fn unordered(&self, ordered: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(ordered.len());
        self.write_ordered(ordered, &mut encoded);
        encoded
    }

    /// A column of results.
    pub(super) fn column(&self, values: &[&Value]) -> Result<ArrayRef> {
        value::column(values, &self.call.output_type, self.codec.as_ref())
    }
}
