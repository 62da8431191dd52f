//! Scripts, our own statements, and what a syntax error says.

use datafusion::sql::sqlparser::ast;
use viewfeed_change::ErrorKind;
use viewfeed_query::{Show, SourceKind, SourceOptions, SourceStatement, Statement, parse};

fn one(sql: &str) -> Statement {
    let mut parsed = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(parsed.len(), 1, "{sql}");
    parsed.remove(0).statement
}

fn sql(text: &str) -> ast::Statement {
    match one(text) {
        Statement::Sql(statement) => *statement,
        other => panic!("{text}: {other:?}"),
    }
}

fn failure(text: &str) -> viewfeed_change::Error {
    let error = parse(text).expect_err(text);
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Invalid, "SQL_SYNTAX"),
        "{text}: {error}"
    );
    assert!(error.advice().is_some(), "{text}: {error}");
    error
}

#[test]
fn the_chat_example_parses_verbatim() {
    let script = "\
CREATE TABLE user (user_id CHAR(32), user_login VARCHAR(255), user_password CHAR(64), user_email VARCHAR(400), PRIMARY KEY (user_id));
CREATE TABLE chat_message (chat_message_id CHAR(32), chat_message_datetime DATETIME, chat_message_text TEXT, chat_message_chat_id CHAR(32), chat_message_user_id CHAR(32), PRIMARY KEY (chat_message_id));
CREATE TABLE user_chat (user_chat_chat_id CHAR(32), user_chat_user_id CHAR(32), PRIMARY KEY (user_chat_chat_id,user_chat_user_id));
CREATE TABLE chat (chat_id CHAR(32), chat_topic VARCHAR(32), chat_password CHAR(64), user_chat_user_id CHAR(32), PRIMARY KEY (chat_id));
";
    let parsed = parse(script).unwrap();
    let names: Vec<_> = parsed
        .iter()
        .map(|parsed| match &parsed.statement {
            Statement::Sql(statement) => match statement.as_ref() {
                ast::Statement::CreateTable(table) => {
                    (parsed.line, table.name.to_string(), table.columns.len())
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    let want = [
        (1, "user", 4),
        (2, "chat_message", 5),
        (3, "user_chat", 2),
        (4, "chat", 4),
    ];
    assert_eq!(
        names,
        want.map(|(line, name, columns)| (line, name.to_owned(), columns))
    );
}

#[test]
fn semicolons_in_texts_and_comments_do_not_end_a_statement() {
    let script = "-- first; comment\nSELECT 'a;b' /* ; */, \";\" FROM t ;;\n\n  /* x */ SELECT $$;\n;$$\n;\nSELECT 3 -- end;\n";
    let parsed = parse(script).unwrap();
    let got: Vec<_> = parsed
        .iter()
        .map(|parsed| (parsed.line, parsed.text.as_str()))
        .collect();
    let want = [
        (2, "SELECT 'a;b' /* ; */, \";\" FROM t"),
        (4, "SELECT $$;\n;$$"),
        (7, "SELECT 3"),
    ];
    assert_eq!(got, want);
}

#[test]
fn text_is_cut_by_characters_not_bytes() {
    let parsed = parse("SELECT 'žluťoučký 🐎';SELECT 'ü' AS \"größe\"  ;").unwrap();
    let texts: Vec<_> = parsed.iter().map(|parsed| parsed.text.as_str()).collect();
    assert_eq!(texts, ["SELECT 'žluťoučký 🐎'", "SELECT 'ü' AS \"größe\""]);
}

#[test]
fn nothing_is_no_statement() {
    for nothing in ["", " \n", ";;", "-- only a comment", "/* ; */"] {
        assert!(parse(nothing).unwrap().is_empty(), "{nothing}");
    }
}

#[test]
fn user_is_a_table_name() {
    for text in [
        "SELECT * FROM user",
        "SELECT user.user_id FROM user WHERE user.user_login = 'ann'",
        "INSERT INTO user VALUES ('1', 'ann')",
        "INSERT INTO user (user_id) VALUES ('1')",
        "UPDATE user SET user_login = 'x' WHERE user_id = '1'",
        "DELETE FROM user WHERE user_id = '1'",
        "DROP TABLE user",
        "TRUNCATE user",
        "ALTER TABLE user ADD COLUMN age INT",
        "CREATE INDEX by_login ON user (user_login)",
        "SELECT * FROM chat c JOIN user ON user.user_id = c.id",
    ] {
        let statement = sql(text);
        assert!(statement.to_string().contains("user"), "{statement}");
    }
}

#[test]
fn a_materialized_view_has_its_options_before_as_or_at_the_end() {
    let before =
        "CREATE OR REPLACE MATERIALIZED VIEW v WITH (require = 'incremental') AS SELECT a AS b FROM t";
    let behind =
        "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT a AS b FROM t WITH (require = 'incremental')";
    let not_exists = "CREATE MATERIALIZED VIEW IF NOT EXISTS s.v WITH (require = 'incremental') AS SELECT 1";
    for text in [before, behind, not_exists] {
        let ast::Statement::CreateView(view) = sql(text) else {
            panic!("{text}");
        };
        let ast::CreateTableOptions::With(options) = &view.options else {
            panic!("{text}: {:?}", view.options);
        };
        assert_eq!(options[0].to_string(), "require = 'incremental'");
        assert!(view.materialized);
    }
    assert_eq!(sql(before), sql(behind));
    let ast::Statement::CreateView(plain) = sql("CREATE VIEW v AS SELECT f(a) FROM t WHERE a IN (b)") else {
        panic!();
    };
    assert_eq!(plain.query.to_string(), "SELECT f(a) FROM t WHERE a IN (b)");
    assert!(!plain.materialized);
}

#[test]
fn our_own_statements_are_recognised() {
    let shows = [
        ("SHOW RELATIONS", Show::Relations),
        ("show tables;", Show::Relations),
        ("SHOW VIEWS", Show::Views),
        ("SHOW MODULES", Show::Modules),
        (
            "SHOW COLUMNS FROM Chat.\"Msg\"",
            Show::Columns("chat.Msg".to_owned()),
        ),
        ("DESCRIBE user", Show::Columns("user".to_owned())),
        ("desc table t", Show::Columns("t".to_owned())),
        ("SHOW CREATE v", Show::Create("v".to_owned())),
        (
            "SHOW CREATE MATERIALIZED VIEW s.v",
            Show::Create("s.v".to_owned()),
        ),
        ("SHOW SOURCES", Show::Sources),
        ("show create source Shop", Show::CreateSource("shop".to_owned())),
        // A relation may be called so.
        ("SHOW CREATE source", Show::Create("source".to_owned())),
        ("SHOW CREATE source.v", Show::Create("source.v".to_owned())),
    ];
    for (text, want) in shows {
        match one(text) {
            Statement::Show(show) => assert_eq!(show, want, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    for (text, wanted) in [
        ("EXPLAIN VIEW s.v", false),
        ("explain view verbose S.V", true),
        ("EXPLAIN VERBOSE VIEW s.v", true),
    ] {
        match one(text) {
            Statement::ExplainView { name, verbose } => assert_eq!((name.as_str(), verbose), ("s.v", wanted)),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(sql("EXPLAIN SELECT 1"), ast::Statement::Explain { .. }));
}

fn source(text: &str) -> SourceStatement {
    match one(text) {
        Statement::Source(statement) => statement,
        other => panic!("{text}: {other:?}"),
    }
}

fn options(pairs: &[(&str, &str)]) -> SourceOptions {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    SourceOptions(pairs.iter().map(owned).collect())
}

#[test]
fn a_source_is_created_with_texts_numbers_and_words_as_options() {
    let text = "create source if not exists Shop from postgres (
        connection = 'host=db password=''it\\''s''', -- a comment; with a semicolon
        Tables = $$public.*, crm.\"Order\"$$, slot = E'a\\tb', parallel = 4, tls = TRUE);";
    let want = SourceStatement::Create {
        name: "shop".to_owned(),
        if_not_exists: true,
        kind: SourceKind::Postgres,
        options: options(&[
            ("connection", "host=db password='it\\'s'"),
            ("tables", "public.*, crm.\"Order\""),
            ("slot", "a\tb"),
            ("parallel", "4"),
            ("tls", "TRUE"),
        ]),
    };
    assert_eq!(source(text), want);
    let SourceStatement::Create {
        name, if_not_exists, ..
    } = source("CREATE SOURCE \"My Shop\" FROM POSTGRES (connection = 'x')")
    else {
        panic!();
    };
    assert_eq!((name.as_str(), if_not_exists), ("My Shop", false));
}

#[test]
fn a_source_is_altered_and_dropped() {
    let name = "shop".to_owned();
    let resync = |table: Option<&str>| SourceStatement::Resync {
        name: name.clone(),
        table: table.map(str::to_owned),
    };
    assert_eq!(source("ALTER SOURCE shop RESYNC"), resync(None));
    assert_eq!(
        source("alter source shop resync table Public.\"Order\""),
        resync(Some("public.Order"))
    );
    let set = SourceStatement::Set {
        name: name.clone(),
        options: options(&[("wal_limit", "20GB")]),
    };
    assert_eq!(source("ALTER SOURCE shop SET (wal_limit = '20GB')"), set);
    let drop = |if_exists, cascade| SourceStatement::Drop {
        name: name.clone(),
        if_exists,
        cascade,
    };
    assert_eq!(source("DROP SOURCE shop"), drop(false, false));
    assert_eq!(source("DROP SOURCE shop RESTRICT"), drop(false, false));
    assert_eq!(source("DROP SOURCE IF EXISTS shop CASCADE"), drop(true, true));
    assert!(matches!(
        sql("CREATE TABLE source (a INT)"),
        ast::Statement::CreateTable(_)
    ));
}

#[test]
fn a_wrong_statement_about_a_source_says_what_it_should_look_like() {
    for (text, message) in [
        (
            "CREATE SOURCE shop",
            "line 1:19: expected FROM POSTGRES, found the end of the statement",
        ),
        (
            "CREATE SOURCE shop FROM MYSQL (a = 1)",
            "line 1:25: expected POSTGRES, the kind of source, found `MYSQL`",
        ),
        (
            "CREATE SOURCE shop FROM POSTGRES ()",
            "line 1:35: expected the name of an option, found `)`",
        ),
        (
            "CREATE SOURCE shop FROM POSTGRES (a 'secret')",
            "line 1:37: expected `=`, found a text",
        ),
        (
            "CREATE SOURCE shop FROM POSTGRES (a = 10 GB)",
            "line 1:42: expected `,` or `)`, found `GB`",
        ),
        (
            "CREATE SOURCE shop FROM POSTGRES (a = )",
            "line 1:39: expected a text, number or word as the value of an option, found `)`",
        ),
        (
            "CREATE SOURCE a.b FROM POSTGRES (a = 1)",
            "line 1:16: expected FROM POSTGRES, found `.`",
        ),
        (
            "ALTER SOURCE shop RENAME TO x",
            "line 1:19: expected SET or RESYNC, found `RENAME`",
        ),
        (
            "DROP SOURCE shop, other",
            "line 1:17: expected the end of the statement, found `,`",
        ),
    ] {
        let error = failure(text);
        assert_eq!(error.message(), message);
        let verb = text.split(' ').next().unwrap();
        let form = format!("{verb} SOURCE ");
        assert!(error.advice().unwrap().starts_with(&form), "{error}");
    }
}

#[test]
fn the_options_of_a_source_are_not_shown_for_debugging() {
    let statement = source("CREATE SOURCE shop FROM POSTGRES (connection = 'password=secret')");
    let shown = format!("{statement:?}");
    assert!(
        shown.contains("connection") && !shown.contains("secret"),
        "{shown}"
    );
}

#[test]
fn a_syntax_error_names_its_place() {
    let error = failure("SELECT 1;\n\nSELECT a FROM t WHERE;\n");
    assert!(error.message().starts_with("line 3:"), "{error}");
    let error = failure("SELECT 1;\n  SELEC 2");
    assert_eq!(
        error.message(),
        "line 2:3: expected an SQL statement, found `SELEC`"
    );
    let error = failure("SELECT 1 FROM t t2 t3");
    assert_eq!(
        error.message(),
        "line 1:20: expected the end of the statement, found `t3`"
    );
    let error = failure("SHOW COLUMNS user");
    assert_eq!(
        error.message(),
        "line 1:14: expected FROM and the name of a table or view, found `user`"
    );
    let error = failure("EXPLAIN VIEW");
    assert_eq!(
        error.message(),
        "line 1:13: expected the name of a table or view, found the end of the statement"
    );
    let error = failure("CREATE MATERIALIZED VIEW v SELECT 1");
    assert!(
        error
            .advice()
            .unwrap()
            .starts_with("CREATE [OR REPLACE] MATERIALIZED VIEW"),
        "{error}"
    );
}

#[test]
fn an_unclosed_text_is_an_error() {
    let error = failure("SELECT 1;\nSELECT 'abc");
    assert!(error.message().starts_with("line 2:8: unterminated"), "{error}");
}

#[test]
fn a_syntax_error_never_shows_the_content_of_a_text() {
    for text in [
        "SELECT 'secret' 'x' 'secret'",
        "INSERT INTO 'secret' VALUES (1)",
        "SELECT * FROM t LIMIT BY 'secret'",
    ] {
        if let Err(error) = parse(text) {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
    assert_eq!(failure("INSERT INTO t ('secret')").message().find("secret"), None);
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(failure(&deep).message().contains("nested deeper"));
}

#[test]
fn arbitrary_text_never_panics() {
    use proptest::prelude::*;
    let words = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "user",
        "CREATE",
        "VIEW",
        "AS",
        "WITH",
        "(",
        ")",
        "=",
        "'a",
        "'b'",
        "\"",
        "$$",
        "--",
        "/*",
        ";",
        "\n",
        "é",
        "SHOW",
        "COLUMNS",
        "EXPLAIN",
        "DESCRIBE",
        "SOURCE",
        "FROM POSTGRES",
        ".",
        ",",
        "1",
        "$1",
        "\\",
        "E'",
    ]);
    let script = prop::collection::vec(words, 0..12).prop_map(|words| words.join(" "));
    proptest!(|(script in script, noise in "\\PC*")| {
        let _ = parse(&script);
        let _ = parse(&noise);
    });
}
