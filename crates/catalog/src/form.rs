//! The form a protobuf field has as a column: the one table of the type mapping, shared by inference, encoder and
//! decoder.
//!
//! ```text
//! bool int32 int64 uint32 uint64 float double string bytes   Boolean Int32 Int64 UInt32 UInt64 Float32 Float64 Utf8 Binary
//! enum                                     Utf8: the value's name, `#n` for a number without one
//! google.protobuf.Timestamp / Duration     Timestamp(µs, UTC) / Duration(µs): finer parts are cut off
//! google.protobuf.*Value                   the scalar, NULL when not set
//! google.protobuf.Struct, Value, ListValue JSON text; so are recursive, empty and very deep messages
//! message                                  Struct (its children are nullable)
//! repeated, map                            List, Map
//! ```

use crate::options;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use std::sync::Arc;
use viewfeed_change::LogicalType;

/// Messages nested deeper than this are JSON text.
const NESTING_MAX: usize = 8;

/// Values (leaves of nested messages included) that one message may have.
const LEAVES_MAX: usize = 2_000;

/// A field and its form.
#[derive(Clone, Debug)]
pub(crate) struct FieldForm {
    pub(crate) field: FieldDescriptor,
    pub(crate) form: Form,
}

/// What values of a field look like.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// A number, text or bytes.
    Scalar(Kind),
    Enum(EnumDescriptor),
    Timestamp,
    Duration,
    /// A message of one scalar, `google.protobuf.Int32Value` and its like.
    Wrapper(Box<FieldForm>),
    /// JSON text of a message.
    Json(MessageDescriptor),
    Struct(MessageDescriptor, Vec<FieldForm>),
    List(Box<Form>),
    Map(Box<Form>, Box<Form>),
}

/// Why a field can have no form: what is wrong, and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Formless {
    pub(crate) field: FieldDescriptor,
    pub(crate) message: String,
    pub(crate) advice: &'static str,
}

/// The forms of the fields of `message`, in the order of declaration, without ignored ones.
pub(crate) fn forms(message: &MessageDescriptor) -> Result<Vec<FieldForm>, Formless> {
    Former::default().fields(message)
}

/// The form of one field.
pub(crate) fn form(field: &FieldDescriptor) -> Result<Form, Formless> {
    Former::default().field(field)
}

/// Whether NULL is a value of the field: it is `optional`, a message, or in a oneof.
pub(crate) fn has_null(field: &FieldDescriptor) -> bool {
    field.supports_presence()
}

impl Form {
    /// The Arrow type of a column of this form.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Scalar(kind) => scalar_type(kind),
            Self::Enum(_) | Self::Json(_) => DataType::Utf8,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Duration => DataType::Duration(TimeUnit::Microsecond),
            Self::Wrapper(inner) => inner.form.data_type(),
            Self::Struct(_, fields) => DataType::Struct(struct_fields(fields)),
            Self::List(element) => DataType::List(item_field(element)),
            Self::Map(key, value) => DataType::Map(entries_field(key, value), false),
        }
    }

    /// What a column of this form means beyond its Arrow type.
    pub(crate) fn logical(&self) -> LogicalType {
        match self {
            Self::Enum(_) => LogicalType::Enum,
            Self::Json(_) => LogicalType::Json,
            _ => LogicalType::Plain,
        }
    }

    /// The name of the form for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Scalar(kind) => scalar_name(kind).to_owned(),
            Self::Enum(of) => format!("enum {}", of.full_name()),
            Self::Timestamp => "google.protobuf.Timestamp".into(),
            Self::Duration => "google.protobuf.Duration".into(),
            Self::Wrapper(inner) => format!("nullable {}", inner.form.describe()),
            Self::Json(message) | Self::Struct(message, _) => format!("message {}", message.full_name()),
            Self::List(element) => format!("repeated {}", element.describe()),
            Self::Map(key, value) => format!("map<{}, {}>", key.describe(), value.describe()),
        }
    }
}

/// The fields of a struct column. All are nullable: a NULL struct has NULL fields.
pub(crate) fn struct_fields(fields: &[FieldForm]) -> Fields {
    let field = |f: &FieldForm| Field::new(f.field.name(), f.form.data_type(), true);
    fields.iter().map(field).collect()
}

pub(crate) fn item_field(element: &Form) -> Arc<Field> {
    Arc::new(Field::new_list_field(element.data_type(), true))
}

