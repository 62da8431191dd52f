//! The values at a place of the order of a group's values: medians and percentiles.
//!
//! The entries of a group lie in order, once forwards and once inverted, to be read backwards. The group remembers the entry
//! at its place and how many values are before it. A change moves the place by as many values as it adds or takes
//! away, so that finding it again costs O(Δ), whatever the group holds.

use super::accumulator::negative;
use super::bytes::{Cursor, write_bytes, write_signed};
use super::entry::EntryForm;
use super::function::AggregateFunction;
use super::ordered::{Changes, count_of};
use super::value::Value;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, i256,
};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use viewfeed_change::{Error, Result};
use viewfeed_store::Reader;

/// Parts of the distance between two values that a percentile is rounded down to, as DataFusion's.
const INTERPOLATION_PRECISION: f64 = 1_000_000.0;

/// The place in a group, and the values there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rank {
    count: i64,
    /// How many values are before `low`.
    below: i64,
    /// The entry at the place, or below it if it is between two.
    low: Vec<u8>,
    /// The entry at the place, or above it.
    high: Vec<u8>,
}

/// The values of one group of one call.
pub(super) struct RankedValues<'a> {
    /// Where the group's entries start, and the inverted ones.
    pub(super) prefixes: [&'a [u8]; 2],
    /// The state before the step.
    pub(super) reader: &'a Reader,
}

/// Calls `each` with entries and how often they are there, until it breaks.
type Each<'a> = dyn FnMut(&[u8], i64) -> ControlFlow<()> + 'a;

impl Rank {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Goes to where the place is after `changes`.
    pub(super) fn follow(
        &mut self,
        function: AggregateFunction,
        changes: &Changes<'_>,
        values: &RankedValues<'_>,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let before = (Bound::Unbounded, Bound::Excluded(self.low.as_slice()));
        self.count = self.count.saturating_add(changes.values().sum());
        self.below = self
            .below
            .saturating_add(changes.range::<[u8], _>(before).map(|(_, weight)| weight).sum());
        if self.count < 0 || self.below < 0 {
            return Err(negative());
        }
        if self.count == 0 {
            *self = Self::default();
            return Ok(());
        }
        let (lower, upper, _) = places(function, self.count);
        if lower < self.below {
            self.go_back(lower, changes, values)?;
        }
        let (from, mut place) = (self.low.clone(), self.below);
        let onwards = (Bound::Included(from.as_slice()), Bound::Unbounded);
        let onwards = changes.range::<[u8], _>(onwards);
        let onwards = onwards.map(|(entry, weight)| (entry.to_vec(), *weight)).collect();
        values.each(0, &from, onwards, &mut |entry, count| {
            if place <= lower {
                (self.low, self.below) = (entry.to_vec(), place);
            }
            place += count;
            match upper < place {
                true => {
                    self.high = entry.to_vec();
                    ControlFlow::Break(())
                }
                false => ControlFlow::Continue(()),
            }
        })
    }

