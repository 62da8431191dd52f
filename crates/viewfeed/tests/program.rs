//! User stories: what a stranger does with the binary.

use crate::server::{PROGRAM, Running, call, repository, sql, sql_error, start, text, tool};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use viewfeed_testbed::{Viewfeed, copy_dir};

const JOIN: &str = "chatpb.ChatService/JoinChannel";
const SEND: &str = "chatpb.ChatService/SendMessage";

fn message(sender: &str, channel: &str, text: &str) -> String {
    json!({"sender": sender, "channel": {"name": channel, "senders_name": sender}, "message": text})
        .to_string()
}

#[test]
fn the_plain_seed_proto_is_a_live_chat_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(
        &repository("examples/seed-chat"),
        &dir.path().join("modules/seed"),
    )
    .unwrap();
    let server = start(dir.path());
    call(&server, &[SEND, &message("ann", "general", "first")]);
    let mut ann = Running::start(
        &server,
        "call",
        &[JOIN, r#"{"name":"general","senders_name":"ann"}"#],
    );
    let mut bob = Running::start(
        &server,
        "call",
        &[JOIN, r#"{"name":"general","senders_name":"bob"}"#],
    );
    assert_eq!(ann.next().unwrap()["message"], "first");
    assert_eq!(bob.next().unwrap()["message"], "first");
    let sent = call(
        &server,
        &[
            SEND,
            &message("bob", "other", "elsewhere"),
            &message("bob", "general", "second"),
        ],
    );
    assert_eq!(sent.len(), 1, "a client stream has one answer");
    for client in [&mut ann, &mut bob] {
        let got = client.next().unwrap();
        assert_eq!(
            (&got["message"], &got["sender"]),
            (&json!("second"), &json!("bob"))
        );
    }
    server.kill();
    let server = start(dir.path());
    let history = call(&server, &[JOIN, r#"{"name":"general"}"#, "--max", "2"]);
    let texts: Vec<&Value> = history.iter().map(|message| &message["message"]).collect();
    assert_eq!(texts, ["first", "second"]);
}

#[test]
fn the_four_tables_of_the_chat_example_are_created_verbatim() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE user (user_id CHAR(32), user_login VARCHAR(255), user_password CHAR(64), user_email VARCHAR(400), PRIMARY KEY (user_id));
         CREATE TABLE chat_message (chat_message_id CHAR(32), chat_message_datetime DATETIME, chat_message_text TEXT, chat_message_chat_id CHAR(32), chat_message_user_id CHAR(32), PRIMARY KEY (chat_message_id));
         CREATE TABLE user_chat (user_chat_chat_id CHAR(32), user_chat_user_id CHAR(32), PRIMARY KEY (user_chat_chat_id,user_chat_user_id));
         CREATE TABLE chat (chat_id CHAR(32), chat_topic VARCHAR(32), chat_password CHAR(64), user_chat_user_id CHAR(32), PRIMARY KEY (chat_id));
         CREATE MATERIALIZED VIEW chat_line AS SELECT m.chat_message_id, c.chat_topic, u.user_login, m.chat_message_text
            FROM chat_message m JOIN chat c ON c.chat_id = m.chat_message_chat_id JOIN user u ON u.user_id = m.chat_message_user_id;
         INSERT INTO user VALUES ('u1', 'ann', 'secret', 'ann@example.org');
         INSERT INTO chat VALUES ('c1', 'general', NULL, 'u1');
         INSERT INTO chat_message VALUES ('m1', '2026-01-02 03:04:05', 'hello', 'c1', 'u1');",
    );
    let rows = sql(
        &server,
        "SELECT chat_topic, user_login, chat_message_text FROM chat_line",
    );
    assert_eq!(
        rows,
        [json!({"chat_topic": "general", "user_login": "ann", "chat_message_text": "hello"})]
    );
}

#[test]
fn a_write_and_every_view_it_changes_share_a_version() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE t (id INT PRIMARY KEY, g INT);
         CREATE MATERIALIZED VIEW by_g AS SELECT g, count(*) AS n FROM t GROUP BY g;
         CREATE MATERIALIZED VIEW top AS SELECT g, n FROM by_g ORDER BY n DESC, g LIMIT 1;",
    );
    let feeds = ["t", "by_g", "top"].map(|relation| Running::start(&server, "tail", &[relation]));
    let mut versions = Vec::new();
    let mut feeds = feeds;
    feeds.iter_mut().for_each(|feed| drop(feed.next_of("HELLO")));
    feeds
        .iter_mut()
        .for_each(|feed| while feed.next_of("SNAPSHOT")["caught_up"] != true {});
    sql(&server, "INSERT INTO t VALUES (1, 7), (2, 7), (3, 8)");
    for feed in &mut feeds {
        versions.push(feed.next_of("DELTA")["version"].clone());
    }
    assert!(
        versions.iter().all(|version| *version == versions[0]),
        "{versions:?}"
    );
    assert_eq!(sql(&server, "SELECT g, n FROM top"), [json!({"g": 7, "n": 2})]);
}

