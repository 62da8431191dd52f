//! Files to modules, and what is told of bad ones.

use crate::support::{compiled, files, proto, proto_text, refused, seed};
use viewfeed_catalog::ModuleFiles;

#[test]
fn a_syntax_error_is_told_with_file_line_and_advice() {
    let told = refused(&proto("message A {\n  string id = ;\n}"));
    assert!(told.starts_with("m.proto:3: error: "), "{told}");
    assert!(told.contains('('), "{told}");
}

#[test]
fn an_unknown_import_is_told_with_what_is_bundled() {
    let text = "syntax = \"proto3\";\npackage m;\nimport \"nope.proto\";\n";
    let told = refused(&files("m", &[("m.proto", text)]));
    assert!(told.starts_with("m.proto:3: error: "), "{told}");
    assert!(told.contains("viewfeed/v1/options.proto"), "{told}");
}

#[test]
fn editions_are_refused_with_advice() {
    let told = refused(&files("m", &[("m.proto", "edition = \"2023\";\npackage m;\n")]));
    assert!(
        told.starts_with("m.proto:1: error: ") && told.contains("syntax = \"proto3\""),
        "{told}"
    );
}

#[test]
fn an_unknown_type_is_told_with_its_line() {
    let told = refused(&proto("message A {\n  Nope b = 1;\n}"));
    assert!(told.starts_with("m.proto:3: error: "), "{told}");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let told = refused(&files(
        "m",
        &[
            ("a.proto", "syntax = \"proto3\"; message A { x }"),
            ("b.proto", "syntax = \"proto3\"; message B { Nope y = 1; }"),
            ("module.toml", "\nshema = \"x\""),
            ("migrations/first.sql", "SELECT 1"),
            ("migrations/0001_a.sql", "SELECT 1"),
            ("migrations/0001_b.sql", "SELECT 1"),
        ],
    ));
    for start in [
        "a.proto:1: error",
        "b.proto:1: error",
        "module.toml:2: error",
        "migrations/first.sql: error",
        "migrations/0001_b.sql: error",
    ] {
        assert!(
            told.lines().any(|line| line.starts_with(start)),
            "{start} is not in\n{told}"
        );
    }
}

#[test]
fn files_of_a_module_import_each_other_from_its_folder() {
    let a = "syntax = \"proto3\"; package m; import \"parts/b.proto\"; message A { B b = 1; }";
    let b = "syntax = \"proto3\"; package m; message B { string id = 1; }";
    let module = compiled(&files("m", &[("a.proto", a), ("parts/b.proto", b)]));
    assert!(module.pool.get_file_by_name("m/parts/b.proto").is_some());
}

#[test]
fn a_copy_of_a_bundled_file_is_left_alone() {
    let module = compiled(&files(
        "m",
        &[
            ("viewfeed/v1/options.proto", "garbage"),
            ("m.proto", &proto_text("")),
        ],
    ));
    assert!(module.pool.get_extension_by_name("viewfeed.v1.table").is_some());
}

#[test]
fn custom_options_survive_in_the_bytes_of_a_file() {
    let module = compiled(&proto(
        "message A { option (viewfeed.v1.table) = {name: \"fancy_name\"}; string id = 1; }",
    ));
    let bytes = module.pool.get_file_by_name("m/m.proto").unwrap().encode_to_vec();
    assert!(bytes.windows(10).any(|window| window == b"fancy_name"));
}

#[test]
fn the_schema_is_the_manifest_then_the_option_then_the_folder() {
    let option = proto_text("option (viewfeed.v1.module) = {schema: \"by_option\"};");
    let by_option = files("m", &[("m.proto", &option)]);
    assert_eq!(compiled(&by_option).schema, "by_option");
    let by_manifest = files(
        "m",
        &[("m.proto", &option), ("module.toml", "schema = \"by_manifest\"")],
    );
    assert_eq!(compiled(&by_manifest).schema, "by_manifest");
    assert_eq!(compiled(&files("Chat-2", &[])).schema, "chat_2");
    assert!(refused(&files("m", &[("module.toml", "schema = \"Bad Name\"")])).contains("cannot be a schema"));
}

#[test]
fn migrations_run_in_the_order_of_their_numbers() {
    let module = compiled(&files(
        "m",
        &[
            ("migrations/0010_b.sql", "b"),
            ("migrations/0002_a.sql", "a"),
            ("migrations/README.md", ""),
        ],
    ));
    let names: Vec<&str> = module
        .migrations
        .iter()
        .map(|migration| migration.name.as_str())
        .collect();
    assert_eq!(names, ["0002_a.sql", "0010_b.sql"]);
    assert_ne!(module.migrations[0].checksum, module.migrations[1].checksum);
}

#[test]
fn the_fingerprint_changes_with_the_content_only() {
    let mut turned = seed();
    turned.files.push(("module.toml".into(), Vec::new()));
    let mut other = turned.clone();
    other.files.reverse();
    assert_eq!(compiled(&turned).fingerprint, compiled(&other).fingerprint);
    assert_ne!(compiled(&turned).fingerprint, compiled(&seed()).fingerprint);
}

#[test]
fn reserved_packages_and_names_are_refused() {
    assert!(
        refused(&files(
            "m",
            &[("m.proto", "syntax = \"proto3\";\npackage grpc.health.v1;")]
        ))
        .starts_with("m.proto:2: error")
    );
    assert!(refused(&files("google", &[])).contains("cannot be the name of a module"));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let files = ModuleFiles {
        name: "m".into(),
        files: vec![("m.proto".into(), vec![b'\n', 0xFF])],
    };
    assert!(refused(&files).contains("line 2 is not UTF-8"));
}

#[test]
fn files_that_are_too_large_or_too_deep_are_refused() {
    let large = " ".repeat(2 << 20);
    assert!(refused(&files("m", &[("m.proto", &large)])).contains("split it"));
    let deep = "message A {".repeat(50_000);
    assert!(refused(&files("m", &[("m.proto", &deep)])).contains("brackets"));
}

#[test]
fn hidden_files_and_strangers_are_left_alone() {
    let module = compiled(&files(
        "m",
        &[
            (".m.proto.swp", "x"),
            (".git/a.proto", "x"),
            ("README.md", "x"),
            ("sub/x.sql", "x"),
        ],
    ));
    assert!(module.tables.is_empty() && module.migrations.is_empty());
}
