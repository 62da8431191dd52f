//! Modules that are live, one by one and all together.

use crate::diagnostic::Place;
use crate::{Binding, Diagnostic};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use viewfeed_change::{Relation, Timestamp};

/// An rpc and what it does.
#[derive(Debug)]
pub struct Rpc {
    /// `/package.Service/Method`.
    pub path: String,
    /// The module it belongs to.
    pub module: String,
    /// Its descriptor.
    pub method: MethodDescriptor,
    /// What it does.
    pub binding: Binding,
}

/// A live module.
#[derive(Debug)]
pub struct Module {
    /// The folder's name.
    pub name: String,
    /// The SQL schema of its relations.
    pub schema: String,
    /// Its descriptors. The module's own files are named `<module>/<path>`, so that two modules may have a `chat.proto`.
    pub pool: DescriptorPool,
    /// Its rpcs.
    pub rpcs: Vec<Arc<Rpc>>,
    /// Its content.
    pub fingerprint: [u8; 32],
    /// Warnings and guesses.
    pub diagnostics: Vec<Diagnostic>,
    /// The drafts of its tables, for the report.
    pub(crate) tables: Vec<Relation>,
    /// Where each rpc's binding comes from, for the report.
    pub(crate) origins: BTreeMap<String, String>,
}

impl Module {
    /// What `viewfeed check` prints: every rpc with its SQL, key, filters, and each guess.
    pub fn report(&self) -> String {
        crate::report::report(self)
    }
}

/// What is known of a module folder.
#[derive(Clone, Debug)]
pub struct ModuleState {
    /// What runs, if anything: after a refused change, the version before it.
    pub live: Option<Arc<Module>>,
    /// Why the folder's present content was refused; empty if it is what runs.
    pub refused: Vec<Diagnostic>,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// Every module at one moment. Immutable once shared.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// By folder name.
    pub states: BTreeMap<String, ModuleState>,
    /// Every live rpc by path.
    pub rpcs: HashMap<String, Arc<Rpc>>,
}

impl Modules {
    /// These modules with `module`'s state replaced, or removed (None). Fails with a diagnostic if one of its rpc paths,
    /// message or file names, or its schema, is taken by another live module with different content.
    pub fn with(&self, name: &str, state: Option<ModuleState>) -> Result<Self, Vec<Diagnostic>> {
        let mut states = self.states.clone();
        states.remove(name);
        if let Some(module) = state.as_ref().and_then(|state| state.live.as_ref()) {
            let others = states.values().filter_map(|state| state.live.as_ref());
            let conflicts: Vec<Diagnostic> = others.flat_map(|other| conflicts(module, other)).collect();
            if !conflicts.is_empty() {
                return Err(conflicts);
            }
        }
        states.extend(state.map(|state| (name.to_owned(), state)));
        let live = states.values().filter_map(|state| state.live.as_ref());
        let rpcs = live
            .flat_map(|module| module.rpcs.iter().map(|rpc| (rpc.path.clone(), rpc.clone())))
            .collect();
        Ok(Self { states, rpcs })
    }
}

/// What `module` and `other` cannot both have.
fn conflicts(module: &Module, other: &Module) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut refuse = |file: &str, message: String, advice: &str| {
        let local = file.strip_prefix(&format!("{}/", module.name)).unwrap_or(file);
        found.push(Place::file(local).error(message, advice));
    };
    if module.schema == other.schema {
        let message = format!("schema {} belongs to module {}", module.schema, other.name);
        refuse(
            "module.toml",
            message,
            "choose another with schema = \"name\" in module.toml",
        );
    }
    for rpc in &module.rpcs {
        if other.rpcs.iter().any(|taken| taken.path == rpc.path) {
            let message = format!("rpc {} belongs to module {}", rpc.path, other.name);
            refuse(
                rpc.method.parent_file().name(),
                message,
                "choose another package or service name",
            );
        }
    }
    for message in module.pool.all_messages() {
        let taken = other.pool.get_message_by_name(message.full_name());
        if taken.is_some_and(|taken| taken.descriptor_proto() != message.descriptor_proto()) {
            let text = format!(
                "message {} is another one in module {}",
                message.full_name(),
                other.name
            );
            refuse(
                message.parent_file().name(),
                text,
                "choose another package name, or make both the same",
            );
        }
    }
    for file in module.pool.files() {
        let taken = other.pool.get_file_by_name(file.name());
        if taken.is_some_and(|taken| taken.encode_to_vec() != file.encode_to_vec()) {
            let message = format!("file {} is another one in module {}", file.name(), other.name);
            refuse(file.name(), message, "rename the file");
        }
    }
    found
}
