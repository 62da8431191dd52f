//! Protos to descriptors, in memory. In the pool every file of a module is named `<module>/<path>`, so that two
//! modules may each have a `chat.proto`; inside a module, imports are relative to its folder.

use crate::diagnostic::{Diagnostic, Place};
use miette::Diagnostic as _;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use protox::file::{File, FileResolver, GoogleFileResolver};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Messages a module may have, imported ones included.
const MESSAGES_MAX: usize = 2_000;

/// The descriptors of the module and of all it imports. Everything that is wrong is told.
pub(super) fn compile(
    module: &str,
    protos: &BTreeMap<String, String>,
) -> Result<DescriptorPool, Vec<Diagnostic>> {
    let mut compiler = protox::Compiler::with_file_resolver(Files::new(protos));
    compiler.include_imports(true).include_source_info(true);
    let mut diagnostics = Vec::new();
    for path in protos.keys() {
        if let Err(error) = compiler.open_file(path) {
            diagnostics.push(explain(&error, path, protos));
        }
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let failed = |error: String| {
        let advice = "this is a bug of viewfeed: please report it with the proto";
        vec![Place::file("module.toml").error(format!("the descriptors cannot be read: {error}"), advice)]
    };
    let set = qualify(&compiler.encode_file_descriptor_set(), module, protos).map_err(failed)?;
    // From bytes: a pool made of decoded descriptors would have lost the custom options.
    let pool = DescriptorPool::decode(set.as_slice()).map_err(|error| failed(error.to_string()))?;
    if pool.all_messages().len() > MESSAGES_MAX {
        let message = format!("the module has {} messages", pool.all_messages().len());
        let advice =
            format!("a module has at most {MESSAGES_MAX} messages, imported ones included: split it");
        return Err(vec![Place::file("module.toml").error(message, advice)]);
    }
    Ok(pool)
}

/// Finds bundled files first, so that no module can replace them.
struct Files {
    own: BTreeMap<String, String>,
    google: GoogleFileResolver,
}

impl Files {
    fn new(protos: &BTreeMap<String, String>) -> Self {
        Self {
            own: protos.clone(),
            google: GoogleFileResolver::new(),
        }
    }
}

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if let Some((_, source)) = viewfeed_wire::SOURCES.iter().find(|(path, _)| *path == name) {
            return File::from_source(name, source);
        }
        match self.own.get(name) {
            Some(source) => File::from_source(name, source),
            None => self.google.open_file(name),
        }
    }
}

fn explain(error: &protox::Error, opened: &str, protos: &BTreeMap<String, String>) -> Diagnostic {
    let file = error.file().unwrap_or(opened);
    let label = error.labels().and_then(|mut labels| labels.next());
    let line = label.as_ref().and_then(|label| {
        let contents = error.source_code()?.read_span(label.inner(), 0, 0).ok()?;
        Some(contents.line() + 1)
    });
    let place = Place {
        file: file.to_owned(),
        line,
    };
    let mut message = error.to_string();
    if let Some(label) = label
        .as_ref()
        .and_then(|label| label.label())
        .filter(|label| !message.contains(label))
    {
        message = format!("{message}: {label}");
    }
    let uses_editions = protos
        .get(file)
        .is_some_and(|text| text.lines().any(|line| line.starts_with("edition")));
    let advice = if error.is_file_not_found() {
        let bundled: Vec<&str> = viewfeed_wire::SOURCES.iter().map(|(path, _)| *path).collect();
        format!(
            "imports are relative to the module's folder; bundled are {} and google/protobuf/*.proto",
            bundled.join(", ")
        )
    } else if uses_editions {
        "editions are not supported: use syntax = \"proto3\"".to_owned()
    } else if let Some(help) = error.help() {
        help.to_string()
    } else {
        "correct the proto; the version before it, if there was one, keeps running".to_owned()
    };
    place.error(message, advice)
}

/// The descriptor of `google.protobuf.FileDescriptorSet`.
static FILE_SET: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    DescriptorPool::decode(viewfeed_wire::DESCRIPTORS)
        .ok()
        .and_then(|pool| pool.get_message_by_name("google.protobuf.FileDescriptorSet"))
        .expect("the bundled descriptors import google/protobuf/descriptor.proto")
});

/// The set with the module's files named `<module>/<path>`. Works on bytes, to keep options it does not know.
fn qualify(set: &[u8], module: &str, protos: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let mut set = DynamicMessage::decode(FILE_SET.clone(), set).map_err(|error| error.to_string())?;
    let qualified = |value: &mut Value| {
        if let Some(name) = value.as_string_mut().filter(|name| protos.contains_key(*name)) {
            *name = format!("{module}/{name}");
        }
    };
    let files = set.get_field_by_name_mut("file").and_then(Value::as_list_mut);
    for file in files.into_iter().flatten().filter_map(Value::as_message_mut) {
        if let Some(name) = file.get_field_by_name_mut("name") {
            qualified(name);
        }
        let imports = file
            .get_field_by_name_mut("dependency")
            .and_then(Value::as_list_mut);
        imports.into_iter().flatten().for_each(qualified);
    }
    Ok(set.encode_to_vec())
}
