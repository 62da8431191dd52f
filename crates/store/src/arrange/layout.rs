//! What an arrangement of a relation is called: which columns its entries are made of, in stored form.
//!
//! The name changes when the bytes of a row would: a relation that got a column gets new arrangements, and the old ones
//! can still be found by the old relation. Names are stored: the spelling below must never change.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use std::fmt::Write;
use viewfeed_change::{ColumnPath, Error, Relation, Result};

/// `r/<relation>/<layout>/`: what the names of all arrangements of the relation, as it is now, start with.
pub(super) fn relation_prefix(relation: &Relation) -> String {
    let mut columns = String::new();
    for column in &relation.columns {
        let _ = write!(columns, "{}:", column.id);
        spell(&column.data_type, &mut columns);
        columns.push(';');
    }
    format!("r/{}/{:016x}/", relation.id.0, fnv1a(columns.as_bytes()))
}

/// The key as it stands at the end of a name: `0,2.1` is column 0, then child 1 of column 2.
pub(super) fn spell_key(key: &[ColumnPath]) -> String {
    let spell = |path: &ColumnPath| path.0.iter().map(usize::to_string).collect::<Vec<_>>().join(".");
    key.iter().map(spell).collect::<Vec<_>>().join(",")
}

/// The key a name ends with.
pub(super) fn parse_key(text: &str) -> Result<Vec<ColumnPath>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let path = |text: &str| {
        text.split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(ColumnPath)
    };
    let wrong = |error: std::num::ParseIntError| {
        Error::corrupt("the name of an arrangement has no key").because(error)
    };
    text.split(',').map(path).collect::<Result<_, _>>().map_err(wrong)
}

/// A name for every type the row codec can encode. Not arrow's own, which may change with its version.
fn spell(data_type: &DataType, out: &mut String) {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    let mut plain = |name: String| out.push_str(&name);
    match data_type {
        DataType::Null => plain("null".into()),
        DataType::Boolean => plain("bool".into()),
        DataType::Int8 => plain("i8".into()),
        DataType::Int16 => plain("i16".into()),
        DataType::Int32 => plain("i32".into()),
        DataType::Int64 => plain("i64".into()),
        DataType::UInt8 => plain("u8".into()),
        DataType::UInt16 => plain("u16".into()),
        DataType::UInt32 => plain("u32".into()),
        DataType::UInt64 => plain("u64".into()),
        DataType::Float32 => plain("f32".into()),
        DataType::Float64 => plain("f64".into()),
        DataType::Utf8 => plain("text".into()),
        DataType::Binary => plain("bytes".into()),
        DataType::Date32 => plain("date".into()),
        DataType::Date64 => plain("date64".into()),
        DataType::Time32(of) => plain(format!("time32({})", unit(of))),
        DataType::Time64(of) => plain(format!("time64({})", unit(of))),
        DataType::Timestamp(of, zone) => {
            plain(format!(
                "timestamp({},{})",
                unit(of),
                zone.as_deref().unwrap_or("")
            ));
        }
        DataType::Duration(of) => plain(format!("duration({})", unit(of))),
        DataType::Interval(IntervalUnit::YearMonth) => plain("interval(ym)".into()),
        DataType::Interval(IntervalUnit::DayTime) => plain("interval(dt)".into()),
        DataType::Interval(IntervalUnit::MonthDayNano) => plain("interval(mdn)".into()),
        DataType::Decimal128(precision, scale) => plain(format!("decimal128({precision},{scale})")),
        DataType::Decimal256(precision, scale) => plain(format!("decimal256({precision},{scale})")),
        DataType::FixedSizeBinary(size) => plain(format!("fixed({size})")),
        DataType::List(field) => spell_nested("list", std::iter::once(field.as_ref()), out),
        DataType::Map(field, _) => spell_nested("map", std::iter::once(field.as_ref()), out),
        DataType::Struct(fields) => spell_nested("struct", fields.iter().map(AsRef::as_ref), out),
        // The row codec refuses these, so no arrangement of them can be made.
        other => plain(format!("other({other})")),
    }
}

fn spell_nested<'a>(kind: &str, fields: impl Iterator<Item = &'a Field>, out: &mut String) {
    out.push_str(kind);
    out.push('(');
    for field in fields {
        let _ = write!(out, "{:?}=", field.name());
        spell(field.data_type(), out);
        out.push(',');
    }
    out.push(')');
}

/// FNV-1a, 64 bits: stable for ever and in ten lines. Two layouts of one relation would have to collide to do harm.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
