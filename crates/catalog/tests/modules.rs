//! All modules together.

use crate::support::{bound, chat, chat_views, files, lines, seed};
use std::sync::Arc;
use viewfeed_catalog::{Module, ModuleState, Modules};
use viewfeed_change::Timestamp;

fn state(module: Module) -> Option<ModuleState> {
    Some(ModuleState {
        live: Some(Arc::new(module)),
        refused: Vec::new(),
        changed_at: Timestamp(0),
    })
}

#[test]
fn two_modules_with_a_file_of_the_same_name_are_live_together() {
    let modules = Modules::default()
        .with("chat", state(bound(&chat(), &chat_views())))
        .unwrap();
    let both = modules.with("seed-chat", state(bound(&seed(), &[]))).unwrap();
    assert!(both.rpcs.contains_key("/chat.v1.ChatService/SendMessage"));
    assert!(both.rpcs.contains_key("/chatpb.ChatService/SendMessage"));
    let one = both.with("chat", None).unwrap();
    assert!(!one.rpcs.contains_key("/chat.v1.ChatService/SendMessage"));
    assert!(one.rpcs.contains_key("/chatpb.ChatService/SendMessage"));
}

#[test]
fn a_module_can_be_replaced_by_its_next_version() {
    let modules = Modules::default()
        .with("seed-chat", state(bound(&seed(), &[])))
        .unwrap();
    assert!(modules.with("seed-chat", state(bound(&seed(), &[]))).is_ok());
}

#[test]
fn an_rpc_of_another_module_is_refused() {
    let modules = Modules::default()
        .with("seed-chat", state(bound(&seed(), &[])))
        .unwrap();
    let copy = files("copy", &[("chat.proto", crate::support::SEED)]);
    let told = lines(&modules.with("copy", state(bound(&copy, &[]))).unwrap_err());
    assert!(
        told.contains("chat.proto: error: rpc /chatpb.ChatService/JoinChannel belongs to module seed-chat"),
        "{told}"
    );
}

#[test]
fn a_schema_of_another_module_is_refused() {
    let modules = Modules::default()
        .with("a", state(bound(&files("a", &[]), &[])))
        .unwrap();
    let other = files("b", &[("module.toml", "schema = \"a\"")]);
    let told = lines(&modules.with("b", state(bound(&other, &[]))).unwrap_err());
    assert!(told.contains("schema a belongs to module a"), "{told}");
}

#[test]
fn a_message_with_another_shape_is_refused_and_with_the_same_is_not() {
    let text =
        |field: &str| format!("syntax = \"proto3\"; package shared; message A {{ string {field} = 1; }}");
    let module = |name: &str, field: &str| state(bound(&files(name, &[("a.proto", &text(field))]), &[]));
    let modules = Modules::default().with("one", module("one", "x")).unwrap();
    assert!(modules.with("two", module("two", "x")).is_ok());
    let told = lines(&modules.with("two", module("two", "y")).unwrap_err());
    assert!(
        told.contains("message shared.A is another one in module one"),
        "{told}"
    );
}
