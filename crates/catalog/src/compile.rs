//! The files of a module, checked as far as is possible without knowing what relations exist.

mod folder;
mod manifest;
mod proto;

use crate::declare::{self, Declared};
use crate::diagnostic::{Place, has_error, tidy};
use crate::infer::{InferredTable, infer};
use crate::options;
use crate::scope::Scope;
use crate::{Diagnostic, Module, Select, bind, evolve, sidecar, sql};
use folder::Folder;
use prost_reflect::DescriptorPool;
use std::collections::BTreeSet;
use viewfeed_change::{Column, Relation, Relations};

/// Packages whose services and messages are not a module's to declare.
const TAKEN_PACKAGES: [&str; 3] = ["viewfeed", "grpc", "google"];

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
    pub(crate) scope: Scope,
    pub(crate) declared: Vec<Declared>,
    pub(crate) inferred: Vec<InferredTable>,
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
pub fn compile(files: &ModuleFiles) -> Result<CompiledModule, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    check_name(&files.name, &mut diagnostics);
    let folder = Folder::sort(files, &mut diagnostics);
    let manifest = folder
        .manifest
        .as_deref()
        .map(|text| manifest::parse(text, &mut diagnostics))
        .unwrap_or_default();
    let pool = proto::compile(&files.name, &folder.protos).unwrap_or_else(|wrong| {
        diagnostics.extend(wrong);
        DescriptorPool::new()
    });
    let mut scope = Scope {
        module: files.name.clone(),
        schema: String::new(),
        pool,
        created: BTreeSet::new(),
    };
    check_packages(&scope, &mut diagnostics);
    scope.schema = manifest::schema(&files.name, &manifest, schema_option(&scope), &mut diagnostics);
    scope.created = created(&folder.migrations, &scope.schema);
    let mut sidecars = Vec::new();
    for (file, text) in &folder.sidecars {
        let mut wrong = Vec::new();
        sidecars.extend(sidecar::parse(file, text, &mut wrong));
        diagnostics.extend(wrong);
    }
    // Without sound protos every binding would be told to name an unknown rpc.
    let (mut declared, mut inferred) = (Vec::new(), Vec::new());
    if !has_error(&diagnostics) {
        declared = declare::declare(&scope, sidecars, &mut diagnostics);
        inferred = infer(&scope, &declared, &mut diagnostics);
    }
    tidy(&mut diagnostics);
    if has_error(&diagnostics) {
        return Err(diagnostics);
    }
    Ok(CompiledModule {
        name: files.name.clone(),
        schema: scope.schema.clone(),
        pool: scope.pool.clone(),
        tables: inferred.iter().map(|one| one.table.clone()).collect(),
        migrations: folder.migrations,
        fingerprint: folder::fingerprint(files),
        diagnostics,
        scope,
        declared,
        inferred,
    })
}

impl CompiledModule {
    /// Columns to add to `existing` so that it fits `wanted` (a draft of this module): additive changes only. Anything else
    /// (removed, renamed, retyped columns, another key) is refused with advice.
    pub fn evolve(&self, existing: &Relation, wanted: &Relation) -> Result<Vec<Column>, Vec<Diagnostic>> {
        let inferred = self.inferred.iter().find(|one| one.table.name == wanted.name);
        evolve::evolve(&self.scope, inferred, existing, wanted)
    }

    /// Binds every rpc to relations, which must hold the module's tables and views by now. `plans` says of a SELECT
    /// whether it can be planned over them, and if not, why: a query that cannot refuses the module.
    pub fn bind(
        &self,
        relations: &Relations,
        plans: &dyn Fn(&Select) -> viewfeed_change::Result<()>,
    ) -> Result<Module, Vec<Diagnostic>> {
        bind::bind(self, relations, plans)
    }
}

/// The folder's name is part of file names and of `viewfeed status`: keep it plain, and apart from bundled folders.
fn check_name(name: &str, diagnostics: &mut Vec<Diagnostic>) {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !plain || name.is_empty() || TAKEN_PACKAGES.contains(&name) {
        let advice = "rename the folder: letters, digits, _ and -; viewfeed, grpc and google are taken";
        let message = format!("\"{}\" cannot be the name of a module", name.escape_debug());
        diagnostics.push(Place::file("module.toml").error(message, advice));
    }
}

fn check_packages(scope: &Scope, diagnostics: &mut Vec<Diagnostic>) {
    for file in scope.pool.files().filter(|file| scope.is_own(file)) {
        let first = file.package_name().split('.').next().unwrap_or_default();
        if TAKEN_PACKAGES.contains(&first) {
            // 2 is the number of `package` in a file's descriptor.
            let message = format!("package {} is not a module's to declare", file.package_name());
            diagnostics.push(scope.place(&file, &[2]).error(message, "choose another package"));
        }
    }
}

/// The schema that the option of a file gives, with the place of its first option.
fn schema_option(scope: &Scope) -> Option<(String, Place)> {
    let own = scope.pool.files().filter(|file| scope.is_own(file));
    let mut declared = own.map(|file| (options::module(&file).schema, scope.place(&file, &[8])));
    declared.find(|(schema, _)| !schema.is_empty())
}

/// The names, without schema, of the relations that migrations create in the module's schema.
fn created(migrations: &[Migration], schema: &str) -> BTreeSet<String> {
    let names = migrations
        .iter()
        .flat_map(|migration| sql::created_relations(&migration.sql));
    let local = |name: String| match name.split_once('.') {
        None => Some(name),
        Some((of, name)) => (of == schema).then(|| name.to_owned()),
    };
    names.filter_map(local).collect()
}
