//! The files of a module folder sorted by what they are, within limits.
//!
//! ```text
//! *.proto anywhere · *.sql at the root (bindings) · migrations/NNNN_name.sql · module.toml
//! ```
//! Everything else, and whatever has a name that starts with a dot, is left alone.

use super::{Migration, ModuleFiles};
use crate::diagnostic::{Diagnostic, Place};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Files of one kind or another that a module may have.
const FILES_MAX: usize = 500;
/// The size of one file.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Brackets that may be open at once in a proto file; what is nested deeper is no proto anyone wrote.
const NESTING_MAX: usize = 60;

/// Folders whose files are bundled with viewfeed; copies in a module are for editors only.
const BUNDLED_FOLDERS: [&str; 2] = ["google/protobuf/", "viewfeed/v1/"];

/// The files of a module by kind.
#[derive(Default)]
pub(super) struct Folder {
    /// Path and text.
    pub(super) protos: BTreeMap<String, String>,
    /// Path and text.
    pub(super) sidecars: BTreeMap<String, String>,
    pub(super) migrations: Vec<Migration>,
    /// The text of `module.toml`.
    pub(super) manifest: Option<String>,
}

impl Folder {
    /// Sorts the files; what is wrong with them is added to `diagnostics`.
    pub(super) fn sort(files: &ModuleFiles, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut folder = Self::default();
        if files.files.len() > FILES_MAX {
            let message = format!("the module has {} files", files.files.len());
            let advice = format!("a module has at most {FILES_MAX} files: split it");
            diagnostics.push(Place::file("module.toml").error(message, advice));
            return folder;
        }
        for (path, content) in &files.files {
            if let Some(kind) = kind_of(path) {
                match read(content) {
                    Ok(text) => folder.add(kind, path, text, diagnostics),
                    Err((message, advice)) => diagnostics.push(Place::file(path).error(message, advice)),
                }
            }
        }
        folder.check_migrations(diagnostics);
        folder
    }

    fn add(&mut self, kind: FileKind, path: &str, text: &str, diagnostics: &mut Vec<Diagnostic>) {
        match kind {
            FileKind::Proto if is_too_deep(text) => diagnostics.push(Place::file(path).error(
                format!("more than {NESTING_MAX} brackets are open at once"),
                "nest messages and option values less deeply",
            )),
            FileKind::Proto => {
                self.protos.insert(path.to_owned(), text.to_owned());
            }
            FileKind::Sidecar => {
                self.sidecars.insert(path.to_owned(), text.to_owned());
            }
            FileKind::Manifest => self.manifest = Some(text.to_owned()),
            FileKind::Migration => self.migrations.push(Migration {
                name: path.trim_start_matches("migrations/").to_owned(),
                sql: text.to_owned(),
                checksum: Sha256::digest(text.as_bytes()).into(),
            }),
        }
    }

    fn check_migrations(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        self.migrations.sort_by(|a, b| a.name.cmp(&b.name));
        for migration in self
            .migrations
            .iter()
            .filter(|migration| !is_migration_name(&migration.name))
        {
            let place = Place::file(format!("migrations/{}", migration.name));
            let message = "the name of a migration must be four digits, `_`, a name, and `.sql`";
            diagnostics.push(place.error(message, "rename it, for example to 0001_views.sql"));
        }
        for pair in self.migrations.windows(2) {
            let number = |migration: &Migration| migration.name.get(..4).map(str::to_owned);
            if is_migration_name(&pair[1].name) && number(&pair[0]) == number(&pair[1]) {
                let place = Place::file(format!("migrations/{}", pair[1].name));
                let message = format!("{} has the same number", pair[0].name);
                diagnostics.push(place.error(
                    message,
                    "give it the next free number: migrations run in that order",
                ));
            }
        }
    }
}

enum FileKind {
    Proto,
    Sidecar,
    Migration,
    Manifest,
}

fn kind_of(path: &str) -> Option<FileKind> {
    if path.split('/').any(|part| part.starts_with('.')) {
        return None;
    }
    if path.ends_with(".proto") {
        let bundled = BUNDLED_FOLDERS.iter().any(|folder| path.starts_with(folder));
        return (!bundled).then_some(FileKind::Proto);
    }
    if path == "module.toml" {
        return Some(FileKind::Manifest);
    }
    let name = path.strip_suffix(".sql")?;
    match name.strip_prefix("migrations/") {
        Some(_) => Some(FileKind::Migration),
        None => (!name.contains('/')).then_some(FileKind::Sidecar),
    }
}

fn read(content: &[u8]) -> Result<&str, (String, String)> {
    if content.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes", content.len());
        return Err((
            message,
            format!("a file of a module has at most {FILE_BYTES_MAX} bytes: split it"),
        ));
    }
    std::str::from_utf8(content).map_err(|error| {
        let line = 1 + content[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        (
            format!("line {line} is not UTF-8 text"),
            "save the file as UTF-8".to_owned(),
        )
    })
}

/// Whether brackets nest so deeply that a recursive parser could run out of stack. Brackets in comments and texts
/// count too: that errs to the safe side.
fn is_too_deep(text: &str) -> bool {
    let mut open = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'{' | b'[' | b'<' | b'(' => open += 1,
            b'}' | b']' | b'>' | b')' => open = open.saturating_sub(1),
            _ => {}
        }
        open > NESTING_MAX
    })
}

fn is_migration_name(name: &str) -> bool {
    let Some((number, rest)) = name.strip_suffix(".sql").and_then(|name| name.split_once('_')) else {
        return false;
    };
    let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        && !rest.is_empty()
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// SHA-256 over all files, in the order of their paths.
pub(super) fn fingerprint(files: &ModuleFiles) -> [u8; 32] {
    let sorted: BTreeMap<&str, &[u8]> = files
        .files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_slice()))
        .collect();
    let mut hash = Sha256::new();
    for (path, content) in sorted {
        for part in [path.as_bytes(), content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}
