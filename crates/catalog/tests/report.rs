//! What `viewfeed check` prints, kept as files. `VIEWFEED_BLESS=1 cargo test -p viewfeed-catalog` writes them anew.

use crate::support::{bound, chat, chat_views, files, seed};

fn assert_golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("VIEWFEED_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{path} differs; the report is now:\n{text}");
}

#[test]
fn the_seed_proto_is_live_as_it_is() {
    assert_golden("seed.txt", &bound(&seed(), &[]).report());
}

#[test]
fn the_chat_module_has_no_guess() {
    let module = bound(&chat(), &chat_views());
    assert!(module.diagnostics.is_empty(), "{:?}", module.diagnostics);
    assert_golden("chat.txt", &module.report());
}

#[test]
fn a_sidecar_binds_a_proto_that_one_may_not_edit() {
    let sidecar = "-- name: chatpb.ChatService/JoinChannel :subscribe envelope(row) filter(channel.name = name)\nmessage;\n\n\
        -- name: chatpb.ChatService/SendMessage :insert atomic\nmessage\n";
    let files = files(
        "seed",
        &[("chat.proto", crate::support::SEED), ("chat.sql", sidecar)],
    );
    // The table is named, so nothing makes it: the message is written, which does.
    assert_golden("sidecar.txt", &bound(&files, &[]).report());
}
