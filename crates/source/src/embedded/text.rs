//! Text to typed values, in the forms Postgres reads: `'t'` and `'yes'` for booleans, `'\xff'` for bytes, `'{1,2}'` for
//! arrays. Messages name the column, never the text.

use super::{list_text, values};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, PrimitiveArray,
    StringArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use std::num::IntErrorKind;
use std::sync::Arc;
use viewfeed_change::{Column, Error, Result};
use viewfeed_query::sql_type;

/// Why a text is not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not read as one.
    Syntax,
    /// It is too large or too small.
    Range,
}

impl Fault {
    /// As an error about a column.
    pub(super) fn of(self, column: &Column) -> Error {
        let (name, sql_type) = (&column.name, sql_type(column));
        match self {
            Self::Syntax => Error::invalid(
                "INVALID_TEXT",
                format!("column \"{name}\": the text does not read as {sql_type}"),
            ),
            Self::Range => Error::invalid(
                "VALUE_OUT_OF_RANGE",
                format!("column \"{name}\": the value is out of range for {sql_type}"),
            ),
        }
    }
}

/// The values `texts` stand for, of the column's type. What a logical type demands is checked later, with all rows.
pub(super) fn parse(texts: &StringArray, column: &Column) -> Result<ArrayRef> {
    if texts.null_count() == texts.len() {
        return Ok(values::nulls(column, texts.len()));
    }
    let parsed: Result<ArrayRef, Fault> = match &column.data_type {
        DataType::Utf8 => return Ok(Arc::new(texts.clone())),
        DataType::List(_) => {
            return values::lists(texts, column, |text| {
                list_text::split(text).map_err(|fault| fault.of(column))
            });
        }
        DataType::Boolean => booleans(texts),
        DataType::Int8 => integers::<Int8Type>(texts),
        DataType::Int16 => integers::<Int16Type>(texts),
        DataType::Int32 => integers::<Int32Type>(texts),
        DataType::Int64 => integers::<Int64Type>(texts),
        DataType::UInt8 => integers::<UInt8Type>(texts),
        DataType::UInt16 => integers::<UInt16Type>(texts),
        DataType::UInt32 => integers::<UInt32Type>(texts),
        DataType::UInt64 => integers::<UInt64Type>(texts),
        DataType::Float32 => floats::<Float32Type>(texts),
        DataType::Float64 => floats::<Float64Type>(texts),
        DataType::Decimal128(precision, scale) => decimals(texts, *precision, *scale),
        DataType::Binary => binaries(texts),
        other => by_cast(texts, other),
    };
    parsed.map_err(|fault| fault.of(column))
}

fn booleans(texts: &StringArray) -> Result<ArrayRef, Fault> {
    let one = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Ok(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Ok(false),
        _ => Err(Fault::Syntax),
    };
    let parsed = texts.iter().map(|text| text.map(one).transpose());
    Ok(Arc::new(parsed.collect::<Result<BooleanArray, _>>()?))
}

fn integers<T: ArrowPrimitiveType>(texts: &StringArray) -> Result<ArrayRef, Fault>
where
    T::Native: std::str::FromStr<Err = std::num::ParseIntError>,
{
    primitives::<T>(texts, |text| {
        text.trim()
            .parse()
            .map_err(|error: std::num::ParseIntError| match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => Fault::Range,
                _ => Fault::Syntax,
            })
    })
}

fn floats<T: ArrowPrimitiveType>(texts: &StringArray) -> Result<ArrayRef, Fault>
where
    T::Native: std::str::FromStr<Err = std::num::ParseFloatError>,
{
    primitives::<T>(texts, |text| text.trim().parse().map_err(|_| Fault::Syntax))
}

fn primitives<T: ArrowPrimitiveType>(
    texts: &StringArray,
    one: impl Fn(&str) -> Result<T::Native, Fault>,
) -> Result<ArrayRef, Fault> {
    let parsed = texts.iter().map(|text| text.map(&one).transpose());
    Ok(Arc::new(parsed.collect::<Result<PrimitiveArray<T>, _>>()?))
}

