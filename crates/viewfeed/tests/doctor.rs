//! `viewfeed doctor` as a stranger uses it: the binary against a real Postgres server.

use crate::server::{PROGRAM, json_lines, text};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use viewfeed_testbed::Postgres;

fn doctor(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("doctor")
        .args(arguments)
        .current_dir(folder)
        .env_remove("VIEWFEED_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_server_that_is_not_ready_is_told_what_to_run_and_after_that_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Postgres::start();
    let connection = server.connection();
    let mut owner = server.connect();
    owner.query("CREATE TABLE bare (id int, name text)").unwrap();
    let output = doctor(folder.path(), &[&connection]);
    let printed = text(&output);
    assert_eq!(output.status.code(), Some(4), "{printed}");
    for line in [
        "source postgres",
        "    error  wal_level is replica",
        "           → ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server (a reload is not enough)",
        "    error  1 table without replica identity: \"public\".\"bare\"",
        "error: not ready; errors: 2, warnings: 1 (run what is said above",
    ] {
        assert!(
            printed.lines().any(|printed| printed.starts_with(line)),
            "no {line:?} in\n{printed}"
        );
    }
    assert!(!printed.contains('\u{1b}'), "colour is for terminals");

    owner.query("ALTER SYSTEM SET wal_level = 'logical'").unwrap();
    owner.query("ALTER TABLE bare REPLICA IDENTITY FULL").unwrap();
    drop(owner);
    server.crash();
    server.resume();
    let output = doctor(folder.path(), &[&connection, "--option", "wal_limit=1GB"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).ends_with("ready; warnings: 1\n"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_sources_of_the_settings_file_are_examined_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start_with(&["wal_level=logical"]);
    server
        .connect()
        .query("CREATE TABLE item (id int PRIMARY KEY)")
        .unwrap();
    let connection = server.connection();
    let settings = format!(
        "[[source]]\nname = \"shop\"\npostgres = \"{connection}\"\ntables = [\"item\"]\n
        [[source]]\nname = \"crm\"\npostgres = \"{connection}\"\ntables = [\"person\"]\n"
    );
    fs::write(folder.path().join("viewfeed.toml"), settings).unwrap();
    let output = doctor(folder.path(), &["--source", "shop", "--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let findings = json_lines(&output);
    assert!(findings.iter().all(|finding| finding["source"] == "shop"));
    let level = findings
        .iter()
        .find(|finding| finding["what"] == "wal_level is logical");
    assert_eq!(level.unwrap()["severity"], "good");

    let output = doctor(folder.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let findings = json_lines(&output);
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(
        (&errors[0]["source"], &errors[0]["what"]),
        (&"crm".into(), &"there is no table public.person".into())
    );

    let output = doctor(folder.path(), &["--source", "absent"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_wrong_option_or_a_server_that_is_not_there_is_said_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let address = viewfeed_testbed::free_address();
    let connection = format!(
        "host=127.0.0.1 port={} user=reader password=s3cret dbname=shop",
        address.port()
    );
    for (arguments, code) in [
        (vec![connection.as_str()], 3),
        (vec![&connection, "--option", "table=a"], 2),
        (vec![&connection, "--option", "tables"], 2),
        (vec!["host=a password='s3cret"], 2),
        (vec![], 2),
    ] {
        let output = doctor(folder.path(), &arguments);
        let printed = text(&output);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(!printed.contains("s3cret"), "{printed}");
        assert!(printed.contains('('), "says what to do: {printed}");
    }
}

#[test]
fn a_source_that_cannot_be_made_is_refused_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let server = crate::server::start(folder.path());
    let create = "CREATE SOURCE shop FROM POSTGRES (connection = 'host=127.0.0.1 port=1 user=u dbname=d password=s3cret')";
    let refused = crate::server::sql_error(&server, create);
    assert!(refused.contains("Unavailable"), "{refused}");
    assert!(!refused.contains("s3cret"), "{refused}");
    for statement in [
        "ALTER SOURCE shop RESYNC",
        "DROP SOURCE shop",
        "SHOW CREATE SOURCE shop",
        "WAIT FOR SOURCE shop",
    ] {
        let said = crate::server::sql_error(&server, statement);
        assert!(said.contains("does not exist"), "{said}");
    }
    assert_eq!(
        crate::server::sql(&server, "SHOW SOURCES"),
        Vec::<serde_json::Value>::new()
    );
    assert!(!server.log().contains("s3cret"));
}
