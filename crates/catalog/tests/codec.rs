//! Messages to rows and back: prost-reflect is the oracle of our wire bytes.

use crate::support::{compiled, files, message, proto, proto_text};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::sync::Arc;
use viewfeed_catalog::{CompiledModule, RowDecoder, RowEncoder};

const EVERYTHING: &str = "
enum Color { COLOR_NONE = 0; COLOR_RED = 1; COLOR_BLUE = -7; }
message Inner { string text = 1; optional int64 number = 2; repeated Inner2 deeper = 3; Color color = 4; }
message Inner2 { bytes data = 1; map<string, Color> colors = 2; google.protobuf.Timestamp at = 3; }
message Tree { string name = 1; repeated Tree children = 2; }
message Everything {
  option (viewfeed.v1.table) = {};
  string id = 1;
  bool a_bool = 2; int32 a_int32 = 3; sint32 a_sint32 = 4; sfixed32 a_sfixed32 = 5;
  int64 a_int64 = 6; sint64 a_sint64 = 7; sfixed64 a_sfixed64 = 8;
  uint32 a_uint32 = 9; fixed32 a_fixed32 = 10; uint64 a_uint64 = 11; fixed64 a_fixed64 = 12;
  float a_float = 13; double a_double = 14; bytes a_bytes = 15; Color a_color = 16;
  optional bool o_bool = 20; optional int32 o_int32 = 21; optional string o_text = 22; optional bytes o_bytes = 23;
  optional double o_double = 24; optional Color o_color = 25; optional uint64 o_uint64 = 26;
  Inner inner = 30;
  google.protobuf.Timestamp at = 31;
  google.protobuf.Duration took = 32;
  google.protobuf.Int64Value w_int64 = 33; google.protobuf.StringValue w_text = 34; google.protobuf.BoolValue w_bool = 35;
  google.protobuf.BytesValue w_bytes = 36; google.protobuf.DoubleValue w_double = 37;
  Tree tree = 38;
  google.protobuf.Empty nothing = 39;
  google.protobuf.FieldMask mask = 40;
  repeated int32 r_int32 = 50; repeated sint64 r_sint64 = 51 [packed = false]; repeated string r_text = 52;
  repeated Inner r_inner = 53; repeated Color r_color = 54; repeated double r_double = 55; repeated bool r_bool = 56;
  repeated google.protobuf.Timestamp r_at = 57; repeated google.protobuf.StringValue r_wrapped = 58; repeated Tree r_tree = 59;
  repeated fixed32 r_fixed32 = 60; repeated bytes r_bytes = 61;
  map<string, string> m_text = 70; map<int32, Inner> m_inner = 71; map<bool, double> m_double = 72;
  map<uint64, Color> m_color = 73; map<sint64, google.protobuf.Duration> m_took = 74; map<fixed32, Tree> m_tree = 75;
  oneof kind { string one = 80; Inner two = 81; int32 three = 82; Color four = 83; }
  string far = 536870911;
}";

fn everything() -> (CompiledModule, MessageDescriptor) {
    let module = compiled(&proto(EVERYTHING));
    let descriptor = module.pool.get_message_by_name("m.Everything").unwrap();
    (module, descriptor)
}

/// What comes back of messages that were rows for a while.
fn round_trip(
    module: &CompiledModule,
    descriptor: &MessageDescriptor,
    messages: &[DynamicMessage],
) -> Vec<DynamicMessage> {
    let rows = RowDecoder::new(&module.tables[0], descriptor)
        .unwrap()
        .decode(messages)
        .unwrap();
    let encoder = RowEncoder::new(&rows.schema(), descriptor).unwrap();
    let encoded = encoder.encode(&rows).unwrap();
    encoded
        .into_iter()
        .map(|bytes| DynamicMessage::decode(descriptor.clone(), bytes).unwrap())
        .collect()
}

