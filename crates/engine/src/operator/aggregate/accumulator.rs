//! What is remembered of a group for one call, and the result that follows from it.
//!
//! All but the first of an order are sums, so that adding and taking away in any order gives the same state. Integers
//! wrap as DataFusion's do: they are a ring, so a sum that wrapped and came back is right again.

use super::argument::Arguments;
use super::bits::BitCounts;
use super::bytes::{Cursor, write_bytes, write_signed, write_wide};
use super::call::Call;
use super::float_sum::FloatSum;
use super::function::AggregateFunction;
use super::kind::Kind;
use super::moments::Moments;
use super::rank::Rank;
use super::value::Value;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, DecimalType, i256};
use viewfeed_change::{Error, Result};

/// The state of one call for one group. Counts are of values that are not NULL.
#[derive(Clone, Debug)]
pub(super) enum Accumulator {
    Count(i64),
    Integer {
        count: i64,
        sum: i128,
    },
    Wide {
        count: i64,
        sum: i256,
    },
    /// Days and milliseconds, or months, days and nanoseconds.
    Interval {
        count: i64,
        parts: [i64; 3],
    },
    Float {
        count: i64,
        sum: FloatSum,
    },
    Truth {
        count: i64,
        trues: i64,
    },
    Bits(Box<BitCounts>),
    Moments(Box<Moments>),
    /// The entry of the first value in the order asked for; see [`super::ordered`].
    First(Option<Vec<u8>>),
    /// Nothing: the values are beside the group.
    List,
    /// The values at a place of the order.
    Rank(Box<Rank>),
}

