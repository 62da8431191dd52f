//! Arrays to wire bytes. A [`Writer`] is made once per field, bound to an array once per batch, and then only branches
//! per row.

use super::fit::conform_value;
use super::wire::{LENGTH, Tag, VARINT, put_bytes, put_delimited, put_varint, wire_type, zigzag};
use crate::form::{FieldForm, Form};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use std::sync::Arc;
use viewfeed_change::{Error, Result};

/// How a field is written.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    tag: Tag,
    /// Zero values are left out (proto3 without presence).
    omits_zero: bool,
    packed: bool,
    form: Arc<Form>,
    /// Writers of the fields of a struct, in their order.
    children: Vec<Writer>,
}

impl Writer {
    pub(super) fn new(field: &FieldDescriptor, form: &Form) -> Self {
        let packed = field.is_list() && field.is_packed();
        let wire_type = if packed || field.is_map() {
            LENGTH
        } else {
            wire_type(&field.kind())
        };
        Self {
            tag: Tag::new(field.number(), wire_type),
            omits_zero: !field.supports_presence(),
            packed,
            form: Arc::new(form.clone()),
            children: children(form),
        }
    }

    /// The writer of the values of a map entry, which are always written.
    fn entry(number: u32, form: &Form) -> Self {
        Self {
            tag: Tag::new(number, form_wire_type(form)),
            omits_zero: false,
            packed: false,
            form: Arc::new(form.clone()),
            children: children(form),
        }
    }

    /// Ties the writer to the values of a batch.
    pub(super) fn bind(&self, array: &ArrayRef) -> Result<Bound> {
        Ok(Bound {
            tag: self.tag,
            omits_zero: self.omits_zero,
            packed: self.packed,
            slot: Slot::new(&self.form, &self.children, array)?,
        })
    }
}

fn children(form: &Form) -> Vec<Writer> {
    match form {
        Form::Struct(_, fields) => fields.iter().map(|f| Writer::new(&f.field, &f.form)).collect(),
        Form::Wrapper(inner) => vec![Writer::new(&inner.field, &inner.form)],
        Form::List(element) => children(element),
        Form::Map(key, value) => vec![Writer::entry(1, key), Writer::entry(2, value)],
        _ => Vec::new(),
    }
}

fn form_wire_type(form: &Form) -> u32 {
    match form {
        Form::Scalar(kind) => wire_type(kind),
        Form::Enum(_) => VARINT,
        _ => LENGTH,
    }
}

/// A field and its values.
pub(super) struct Bound {
    tag: Tag,
    omits_zero: bool,
    packed: bool,
    slot: Slot,
}

impl Bound {
    /// Appends the field of `row`: nothing for NULL, and for zero where the field has no presence.
    #[inline]
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.slot.is_null(row) {
            return Ok(());
        }
        match &self.slot.values {
            Values::List(offsets, elements) => {
                self.write_list(offsets[row] as usize..offsets[row + 1] as usize, elements, out)
            }
            Values::Map(offsets, entry) => {
                for at in offsets[row] as usize..offsets[row + 1] as usize {
                    self.tag.put(out);
                    put_delimited(out, |out| {
                        entry.0.write_always(at, out)?;
                        entry.1.write_always(at, out)
                    })?;
                }
                Ok(())
            }
            values if self.omits_zero && values.is_zero(row) => Ok(()),
            values => {
                self.tag.put(out);
                values.write(row, out)
            }
        }
    }

    fn write_always(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        self.tag.put(out);
        self.slot.write_or_zero(row, out)
    }

    fn write_list(&self, range: std::ops::Range<usize>, elements: &Slot, out: &mut Vec<u8>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        if self.packed {
            self.tag.put(out);
            return put_delimited(out, |out| {
                range
                    .into_iter()
                    .try_for_each(|at| elements.write_or_zero(at, out))
            });
        }
        for at in range {
            self.tag.put(out);
            elements.write_or_zero(at, out)?;
        }
        Ok(())
    }
}

/// Values and which of them are NULL.
struct Slot {
    nulls: Option<NullBuffer>,
    values: Values,
}