#[test]
fn every_message_survives_being_a_row() {
    let (module, descriptor) = everything();
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..60 {
        let messages: Vec<DynamicMessage> = (0..20).map(|_| random_row(&descriptor, &mut random)).collect();
        for (got, sent) in round_trip(&module, &descriptor, &messages).iter().zip(&messages) {
            for field in descriptor.fields() {
                let (got, sent) = (got.get_field(&field), sent.get_field(&field));
                assert_eq!(got, sent, "seed {seed}, field {}", field.name());
            }
            assert_eq!(got, sent, "seed {seed}");
        }
    }
}

#[test]
fn the_bytes_are_as_short_as_those_of_the_oracle() {
    let (module, descriptor) = everything();
    let mut random = StdRng::seed_from_u64(7);
    let messages: Vec<DynamicMessage> = (0..200).map(|_| random_row(&descriptor, &mut random)).collect();
    let rows = RowDecoder::new(&module.tables[0], &descriptor)
        .unwrap()
        .decode(&messages)
        .unwrap();
    let encoded = RowEncoder::new(&rows.schema(), &descriptor)
        .unwrap()
        .encode(&rows)
        .unwrap();
    for (bytes, message) in encoded.iter().zip(&messages) {
        // The oracle leaves out zeros in map entries, which is allowed too.
        assert!(
            bytes.len() <= message.encoded_len() + 4 * 64,
            "{} > {}",
            bytes.len(),
            message.encoded_len()
        );
    }
}

#[test]
fn a_slice_of_rows_encodes_as_the_rows_in_it() {
    let (module, descriptor) = everything();
    let mut random = StdRng::seed_from_u64(8);
    let messages: Vec<DynamicMessage> = (0..10).map(|_| random_row(&descriptor, &mut random)).collect();
    let rows = RowDecoder::new(&module.tables[0], &descriptor)
        .unwrap()
        .decode(&messages)
        .unwrap();
    let encoder = RowEncoder::new(&rows.schema(), &descriptor).unwrap();
    let all = encoder.encode(&rows).unwrap();
    assert_eq!(encoder.encode(&rows.slice(3, 4)).unwrap(), all[3..7]);
}

#[test]
fn rows_survive_the_row_codec() {
    let (module, descriptor) = everything();
    let mut random = StdRng::seed_from_u64(9);
    let messages: Vec<DynamicMessage> = (0..50).map(|_| random_row(&descriptor, &mut random)).collect();
    let rows = RowDecoder::new(&module.tables[0], &descriptor)
        .unwrap()
        .decode(&messages)
        .unwrap();
    let codec = viewfeed_change::row::RowCodec::for_schema(&rows.schema()).unwrap();
    let encoded = codec.encode(&rows).unwrap();
    let back = codec.decode(encoded.iter()).unwrap();
    let encoder = RowEncoder::new(&back.schema(), &descriptor).unwrap();
    assert_eq!(encoder.encode(&back).unwrap(), encoder.encode(&rows).unwrap());
}

/// As it comes from the wire: fields that are zero are not set.
fn random_row(descriptor: &MessageDescriptor, random: &mut StdRng) -> DynamicMessage {
    let bytes = random_message(descriptor, random, 0).encode_to_vec();
    DynamicMessage::decode(descriptor.clone(), &bytes[..]).unwrap()
}

fn random_message(descriptor: &MessageDescriptor, random: &mut StdRng, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            message.set_field_by_name(
                "seconds",
                Value::I64(random.random_range(-62_000_000_000..250_000_000_000)),
            );
            message.set_field_by_name("nanos", Value::I32(random.random_range(0..1_000_000) * 1_000));
            return message;
        }
        "google.protobuf.Duration" => {
            let sign = if random.random() { 1 } else { -1 };
            message.set_field_by_name("seconds", Value::I64(sign * random.random_range(0..1_000_000)));
            message.set_field_by_name(
                "nanos",
                Value::I32(sign as i32 * random.random_range(0..1_000_000) * 1_000),
            );
            return message;
        }
        _ => {}
    }
    for field in descriptor.fields() {
        if depth < 4 && random.random_bool(0.5) {
            let value = random_field(&field, random, depth);
            message.set_field(&field, value);
        }
    }
    message
}