#[test]
fn a_feed_is_resumed_by_token_without_gap_or_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)",
    );
    let token = {
        let mut feed = Running::start(&server, "tail", &["t"]);
        feed.next_of("SNAPSHOT")["token"].as_str().unwrap().to_owned()
    };
    sql(
        &server,
        "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3); DELETE FROM t WHERE id = 1",
    );
    server.kill();
    let server = start(dir.path());
    let mut feed = Running::start(
        &server,
        "tail",
        &["t", "--envelope", "upsert", "--resume", &token],
    );
    let mut rows = Vec::new();
    let mut deletes = Vec::new();
    while deletes.is_empty() {
        let frame = feed.next_of("DELTA");
        rows.extend(frame["rows"].as_array().unwrap().clone());
        deletes.extend(frame["deletes"].as_array().cloned().unwrap_or_default());
    }
    assert_eq!(rows, [json!({"id": 2}), json!({"id": 3})]);
    assert_eq!(deletes, [json!({"id": 1})]);
    let refused = tool(&server, "tail", &["t", "--resume", "Z2FyYmFnZQ"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
}

#[test]
fn a_module_is_edited_while_it_runs_and_a_bad_edit_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let module = copy_dir(&repository("modules/chat"), &dir.path().join("modules/chat")).unwrap();
    copy_dir(
        &repository("examples/seed-chat"),
        &dir.path().join("modules/seed"),
    )
    .unwrap();
    let server = start(dir.path());
    let mut other = Running::start(&server, "call", &[JOIN, r#"{"name":"general"}"#]);

    fs::write(
        module.join("migrations/0099_loud.sql"),
        "CREATE MATERIALIZED VIEW loud AS SELECT upper('a') AS a, count(*) AS n FROM message;",
    )
    .unwrap();
    server.wait_for_log("module is live", 3);
    sql(&server, "SELECT n FROM chat.loud");

    fs::write(
        module.join("chat.proto"),
        "syntax = \"proto3\";\npackage chat.v1;\nmessage Broken { strin x = 1; }\n",
    )
    .unwrap();
    server.wait_for_log("refused: chat.proto:3", 1);
    let status = text(&tool(&server, "status", &[]));
    assert!(
        status.contains("\"refused\"") && status.contains("chat.proto:3"),
        "{status}"
    );
    assert!(
        text(&tool(&server, "call", &[])).contains("chat.v1.ChatService"),
        "what ran keeps running"
    );

    call(&server, &[SEND, &message("ann", "general", "still here")]);
    assert_eq!(other.next().unwrap()["message"], "still here");
    fs::remove_dir_all(&module).unwrap();
    server.wait_for_log("module is gone", 1);
    assert!(!text(&tool(&server, "call", &[])).contains("chat.v1.ChatService"));
    call(&server, &[SEND, &message("ann", "general", "and here")]);
    assert_eq!(other.next().unwrap()["message"], "and here");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path());
    let Err(log) = Viewfeed::try_start(PROGRAM, dir.path(), &[]) else {
        panic!("two servers share a data folder")
    };
    assert!(log.contains("another") && log.contains("data"), "{log}");
    sql(&first, "CREATE TABLE t (id INT PRIMARY KEY)");
}

#[test]
fn a_term_signal_drains_feeds_with_bye() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(&server, "CREATE TABLE t (id INT PRIMARY KEY)");
    let mut feed = Running::start(&server, "tail", &["t"]);
    feed.next_of("SNAPSHOT");
    server.signal("TERM");
    assert_eq!(feed.next_of("BYE")["reason"], "DRAIN");
    assert!(server.wait().success());
}