    /// Goes back until no more than `lower` values are before it.
    fn go_back(&mut self, lower: i64, changes: &Changes<'_>, values: &RankedValues<'_>) -> Result<()> {
        let before = (Bound::Unbounded, Bound::Excluded(self.low.as_slice()));
        let back = changes.range::<[u8], _>(before).rev();
        let back = back.map(|(entry, weight)| (inverted(entry), *weight)).collect();
        let from = inverted(&self.low);
        values.each(1, &from, back, &mut |entry, count| {
            if entry == from {
                return ControlFlow::Continue(());
            }
            self.low = inverted(entry);
            self.below -= count;
            match self.below <= lower {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }

    /// The result.
    pub(super) fn value(&self, function: AggregateFunction, form: &EntryForm) -> Result<Value> {
        if self.count == 0 {
            return Ok(Value::Null);
        }
        let (lower, upper, part) = places(function, self.count);
        let low = form.value_of(&self.low)?;
        Ok(match lower == upper {
            true => Value::Encoded(low),
            false => Value::Between(low, form.value_of(&self.high)?, part),
        })
    }

    /// Appends the stored form.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        write_signed(self.count, out);
        write_signed(self.below, out);
        write_bytes(&self.low, out);
        write_bytes(&self.high, out);
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self> {
        Ok(Self {
            count: input.signed()?,
            below: input.signed()?,
            low: input.bytes()?.to_vec(),
            high: input.bytes()?.to_vec(),
        })
    }
}

impl RankedValues<'_> {
    /// The entries from `from` on as they are after `changes`, which come in the order of the entries.
    fn each(
        &self,
        side: usize,
        from: &[u8],
        changes: Vec<(Vec<u8>, i64)>,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let prefix = self.prefixes[side];
        let (mut changes, mut is_over) = (changes.into_iter().peekable(), false);
        self.reader
            .scan(prefix, &[prefix, from].concat(), &mut |key, value| {
                let entry = &key[prefix.len()..];
                let mut flow = ControlFlow::Continue(());
                while let Some((new, weight)) = changes.next_if(|change| change.0.as_slice() < entry) {
                    flow = each(&new, weight);
                    if flow.is_break() {
                        break;
                    }
                }
                if flow.is_continue() {
                    let change = changes.next_if(|change| change.0.as_slice() == entry);
                    let count = count_of(value)?.saturating_add(change.map_or(0, |change| change.1));
                    flow = match count {
                        0 => ControlFlow::Continue(()),
                        count => each(entry, count),
                    };
                }
                is_over = flow.is_break();
                Ok(flow)
            })?;
        if !is_over {
            // whether it breaks does not matter at the end
            let _ = changes.try_for_each(|(entry, weight)| each(&entry, weight));
        }
        Ok(())
    }
}

/// The same bytes with every bit inverted, which inverts the order of entries.
pub(super) fn inverted(entry: &[u8]) -> Vec<u8> {
    entry.iter().map(|byte| !byte).collect()
}

/// The places among `count` values, counted from 0, between which the result is, and how far from the lower one; None
/// for the middle.
fn places(function: AggregateFunction, count: i64) -> (i64, i64, Option<f64>) {
    let AggregateFunction::Percentile(fraction) = function else {
        return ((count - 1) / 2, count / 2, None);
    };
    let place = fraction.value() * (count - 1) as f64;
    let scaled = ((place - place.floor()) * INTERPOLATION_PRECISION) as usize;
    let part = scaled as f64 / INTERPOLATION_PRECISION;
    (place.floor() as i64, place.ceil() as i64, Some(part))
}

/// A column of type `data_type` with these results.
pub(super) fn column(values: &[&Value], form: &EntryForm, data_type: &DataType) -> Result<ArrayRef> {
    const NULL: &[u8] = &[0];
    let low = values.iter().map(|value| match value {
        Value::Encoded(low) | Value::Between(low, ..) => low.as_slice(),
        _ => NULL,
    });
    let high = values.iter().map(|value| match value {
        Value::Encoded(high) | Value::Between(_, high, _) => high.as_slice(),
        _ => NULL,
    });
    let (low, high) = (form.decode(low)?, form.decode(high)?);
    let float = |low: f64, high: f64, part: f64| low + (high - low) * part;
    Ok(match data_type {
        DataType::Float64 => between::<Float64Type>(values, &low, &high, 2.0, float),
        DataType::Float32 => between::<Float32Type>(values, &low, &high, 2.0, |low, high, part| {
            float(f64::from(low), f64::from(high), part) as f32
        }),
        // only medians are of decimals
        DataType::Decimal128(..) => between::<Decimal128Type>(values, &low, &high, 2, |low, _, _| low),
        DataType::Decimal256(..) => {
            between::<Decimal256Type>(values, &low, &high, i256::from(2), |low, _, _| low)
        }
        other => return Err(Error::internal(format!("no median is of type {other}"))),
    })
}

fn between<T: ArrowPrimitiveType>(
    values: &[&Value],
    low: &ArrayRef,
    high: &ArrayRef,
    two: T::Native,
    at: impl Fn(T::Native, T::Native, f64) -> T::Native,
) -> ArrayRef {
    let (low, high) = (low.as_primitive::<T>(), high.as_primitive::<T>());
    let result = |(row, value): (usize, &&Value)| {
        let (low, high) = (low.value(row), high.value(row));
        match value {
            Value::Encoded(_) => Some(low),
            Value::Between(.., None) => Some(middle(low, high, two)),
            Value::Between(.., Some(part)) => Some(at(low, high, *part)),
            _ => None,
        }
    };
    let results: PrimitiveArray<T> = values.iter().enumerate().map(result).collect();
    Arc::new(results.with_data_type(low.data_type().clone()))
}

/// Half of the sum, as DataFusion's median cuts it, also where the sum leaves the range.
fn middle<N: ArrowNativeTypeOp>(low: N, high: N, two: N) -> N {
    match low.add_checked(high) {
        Ok(sum) => sum.div_wrapping(two),
        Err(_) => {
            let rests = low.mod_wrapping(two).add_wrapping(high.mod_wrapping(two));
            let halves = low.div_wrapping(two).add_wrapping(high.div_wrapping(two));
            halves.add_wrapping(rests.div_wrapping(two))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::function::Fraction;
    use super::*;

    #[test]
    fn places_are_those_of_datafusion() {
        let middle = |count| places(AggregateFunction::Median, count);
        assert_eq!(
            (middle(1), middle(4), middle(5)),
            ((0, 0, None), (1, 2, None), (2, 2, None))
        );
        let at = |fraction: f64, count| places(AggregateFunction::Percentile(Fraction::new(fraction)), count);
        assert_eq!(at(0.5, 4), (1, 2, Some(0.5)));
        assert_eq!(at(1.0, 4).0, 3);
        assert_eq!(at(0.25, 5), (1, 1, Some(0.0)));
        assert_eq!(at(0.9, 1), (0, 0, Some(0.0)));
    }

    #[test]
    fn the_middle_of_large_numbers_does_not_overflow() {
        assert_eq!(middle(i128::MAX, i128::MAX, 2), i128::MAX);
        assert_eq!(middle(-3_i128, -4, 2), -3);
        assert_eq!(middle(1.0, 2.0, 2.0), 1.5);
    }
}