fn random_field(field: &FieldDescriptor, random: &mut StdRng, depth: usize) -> Value {
    let count = random.random_range(0..4);
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let mut map = HashMap::new();
        for _ in 0..count {
            let key: MapKey = random_value(&entry.map_entry_key_field().kind(), random, depth)
                .into_map_key()
                .unwrap();
            map.insert(
                key,
                random_value(&entry.map_entry_value_field().kind(), random, depth),
            );
        }
        return Value::Map(map);
    }
    if field.is_list() {
        return Value::List(
            (0..count)
                .map(|_| random_value(&field.kind(), random, depth))
                .collect(),
        );
    }
    random_value(&field.kind(), random, depth)
}

fn random_value(kind: &Kind, random: &mut StdRng, depth: usize) -> Value {
    let zero = random.random_bool(0.2);
    match kind {
        Kind::Bool => Value::Bool(random.random()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(if zero { 0 } else { random.random() }),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(if zero { 0 } else { random.random() }),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(if zero { 0 } else { random.random() }),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(if zero { 0 } else { random.random() }),
        Kind::Float => Value::F32([0.0, -0.0, 1.5, f32::MIN, f32::INFINITY][random.random_range(0..5)]),
        Kind::Double => Value::F64([0.0, -0.0, 1.5, f64::MAX, f64::NEG_INFINITY][random.random_range(0..5)]),
        Kind::String => {
            let len = if random.random_bool(0.05) {
                300
            } else {
                random.random_range(0..8)
            };
            Value::String(
                (0..len)
                    .map(|_| ['a', 'ä', '\0', '"', '漢'][random.random_range(0..5)])
                    .collect(),
            )
        }
        Kind::Bytes => Value::Bytes(
            (0..random.random_range(0..6))
                .map(|_| random.random::<u8>())
                .collect::<Vec<_>>()
                .into(),
        ),
        // 99 is no value of any enum: it must survive as a number.
        Kind::Enum(_) => Value::EnumNumber([0, 1, -7, 99, i32::MIN][random.random_range(0..5)]),
        Kind::Message(message) => Value::Message(random_message(message, random, depth + 1)),
    }
}

#[test]
fn json_messages_are_json_in_rows() {
    let module = compiled(&proto(
        "message A { option (viewfeed.v1.table) = {}; string id = 1; google.protobuf.Struct s = 2; google.protobuf.Value v = 3; google.protobuf.ListValue l = 4; }",
    ));
    let descriptor = module.pool.get_message_by_name("m.A").unwrap();
    let sent = message(
        &descriptor,
        r#"{"id":"1","s":{"a":[1,{"b":null}]},"v":"x","l":[true]}"#,
    );
    let rows = RowDecoder::new(&module.tables[0], &descriptor)
        .unwrap()
        .decode(std::slice::from_ref(&sent))
        .unwrap();
    let json: &StringArray = rows.column_by_name("v").unwrap().as_any().downcast_ref().unwrap();
    assert_eq!(json.value(0), "\"x\"");
    assert_eq!(
        round_trip(&module, &descriptor, std::slice::from_ref(&sent)),
        [sent]
    );
}

fn columns(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, array)| array).collect(),
    )
    .unwrap()
}