impl Accumulator {
    /// The state of a group without rows.
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Count => Self::Count(0),
            Kind::Integer => Self::Integer { count: 0, sum: 0 },
            Kind::Wide => Self::Wide {
                count: 0,
                sum: i256::ZERO,
            },
            Kind::Interval => Self::Interval {
                count: 0,
                parts: [0; 3],
            },
            Kind::Float => Self::Float {
                count: 0,
                sum: FloatSum::default(),
            },
            Kind::Truth => Self::Truth { count: 0, trues: 0 },
            Kind::Bits => Self::Bits(Box::new(BitCounts::new())),
            Kind::Moments => Self::Moments(Box::default()),
            Kind::First => Self::First(None),
            Kind::List => Self::List,
            Kind::Rank => Self::Rank(Box::default()),
        }
    }

    /// Adds the argument of `row`, which is not NULL, `weight` times. Counts below zero are found when a delta is
    /// [merged](Self::merge) into the state.
    pub(super) fn add(&mut self, weight: i64, arguments: &Arguments<'_>, row: usize) {
        if let Self::Count(count)
        | Self::Integer { count, .. }
        | Self::Wide { count, .. }
        | Self::Interval { count, .. }
        | Self::Float { count, .. }
        | Self::Truth { count, .. } = self
        {
            *count = count.saturating_add(weight);
        }
        match (self, arguments) {
            (Self::Integer { sum, .. }, Arguments::Integers(at)) => {
                *sum = sum.wrapping_add(at(row).wrapping_mul(i128::from(weight)));
            }
            (Self::Wide { sum, .. }, Arguments::Wides(at)) => {
                *sum = sum.wrapping_add(at(row).wrapping_mul(i256::from(weight)));
            }
            (Self::Interval { parts, .. }, Arguments::Intervals(at)) => {
                let addends = at(row).map(|part| part.wrapping_mul(weight));
                parts
                    .iter_mut()
                    .zip(addends)
                    .for_each(|(part, addend)| *part = part.wrapping_add(addend));
            }
            (Self::Float { sum, .. }, Arguments::Floats(values)) => sum.add(values[row], weight),
            (Self::Truth { trues, .. }, Arguments::Truths(values)) if values.value(row) => {
                *trues = trues.saturating_add(weight);
            }
            (Self::Bits(bits), Arguments::Integers(at)) => bits.add(at(row) as u64, weight),
            (Self::Moments(moments), Arguments::Floats(values)) => moments.add(values[row], None, weight),
            (Self::Moments(moments), Arguments::FloatPairs(first, second)) => {
                moments.add(first[row], Some(second[row]), weight);
            }
            _ => {}
        }
    }

    /// Adds what `delta`, of the same kind, has gathered. Fails if more is taken away than was there.
    pub(super) fn merge(&mut self, delta: &Self) -> Result<()> {
        let left = match (self, delta) {
            (Self::Count(count), Self::Count(more)) => add(count, *more),
            (
                Self::Integer { count, sum },
                Self::Integer {
                    count: more,
                    sum: addend,
                },
            ) => {
                *sum = sum.wrapping_add(*addend);
                add(count, *more)
            }
            (
                Self::Wide { count, sum },
                Self::Wide {
                    count: more,
                    sum: addend,
                },
            ) => {
                *sum = sum.wrapping_add(*addend);
                add(count, *more)
            }
            (
                Self::Interval { count, parts },
                Self::Interval {
                    count: more,
                    parts: addends,
                },
            ) => {
                parts
                    .iter_mut()
                    .zip(addends)
                    .for_each(|(part, addend)| *part = part.wrapping_add(*addend));
                add(count, *more)
            }
            (
                Self::Float { count, sum },
                Self::Float {
                    count: more,
                    sum: addend,
                },
            ) => {
                sum.merge(addend);
                add(count, *more) && !sum.is_negative()
            }
            (
                Self::Truth { count, trues },
                Self::Truth {
                    count: more,
                    trues: more_trues,
                },
            ) => add(count, *more) && add(trues, *more_trues) && trues <= count,
            (Self::Bits(bits), Self::Bits(more)) => bits.merge(more),
            (Self::Moments(moments), Self::Moments(more)) => moments.merge(more),
            _ => return Err(Error::internal("two different aggregates were merged")),
        };
        if left { Ok(()) } else { Err(negative()) }
    }

    /// Whether nothing is left of what was added.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Count(count) => *count == 0,
            Self::Integer { count, sum } => *count == 0 && *sum == 0,
            Self::Wide { count, sum } => *count == 0 && *sum == i256::ZERO,
            Self::Interval { count, parts } => *count == 0 && *parts == [0; 3],
            Self::Float { count, sum } => *count == 0 && sum.is_zero(),
            Self::Truth { count, trues } => *count == 0 && *trues == 0,
            Self::Bits(bits) => bits.is_empty(),
            Self::Moments(moments) => moments.is_empty(),
            Self::First(value) => value.is_none(),
            Self::List => true,
            Self::Rank(rank) => rank.is_empty(),
        }
    }

    /// The result; that of a list is [read](super::ordered::OrderedValues::list) instead.
    pub(super) fn value(&self, call: &Call) -> Result<Value> {
        let function = call.function();
        let is_average = function == AggregateFunction::Avg;
        Ok(match self {
            Self::Count(count) => Value::Integer(i128::from(*count)),
            Self::Integer { count: 0, .. }
            | Self::Wide { count: 0, .. }
            | Self::Interval { count: 0, .. }
            | Self::Float { count: 0, .. }
            | Self::Truth { count: 0, .. }
            | Self::First(None)
            | Self::List => Value::Null,
            Self::Integer { count, sum } if is_average => Value::Integer(i128::from(*sum as i64 / count)),
            Self::Integer { sum, .. } => Value::Integer(*sum),
            Self::Wide { count, sum } if is_average => decimal_average(*sum, *count, call)?,
            Self::Wide { sum, .. } => Value::Wide(*sum),
            Self::Interval { parts, .. } => Value::Interval(*parts),
            Self::Float { count, sum } if is_average => Value::Float(sum.value() / *count as f64),
            Self::Float { sum, .. } => Value::Float(sum.value()),
            Self::Truth { count, trues } => Value::Integer(i128::from(match function {
                AggregateFunction::BoolOr => *trues > 0,
                _ => trues == count,
            })),
            Self::Bits(bits) => bits_value(bits, function),
            Self::Moments(moments) => match function {
                AggregateFunction::Statistic(statistic) => {
                    statistic.of(moments).map_or(Value::Null, Value::Float)
                }
                _ => return Err(Error::internal("moments of no statistic")),
            },
            Self::Rank(rank) => rank.value(function, call.form()?)?,
            Self::First(Some(entry)) => Value::Encoded(call.form()?.value_of(entry)?),
        })
    }

    /// Appends the stored form.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Count(count) => write_signed(*count, out),
            Self::Integer { count, sum } => {
                write_signed(*count, out);
                write_wide(&sum.to_le_bytes(), out);
            }
            Self::Wide { count, sum } => {
                write_signed(*count, out);
                write_wide(&sum.to_le_bytes(), out);
            }
            Self::Interval { count, parts } => {
                write_signed(*count, out);
                parts.iter().for_each(|part| write_signed(*part, out));
            }
            Self::Float { count, sum } => {
                write_signed(*count, out);
                sum.encode(out);
            }
            Self::Truth { count, trues } => {
                write_signed(*count, out);
                write_signed(*trues, out);
            }
            Self::Bits(bits) => bits.encode(out),
            Self::Moments(moments) => moments.encode(out),
            Self::First(None) => out.push(0),
            Self::First(Some(entry)) => {
                out.push(1);
                write_bytes(entry, out);
            }
            Self::List => {}
            Self::Rank(rank) => rank.encode(out),
        }
    }

    /// Reads what [`Self::encode`] wrote for this kind.
    pub(super) fn decode(kind: Kind, input: &mut Cursor<'_>) -> Result<Self> {
        Ok(match kind {
            Kind::Count => Self::Count(input.signed()?),
            Kind::Integer => Self::Integer {
                count: input.signed()?,
                sum: i128::from_le_bytes(input.wide()?),
            },
            Kind::Wide => Self::Wide {
                count: input.signed()?,
                sum: i256::from_le_bytes(input.wide()?),
            },
            Kind::Interval => Self::Interval {
                count: input.signed()?,
                parts: [input.signed()?, input.signed()?, input.signed()?],
            },
            Kind::Float => Self::Float {
                count: input.signed()?,
                sum: FloatSum::decode(input)?,
            },
            Kind::Truth => Self::Truth {
                count: input.signed()?,
                trues: input.signed()?,
            },
            Kind::Bits => Self::Bits(Box::new(BitCounts::decode(input)?)),
            Kind::Moments => Self::Moments(Box::new(Moments::decode(input)?)),
            Kind::First => match input.array()? {
                [0] => Self::First(None),
                _ => Self::First(Some(input.bytes()?.to_vec())),
            },
            Kind::List => Self::List,
            Kind::Rank => Self::Rank(Box::new(Rank::decode(input)?)),
        })
    }
}

