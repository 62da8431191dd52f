//! Requests to SELECTs, rows to responses, pages.

use crate::support::{
    bound, chat, chat_views, message, proto, query, request, response, rpc, text, unbindable, view,
};
use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use prost_reflect::DynamicMessage;
use std::sync::Arc;
use viewfeed_catalog::{Module, Query, Rpc, Select};
use viewfeed_change::{Column, ErrorKind};

const LIST: &str = "SELECT \"id\", \"channel_id\", \"channel_topic\", \"sender\", \"text\", \"sent_at\" FROM \"chat\".\"channel_messages\"";

fn chat_module() -> Module {
    bound(&chat(), &chat_views())
}

fn select(rpc: &Rpc, json: &str) -> Select {
    query(rpc).select(&request(rpc, json)).unwrap()
}

#[test]
fn a_list_filters_orders_and_asks_for_one_row_more() {
    let rpc = rpc(&chat_module(), "ListMessages");
    let select = select(&rpc, r#"{"channelId":"general","pageSize":2,"minVersion":"7"}"#);
    assert_eq!(select.min_version, 7);
    assert_eq!(select.page_size, 2);
    assert_eq!(select.search_schema, "chat");
    let tail = " WHERE \"channel_id\" = $1 ORDER BY \"sent_at\" DESC NULLS FIRST, \"id\" ASC NULLS LAST, ";
    assert!(select.sql.starts_with(&format!("{LIST}{tail}")), "{}", select.sql);
    assert!(select.sql.ends_with(" LIMIT 3"), "{}", select.sql);
    assert_eq!(select.params[0].as_string::<i32>().value(0), "general");
}

#[test]
fn page_sizes_are_as_aip_158_says() {
    let rpc = rpc(&chat_module(), "ListMessages");
    assert_eq!(select(&rpc, "{}").page_size, 50);
    assert_eq!(select(&rpc, r#"{"pageSize":1000000}"#).page_size, 200);
    let error = query(&rpc)
        .select(&request(&rpc, r#"{"pageSize":-1}"#))
        .unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, "PAGE_SIZE"));
}

fn messages(rows: &[(&str, Option<i64>)]) -> RecordBatch {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; rows.len()])) };
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let at: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.1)).with_timezone("UTC"));
    let columns = [
        ("id", ids),
        ("channel_id", text("general")),
        ("channel_topic", text("t")),
        ("sender", text("s")),
        ("text", text("x")),
        ("sent_at", at),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

#[test]
fn a_page_ends_with_a_token_only_if_there_is_more() {
    let rpc = rpc(&chat_module(), "ListMessages");
    let query = query(&rpc);
    let first = select(&rpc, r#"{"channelId":"general","pageSize":2}"#);
    let rows = messages(&[("a", Some(3)), ("b", Some(2)), ("c", Some(1))]);
    let full = DynamicMessage::decode(
        rpc.method.output(),
        &query
            .respond(&first, &[rows.slice(0, 1), rows.slice(1, 2)], 9)
            .unwrap()[..],
    )
    .unwrap();
    assert_eq!(
        full.get_field_by_name("messages")
            .unwrap()
            .as_list()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(full.get_field_by_name("version").unwrap().as_u64(), Some(9));
    let token = text(&full, "next_page_token");
    assert!(
        !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    );
    let last = response(&rpc, &query.respond(&first, &[rows.slice(0, 2)], 9).unwrap());
    assert!(!last.contains("nextPageToken"), "{last}");

    let next = select(
        &rpc,
        &format!(r#"{{"channelId":"general","pageSize":1,"pageToken":"{token}"}}"#),
    );
    assert_eq!(next.min_version, 9, "a page is never older than the one before");
    assert!(next.sql.contains("\"sent_at\" < $2"), "{}", next.sql);
    assert_eq!(next.params.len(), 7, "{}", next.sql);
}

#[test]
fn a_token_of_another_request_is_refused() {
    let rpc = rpc(&chat_module(), "ListMessages");
    let first = select(&rpc, r#"{"channelId":"general","pageSize":1}"#);
    let bytes = query(&rpc)
        .respond(&first, &[messages(&[("a", None), ("b", None)])], 9)
        .unwrap();
    let token = text(
        &DynamicMessage::decode(rpc.method.output(), &bytes[..]).unwrap(),
        "next_page_token",
    );
    let cut = &token[..token.len() - 4];
    let requests = [
        format!(r#"{{"channelId":"other","pageToken":"{token}"}}"#),
        format!(r#"{{"channelId":"general","pageToken":"{cut}"}}"#),
        r#"{"pageToken":"garbage"}"#.into(),
        r#"{"pageToken":"ä"}"#.into(),
    ];
    for json in requests {
        let error = query(&rpc).select(&request(&rpc, &json)).unwrap_err();
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Invalid, "PAGE_TOKEN"),
            "{json}"
        );
    }
}

/// Answers a select as a database would, for tests: understands what `Order` writes by evaluating it in Rust.
fn pages(
    query: &Query,
    rpc: &Rpc,
    rows: &[(Option<i64>, i64)],
    page_size: usize,
    unique: bool,
) -> Vec<(Option<i64>, i64)> {
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let select = query
            .select(&request(
                rpc,
                &format!(r#"{{"pageSize":{page_size},"pageToken":"{token}"}}"#),
            ))
            .unwrap();
        let mut left: Vec<(Option<i64>, i64)> = rows.to_vec();
        // DESC NULLS FIRST, then ASC.
        left.sort_by_key(|(rank, n)| (rank.is_some(), rank.map(|rank| -rank), *n));
        if !token.is_empty() {
            let number = |place: usize| {
                select.params[place]
                    .as_primitive::<arrow::datatypes::Int64Type>()
                    .value(0)
            };
            let (rank, n) = match select.params.len() {
                1 => (None, number(0)),
                _ => (Some(number(0)), number(1)),
            };
            let order = |(rank, n): (Option<i64>, i64)| (rank.is_some(), rank.map(|rank| -rank), n);
            left.retain(|row| {
                if unique {
                    order(*row) > order((rank, n))
                } else {
                    order(*row) >= order((rank, n))
                }
            });
        }
        if let Some((_, offset)) = select.sql.split_once(" OFFSET ") {
            left.drain(..offset.parse::<usize>().unwrap().min(left.len()));
        }
        left.truncate(page_size + 1);
        let ranks: ArrayRef = Arc::new(Int64Array::from_iter(left.iter().map(|row| row.0)));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(left.iter().map(|row| row.1)));
        let batch =
            RecordBatch::try_from_iter_with_nullable([("rank", ranks, true), ("n", numbers, true)]).unwrap();
        let answer = DynamicMessage::decode(
            rpc.method.output(),
            &query.respond(&select, &[batch], 1).unwrap()[..],
        )
        .unwrap();
        seen.extend(left.into_iter().take(page_size));
        token = text(&answer, "next_page_token");
        if token.is_empty() {
            return seen;
        }
    }
}

const RANKED: &str = "service S { rpc ListRows(Req) returns (Res) { option (viewfeed.v1.rpc) = {query: {view: \"ranked\" order_by: \"rank DESC\"}}; } }
    message Row { optional int64 rank = 1; int64 n = 2; } message Req { int32 page_size = 1; string page_token = 2; }
    message Res { repeated Row rows = 1; string next_page_token = 2; }";

fn ranked(key: Vec<usize>) -> Module {
    let columns = vec![
        Column::new(0, "rank", DataType::Int64, true),
        Column::new(1, "n", DataType::Int64, false),
    ];
    bound(&proto(RANKED), &[view("m", "ranked", columns, key)])
}

#[test]
fn pages_list_every_row_once() {
    let rpc = rpc(&ranked(vec![1]), "ListRows");
    let rows: Vec<(Option<i64>, i64)> = (0..23).map(|n| ((n % 4 != 0).then_some(n % 5), n)).collect();
    for page_size in [1, 2, 5, 22, 23, 24] {
        let mut seen = pages(query(&rpc), &rpc, &rows, page_size, true);
        seen.sort_by_key(|row| row.1);
        assert_eq!(seen, rows, "pages of {page_size}");
    }
}

#[test]
fn pages_list_equal_rows_as_often_as_they_are_there() {
    let rpc = rpc(&ranked(vec![]), "ListRows");
    let rows: Vec<(Option<i64>, i64)> = (0..23).map(|n| ((n % 3 != 0).then_some(n % 2), n % 2)).collect();
    for page_size in [1, 2, 3, 7, 23] {
        let mut seen = pages(query(&rpc), &rpc, &rows, page_size, false);
        let mut all = rows.clone();
        seen.sort();
        all.sort();
        assert_eq!(seen, all, "pages of {page_size}");
    }
}

#[test]
fn the_page_condition_is_null_safe() {
    let rpc = rpc(&ranked(vec![1]), "ListRows");
    let after = |rank: Option<i64>| {
        let first = select(&rpc, r#"{"pageSize":1}"#);
        let ranks: ArrayRef = Arc::new(Int64Array::from(vec![rank, rank]));
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("rank", ranks, true),
            ("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef, true),
        ])
        .unwrap();
        let bytes = query(&rpc).respond(&first, &[rows], 1).unwrap();
        let token = text(
            &DynamicMessage::decode(rpc.method.output(), &bytes[..]).unwrap(),
            "next_page_token",
        );
        let sql = select(&rpc, &format!(r#"{{"pageToken":"{token}"}}"#)).sql;
        sql[sql.find("WHERE").unwrap()..sql.find(" ORDER").unwrap()].to_owned()
    };
    assert_eq!(
        after(Some(5)),
        "WHERE ((\"rank\" < $1) OR (\"rank\" = $1 AND (\"n\" > $2 OR \"n\" IS NULL)))"
    );
    assert_eq!(
        after(None),
        "WHERE ((\"rank\" IS NOT NULL) OR (\"rank\" IS NULL AND (\"n\" > $1 OR \"n\" IS NULL)))"
    );
}

#[test]
fn sql_parameters_are_the_requests_fields() {
    let module = bound(
        &proto(
            "service S { rpc Find(Req) returns (Res) { option (viewfeed.v1.rpc) = {query: {
                 sql: \"SELECT id, '$no' AS text FROM t WHERE a = $who AND b > $min AND c = $who\" order_by: \"id\"}}; } }
             message Row { string id = 1; string text = 2; } message Req { string who = 1; optional int32 min = 2; }
             message Res { repeated Row rows = 1; }",
        ),
        &[],
    );
    let rpc = rpc(&module, "Find");
    let select = select(&rpc, r#"{"who":"me"}"#);
    assert!(
        select
            .sql
            .contains("'$no' AS text FROM t WHERE a = $1 AND b > $2 AND c = $1) AS q"),
        "{}",
        select.sql
    );
    assert_eq!(select.params.len(), 2);
    assert!(select.params[1].is_null(0));
}

#[test]
fn the_rows_of_a_sql_query_are_cast_to_the_message() {
    let module = bound(
        &proto(
            "service S { rpc Find(Req) returns (Res) { option (viewfeed.v1.rpc) = {query: {sql: \"SELECT 1 AS n\"}}; } } message Row { int32 n = 1; } message Req {} message Res { repeated Row rows = 1; }",
        ),
        &[],
    );
    let rpc = rpc(&module, "Find");
    let select = select(&rpc, "{}");
    let rows =
        |n| RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![n])) as ArrayRef)]).unwrap();
    assert_eq!(
        response(&rpc, &query(&rpc).respond(&select, &[rows(5)], 1).unwrap()),
        r#"{"rows":[{"n":5}]}"#
    );
    let error = query(&rpc).respond(&select, &[rows(1 << 40)], 1).unwrap_err();
    assert_eq!(error.reason(), "VALUE_DOES_NOT_FIT");
}

#[test]
fn a_get_answers_with_the_row_or_not_found() {
    let module = bound(
        &proto(
            "service S { rpc GetUser(GetUserRequest) returns (User); rpc CreateUser(User) returns (User); } message GetUserRequest { string id = 1; } message User { string id = 1; string name = 2; }",
        ),
        &[],
    );
    let rpc = rpc(&module, "GetUser");
    let select = select(&rpc, r#"{"id":"1"}"#);
    assert!(select.sql.contains("WHERE \"id\" = $1"), "{}", select.sql);
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let row = RecordBatch::try_from_iter([("id", text("1")), ("name", text("Ann"))]).unwrap();
    assert_eq!(
        response(&rpc, &query(&rpc).respond(&select, &[row], 1).unwrap()),
        r#"{"id":"1","name":"Ann"}"#
    );
    assert_eq!(
        query(&rpc).respond(&select, &[], 1).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn an_answer_without_pages_never_leaves_rows_out_in_silence() {
    let module = bound(
        &proto(
            "service S { rpc All(Req) returns (Res) { option (viewfeed.v1.rpc) = {query: {view: \"v\"}}; } } message Row { int64 n = 1; } message Req {} message Res { repeated Row rows = 1; }",
        ),
        &[view(
            "m",
            "v",
            vec![Column::new(0, "n", DataType::Int64, false)],
            vec![0],
        )],
    );
    let rpc = rpc(&module, "All");
    let select = select(&rpc, "{}");
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..10_001))]).unwrap();
    assert_eq!(
        query(&rpc).respond(&select, &[rows], 1).unwrap_err().kind(),
        ErrorKind::Exhausted
    );
}

#[test]
fn a_field_that_does_not_fit_the_view_is_told_with_both_types() {
    let told = unbindable(
        &proto(
            "service S { rpc All(Req) returns (Res) { option (viewfeed.v1.rpc) = {query: {view: \"v\"}}; } }\nmessage Row {\n  string n = 1;\n  string gone = 2;\n}\nmessage Req {} message Res { repeated Row rows = 1; }",
        ),
        &[view(
            "m",
            "v",
            vec![Column::new(0, "n", DataType::Int64, false)],
            vec![],
        )],
    );
    assert!(
        told.contains("m.proto:4: error: field m.Row.n is string, but its column is bigint"),
        "{told}"
    );
    assert!(
        told.contains("m.proto:5: error: field m.Row.gone has no column"),
        "{told}"
    );
}

#[test]
fn an_unknown_view_is_told_with_what_to_do() {
    let told = unbindable(
        &proto(
            "service S {\n  rpc All(Req) returns (Res) { option (viewfeed.v1.rpc) = {query: {view: \"nope\"}}; }\n}\nmessage Row { string n = 1; } message Req {} message Res { repeated Row rows = 1; }",
        ),
        &[],
    );
    assert!(
        told.contains("m.proto:3: error: there is no table or view nope (create it in migrations/"),
        "{told}"
    );
}

#[test]
fn unset_fields_do_not_filter_unless_they_are_listed() {
    let body = |filter: &str| {
        format!(
            "service S {{ rpc All(Req) returns (Res) {{ option (viewfeed.v1.rpc) = {{query: {{view: \"v\" {filter}}}}}; }} }} message Row {{ int64 n = 1; }} message Req {{ int64 n = 1; }} message Res {{ repeated Row rows = 1; }}"
        )
    };
    let views = [view(
        "m",
        "v",
        vec![Column::new(0, "n", DataType::Int64, false)],
        vec![0],
    )];
    let free = bound(&proto(&body("")), &views);
    let listed = bound(&proto(&body("filter: \"n\"")), &views);
    assert!(!select(&rpc(&free, "All"), "{}").sql.contains("WHERE"));
    assert!(
        select(&rpc(&free, "All"), r#"{"n":"1"}"#)
            .sql
            .contains("WHERE \"n\" = $1")
    );
    assert!(
        select(&rpc(&listed, "All"), "{}")
            .sql
            .contains("WHERE \"n\" = $1")
    );
    assert_eq!(
        message(&rpc(&free, "All").method.input(), "{}"),
        DynamicMessage::new(rpc(&free, "All").method.input())
    );
}