#[test]
fn transactions_are_atomic_and_isolated() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL CHECK (n >= 0)); INSERT INTO t VALUES (1, 10), (2, 0)",
    );
    let error = sql_error(
        &server,
        "BEGIN; UPDATE t SET n = n + 20 WHERE id = 2; UPDATE t SET n = n - 20 WHERE id = 1; COMMIT",
    );
    assert!(error.contains("check"), "{error}");
    let total = "SELECT sum(n) AS n FROM t";
    assert_eq!(sql(&server, total), [json!({"n": 10})]);

    let mut session = Running::start(&server, "sql", &[]);
    session.send(
        "BEGIN; UPDATE t SET n = n + 1; SELECT sum(n) AS n FROM t; ROLLBACK; SELECT sum(n) AS n FROM t;",
    );
    session.finish();
    assert_eq!(
        session.next().unwrap(),
        json!({"n": 12}),
        "a transaction sees its own writes"
    );
    assert_eq!(
        session.next().unwrap(),
        json!({"n": 10}),
        "and leaves none when rolled back"
    );
}

#[test]
fn every_select_is_a_view_and_explain_says_how_it_is_kept_true() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE t (id INT PRIMARY KEY, g INT, x DOUBLE PRECISION); INSERT INTO t VALUES (1, 1, 1.5), (2, 1, 2.5), (3, 2, 4)",
    );
    let queries = [
        (
            "w",
            "SELECT id, ntile(2) OVER (PARTITION BY g ORDER BY id) AS s FROM t",
            "per-group",
        ),
        (
            "o",
            "SELECT a.id, b.id AS other FROM t a LEFT JOIN t b ON a.g = b.g AND a.id < b.id",
            "incremental",
        ),
        ("m", "SELECT approx_median(x) AS m FROM t", "recompute"),
        ("s", "SELECT g, sum(x) AS s FROM t GROUP BY g", "incremental"),
    ];
    for (name, query, rung) in queries {
        sql(&server, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"));
        let explained = sql(&server, &format!("EXPLAIN VIEW {name}"))
            .iter()
            .map(Value::to_string)
            .collect::<String>();
        assert!(explained.contains(rung), "{explained}");
    }
    sql(
        &server,
        "INSERT INTO t VALUES (4, 2, 8); DELETE FROM t WHERE id = 1; UPDATE t SET g = 2 WHERE id = 2",
    );
    for (name, query, _) in queries {
        let sorted = |query: &str| {
            let mut rows: Vec<String> = sql(&server, query).iter().map(Value::to_string).collect();
            rows.sort();
            rows
        };
        assert_eq!(sorted(&format!("SELECT * FROM {name}")), sorted(query), "{query}");
    }
    let refused = sql_error(
        &server,
        "CREATE MATERIALIZED VIEW n WITH (require = 'incremental') AS SELECT approx_median(x) AS m FROM t",
    );
    assert!(refused.contains("incremental"), "{refused}");
}

