//! Results that hold every value of a group: `array_agg` and `string_agg`.

use super::call::Call;
use super::function::AggregateFunction;
use super::value::Value;
use arrow::array::{ArrayRef, AsArray, ListArray, StringArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::DataType;
use std::sync::Arc;
use viewfeed_change::row::plain_type;
use viewfeed_change::{Error, Result};

/// A column of lists, or of texts joined by the call's delimiter; NULL where there is no value.
pub(super) fn column(values: &[&Value], call: &Call) -> Result<ArrayRef> {
    let lists: Vec<&[(Vec<u8>, i64)]> = values.iter().map(|value| value.entries()).collect();
    let entries = lists.iter().flat_map(|list| list.iter());
    let different = call.form()?.decode(entries.map(|(value, _)| value.as_slice()))?;
    let (mut indices, mut lengths) = (Vec::new(), Vec::with_capacity(lists.len()));
    let mut index = 0;
    for list in lists {
        let start = indices.len();
        for (_, count) in list {
            let repeats = usize::try_from(*count).map_err(|_| too_long())?;
            indices.extend(std::iter::repeat_n(index, repeats));
            index += 1;
        }
        lengths.push(indices.len() - start);
    }
    if i32::try_from(indices.len()).is_err() {
        return Err(too_long());
    }
    let all = take(&different, &UInt32Array::from(indices), None)?;
    match call.function() {
        AggregateFunction::StringAgg => joined(&all, &lengths, call.delimiter()),
        _ => listed(all, lengths, call.output_type()),
    }
}

fn listed(all: ArrayRef, lengths: Vec<usize>, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::List(element) = plain_type(data_type) else {
        return Err(Error::internal("a list that is none"));
    };
    let nulls: NullBuffer = lengths.iter().map(|length| *length > 0).collect();
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(element, offsets, all, Some(nulls))?))
}

fn joined(all: &ArrayRef, lengths: &[usize], delimiter: &str) -> Result<ArrayRef> {
    let texts = all
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::internal("string_agg of no text"))?;
    let mut next = 0;
    let join = |length: &usize| {
        let range = next..next + length;
        next = range.end;
        let parts: Vec<&str> = range.map(|i| texts.value(i)).collect();
        (!parts.is_empty()).then(|| parts.join(delimiter))
    };
    let joined: Vec<Option<String>> = lengths.iter().map(join).collect();
    let bytes: usize = joined.iter().flatten().map(String::len).sum();
    match i32::try_from(bytes) {
        Ok(_) => Ok(Arc::new(StringArray::from(joined))),
        Err(_) => Err(too_long()),
    }
}

fn too_long() -> Error {
    Error::invalid("EVALUATION", "a group has too many values for one list")
        .hint("aggregate smaller groups, or filter the values")
}
