//! Bindings in SQL files.

use crate::support::{bound, compiled, files, query, refused, request, rpc, subscribe};
use viewfeed_change::ColumnPath;

const PROTO: &str = "syntax = \"proto3\"; package m; import \"viewfeed/v1/feed.proto\";
service S {
  rpc Find(Req) returns (Res);
  rpc Watch(Req) returns (stream Feed);
  rpc Send(Row) returns (Res);
}
message Row { string id = 1; string channel = 2; }
message Req { string channel = 1; string other = 2; int32 page_size = 3; string page_token = 4; }
message Res { repeated Row rows = 1; string next_page_token = 2; }
message Feed { viewfeed.v1.Frame frame = 1; repeated Row rows = 2; }";

fn with(sidecar: &str) -> viewfeed_catalog::ModuleFiles {
    files("m", &[("m.proto", PROTO), ("m.sql", sidecar)])
}

#[test]
fn a_query_is_bound_by_its_select() {
    let module = bound(
        &with(
            "-- bindings of m\n\n-- name: m.S/Find :query order_by(id) page(5, 10)\n-- newest first\nSELECT id, channel FROM row\nWHERE channel = $channel;\n-- name: m.S/Send :insert\nrow",
        ),
        &[],
    );
    let rpc = rpc(&module, "Find");
    let select = query(&rpc).select(&request(&rpc, r#"{"channel":"c"}"#)).unwrap();
    assert!(select.sql.starts_with("SELECT \"id\", \"channel\" FROM (SELECT id, channel FROM row\nWHERE channel = $1) AS q ORDER BY \"id\" ASC"), "{}", select.sql);
    assert_eq!(select.page_size, 5);
}

#[test]
fn a_subscription_is_bound_by_a_name() {
    let module = bound(
        &with(
            "-- name: m.S/Watch :subscribe key(id) envelope(diff) filter(channel, id = other)\nSELECT * FROM row\n-- name: m.S/Send :upsert\nrow",
        ),
        &[],
    );
    let rpc = rpc(&module, "Watch");
    assert_eq!(subscribe(&rpc).filter, [ColumnPath(vec![1]), ColumnPath(vec![0])]);
}

#[test]
fn mistakes_are_told_with_their_line() {
    let cases = [
        (
            "-- name: m.S/Nope :query\nrow",
            "m.sql:1: error: there is no rpc /m.S/Nope",
        ),
        (
            "\n-- name: m.S/Find :query filter(nope)\nrow",
            "m.sql:2: error: the request m.Req has no field nope",
        ),
        (
            "-- name: m.S/Find :frobnicate\nrow",
            "there is no kind :frobnicate",
        ),
        ("-- name: m.S/Find\nrow", "m.S/Find has no kind"),
        ("-- name: m.S/Find :query filter(a\nrow", "no closing parenthesis"),
        ("-- name: m.S/Find :query", "is empty"),
        (
            "-- name: m.S/Find :query key(id)\nrow",
            "key means nothing for :query",
        ),
        (
            "-- name: m.S/Watch :subscribe\nSELECT id FROM row",
            "reads a table or view, not a query",
        ),
        (
            "-- name: m.S/Watch :subscribe envelope(row)\nrow",
            "the response has a Frame",
        ),
        ("-- name: m.S/Find :query\nSELECT $nope", "has no field nope"),
        (
            "-- name: m.S/Find :query\nrow\n-- name: m.S/Find :query\nrow",
            "m.sql:3: error: /m.S/Find is bound twice, first at m.sql:1",
        ),
        ("SELECT 1", "m.sql:1: error: SQL without a binding"),
    ];
    for (sidecar, wanted) in cases {
        let told = refused(&with(sidecar));
        assert!(told.contains(wanted), "{wanted:?} is not in {told}");
    }
}

#[test]
fn a_sidecar_wins_over_an_option() {
    let proto = "syntax = \"proto3\"; package m; import \"viewfeed/v1/options.proto\";
        service S { rpc Send(Row) returns (Res) { option (viewfeed.v1.rpc) = {mutate: {operation: OPERATION_DELETE}}; } }
        message Row { string id = 1; } message Res { bool ok = 1; }";
    let module = bound(
        &files(
            "m",
            &[("m.proto", proto), ("m.sql", "-- name: m.S/Send :upsert\nrow")],
        ),
        &[],
    );
    assert!(
        module.report().contains("upsert, by sidecar at m.sql:1"),
        "{}",
        module.report()
    );
}

#[test]
fn comments_alone_are_no_binding() {
    assert!(
        compiled(&with("-- nothing here\n"))
            .diagnostics
            .iter()
            .all(|diagnostic| diagnostic.file != "m.sql")
    );
}
