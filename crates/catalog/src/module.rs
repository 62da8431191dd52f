//! Modules that are live.

use crate::Binding;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use viewfeed_change::Timestamp;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The module is refused.
    Error,
    /// The module works, perhaps not as meant.
    Warning,
    /// What was guessed.
    Note,
}

/// Something to tell the author of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the module's folder.
    pub file: String,
    /// The line, from 1, if known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub advice: String,
}

impl fmt::Display for Diagnostic {
    /// `chat.proto:12: error: message (advice)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {severity}: {}", self.message)?;
        if self.advice.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.advice)
        }
    }
}

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
    /// Its descriptors.
    pub pool: DescriptorPool,
    /// Its rpcs.
    pub rpcs: Vec<Arc<Rpc>>,
    /// Its content.
    pub fingerprint: [u8; 32],
    /// Warnings and guesses.
    pub diagnostics: Vec<Diagnostic>,
}

impl Module {
    /// What `viewfeed check` prints: every rpc with its SQL, key, filters, and each guess.
    pub fn report(&self) -> String {
        todo!()
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
    /// message or file names is taken by another live module with different content.
    pub fn with(&self, _name: &str, _state: Option<ModuleState>) -> Result<Self, Vec<Diagnostic>> {
        todo!()
    }
}