fn decimals(texts: &StringArray, precision: u8, scale: i8) -> Result<ArrayRef, Fault> {
    let parsed = texts.iter().map(|text| {
        text.map(|text| decimal(text.trim(), precision, scale))
            .transpose()
    });
    let array = parsed.collect::<Result<Decimal128Array, _>>()?;
    let array = array
        .with_precision_and_scale(precision, scale)
        .map_err(|_| Fault::Range)?;
    Ok(Arc::new(array))
}

/// The number `text` (`-12.5e3`) times ten to the `scale`, rounded half away from zero, of at most `precision` digits.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Fault> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| Fault::Syntax)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Syntax);
    }
    let shift = i64::from(exponent) + i64::from(scale) - fraction.len() as i64;
    let magnitude = shifted(digits.trim_start_matches('0'), shift)?;
    if magnitude >= 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX) {
        return Err(Fault::Range);
    }
    Ok(if negative { -magnitude } else { magnitude })
}

/// `digits` times ten to the `shift`, rounded.
fn shifted(digits: &str, shift: i64) -> Result<i128, Fault> {
    if digits.is_empty() {
        return Ok(0);
    }
    let kept_len = digits.len() as i64 + shift;
    if kept_len > 39 {
        return Err(Fault::Range);
    }
    if kept_len < 0 {
        return Ok(0);
    }
    let kept = &digits[..digits.len().min(kept_len as usize)];
    let round_up = digits
        .as_bytes()
        .get(kept_len as usize)
        .is_some_and(|digit| *digit >= b'5');
    let kept: i128 = if kept.is_empty() {
        0
    } else {
        kept.parse().map_err(|_| Fault::Range)?
    };
    let factor = 10_i128.checked_pow(shift.max(0) as u32).ok_or(Fault::Range)?;
    kept.checked_mul(factor)
        .and_then(|value| value.checked_add(i128::from(round_up)))
        .ok_or(Fault::Range)
}

fn binaries(texts: &StringArray) -> Result<ArrayRef, Fault> {
    let parsed = texts
        .iter()
        .map(|text| text.map(bytes).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(BinaryArray::from_iter(parsed)))
}

/// `\x` and hexadecimal digits, or text with `\\` and `\ooo`.
fn bytes(text: &str) -> Result<Vec<u8>, Fault> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let value = |digit: u8| {
            (digit as char)
                .to_digit(16)
                .map(|value| value as u8)
                .ok_or(Fault::Syntax)
        };
        if digits.len() % 2 == 1 {
            return Err(Fault::Syntax);
        }
        return digits
            .chunks(2)
            .map(|pair| Ok(value(pair[0])? << 4 | value(pair[1])?))
            .collect();
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                out.push(b'\\');
                rest = after;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            (b'\\', _) => return Err(Fault::Syntax),
            (byte, _) => out.push(*byte),
        }
    }
    Ok(out)
}

/// Dates, times and intervals: arrow reads their usual forms.
fn by_cast(texts: &StringArray, to: &DataType) -> Result<ArrayRef, Fault> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(texts, to, &options).map_err(|_| Fault::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_away_from_zero() {
        assert_eq!(decimal("1.005", 10, 2), Ok(101));
        assert_eq!(decimal("-1.005", 10, 2), Ok(-101));
        assert_eq!(decimal("12.5e3", 10, 0), Ok(12_500));
        assert_eq!(decimal("0.004", 10, 2), Ok(0));
        assert_eq!(decimal("0.5", 10, 0), Ok(1));
        assert_eq!(decimal(".5", 10, 1), Ok(5));
        assert_eq!(decimal("100", 2, 0), Err(Fault::Range));
        assert_eq!(decimal("1e99", 38, 0), Err(Fault::Range));
        assert_eq!(decimal("1e-99", 38, 0), Ok(0));
        assert_eq!(decimal("1.2.3", 38, 0), Err(Fault::Syntax));
        assert_eq!(decimal("", 38, 0), Err(Fault::Syntax));
    }

    #[test]
    fn bytes_are_read_from_hexadecimal_and_escaped_text() {
        assert_eq!(bytes("\\xDEad"), Ok(vec![0xde, 0xad]));
        assert_eq!(bytes("a\\\\\\001"), Ok(vec![b'a', b'\\', 1]));
        assert_eq!(bytes("\\xabc"), Err(Fault::Syntax));
        assert_eq!(bytes("\\q"), Err(Fault::Syntax));
    }
}
