//! The house rules that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const BANNED_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "manager", "types"];

/// Who may use whom inside the workspace; arrows go down only. `change` and `wire` are the ground floor.
const ARROWS: [(&str, &[&str]); 12] = [
    ("change", &[]),
    ("wire", &[]),
    ("store", &["change"]),
    ("catalog", &["change", "wire"]),
    ("query", &["change", "store"]),
    ("source", &["change", "store", "query"]),
    ("engine", &["change", "store", "query"]),
    ("feed", &["change", "store"]),
    ("server", &["change", "wire", "catalog", "feed"]),
    (
        "viewfeed",
        &[
            "change", "wire", "store", "catalog", "query", "source", "engine", "feed", "server",
        ],
    ),
    ("testbed", &[]),
    // A workspace of its own, to be compared with others.
    ("peers", &["change", "store", "query", "engine"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What a build made is not ours.
            if !path.ends_with("target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (name, _) in ARROWS {
        rust_files(&root().join("crates").join(name), &mut files);
    }
    assert!(
        files.len() > 50,
        "the files are not where this test looks for them"
    );
    files
}

#[test]
fn every_file_opens_with_what_it_owns() {
    let bare = all_rust_files()
        .into_iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"));
    assert_eq!(bare.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn no_file_is_too_long() {
    let long = all_rust_files().into_iter().filter_map(|path| {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        (lines > FILE_LINES_MAX).then_some((path, lines))
    });
    assert_eq!(long.collect::<Vec<_>>(), Vec::new());
}

#[test]
fn no_function_has_two_jobs() {
    struct Functions(Vec<(String, usize)>);
    impl Functions {
        fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
            let lines = block.span().end().line - block.span().start().line + 1;
            if lines > FUNCTION_LINES_MAX {
                self.0.push((name.to_string(), lines));
            }
        }
    }
    impl<'a> Visit<'a> for Functions {
        fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
            self.measure(&function.sig.ident, &function.block);
            syn::visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
            self.measure(&function.sig.ident, &function.block);
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
    let mut long = Vec::new();
    for path in all_rust_files() {
        let mut functions = Functions(Vec::new());
        functions.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
        long.extend(
            functions
                .0
                .into_iter()
                .map(|(name, lines)| (path.clone(), name, lines)),
        );
    }
    assert_eq!(long, Vec::new());
}

#[test]
fn arrows_between_crates_go_down_only() {
    for (name, allowed) in ARROWS {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        for line in dependencies.lines().filter(|line| line.starts_with("viewfeed-")) {
            let used = line
                .trim_start_matches("viewfeed-")
                .split(['.', ' ', '='])
                .next()
                .unwrap();
            assert!(allowed.contains(&used), "{name} must not use {used}");
        }
    }
}

#[test]
fn the_table_of_arrows_knows_every_crate() {
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let tracked = path.join("Cargo.toml");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let ours = tracked.exists() && fs::read_to_string(tracked).unwrap().contains("name = \"viewfeed");
        assert!(
            !ours || ARROWS.iter().any(|(known, _)| *known == name),
            "{name} is in no floor"
        );
    }
}

#[test]
fn files_are_named_after_what_they_hold() {
    for path in all_rust_files() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(!BANNED_NAMES.contains(&name), "{} says nothing", path.display());
        assert_ne!(name, "mod", "{}: write foo.rs and foo/bar.rs", path.display());
    }
}

#[test]
fn only_the_query_crate_configures_datafusion_and_only_the_store_names_sled() {
    for path in all_rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        let inside = |name: &str| path.starts_with(root().join("crates").join(name));
        assert!(
            inside("query") || inside("viewfeed") || !text.contains("SessionStateBuilder"),
            "{}",
            path.display()
        );
        assert!(
            inside("store") || inside("viewfeed") || !text.contains("sled::"),
            "{}",
            path.display()
        );
    }
}