/// The error for a row that was taken away more often than it was there.
pub(in crate::operator) fn negative() -> Error {
    Error::new(
        viewfeed_change::ErrorKind::Internal,
        "NEGATIVE_MULTIPLICITY",
        "a row was removed that is not there",
    )
    .hint("make the view anew, and report this")
}

/// Adds to a count; whether it is still one.
fn add(count: &mut i64, more: i64) -> bool {
    *count = count.saturating_add(more);
    *count >= 0
}

fn bits_value(bits: &BitCounts, function: AggregateFunction) -> Value {
    let value = match function {
        _ if bits.count() == 0 => return Value::Null,
        AggregateFunction::BitAnd => bits.and(),
        AggregateFunction::BitOr => bits.or(),
        _ => bits.xor(),
    };
    Value::Integer(i128::from(value))
}

/// Sum by count in the result's scale, cut towards zero, as DataFusion's decimal average.
fn decimal_average(sum: i256, count: i64, call: &Call) -> Result<Value> {
    let overflow = || Error::invalid("EVALUATION", "the average does not fit its type");
    let (DataType::Decimal128(_, from) | DataType::Decimal256(_, from)) = *call.input_type() else {
        return Err(Error::internal("a decimal average of no decimals"));
    };
    let (to_precision, to) = match *call.output_type() {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => (precision, scale),
        _ => return Err(Error::internal("a decimal average that is no decimal")),
    };
    let by = u32::try_from(i16::from(to) - i16::from(from)).map_err(|_| overflow())?;
    let factor = i256::from(10).checked_pow(by).ok_or_else(overflow)?;
    let scaled = sum.checked_mul(factor).ok_or_else(overflow)?;
    let average = scaled.checked_div(i256::from(count)).ok_or_else(overflow)?;
    match call.output_type() {
        DataType::Decimal128(..) => {
            let average = average.to_i128().ok_or_else(overflow)?;
            Decimal128Type::validate_decimal_precision(average, to_precision, to)?;
            Ok(Value::Integer(average))
        }
        _ => {
            Decimal256Type::validate_decimal_precision(average, to_precision, to)?;
            Ok(Value::Wide(average))
        }
    }
}