#[test]
fn wrong_requests_say_what_to_do_and_the_server_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(
        &repository("examples/seed-chat"),
        &dir.path().join("modules/seed"),
    )
    .unwrap();
    let server = start(dir.path());
    sql(&server, "CREATE TABLE t (id INT PRIMARY KEY)");
    let wrong = [
        ("SELEC 1", "line 1"),
        ("SELECT nope FROM t", "nope"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("INSERT INTO t VALUES ('x')", "id"),
        ("INSERT INTO t VALUES (1), (1)", "t_pkey"),
        ("CREATE TABLE t (id INT)", "exists"),
        ("CREATE VIEW v AS SELECT 1", "MATERIALIZED"),
        ("DROP TABLE nowhere", "nowhere"),
        ("SELECT 1 / 0", "zero"),
    ];
    for (script, hint) in wrong {
        let error = sql_error(&server, script);
        assert!(
            error.to_lowercase().contains(&hint.to_lowercase()),
            "{script}: {error}"
        );
    }
    let unknown = text(&tool(&server, "call", &["chatpb.ChatService/Nope", "{}"]));
    assert!(unknown.contains("JoinChannel"), "{unknown}");
    let big = message("ann", "general", &"x".repeat(5 << 20));
    let path = dir.path().join("big.json");
    fs::write(&path, big).unwrap();
    let output = Command::new(PROGRAM)
        .args(["call", "--server", &server.address().to_string(), SEND, "-"])
        .stdin(fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    assert!(
        !output.status.success() && text(&output).contains("ResourceExhausted"),
        "{}",
        text(&output)
    );
    sql(&server, "INSERT INTO t VALUES (1)");
    assert_eq!(sql(&server, "SELECT id FROM t"), [json!({"id": 1})]);
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The kernel lets no file of the server grow past this: to the program it is a disk that takes no more.
    let server = Viewfeed::start_with_file_limit(PROGRAM, dir.path(), 2 << 20);
    sql(
        &server,
        "CREATE TABLE t (id INT PRIMARY KEY, x TEXT); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t",
    );
    let mut rows = 0;
    let refused = loop {
        let insert = format!("INSERT INTO t VALUES ({rows}, '{}')", "x".repeat(100_000));
        let output = tool(&server, "sql", &[&insert]);
        if !output.status.success() {
            break text(&output);
        }
        rows += 1;
        assert!(rows < 100, "2 MiB took 100 rows of 100 kB");
    };
    assert!(refused.contains("the disk takes no more"), "{refused}");
    assert_eq!(sql(&server, "SELECT n FROM v"), [json!({"n": rows})]);
    assert_eq!(sql(&server, "SELECT count(*) AS n FROM t"), [json!({"n": rows})]);
    server.kill();
    let server = start(dir.path());
    assert_eq!(sql(&server, "SELECT n FROM v"), [json!({"n": rows})]);
    sql(&server, "INSERT INTO t VALUES (-1, 'there is room again')");
    assert_eq!(sql(&server, "SELECT n FROM v"), [json!({"n": rows + 1})]);
}

#[test]
fn a_view_over_the_time_moves_while_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE event (id INT PRIMARY KEY, at TIMESTAMPTZ);
         CREATE MATERIALIZED VIEW due AS SELECT id FROM event WHERE at <= now();
         INSERT INTO event VALUES (1, now() + interval '2 seconds')",
    );
    let mut tail = Running::start(&server, "tail", &["due"]);
    assert_eq!(tail.next_of("DELTA")["rows"], json!([{"id": 1}]));
}

/// A module with one query.
fn query_module(sql: &str) -> String {
    format!(
        r#"syntax = "proto3";
package big.v1;
import "viewfeed/v1/options.proto";
service BigService {{
  rpc List(ListRequest) returns (ListResponse) {{
    option (viewfeed.v1.rpc) = {{ query: {{ sql: "{sql}" }} }};
  }}
}}
message ListRequest {{ int64 above = 1; }}
message ListResponse {{ repeated Row rows = 1; }}
message Row {{ int64 id = 1; }}
"#
    )
}

