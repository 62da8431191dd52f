//! Modules from texts, relations from drafts.

use prost_reflect::{DynamicMessage, Value};
use std::sync::Arc;
use viewfeed_catalog::{Binding, CompiledModule, Diagnostic, Module, ModuleFiles, Rpc, compile};
use viewfeed_change::{Column, Relation, RelationId, RelationKind, RelationName, Relations, View};

pub(crate) const SEED: &str = include_str!("../../../examples/seed-chat/chat.proto");
const CHAT: &str = include_str!("../../../modules/chat/chat.proto");
const CHAT_VIEWS: &str = include_str!("../../../modules/chat/migrations/0001_views.sql");

pub(crate) fn files(name: &str, files: &[(&str, &str)]) -> ModuleFiles {
    ModuleFiles {
        name: name.to_owned(),
        files: files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect(),
    }
}

/// A module of one proto3 file; `body` follows the package line.
pub(crate) fn proto(body: &str) -> ModuleFiles {
    files("m", &[("m.proto", &proto_text(body))])
}

/// Line 1 is syntax, imports and package, so that `body` begins on line 2.
pub(crate) fn proto_text(body: &str) -> String {
    let imports = ["viewfeed/v1/options.proto", "viewfeed/v1/feed.proto"]
        .into_iter()
        .chain(
            [
                "timestamp",
                "duration",
                "wrappers",
                "struct",
                "empty",
                "field_mask",
                "any",
            ]
            .map(|name| match name {
                "timestamp" => "google/protobuf/timestamp.proto",
                "duration" => "google/protobuf/duration.proto",
                "wrappers" => "google/protobuf/wrappers.proto",
                "struct" => "google/protobuf/struct.proto",
                "empty" => "google/protobuf/empty.proto",
                "field_mask" => "google/protobuf/field_mask.proto",
                _ => "google/protobuf/any.proto",
            }),
        )
        .map(|path| format!("import \"{path}\"; "))
        .collect::<String>();
    format!("syntax = \"proto3\"; package m; {imports}\n{body}")
}

pub(crate) fn compiled(files: &ModuleFiles) -> CompiledModule {
    compile(files).unwrap_or_else(|diagnostics| panic!("{}", lines(&diagnostics)))
}

pub(crate) fn refused(files: &ModuleFiles) -> String {
    match compile(files) {
        Err(diagnostics) => lines(&diagnostics),
        Ok(_) => panic!("the module was accepted"),
    }
}

pub(crate) fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| format!("{diagnostic}\n"))
        .collect()
}

/// The relations of a module's drafts, and views.
pub(crate) fn relations(module: &CompiledModule, views: &[Relation]) -> Relations {
    let mut relations = Relations::starting_at(1);
    for mut relation in module.tables.iter().chain(views).cloned() {
        relation.id = relations.allocate();
        relations.put(relation).unwrap();
    }
    relations
}

pub(crate) fn view(schema: &str, name: &str, columns: Vec<Column>, key: Vec<usize>) -> Relation {
    Relation {
        id: RelationId(0),
        name: RelationName::new(schema, name),
        columns,
        key,
        kind: RelationKind::View(View {
            sql: String::new(),
            search_schema: schema.to_owned(),
            inputs: Vec::new(),
            require_incremental: false,
            on_error: Default::default(),
        }),
        schema_version: 1,
    }
}

pub(crate) fn bound(files: &ModuleFiles, views: &[Relation]) -> Module {
    let module = compiled(files);
    let relations = relations(&module, views);
    module
        .bind(&relations, &|_| Ok(()))
        .unwrap_or_else(|diagnostics| panic!("{}", lines(&diagnostics)))
}

pub(crate) fn unbindable(files: &ModuleFiles, views: &[Relation]) -> String {
    let module = compiled(files);
    match module.bind(&relations(&module, views), &|_| Ok(())) {
        Err(diagnostics) => lines(&diagnostics),
        Ok(module) => panic!("bound:\n{}", module.report()),
    }
}

pub(crate) fn rpc(module: &Module, method: &str) -> Arc<Rpc> {
    let found = module.rpcs.iter().find(|rpc| rpc.method.name() == method);
    found.unwrap_or_else(|| panic!("no rpc {method}")).clone()
}

pub(crate) fn query(rpc: &Rpc) -> &viewfeed_catalog::Query {
    match &rpc.binding {
        Binding::Query(query) => query,
        other => panic!("{} is {other:?}", rpc.path),
    }
}

pub(crate) fn subscribe(rpc: &Rpc) -> &viewfeed_catalog::Subscribe {
    match &rpc.binding {
        Binding::Subscribe(subscribe) => subscribe,
        other => panic!("{} is {other:?}", rpc.path),
    }
}

pub(crate) fn mutate(rpc: &Rpc) -> &viewfeed_catalog::Mutate {
    match &rpc.binding {
        Binding::Mutate(mutate) => mutate,
        other => panic!("{} is {other:?}", rpc.path),
    }
}

/// A request from JSON.
pub(crate) fn request(rpc: &Rpc, json: &str) -> DynamicMessage {
    message(&rpc.method.input(), json)
}

pub(crate) fn message(descriptor: &prost_reflect::MessageDescriptor, json: &str) -> DynamicMessage {
    DynamicMessage::deserialize(descriptor.clone(), &mut serde_json::Deserializer::from_str(json)).unwrap()
}

/// A response as JSON.
pub(crate) fn response(rpc: &Rpc, bytes: &[u8]) -> String {
    let message = DynamicMessage::decode(rpc.method.output(), bytes).unwrap();
    serde_json::to_string(&message).unwrap()
}

pub(crate) fn text(message: &DynamicMessage, field: &str) -> String {
    message
        .get_field_by_name(field)
        .and_then(|value: std::borrow::Cow<'_, Value>| value.as_str().map(str::to_owned))
        .unwrap()
}

pub(crate) fn seed() -> ModuleFiles {
    files("seed-chat", &[("chat.proto", SEED)])
}

pub(crate) fn chat() -> ModuleFiles {
    files(
        "chat",
        &[("chat.proto", CHAT), ("migrations/0001_views.sql", CHAT_VIEWS)],
    )
}

/// The views that `modules/chat` makes, as the engine would describe them.
pub(crate) fn chat_views() -> Vec<Relation> {
    use arrow::datatypes::{DataType, TimeUnit};
    let text = |id, name: &str| Column::new(id, name, DataType::Utf8, false);
    let at = |id, name: &str| {
        Column::new(
            id,
            name,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        )
    };
    let messages = vec![
        text(0, "id"),
        text(1, "channel_id"),
        text(2, "channel_topic"),
        text(3, "sender"),
        text(4, "text"),
        at(5, "sent_at"),
    ];
    let stats = vec![
        text(0, "channel_id"),
        text(1, "topic"),
        Column::new(2, "messages", DataType::Int64, false),
        at(3, "last_message_at"),
    ];
    vec![
        view("chat", "channel_messages", messages, vec![]),
        view("chat", "channel_stats", stats, vec![]),
    ]
}
