//! Field values to arrays.

use crate::form::{FieldForm, Form, entries_field, item_field, struct_fields};
use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::*;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};
use std::sync::Arc;
use viewfeed_change::{Error, Result};

/// The longest Timestamp or Duration, in seconds: what fits in microseconds.
const SECONDS_MAX: i64 = i64::MAX / 1_000_000 - 1;

/// Collects the values of a field.
pub(super) enum Sink {
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Enum(StringBuilder, EnumDescriptor),
    Timestamp(TimestampMicrosecondBuilder),
    Duration(DurationMicrosecondBuilder),
    Json(StringBuilder),
    Wrapper(Box<Sink>, FieldDescriptor),
    Struct(StructSink),
    List(ListSink),
    Map(MapSink),
}

pub(super) struct StructSink {
    fields: Fields,
    children: Vec<(FieldDescriptor, Sink)>,
    valid: NullBufferBuilder,
}

pub(super) struct ListSink {
    item: FieldRef,
    elements: Box<Sink>,
    lengths: Vec<usize>,
    valid: NullBufferBuilder,
}

pub(super) struct MapSink {
    entries: FieldRef,
    keys: Box<Sink>,
    values: Box<Sink>,
    lengths: Vec<usize>,
    valid: NullBufferBuilder,
}

impl Sink {
    pub(super) fn new(form: &Form) -> Self {
        match form {
            Form::Scalar(kind) => Self::scalar(kind),
            Form::Enum(of) => Self::Enum(StringBuilder::new(), of.clone()),
            Form::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(form.data_type()))
            }
            Form::Duration => Self::Duration(DurationMicrosecondBuilder::new()),
            Form::Json(_) => Self::Json(StringBuilder::new()),
            Form::Wrapper(inner) => Self::Wrapper(Box::new(Self::new(&inner.form)), inner.field.clone()),
            Form::Struct(_, fields) => {
                let child = |field: &FieldForm| (field.field.clone(), Self::new(&field.form));
                Self::Struct(StructSink {
                    fields: struct_fields(fields),
                    children: fields.iter().map(child).collect(),
                    valid: NullBufferBuilder::new(0),
                })
            }
            Form::List(element) => Self::List(ListSink {
                item: item_field(element),
                elements: Box::new(Self::new(element)),
                lengths: Vec::new(),
                valid: NullBufferBuilder::new(0),
            }),
            Form::Map(key, value) => Self::Map(MapSink {
                entries: entries_field(key, value),
                keys: Box::new(Self::new(key)),
                values: Box::new(Self::new(value)),
                lengths: Vec::new(),
                valid: NullBufferBuilder::new(0),
            }),
        }
    }

    fn scalar(kind: &Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Self::Int32(Int32Builder::new()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Self::Int64(Int64Builder::new()),
            Kind::Uint32 | Kind::Fixed32 => Self::UInt32(UInt32Builder::new()),
            Kind::Uint64 | Kind::Fixed64 => Self::UInt64(UInt64Builder::new()),
            Kind::Float => Self::Float(Float32Builder::new()),
            Kind::Double => Self::Double(Float64Builder::new()),
            Kind::Bytes => Self::Bytes(BinaryBuilder::new()),
            Kind::String | Kind::Enum(_) | Kind::Message(_) => Self::Text(StringBuilder::new()),
        }
    }

    /// Appends a value; None is NULL. A value of another type than the field's is NULL too: prost-reflect gives none.
    pub(super) fn append(&mut self, value: Option<&Value>) -> Result<()> {
        match self {
            Self::Bool(to) => to.append_option(value.and_then(Value::as_bool)),
            Self::Int32(to) => to.append_option(value.and_then(Value::as_i32)),
            Self::Int64(to) => to.append_option(value.and_then(Value::as_i64)),
            Self::UInt32(to) => to.append_option(value.and_then(Value::as_u32)),
            Self::UInt64(to) => to.append_option(value.and_then(Value::as_u64)),
            Self::Float(to) => to.append_option(value.and_then(Value::as_f32)),
            Self::Double(to) => to.append_option(value.and_then(Value::as_f64)),
            Self::Text(to) => to.append_option(value.and_then(Value::as_str)),
            Self::Bytes(to) => to.append_option(value.and_then(Value::as_bytes)),
            Self::Enum(to, of) => {
                let name = |number| match of.get_value(number) {
                    Some(value) => value.name().to_owned(),
                    None => format!("#{number}"),
                };
                to.append_option(value.and_then(Value::as_enum_number).map(name));
            }
            Self::Timestamp(to) => {
                to.append_option(value.and_then(Value::as_message).map(timestamp).transpose()?)
            }
            Self::Duration(to) => {
                to.append_option(value.and_then(Value::as_message).map(duration).transpose()?)
            }
            Self::Json(to) => to.append_option(value.and_then(Value::as_message).map(json).transpose()?),
            Self::Wrapper(to, field) => match value.and_then(Value::as_message) {
                Some(message) => to.append(Some(&message.get_field(field)))?,
                None => to.append(None)?,
            },
            Self::Struct(to) => to.append(value.and_then(Value::as_message))?,
            Self::List(to) => to.append(value.and_then(Value::as_list))?,
            Self::Map(to) => to.append(value)?,
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(mut to) => Arc::new(to.finish()),
            Self::Int32(mut to) => Arc::new(to.finish()),
            Self::Int64(mut to) => Arc::new(to.finish()),
            Self::UInt32(mut to) => Arc::new(to.finish()),
            Self::UInt64(mut to) => Arc::new(to.finish()),
            Self::Float(mut to) => Arc::new(to.finish()),
            Self::Double(mut to) => Arc::new(to.finish()),
            Self::Text(mut to) | Self::Enum(mut to, _) | Self::Json(mut to) => Arc::new(to.finish()),
            Self::Bytes(mut to) => Arc::new(to.finish()),
            Self::Timestamp(mut to) => Arc::new(to.finish()),
            Self::Duration(mut to) => Arc::new(to.finish()),
            Self::Wrapper(to, _) => to.finish()?,
            Self::Struct(mut to) => {
                let children = to.children.into_iter().map(|(_, child)| child.finish());
                let children = children.collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new(to.fields, children, to.valid.finish())?)
            }
            Self::List(mut to) => {
                let (offsets, elements) = (OffsetBuffer::from_lengths(to.lengths), to.elements.finish()?);
                Arc::new(ListArray::try_new(to.item, offsets, elements, to.valid.finish())?)
            }
            Self::Map(to) => to.finish()?,
        })
    }
}