/// Values, with the type resolved.
enum Values {
    Null,
    Bool(BooleanArray),
    Varint32(ScalarBuffer<i32>),
    Zigzag32(ScalarBuffer<i32>),
    Fixed32(ScalarBuffer<i32>),
    Varint64(ScalarBuffer<i64>),
    Zigzag64(ScalarBuffer<i64>),
    Fixed64(ScalarBuffer<i64>),
    VarintU32(ScalarBuffer<u32>),
    FixedU32(ScalarBuffer<u32>),
    VarintU64(ScalarBuffer<u64>),
    FixedU64(ScalarBuffer<u64>),
    Float(ScalarBuffer<f32>),
    Double(ScalarBuffer<f64>),
    Text(StringArray),
    Bytes(BinaryArray),
    Enum(StringArray, EnumDescriptor),
    Timestamp(ScalarBuffer<i64>),
    Duration(ScalarBuffer<i64>),
    Json(StringArray, MessageDescriptor),
    Struct(Vec<Bound>),
    Wrapper(Box<Bound>),
    List(OffsetBuffer<i32>, Box<Slot>),
    Map(OffsetBuffer<i32>, Box<(Bound, Bound)>),
}

impl Slot {
    fn new(form: &Form, children: &[Writer], array: &ArrayRef) -> Result<Self> {
        if array.data_type() == &DataType::Null {
            let nulls = Some(NullBuffer::new_null(array.len()));
            return Ok(Self {
                nulls,
                values: Values::Null,
            });
        }
        let values = match form {
            Form::Struct(_, fields) => return Self::of_struct(fields, children, array),
            Form::List(element) => {
                let list = array.as_list_opt::<i32>().ok_or_else(changed)?;
                Values::List(
                    list.offsets().clone(),
                    Box::new(Self::new(element, children, list.values())?),
                )
            }
            Form::Map(..) => {
                let map = array.as_map_opt().ok_or_else(changed)?;
                let entry = (children[0].bind(map.keys())?, children[1].bind(map.values())?);
                Values::Map(map.offsets().clone(), Box::new(entry))
            }
            Form::Wrapper(_) => Values::Wrapper(Box::new(children[0].bind(array)?)),
            _ => Values::flat(form, &conform_value(array, &form.data_type())?)?,
        };
        let nulls = array.nulls().cloned();
        Ok(Self { nulls, values })
    }

    fn of_struct(fields: &[FieldForm], children: &[Writer], array: &ArrayRef) -> Result<Self> {
        let parent = array.as_struct_opt().ok_or_else(changed)?;
        let bind = |(field, writer): (&FieldForm, &Writer)| {
            writer.bind(parent.column_by_name(field.field.name()).ok_or_else(changed)?)
        };
        Ok(Self {
            nulls: array.nulls().cloned(),
            values: Values::Struct(fields.iter().zip(children).map(bind).collect::<Result<_>>()?),
        })
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The value without tag; a NULL, which protobuf does not know here, is zero.
    fn write_or_zero(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if !self.is_null(row) {
            return self.values.write(row, out);
        }
        let zeros = match &self.values {
            Values::Fixed32(_) | Values::FixedU32(_) | Values::Float(_) => 4,
            Values::Fixed64(_) | Values::FixedU64(_) | Values::Double(_) => 8,
            _ => 1,
        };
        out.resize(out.len() + zeros, 0);
        Ok(())
    }
}

impl Values {
    fn flat(form: &Form, array: &ArrayRef) -> Result<Self> {
        let int32 = || array.as_primitive::<Int32Type>().values().clone();
        let int64 = || array.as_primitive::<Int64Type>().values().clone();
        let uint32 = || array.as_primitive::<UInt32Type>().values().clone();
        let uint64 = || array.as_primitive::<UInt64Type>().values().clone();
        let text = || array.as_string::<i32>().clone();
        Ok(match form {
            Form::Enum(of) => Self::Enum(text(), of.clone()),
            Form::Json(message) => Self::Json(text(), message.clone()),
            Form::Timestamp => {
                Self::Timestamp(array.as_primitive::<TimestampMicrosecondType>().values().clone())
            }
            Form::Duration => {
                Self::Duration(array.as_primitive::<DurationMicrosecondType>().values().clone())
            }
            Form::Scalar(kind) => match kind {
                Kind::Bool => Self::Bool(array.as_boolean().clone()),
                Kind::Int32 => Self::Varint32(int32()),
                Kind::Sint32 => Self::Zigzag32(int32()),
                Kind::Sfixed32 => Self::Fixed32(int32()),
                Kind::Int64 => Self::Varint64(int64()),
                Kind::Sint64 => Self::Zigzag64(int64()),
                Kind::Sfixed64 => Self::Fixed64(int64()),
                Kind::Uint32 => Self::VarintU32(uint32()),
                Kind::Fixed32 => Self::FixedU32(uint32()),
                Kind::Uint64 => Self::VarintU64(uint64()),
                Kind::Fixed64 => Self::FixedU64(uint64()),
                Kind::Float => Self::Float(array.as_primitive::<Float32Type>().values().clone()),
                Kind::Double => Self::Double(array.as_primitive::<Float64Type>().values().clone()),
                Kind::Bytes => Self::Bytes(array.as_binary::<i32>().clone()),
                Kind::String | Kind::Enum(_) | Kind::Message(_) => Self::Text(text()),
            },
            Form::Struct(..) | Form::List(_) | Form::Map(..) | Form::Wrapper(_) => return Err(changed()),
        })
    }

