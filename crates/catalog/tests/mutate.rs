//! Requests to rows, acknowledgements to responses.

use crate::support::{bound, chat, chat_views, mutate, proto, request, response, rpc, seed, unbindable};
use arrow::array::{AsArray, RecordBatch};
use viewfeed_catalog::{Module, Mutation};
use viewfeed_change::Result;
use viewfeed_wire::v1;

fn rows(module: &Module, method: &str, requests: &[&str]) -> Result<RecordBatch> {
    let rpc = rpc(module, method);
    let requests: Vec<_> = requests.iter().map(|json| request(&rpc, json)).collect();
    mutate(&rpc).rows(&requests)
}

fn names(rows: &RecordBatch) -> Vec<String> {
    rows.schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

fn chat_module() -> Module {
    bound(&chat(), &chat_views())
}

#[test]
fn the_seed_sends_messages_into_the_table() {
    let module = bound(&seed(), &[]);
    let rpc = rpc(&module, "SendMessage");
    let send = mutate(&rpc);
    assert_eq!(
        (send.mutation, send.table.name.to_string()),
        (Mutation::Insert, "seed_chat.message".to_owned())
    );
    let sent = request(
        &rpc,
        r#"{"sender":"ann","channel":{"name":"general"},"message":"hi"}"#,
    );
    let rows = send.rows(std::slice::from_ref(&sent)).unwrap();
    assert_eq!(names(&rows), ["sender", "channel", "message"]);
    assert_eq!(
        rows.column(1).as_struct().column(0).as_string::<i32>().value(0),
        "general"
    );
    let ack = v1::Ack {
        version: 3,
        rows: 1,
        commit_time: None,
    };
    assert_eq!(
        response(&rpc, &send.respond(&ack, &[sent]).unwrap()),
        r#"{"status":"ok"}"#
    );
}

#[test]
fn presets_are_never_sent_and_defaults_only_if_set() {
    let module = chat_module();
    let without = rows(
        &module,
        "SendMessage",
        &[r#"{"message":{"channelId":"c","sentAt":"2020-01-01T00:00:00Z"}}"#],
    )
    .unwrap();
    assert_eq!(names(&without), ["channel_id", "sender", "text"]);
    let with = rows(&module, "SendMessage", &[r#"{"message":{"id":"1"}}"#]).unwrap();
    assert_eq!(names(&with), ["id", "channel_id", "sender", "text"]);
}

#[test]
fn a_transaction_that_sets_a_default_only_in_part_is_refused() {
    let error = rows(
        &chat_module(),
        "SendMessages",
        &[r#"{"message":{"id":"1"}}"#, r#"{"message":{}}"#],
    )
    .unwrap_err();
    assert_eq!(error.reason(), "MIXED_DEFAULTS");
}

#[test]
fn a_request_without_a_row_is_refused() {
    assert_eq!(
        rows(&chat_module(), "SendMessage", &["{}"]).unwrap_err().reason(),
        "ROW_MISSING"
    );
}

#[test]
fn an_update_writes_what_is_set_and_a_delete_needs_the_key() {
    let module = chat_module();
    assert_eq!(
        names(&rows(&module, "EditMessage", &[r#"{"id":"1","text":"x"}"#]).unwrap()),
        ["id", "text"]
    );
    assert_eq!(
        rows(&module, "EditMessage", &[r#"{"id":"1"}"#])
            .unwrap_err()
            .reason(),
        "NOTHING_TO_UPDATE"
    );
    assert_eq!(
        names(&rows(&module, "DeleteMessage", &[r#"{"id":"1"}"#]).unwrap()),
        ["id"]
    );
    assert_eq!(
        names(&rows(&module, "LeaveChannel", &[r#"{"channelId":"1","name":"n"}"#]).unwrap()),
        ["channel_id", "name"]
    );
}

#[test]
fn a_field_mask_chooses_what_is_updated() {
    let module = bound(
        &proto("service S { rpc UpdateUser(UpdateUserRequest) returns (User) { option (viewfeed.v1.rpc) = {mutate: {row_field: \"user\"}}; } }
            message UpdateUserRequest { User user = 1; google.protobuf.FieldMask update_mask = 2; } message User { string id = 1; string name = 2; int32 age = 3; }"),
        &[],
    );
    let masked = |mask: &str| {
        rows(
            &module,
            "UpdateUser",
            &[&format!(
                r#"{{"user":{{"id":"1","name":"x"}},"updateMask":"{mask}"}}"#
            )],
        )
    };
    assert_eq!(names(&masked("age").unwrap()), ["id", "age"]);
    assert_eq!(names(&masked("").unwrap()), ["id", "name"]);
    assert_eq!(masked("nope").unwrap_err().reason(), "FIELD_MASK");
}

#[test]
fn an_ack_field_holds_the_ack() {
    let rpc = rpc(&chat_module(), "SendMessage");
    let ack = v1::Ack {
        version: 3,
        rows: 1,
        commit_time: None,
    };
    assert_eq!(
        response(&rpc, &mutate(&rpc).respond(&ack, &[]).unwrap()),
        r#"{"ack":{"version":"3","rows":"1"}}"#
    );
}

#[test]
fn a_response_of_the_rows_type_is_the_row() {
    let module = bound(
        &proto(
            "service S { rpc CreateUser(CreateUserRequest) returns (User); } message CreateUserRequest { User user = 1; } message User { string id = 1; }",
        ),
        &[],
    );
    let rpc = rpc(&module, "CreateUser");
    let sent = request(&rpc, r#"{"user":{"id":"7"}}"#);
    assert_eq!(
        response(&rpc, &mutate(&rpc).respond(&v1::Ack::default(), &[sent]).unwrap()),
        r#"{"id":"7"}"#
    );
}

#[test]
fn one_request_may_hold_many_rows() {
    let module = bound(
        &proto(
            "service S { rpc AddUsers(AddUsersRequest) returns (Res); } message AddUsersRequest { repeated User users = 1; } message User { string id = 1; } message Res { uint32 rows = 1; }",
        ),
        &[],
    );
    assert_eq!(
        rows(&module, "AddUsers", &[r#"{"users":[{"id":"1"},{"id":"2"}]}"#])
            .unwrap()
            .num_rows(),
        2
    );
}

#[test]
fn an_empty_key_is_a_mistake() {
    let module = bound(
        &proto(
            "service S { rpc AddUser(User) returns (Res); } message User { string id = 1; } message Res { bool ok = 1; }",
        ),
        &[],
    );
    assert_eq!(
        rows(&module, "AddUser", &["{}"]).unwrap_err().reason(),
        "KEY_MISSING"
    );
}

#[test]
fn an_update_of_rows_without_key_is_refused() {
    let told = unbindable(
        &proto(
            "service S {\n  rpc Change(A) returns (Res) { option (viewfeed.v1.rpc) = {mutate: {operation: OPERATION_UPDATE}}; }\n}\nmessage A { string a = 1; } message Res { bool ok = 1; }",
        ),
        &[],
    );
    assert!(
        told.contains("m.proto:3: error: /m.S/Change finds rows by key, but m.a has none"),
        "{told}"
    );
}