impl StructSink {
    fn append(&mut self, message: Option<&DynamicMessage>) -> Result<()> {
        self.valid.append(message.is_some());
        for (field, child) in &mut self.children {
            match message.and_then(|message| super::value_of(message, field)) {
                Some(value) => child.append(Some(&value))?,
                None => child.append(None)?,
            }
        }
        Ok(())
    }
}

impl ListSink {
    fn append(&mut self, elements: Option<&[Value]>) -> Result<()> {
        self.valid.append(elements.is_some());
        let elements = elements.unwrap_or_default();
        self.lengths.push(elements.len());
        elements
            .iter()
            .try_for_each(|element| self.elements.append(Some(element)))
    }
}

impl MapSink {
    /// Entries are sorted by key, so that equal maps are equal rows.
    fn append(&mut self, map: Option<&Value>) -> Result<()> {
        let map = map.and_then(Value::as_map);
        self.valid.append(map.is_some());
        let mut entries: Vec<(&MapKey, &Value)> = map.into_iter().flatten().collect();
        entries.sort_by(|(a, _), (b, _)| key_order(a).cmp(&key_order(b)));
        self.lengths.push(entries.len());
        for (key, value) in entries {
            self.keys.append(Some(&Value::from(key.clone())))?;
            self.values.append(Some(value))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let DataType::Struct(pair) = self.entries.data_type() else {
            return Err(Error::internal("map entries are no struct"));
        };
        let columns = vec![self.keys.finish()?, self.values.finish()?];
        let entries = StructArray::try_new(pair.clone(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(Arc::new(MapArray::try_new(
            self.entries,
            offsets,
            entries,
            self.valid.finish(),
            false,
        )?))
    }
}

fn key_order(key: &MapKey) -> (i128, &str) {
    match key {
        MapKey::Bool(value) => (i128::from(*value), ""),
        MapKey::I32(value) => (i128::from(*value), ""),
        MapKey::I64(value) => (i128::from(*value), ""),
        MapKey::U32(value) => (i128::from(*value), ""),
        MapKey::U64(value) => (i128::from(*value), ""),
        MapKey::String(value) => (0, value),
    }
}

/// Seconds and nanoseconds of a Timestamp or Duration.
fn seconds(message: &DynamicMessage) -> (i64, i64) {
    let seconds = message.get_field_by_number(1).and_then(|value| value.as_i64());
    let nanos = message.get_field_by_number(2).and_then(|value| value.as_i32());
    (seconds.unwrap_or_default(), i64::from(nanos.unwrap_or_default()))
}

fn in_range(seconds: i64) -> bool {
    (-SECONDS_MAX..=SECONDS_MAX).contains(&seconds)
}

fn timestamp(message: &DynamicMessage) -> Result<i64> {
    match seconds(message) {
        (seconds, nanos) if in_range(seconds) && (0..1_000_000_000).contains(&nanos) => {
            Ok(seconds * 1_000_000 + nanos / 1_000)
        }
        _ => Err(Error::invalid("TIMESTAMP_RANGE", "the timestamp is out of range")
            .hint("nanos are 0 to 999,999,999, and seconds must fit in 64 bits of microseconds")),
    }
}

fn duration(message: &DynamicMessage) -> Result<i64> {
    match seconds(message) {
        (seconds, nanos) if in_range(seconds) && nanos.abs() < 1_000_000_000 => {
            Ok(seconds * 1_000_000 + nanos / 1_000)
        }
        _ => Err(Error::invalid("DURATION_RANGE", "the duration is out of range")
            .hint("nanos are -999,999,999 to 999,999,999, and seconds must fit in 64 bits of microseconds")),
    }
}

fn json(message: &DynamicMessage) -> Result<String> {
    serde_json::to_string(message).map_err(|_| {
        // The cause would show the value.
        let name = message.descriptor().full_name().to_owned();
        Error::invalid("JSON_VALUE", format!("a {name} cannot be written as JSON"))
            .hint("numbers in JSON must be finite, and messages in Any must be known to the module")
    })
}