pub(crate) fn entries_field(key: &Form, value: &Form) -> Arc<Field> {
    let key = Field::new("key", key.data_type(), false);
    let value = Field::new("value", value.data_type(), true);
    Arc::new(Field::new(
        "entries",
        DataType::Struct(vec![key, value].into()),
        false,
    ))
}

/// Walks messages into messages, with limits.
#[derive(Default)]
struct Former {
    inside: Vec<String>,
    leaves: usize,
}

impl Former {
    fn fields(&mut self, message: &MessageDescriptor) -> Result<Vec<FieldForm>, Formless> {
        self.inside.push(message.full_name().to_owned());
        let mut fields = Vec::new();
        for field in message.fields().filter(|field| !options::column(field).ignore) {
            let form = self.field(&field)?;
            fields.push(FieldForm { field, form });
        }
        self.inside.pop();
        Ok(fields)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Result<Form, Formless> {
        let refuse = |message: String, advice| Formless {
            field: field.clone(),
            message,
            advice,
        };
        if field.is_group() {
            let message = format!("field {} is a group", field.full_name());
            return Err(refuse(
                message,
                "use a nested message: groups are a proto2 form that has no column",
            ));
        }
        self.leaves += 1;
        if self.leaves > LEAVES_MAX {
            let message = format!(
                "{} has more than {LEAVES_MAX} values in nested messages",
                self.inside.join(".")
            );
            return Err(refuse(
                message,
                "split the message, or put (viewfeed.v1.column).ignore on large parts",
            ));
        }
        let kind = field.kind();
        if let (true, Kind::Message(entry)) = (field.is_map(), &kind) {
            let key = self.one(&entry.map_entry_key_field().kind())?;
            let value = self.one(&entry.map_entry_value_field().kind())?;
            return Ok(Form::Map(Box::new(key), Box::new(value)));
        }
        let one = self.one(&kind)?;
        Ok(if field.is_list() {
            Form::List(Box::new(one))
        } else {
            one
        })
    }

    fn one(&mut self, kind: &Kind) -> Result<Form, Formless> {
        let message = match kind {
            Kind::Message(message) => message,
            Kind::Enum(of) => return Ok(Form::Enum(of.clone())),
            scalar => return Ok(Form::Scalar(scalar.clone())),
        };
        Ok(match message.full_name() {
            "google.protobuf.Timestamp" => Form::Timestamp,
            "google.protobuf.Duration" => Form::Duration,
            "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue" => {
                Form::Json(message.clone())
            }
            name if is_wrapper(name) => {
                let field = message.get_field(1).expect("every wrapper has field 1");
                let form = Form::Scalar(field.kind());
                Form::Wrapper(Box::new(FieldForm { field, form }))
            }
            name if self.inside.iter().any(|outer| outer == name) => Form::Json(message.clone()),
            _ if self.inside.len() >= NESTING_MAX => Form::Json(message.clone()),
            _ => match self.fields(message)? {
                none if none.is_empty() => Form::Json(message.clone()),
                fields => Form::Struct(message.clone(), fields),
            },
        })
    }
}

fn is_wrapper(name: &str) -> bool {
    let known = [
        "Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes",
    ];
    name.strip_prefix("google.protobuf.")
        .and_then(|name| name.strip_suffix("Value"))
        .is_some_and(|name| known.contains(&name))
}

fn scalar_type(kind: &Kind) -> DataType {
    match kind {
        Kind::Bool => DataType::Boolean,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => DataType::Int32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => DataType::Int64,
        Kind::Uint32 | Kind::Fixed32 => DataType::UInt32,
        Kind::Uint64 | Kind::Fixed64 => DataType::UInt64,
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::Bytes => DataType::Binary,
        Kind::String | Kind::Enum(_) | Kind::Message(_) => DataType::Utf8,
    }
}

fn scalar_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int32 => "int32",
        Kind::Sint32 => "sint32",
        Kind::Sfixed32 => "sfixed32",
        Kind::Int64 => "int64",
        Kind::Sint64 => "sint64",
        Kind::Sfixed64 => "sfixed64",
        Kind::Uint32 => "uint32",
        Kind::Fixed32 => "fixed32",
        Kind::Uint64 => "uint64",
        Kind::Fixed64 => "fixed64",
        Kind::Float => "float",
        Kind::Double => "double",
        Kind::Bytes => "bytes",
        Kind::String | Kind::Enum(_) | Kind::Message(_) => "string",
    }
}