    #[inline]
    fn is_zero(&self, row: usize) -> bool {
        match self {
            Self::Bool(values) => !values.value(row),
            Self::Varint32(values) | Self::Zigzag32(values) | Self::Fixed32(values) => values[row] == 0,
            Self::Varint64(values) | Self::Zigzag64(values) | Self::Fixed64(values) => values[row] == 0,
            Self::VarintU32(values) | Self::FixedU32(values) => values[row] == 0,
            Self::VarintU64(values) | Self::FixedU64(values) => values[row] == 0,
            // -0.0 is not the default: by bits.
            Self::Float(values) => values[row].to_bits() == 0,
            Self::Double(values) => values[row].to_bits() == 0,
            Self::Text(values) => values.value(row).is_empty(),
            Self::Bytes(values) => values.value(row).is_empty(),
            Self::Enum(values, of) => enum_number(values.value(row), of).is_ok_and(|number| number == 0),
            _ => false,
        }
    }

    /// The value without tag.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Null => {}
            Self::Bool(values) => out.push(u8::from(values.value(row))),
            Self::Varint32(values) => put_varint(i64::from(values[row]) as u64, out),
            Self::Zigzag32(values) => put_varint(zigzag(i64::from(values[row])), out),
            Self::Fixed32(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Self::Varint64(values) => put_varint(values[row] as u64, out),
            Self::Zigzag64(values) => put_varint(zigzag(values[row]), out),
            Self::Fixed64(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Self::VarintU32(values) => put_varint(u64::from(values[row]), out),
            Self::FixedU32(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Self::VarintU64(values) => put_varint(values[row], out),
            Self::FixedU64(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Self::Float(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Self::Double(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Self::Text(values) => put_bytes(values.value(row).as_bytes(), out),
            Self::Bytes(values) => put_bytes(values.value(row), out),
            Self::Enum(values, of) => put_varint(i64::from(enum_number(values.value(row), of)?) as u64, out),
            Self::Timestamp(values) => {
                let us = values[row];
                write_seconds(us.div_euclid(1_000_000), us.rem_euclid(1_000_000) * 1_000, out);
            }
            Self::Duration(values) => {
                write_seconds(values[row] / 1_000_000, values[row] % 1_000_000 * 1_000, out)
            }
            Self::Json(values, message) => put_bytes(&from_json(values.value(row), message)?, out),
            Self::Struct(fields) => {
                put_delimited(out, |out| {
                    fields.iter().try_for_each(|field| field.write(row, out))
                })?;
            }
            Self::Wrapper(inner) => put_delimited(out, |out| inner.write(row, out))?,
            Self::List(..) | Self::Map(..) => return Err(changed()),
        }
        Ok(())
    }
}

/// A Timestamp or Duration message.
fn write_seconds(seconds: i64, nanos: i64, out: &mut Vec<u8>) {
    let at = out.len();
    out.push(0);
    for (tag, value) in [(0x08, seconds), (0x10, nanos)] {
        if value != 0 {
            out.push(tag);
            put_varint(value as u64, out);
        }
    }
    // Two tags and two varints are at most 22 bytes.
    out[at] = (out.len() - at - 1) as u8;
}

fn enum_number(text: &str, of: &EnumDescriptor) -> Result<i32> {
    if let Some(value) = of.get_value_by_name(text) {
        return Ok(value.number());
    }
    let number = text.strip_prefix('#').and_then(|number| number.parse().ok());
    number.ok_or_else(|| {
        Error::invalid(
            "ENUM_VALUE",
            format!("a row holds a text that is no value of {}", of.full_name()),
        )
        .hint("store the names of the enum's values, or #number")
    })
}

fn from_json(text: &str, message: &MessageDescriptor) -> Result<Vec<u8>> {
    let wrong = |error: serde_json::Error| {
        // The cause would show the value.
        let place = format!("line {} column {}", error.line(), error.column());
        Error::invalid(
            "JSON_VALUE",
            format!("a row holds JSON that is no {} ({place})", message.full_name()),
        )
    };
    let mut input = serde_json::Deserializer::from_str(text);
    let value = DynamicMessage::deserialize(message.clone(), &mut input).map_err(wrong)?;
    input.end().map_err(wrong)?;
    Ok(value.encode_to_vec())
}

fn changed() -> Error {
    Error::internal("rows of another type than the encoder was made for")
}
