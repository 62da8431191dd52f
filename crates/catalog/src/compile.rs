//! The files of a module, checked as far as is possible without knowing what relations exist.

use crate::{Diagnostic, Module};
use prost_reflect::DescriptorPool;
use viewfeed_change::{Relation, Relations};

/// The files of one module folder, as read from the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleFiles {
    /// The folder's name.
    pub name: String,
    /// Path relative to the folder, with `/`, and content.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A module whose protos and options are sound.
#[derive(Clone, Debug)]
pub struct CompiledModule {
    /// The folder's name.
    pub name: String,
    /// The SQL schema of its relations.
    pub schema: String,
    /// Its descriptors, with everything it imports; custom options kept.
    pub pool: DescriptorPool,
    /// Tables inferred from messages, with id 0: to be created, or compared with what exists.
    pub tables: Vec<Relation>,
    /// `migrations/*.sql` in order.
    pub migrations: Vec<Migration>,
    /// SHA-256 over all files: the same for the same content.
    pub fingerprint: [u8; 32],
    /// Warnings and guesses.
    pub diagnostics: Vec<Diagnostic>,
}

/// One migration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The file's name, for example `0001_views.sql`.
    pub name: String,
    /// Its text.
    pub sql: String,
    /// SHA-256 of its text.
    pub checksum: [u8; 32],
}

/// Compiles a module. All that is wrong is told at once, each with file, line and advice.
pub fn compile(_files: &ModuleFiles) -> Result<CompiledModule, Vec<Diagnostic>> {
    todo!()
}

impl CompiledModule {
    /// Columns to add to `existing` so that it fits `wanted` (a draft of this module): additive changes only. Anything else
    /// (removed, renamed, retyped columns, another key) is refused with advice.
    pub fn evolve(
        &self,
        _existing: &Relation,
        _wanted: &Relation,
    ) -> Result<Vec<viewfeed_change::Column>, Vec<Diagnostic>> {
        todo!()
    }

    /// Binds every rpc to relations, which must hold the module's tables and views by now.
    pub fn bind(&self, _relations: &Relations) -> Result<Module, Vec<Diagnostic>> {
        todo!()
    }
}
