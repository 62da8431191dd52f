//! Requests to filters, frames to responses.

use crate::support::{
    bound, chat, chat_views, proto, request, response, rpc, seed, subscribe, unbindable, view,
};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use prost_reflect::DynamicMessage;
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Column, ColumnPath};
use viewfeed_wire::v1;

fn key_of(texts: &[&str]) -> Vec<u8> {
    let fields: Vec<Field> = (0..texts.len())
        .map(|n| Field::new(n.to_string(), DataType::Utf8, true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = texts
        .iter()
        .map(|text| Arc::new(StringArray::from(vec![*text])) as ArrayRef)
        .collect();
    let row = RecordBatch::try_new(schema.clone(), columns).unwrap();
    RowCodec::for_schema(&schema)
        .unwrap()
        .encode(&row)
        .unwrap()
        .row(0)
        .to_vec()
}

#[test]
fn the_seed_joins_by_channel_name_whoever_joins() {
    let module = bound(&seed(), &[]);
    let rpc = rpc(&module, "JoinChannel");
    let join = subscribe(&rpc);
    assert!(join.bare);
    assert_eq!(join.filter, [ColumnPath(vec![1, 0])]);
    for who in ["ann", "bob"] {
        let call = join
            .call(&request(
                &rpc,
                &format!(r#"{{"name":"general","sendersName":"{who}"}}"#),
            ))
            .unwrap();
        assert_eq!(
            call.filter,
            Some((vec![ColumnPath(vec![1, 0])], key_of(&["general"])))
        );
    }
}

#[test]
fn a_typed_envelope_holds_frame_rows_and_keys() {
    let module = bound(&chat(), &chat_views());
    let rpc = rpc(&module, "WatchMessages");
    let watch = subscribe(&rpc);
    assert!(!watch.bare);
    assert_eq!((watch.envelope, &watch.key[..]), (v1::Envelope::Upsert, &[0][..]));
    let schema = watch.relation.schema();
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let at = arrow::array::new_null_array(schema.field(5).data_type(), 1);
    let row = RecordBatch::try_new(
        schema.clone(),
        vec![text("1"), text("general"), text("t"), text("ann"), text("hi"), at],
    )
    .unwrap();
    let key = row.project(&watch.key).unwrap();
    let frame = v1::Frame {
        kind: v1::frame::Kind::Delta.into(),
        version: 7,
        ..v1::Frame::default()
    };
    let rows = watch.encoder.encode(&row).unwrap();
    let deletes = watch.key_encoder.as_ref().unwrap().encode(&key).unwrap();
    let json = response(&rpc, &watch.respond(&frame, &rows, &deletes));
    assert_eq!(
        json,
        r#"{"frame":{"kind":"KIND_DELTA","version":"7"},"messages":[{"id":"1","channelId":"general","channelTopic":"t","sender":"ann","text":"hi"}],"deletes":[{"id":"1"}]}"#
    );
}

#[test]
fn the_feed_request_is_read_and_an_unset_optional_field_filters_nothing() {
    let module = bound(&chat(), &chat_views());
    let rpc = rpc(&module, "WatchMessages");
    let call = subscribe(&rpc)
        .call(&request(
            &rpc,
            r#"{"feed":{"skipSnapshot":true,"upToVersion":"9"}}"#,
        ))
        .unwrap();
    assert_eq!(call.filter, None);
    assert!(call.feed.skip_snapshot);
    assert_eq!(call.feed.up_to_version, 9);
    let call = subscribe(&rpc)
        .call(&request(&rpc, r#"{"channelId":""}"#))
        .unwrap();
    assert_eq!(call.filter, Some((vec![ColumnPath(vec![1])], key_of(&[""]))));
}

#[test]
fn a_plain_field_that_is_not_set_filters_by_zero() {
    let module = bound(&chat(), &chat_views());
    let rpc = rpc(&module, "WatchMembers");
    let call = subscribe(&rpc)
        .call(&DynamicMessage::new(rpc.method.input()))
        .unwrap();
    assert_eq!(call.filter, Some((vec![ColumnPath(vec![0])], key_of(&[""]))));
}

const NO_KEYS: &str = "service S {\n  rpc Watch(Req) returns (stream Res) { option (viewfeed.v1.rpc) = {subscribe: {view: \"v\" OPTIONS}}; }\n}\n\
    message Row { string n = 1; } message Req { viewfeed.v1.FeedRequest feed = 1; }\n\
    message Res { viewfeed.v1.Frame frame = 1; repeated Row rows = 2; KEYS }\nmessage Key { string n = 1; } message Other { string x = 1; }";

fn watch(options: &str, keys: &str) -> viewfeed_catalog::ModuleFiles {
    proto(&NO_KEYS.replace("OPTIONS", options).replace("KEYS", keys))
}

fn v(key: Vec<usize>) -> Vec<viewfeed_change::Relation> {
    vec![view(
        "m",
        "v",
        vec![Column::new(0, "n", DataType::Utf8, false)],
        key,
    )]
}

#[test]
fn upsert_without_key_or_field_for_deletes_is_refused() {
    let told = unbindable(&watch("envelope: ENVELOPE_UPSERT", ""), &v(vec![]));
    assert!(told.contains("m.proto:3: error: UPSERT needs a key"), "{told}");
    let told = unbindable(&watch("envelope: ENVELOPE_UPSERT", ""), &v(vec![0]));
    assert!(
        told.contains("m.proto:3: error: UPSERT needs a field for deleted keys"),
        "{told}"
    );
    let told = unbindable(&watch("", "repeated Key deletes = 3;"), &v(vec![]));
    assert!(
        told.contains("m.proto:6: error: field m.Res.deletes holds deleted keys, but m.v has no key"),
        "{told}"
    );
    let told = unbindable(&watch("", "repeated Other deletes = 3;"), &v(vec![0]));
    assert!(
        told.contains("m.proto:7: error: m.Other tells deleted rows but lacks the key column n"),
        "{told}"
    );
}

#[test]
fn the_envelope_is_the_best_that_is_possible() {
    let envelope = |files: &_, key| subscribe(&rpc(&bound(files, &v(key)), "Watch")).envelope;
    assert_eq!(
        envelope(&watch("", "repeated Key deletes = 3;"), vec![0]),
        v1::Envelope::Upsert
    );
    assert_eq!(envelope(&watch("", ""), vec![0]), v1::Envelope::Diff);
    assert_eq!(envelope(&watch("", ""), vec![]), v1::Envelope::Diff);
    assert_eq!(
        envelope(&watch("envelope: ENVELOPE_STATE", ""), vec![]),
        v1::Envelope::State
    );
    assert_eq!(
        envelope(&watch("key: \"n\"", "repeated Key deletes = 3;"), vec![]),
        v1::Envelope::Upsert
    );
}

#[test]
fn a_client_cannot_ask_for_an_envelope_without_fields() {
    let module = bound(&watch("", ""), &v(vec![0]));
    let rpc = rpc(&module, "Watch");
    let error = subscribe(&rpc)
        .call(&request(&rpc, r#"{"feed":{"envelope":"ENVELOPE_UPSERT"}}"#))
        .unwrap_err();
    assert_eq!(error.reason(), "ENVELOPE");
}

#[test]
fn a_guess_that_does_not_fit_leaves_the_rpc_unbound() {
    let module = bound(
        &proto(
            "service S { rpc List(Req) returns (Res); } message Req {} message Row { string id = 1; } message Res { repeated Row rows = 1; }",
        ),
        &[],
    );
    let report = module.report();
    assert!(
        report.contains("nothing")
            && report.contains("warning: /m.S/List does nothing: there is no table or view row"),
        "{report}"
    );
}

#[test]
fn a_channel_id_is_found_from_a_channel() {
    let module = bound(
        &proto(
            "service S { rpc Watch(Channel) returns (stream Message); } message Channel { string id = 1; } message Message { string id = 1; string channel_id = 2; }",
        ),
        &[],
    );
    assert_eq!(subscribe(&rpc(&module, "Watch")).filter, [ColumnPath(vec![1])]);
}
