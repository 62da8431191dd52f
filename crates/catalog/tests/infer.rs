//! Messages to tables.

use crate::support::{compiled, files, lines, proto, refused, seed};
use arrow::datatypes::{DataType, TimeUnit};
use viewfeed_change::{LogicalType, Relation};

fn table(body: &str) -> Relation {
    let module = compiled(&proto(body));
    assert_eq!(module.tables.len(), 1, "{:?}", module.tables);
    module.tables[0].clone()
}

fn names(relation: &Relation) -> Vec<&str> {
    relation
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect()
}

#[test]
fn the_seed_message_is_a_table_with_a_hidden_key() {
    let module = compiled(&seed());
    assert_eq!(module.schema, "seed_chat");
    let [table] = &module.tables[..] else {
        panic!("{:?}", module.tables)
    };
    assert_eq!(names(table), ["sender", "channel", "message", "_id"]);
    assert_eq!(table.key, [3]);
    assert!(table.columns[3].hidden);
    assert!(matches!(&table.columns[1].data_type, DataType::Struct(fields) if fields.len() == 2));
}

#[test]
fn columns_are_identified_and_ordered_by_field_number() {
    let table = table("message A { option (viewfeed.v1.table) = {}; string b = 7; string id = 3; }");
    let ids: Vec<u32> = table.columns.iter().map(|column| column.id).collect();
    assert_eq!(ids, [3, 7]);
    assert_eq!(table.key, [0]);
}

#[test]
fn the_key_is_the_option_then_id_then_the_message_id() {
    let by_option = table(
        "message A { option (viewfeed.v1.table) = {key: \"b\" key: \"id\"}; string id = 1; string b = 2; }",
    );
    assert_eq!(by_option.key, [1, 0]);
    let by_name =
        table("message ChatRoom { option (viewfeed.v1.table) = {}; string b = 1; int64 chat_room_id = 2; }");
    assert_eq!(by_name.key, [1]);
}

#[test]
fn every_kind_of_field_has_a_column() {
    let table = table(
        "message Inner { string a = 1; }
         enum Color { COLOR_NONE = 0; COLOR_RED = 1; }
         message A {
           option (viewfeed.v1.table) = {};
           string id = 1;
           optional int32 count = 2;
           Color color = 3;
           google.protobuf.Timestamp at = 4;
           google.protobuf.Duration took = 5;
           google.protobuf.Int64Value size = 6;
           google.protobuf.Struct extra = 7;
           repeated Inner inners = 8;
           map<string, int32> counts = 9;
           oneof kind { string one = 10; Inner two = 11; }
           A parent = 12;
           google.protobuf.Empty nothing = 13;
           string secret = 14 [(viewfeed.v1.column).ignore = true];
         }",
    );
    let column = |name: &str| table.columns[table.column(name).unwrap()].clone();
    assert!(!column("id").nullable);
    assert!(column("count").nullable);
    assert_eq!(
        (column("color").data_type, column("color").logical),
        (DataType::Utf8, LogicalType::Enum)
    );
    assert_eq!(column("color").default.as_deref(), Some("'COLOR_NONE'"));
    assert_eq!(
        column("at").data_type,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    );
    assert_eq!(
        column("took").data_type,
        DataType::Duration(TimeUnit::Microsecond)
    );
    assert_eq!(
        (column("size").data_type, column("size").nullable),
        (DataType::Int64, true)
    );
    assert_eq!(column("extra").logical, LogicalType::Json);
    assert!(matches!(column("inners").data_type, DataType::List(_)));
    assert!(matches!(column("counts").data_type, DataType::Map(..)));
    assert!(column("one").nullable && column("two").nullable);
    assert_eq!(
        column("parent").logical,
        LogicalType::Json,
        "recursive messages are JSON"
    );
    assert_eq!(
        column("nothing").logical,
        LogicalType::Json,
        "empty messages are JSON"
    );
    assert_eq!(table.column("secret"), None);
}

#[test]
fn what_a_migration_creates_is_not_inferred() {
    let proto = "syntax = \"proto3\"; package m; service S { rpc Watch(R) returns (stream Message); } message R { string id = 1; } message Message { string id = 1; }";
    let migration = "-- CREATE TABLE ignored\nCREATE OR REPLACE MATERIALIZED VIEW \"message\" AS SELECT 'create table x' AS id;";
    let module = compiled(&files(
        "m",
        &[("m.proto", proto), ("migrations/0001_v.sql", migration)],
    ));
    assert!(module.tables.is_empty(), "{:?}", module.tables);
}

#[test]
fn requests_and_acknowledgements_are_no_tables() {
    let module = compiled(&proto(
        "service S {
           rpc GetUser(GetUserRequest) returns (User);
           rpc CreateUser(CreateUserRequest) returns (CreateUserResponse);
           rpc DeleteUser(DeleteUserRequest) returns (google.protobuf.Empty);
           rpc Ping(google.protobuf.Empty) returns (google.protobuf.Empty);
         }
         message GetUserRequest { string id = 1; }
         message User { string id = 1; string name = 2; }
         message CreateUserRequest { User user = 1; }
         message CreateUserResponse { string status = 1; }
         message DeleteUserRequest { string id = 1; }",
    ));
    let tables: Vec<String> = module.tables.iter().map(|table| table.name.to_string()).collect();
    assert_eq!(tables, ["m.user"], "{}", lines(&module.diagnostics));
}

#[test]
fn a_default_that_is_declared_is_the_columns_default() {
    let table = table(
        "message A {
           option (viewfeed.v1.table) = {};
           string id = 1 [(viewfeed.v1.column).default = \"gen_random_uuid()\"];
           string by = 2 [(viewfeed.v1.column).preset = \"'x'\"];
         }",
    );
    let defaults: Vec<Option<&str>> = table
        .columns
        .iter()
        .map(|column| column.default.as_deref())
        .collect();
    assert_eq!(defaults, [Some("gen_random_uuid()"), Some("'x'")]);
}

#[test]
fn a_key_that_is_no_column_is_refused_with_the_columns() {
    let told = refused(&proto(
        "message A {\n  option (viewfeed.v1.table) = {key: \"nope\"};\n  string id = 1;\n}",
    ));
    assert!(
        told.starts_with("m.proto:2: error: the key of m.A names nope"),
        "{told}"
    );
    assert!(told.contains("its columns are id"), "{told}");
}

#[test]
fn two_messages_for_one_table_are_refused() {
    let told = refused(&proto(
        "message A { option (viewfeed.v1.table) = {name: \"t\"}; string id = 1; }
         message B { option (viewfeed.v1.table) = {name: \"t\"}; string id = 1; }",
    ));
    assert!(
        told.contains("m.proto:3: error: m.A and m.B are both table m.t"),
        "{told}"
    );
}

#[test]
fn explosive_nesting_is_refused() {
    let mut body = String::from("message A { option (viewfeed.v1.table) = {}; string id = 1; M0 m = 2; }\n");
    for level in 0..7 {
        let fields: String = (1..=9).map(|n| format!("M{} f{n} = {n}; ", level + 1)).collect();
        body.push_str(&format!("message M{level} {{ {fields} }}\n"));
    }
    body.push_str("message M7 { string a = 1; }");
    assert!(refused(&proto(&body)).contains("nested messages"));
}
