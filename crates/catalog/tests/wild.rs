//! Bytes from outside: whatever is in a module folder or a request, nothing panics.

use crate::support::{bound, chat, chat_views, files, mutate, query, rpc, subscribe};
use proptest::prelude::*;
use prost_reflect::DynamicMessage;
use std::sync::LazyLock;
use viewfeed_catalog::{Module, ModuleFiles, compile};

static CHAT: LazyLock<Module> = LazyLock::new(|| bound(&chat(), &chat_views()));

/// Pieces that bring random text further into the parsers than random bytes.
const WORDS: &str = "(syntax = \"proto3\";|package m;|import \"viewfeed/v1/options.proto\";|message A|message|\\{|\\}|string id = 1;|repeated|map<string, A> m = 3;|service S|rpc X\\(A\\) returns \\(stream A\\);|option \\(viewfeed.v1.table\\) = \\{key: \"id\"\\};|oneof k|enum E|E_NONE = 0;|-- name: m.S/X :query|:subscribe|filter\\(|\\)|\\$id|SELECT \\* FROM|\"|'|/\\*|;|=|schema|\\n| |ä|[a-z]{1,3})";

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_file_compile_or_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        words in proptest::collection::vec(WORDS, 0..30),
        more in proptest::collection::vec(WORDS, 0..20),
        name in "(m|chat|\\PC{0,6})",
    ) {
        let text = words.concat().into_bytes();
        let other = more.concat().into_bytes();
        for content in [bytes, text] {
            let files = ["m.proto", "m.sql", "module.toml", "migrations/0001_a.sql", "../x.proto"];
            let module = ModuleFiles {
                name: name.clone(),
                files: files.iter().map(|path| ((*path).to_owned(), content.clone())).collect(),
            };
            if let Err(diagnostics) = compile(&module) {
                prop_assert!(!diagnostics.is_empty());
            }
            let sound = "syntax = \"proto3\"; package m; service S { rpc X(A) returns (stream A); } message A { string id = 1; }";
            let _ = compile(&ModuleFiles {
                name: "m".into(),
                files: vec![("m.proto".into(), sound.into()), ("m.sql".into(), other.clone()), ("module.toml".into(), content.clone())],
            });
        }
    }

    #[test]
    fn any_request_is_answered_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let module = &*CHAT;
        for method in ["ListMessages", "WatchMessages", "SendMessage", "EditMessage"] {
            let rpc = rpc(module, method);
            let Ok(request) = DynamicMessage::decode(rpc.method.input(), &bytes[..]) else { continue };
            match method {
                "ListMessages" => drop(query(&rpc).select(&request)),
                "WatchMessages" => drop(subscribe(&rpc).call(&request)),
                _ => drop(mutate(&rpc).rows(&[request])),
            }
        }
    }

    #[test]
    fn any_page_token_is_refused(token in "[A-Za-z0-9_-]{0,80}") {
        prop_assume!(!token.is_empty());
        let module = &*CHAT;
        let rpc = rpc(module, "ListMessages");
        let request = crate::support::request(&rpc, &format!("{{\"pageToken\":\"{token}\"}}"));
        prop_assert!(query(&rpc).select(&request).is_err());
    }
}

#[test]
fn a_module_without_files_is_a_module() {
    assert!(compile(&files("m", &[])).is_ok());
}