#[test]
fn null_is_not_set_and_zero_is_left_out() {
    let module = compiled(&proto(
        "message A { int64 plain = 1; optional int64 maybe = 2; string text = 3; }",
    ));
    let descriptor = module.pool.get_message_by_name("m.A").unwrap();
    let rows = columns(vec![
        (
            "text",
            Arc::new(StringArray::from(vec![None, Some(""), Some("x")])),
        ),
        ("plain", Arc::new(Int64Array::from(vec![None, Some(0), Some(1)]))),
        ("maybe", Arc::new(Int64Array::from(vec![None, Some(0), Some(1)]))),
        ("no_field", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ]);
    let encoded = RowEncoder::new(&rows.schema(), &descriptor)
        .unwrap()
        .encode(&rows)
        .unwrap();
    assert_eq!(&encoded[0][..], b"");
    assert_eq!(&encoded[1][..], b"\x10\x00");
    assert_eq!(&encoded[2][..], b"\x08\x01\x10\x01\x1a\x01x");
}

#[test]
fn types_that_do_not_fit_are_refused_by_name() {
    let module = compiled(&proto("message A { int32 small = 1; string text = 2; }"));
    let descriptor = module.pool.get_message_by_name("m.A").unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("small", DataType::Int64, true)]));
    let error = RowEncoder::new(&schema, &descriptor).unwrap_err().to_string();
    assert!(
        error.contains("field m.A.small is int32, but its column is bigint"),
        "{error}"
    );
    assert!(error.contains("field m.A.text has no column"), "{error}");
}

#[test]
fn a_value_that_does_not_fit_fails_without_showing_it() {
    let module = compiled(&proto("message A { int64 n = 1; }"));
    let descriptor = module.pool.get_message_by_name("m.A").unwrap();
    let rows = columns(vec![("n", Arc::new(UInt64Array::from(vec![u64::MAX])))]);
    let error = RowEncoder::new(&rows.schema(), &descriptor)
        .unwrap()
        .encode(&rows)
        .unwrap_err();
    assert_eq!(error.reason(), "VALUE_DOES_NOT_FIT");
    assert!(!error.to_string().contains("18446744073709551615"), "{error}");
}

#[test]
fn a_timestamp_out_of_range_is_refused() {
    let (module, descriptor) = everything();
    let decoder = RowDecoder::new(&module.tables[0], &descriptor).unwrap();
    for (seconds, nanos) in [
        (i64::MIN, 0),
        (i64::MAX, 0),
        (0, -1),
        (0, 1_000_000_000),
        (0, i32::MIN),
    ] {
        let field = descriptor.get_field_by_name("at").unwrap();
        let Kind::Message(timestamp) = field.kind() else {
            panic!()
        };
        let mut at = DynamicMessage::new(timestamp);
        at.set_field_by_name("seconds", Value::I64(seconds));
        at.set_field_by_name("nanos", Value::I32(nanos));
        let mut sent = DynamicMessage::new(descriptor.clone());
        sent.set_field(&field, Value::Message(at));
        assert_eq!(decoder.decode(&[sent]).unwrap_err().reason(), "TIMESTAMP_RANGE");
    }
}

#[test]
fn proto2_messages_have_their_presence() {
    let text = "syntax = \"proto2\"; package m; import \"viewfeed/v1/options.proto\";
        message A { option (viewfeed.v1.table) = {}; required string id = 1; optional int32 n = 2 [default = 7]; repeated int32 list = 3; }";
    let module = compiled(&files("m", &[("m.proto", text)]));
    let descriptor = module.pool.get_message_by_name("m.A").unwrap();
    let sent = vec![
        message(&descriptor, r#"{"id":"", "list":[1,2]}"#),
        message(&descriptor, r#"{"id":"x","n":0}"#),
    ];
    assert_eq!(round_trip(&module, &descriptor, &sent), sent);
}

#[test]
fn many_rows_are_one_message_each() {
    let module = compiled(&files(
        "m",
        &[(
            "m.proto",
            &proto_text("message A { string sender = 1; int64 n = 2; string text = 3; }"),
        )],
    ));
    let descriptor = module.pool.get_message_by_name("m.A").unwrap();
    let count = 100_000;
    let text = |prefix: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..count).map(|n| format!("{prefix}{n}")),
        ))
    };
    let numbers = Arc::new(Int64Array::from_iter_values(0..count));
    let rows = columns(vec![
        ("sender", text("user")),
        ("n", numbers),
        ("text", text("hello, world, this is ")),
    ]);
    let encoder = RowEncoder::new(&rows.schema(), &descriptor).unwrap();
    let encoded = encoder.encode(&rows).unwrap();
    assert_eq!(encoded.len() as i64, count);
}