#[test]
fn a_query_is_tried_when_its_module_comes_and_keeps_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1), (7);
         CREATE MATERIALIZED VIEW big AS SELECT id FROM t WHERE id > 5",
    );
    let module = dir.path().join("modules/big");
    fs::create_dir_all(&module).unwrap();
    fs::write(module.join("big.proto"), query_module("SELECT nope FROM big")).unwrap();
    server.wait_for_log("refused: big.proto:5", 1);
    assert!(server.log().contains("nope"), "{}", server.log());

    fs::write(
        module.join("big.proto"),
        query_module("SELECT id FROM big WHERE id > $above"),
    )
    .unwrap();
    server.wait_for_log("module is live", 1);
    for statement in [
        "DROP MATERIALIZED VIEW big",
        "CREATE OR REPLACE MATERIALIZED VIEW big AS SELECT id AS number FROM t",
    ] {
        let refused = sql_error(&server, statement);
        assert!(refused.contains("BigService/List"), "{refused}");
    }
    let answer = call(&server, &["big.v1.BigService/List", r#"{"above": 6}"#]);
    assert_eq!(answer[0]["rows"], json!([{"id": "7"}]));
}

#[test]
fn changes_of_tables_are_tailed_as_notifications() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    sql(
        &server,
        "CREATE TABLE t (id INT PRIMARY KEY, x TEXT); INSERT INTO t VALUES (1, 'a'); BEGIN; UPDATE t SET x = 'b'; INSERT INTO t VALUES (2, 'c'); COMMIT; DELETE FROM t WHERE id = 1",
    );
    let mut tail = Running::start(&server, "tail", &["--changes", "--from-start"]);
    let changes: Vec<Value> = (0..4).map(|_| tail.next().unwrap()).collect();
    let seen: Vec<_> = changes
        .iter()
        .map(|c| (c["operation"].as_str().unwrap(), &c["before"], &c["after"]))
        .collect();
    assert_eq!(seen[0], ("INSERT", &Value::Null, &json!([1, "a"])));
    assert!(
        seen[1..3].contains(&("UPDATE", &json!([1, "a"]), &json!([1, "b"]))),
        "{seen:?}"
    );
    assert!(
        seen[1..3].contains(&("INSERT", &Value::Null, &json!([2, "c"]))),
        "{seen:?}"
    );
    assert_eq!(seen[3], ("DELETE", &json!([1, "b"]), &Value::Null));
    assert_eq!(changes[1]["transaction_id"], changes[2]["transaction_id"]);
    assert_ne!(changes[0]["transaction_id"], changes[1]["transaction_id"]);
}

#[test]
fn check_tells_what_each_rpc_would_do() {
    let output = Command::new(PROGRAM)
        .arg("check")
        .arg(repository("examples/seed-chat"))
        .output()
        .unwrap();
    let report = text(&output);
    assert!(output.status.success(), "{report}");
    assert!(
        report.contains("JoinChannel") && report.contains("SendMessage") && report.contains("channel.name"),
        "{report}"
    );
    let bad = tempfile::tempdir().unwrap();
    fs::write(
        bad.path().join("x.proto"),
        "syntax = \"proto3\";\nmessage M { int32 a = 1; int32 b = 1; }\n",
    )
    .unwrap();
    let output = Command::new(PROGRAM)
        .arg("check")
        .arg(bad.path())
        .output()
        .unwrap();
    assert!(
        !output.status.success() && text(&output).contains("x.proto:2"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_examples_of_the_repository_pass_their_own_check() {
    let examples = fs::read_dir(repository("examples")).unwrap();
    let modules = examples
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    // Its module reads tables of a source, which nobody knows without the source; it has a test of its own.
    let mut folders: Vec<_> = modules.filter(|path| !path.ends_with("postgres-shop")).collect();
    folders.push(repository("modules"));
    for folder in folders {
        let output = Command::new(PROGRAM).arg("check").arg(&folder).output().unwrap();
        assert!(output.status.success(), "{}: {}", folder.display(), text(&output));
    }
}

#[test]
fn a_view_reads_what_its_names_meant_when_it_was_created_whatever_is_called_so_later() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let shop = |server: &Viewfeed, script: &str| {
        let done = tool(server, "sql", &["--schema", "shop", script]);
        assert!(done.status.success(), "{}", text(&done));
    };
    sql(
        &server,
        "CREATE TABLE item (id BIGINT PRIMARY KEY); CREATE TABLE price (id BIGINT PRIMARY KEY); INSERT INTO item VALUES (1)",
    );
    // A view called like what it reads, and one over a name that gets another meaning.
    shop(&server, "CREATE MATERIALIZED VIEW item AS SELECT id FROM item");
    shop(&server, "CREATE MATERIALIZED VIEW prices AS SELECT * FROM price");
    shop(&server, "CREATE TABLE price (id BIGINT PRIMARY KEY, note TEXT)");
    sql(
        &server,
        "ALTER TABLE item ADD COLUMN x BIGINT; ALTER TABLE price ADD COLUMN x BIGINT",
    );
    server.kill();
    let server = start(dir.path());
    sql(
        &server,
        "INSERT INTO item (id) VALUES (2); INSERT INTO price (id) VALUES (3)",
    );
    let ids = |view: &str| sql(&server, &format!("SELECT id FROM shop.{view} ORDER BY id"));
    assert_eq!(ids("item"), [json!({"id": 1}), json!({"id": 2})]);
    assert_eq!(ids("prices"), [json!({"id": 3})]);
}
