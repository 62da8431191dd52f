//! Every type of Postgres, by COPY and by pgoutput, in text and in binary: always the same value, and the one the server has.

use crate::postgres_literals::{AS_TEXT, NATIVE, NOT_REPRESENTABLE, make_types};
use crate::postgres_rows::{Session, copied, inserted, shown};
use arrow::array::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use viewfeed_change::ErrorKind;
use viewfeed_source::postgres::pgoutput::{Message, OldRow, Within};
use viewfeed_source::postgres::value::{RowBuilder, ValueType};
use viewfeed_source::postgres::{CopyOptions, TableShape, Tables, read_shapes};
use viewfeed_testbed::Postgres;

/// Makes a table for every type, named after its place, with an `id` and the values.
async fn make_tables(session: &Session, types: &[(&str, &[&str])], prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (place, (of, _)) in types.iter().enumerate() {
        let name = format!("\"{prefix} {place}\"");
        session
            .run(&format!("CREATE TABLE {name} (id int PRIMARY KEY, v {of})"))
            .await;
        names.push(name);
    }
    names
}

async fn fill(session: &Session, types: &[(&str, &[&str])], names: &[String]) {
    for ((_, values), name) in types.iter().zip(names) {
        for (id, value) in values.iter().enumerate() {
            session
                .run(&format!("INSERT INTO {name} VALUES ({id}, {value})"))
                .await;
        }
        session
            .run(&format!("INSERT INTO {name} VALUES ({}, NULL)", values.len()))
            .await;
    }
}

async fn make_slot(session: &Session) {
    session
        .run("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        .await;
}

const BINARY: CopyOptions = CopyOptions {
    workers: 2,
    piece_pages: 1000,
    binary: true,
};
const TEXT: CopyOptions = CopyOptions {
    binary: false,
    ..BINARY
};

#[tokio::test]
async fn every_type_comes_alike_by_every_way() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    make_types(&session).await;
    let mut tables = make_tables(&session, NATIVE, "native").await;
    session
        .run(&format!(
            "CREATE PUBLICATION native FOR TABLE {}",
            tables.join(", ")
        ))
        .await;
    let as_text = make_tables(&session, AS_TEXT, "Text").await;
    session
        .run(&format!(
            "CREATE PUBLICATION as_text FOR TABLE {}",
            as_text.join(", ")
        ))
        .await;
    make_slot(&session).await;
    fill(&session, NATIVE, &tables).await;
    fill(&session, AS_TEXT, &as_text).await;
    tables.extend(as_text);

    let (native, as_text) = (
        session.published("native", &[]).await,
        session.published("as_text", &[]).await,
    );
    assert_eq!((native.len(), as_text.len()), (NATIVE.len(), AS_TEXT.len()));
    for shape in &native {
        assert!(shape.has_binary(), "{shape:?}");
    }
    for shape in &as_text {
        assert_eq!(shape.columns[1].value, ValueType::Text, "{shape:?}");
    }
    let all = [native.clone(), as_text].concat();
    let holder = Session::open(&server).await;
    let snapshot = holder.export().await;
    let by_copy = copied(&server, &snapshot, &all, TEXT).await.unwrap();
    let by_binary_copy = copied(&server, &snapshot, &all, BINARY).await.unwrap();
    let by_message = inserted(&session.messages("native,as_text", false).await, &all).unwrap();
    let by_binary_message = inserted(&session.messages("native", true).await, &native).unwrap();
    let mut values = 0;
    for shape in &all {
        let name = format!("\"{}\"", shape.name);
        let column = &shape.columns[1];
        let says = session.says(&name, "v", &column.value).await;
        let rows = &by_copy[&shape.oid];
        let what = format!("{} {:?}", shape.name, column);
        assert_eq!(shown(rows.column(1)), says, "{what}");
        assert_eq!(&by_binary_copy[&shape.oid], rows, "{what}");
        assert_eq!(&by_message[&shape.oid], rows, "{what}");
        if column.value.has_binary() {
            assert_eq!(&by_binary_message[&shape.oid], rows, "{what}");
        }
        values += says.len();
    }
    println!("{values} values of {} types", all.len());
}

#[tokio::test]
async fn what_has_no_place_here_is_an_error_and_comes_as_text_when_told_so() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    let types: Vec<(&str, &[&str])> = NOT_REPRESENTABLE
        .iter()
        .map(|(of, value)| (*of, std::slice::from_ref(value)))
        .collect();
    let tables = make_tables(&session, &types, "n").await;
    session.run("CREATE PUBLICATION p FOR ALL TABLES").await;
    make_slot(&session).await;
    fill(&session, &types, &tables).await;
    let holder = Session::open(&server).await;
    let snapshot = holder.export().await;
    let messages = [
        session.messages("p", false).await,
        session.messages("p", true).await,
    ];
    for shape in session.published("p", &[]).await {
        let one = std::slice::from_ref(&shape);
        let errors = [
            copied(&server, &snapshot, one, TEXT).await.unwrap_err(),
            copied(&server, &snapshot, one, BINARY).await.unwrap_err(),
            inserted(&messages[0], one).unwrap_err(),
            inserted(&messages[1], one).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(
                (error.kind(), error.reason()),
                (ErrorKind::Precondition, "VALUE_NOT_REPRESENTABLE")
            );
            let name = format!("public.\"{}\".v", shape.name);
            assert!(error.message().contains(&name), "{error}");
            assert!(error.advice().unwrap().contains(&format!("'{name}'")), "{error}");
        }
    }
    // As the advice says.
    let names: Vec<String> = (0..tables.len())
        .map(|place| format!("public.\"n {place}\".v"))
        .collect();
    let shapes = session.published("p", &names).await;
    let by_copy = copied(&server, &snapshot, &shapes, BINARY).await.unwrap();
    assert_eq!(inserted(&messages[0], &shapes).unwrap(), by_copy);
    for shape in &shapes {
        let says = session
            .says(&format!("\"{}\"", shape.name), "v", &ValueType::Text)
            .await;
        assert_eq!(shown(by_copy[&shape.oid].column(1)), says);
    }
}

/// Changes some bytes of messages and reads what is left of them.
fn mutate(
    messages: &[Vec<u8>],
    shapes: &BTreeMap<u32, TableShape>,
    random: &mut StdRng,
    rounds: usize,
) -> usize {
    let mut read = 0;
    for _ in 0..rounds {
        let mut bytes = messages[random.random_range(0..messages.len())].clone();
        // The kind and the table stay, so that more than the first step is tried.
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(5..bytes.len());
            bytes[at] = random.random();
        }
        let Ok(Message::Insert { relation, new, .. }) = Message::decode(&bytes, Within::Committed) else {
            continue;
        };
        let mut rows = RowBuilder::new(&shapes[&relation.0]);
        match rows.append(&new) {
            Ok(_) => {
                rows.append_key(&new).unwrap_or_default();
                read += rows.finish().num_rows();
            }
            Err(_) => assert_eq!(rows.finish().num_rows(), 0),
        }
    }
    read
}

#[tokio::test]
async fn no_bytes_make_it_panic() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    make_types(&session).await;
    let tables = make_tables(&session, NATIVE, "native").await;
    session.run("CREATE PUBLICATION p FOR ALL TABLES").await;
    make_slot(&session).await;
    fill(&session, NATIVE, &tables).await;
    let shapes = session.published("p", &[]).await.into_iter();
    let shapes: BTreeMap<u32, TableShape> = shapes.map(|shape| (shape.oid.0, shape)).collect();
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for is_binary in [false, true] {
        let mut messages = session.messages("p", is_binary).await;
        messages.retain(|message| message[0] == b'I' && message.len() < 1000);
        let read = mutate(&messages, &shapes, &mut random, 50_000);
        assert!(read > 0);
    }
}

#[tokio::test]
async fn names_that_name_nothing_are_told() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let patterns = ["public.t".to_owned(), "public.u".to_owned(), "other.*".to_owned()];
    let columns = ["public.t.id".to_owned(), "public.t.x".to_owned()];
    let found = read_shapes(&session, Tables::Matching(&patterns), &columns)
        .await
        .unwrap();
    assert_eq!(found.unmatched, ["public.u", "other.*", "public.t.x"]);
    assert_eq!(found.tables.len(), 1);
    assert_eq!(found.tables[0].columns[0].value, ValueType::Text);
    let error = read_shapes(&session, Tables::Publication("p"), &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// The rows that are told of before and after the updates and deletes in some messages, with the places of what was not sent.
fn images(messages: &[Vec<u8>], shape: &TableShape) -> (RecordBatch, RecordBatch, Vec<Vec<u16>>) {
    let (mut old_rows, mut new_rows) = (RowBuilder::new(shape), RowBuilder::new(shape));
    let mut unchanged = Vec::new();
    for message in messages {
        let (old, new) = match Message::decode(message, Within::Committed).unwrap() {
            Message::Update { old, new, .. } => (old, Some(new)),
            Message::Delete { old, .. } => (Some(old), None),
            _ => continue,
        };
        match old {
            Some(OldRow::Key(key)) => old_rows.append_key(&key).unwrap(),
            Some(OldRow::Full(row)) => assert_eq!(old_rows.append(&row).unwrap(), Vec::<u16>::new()),
            None => {}
        }
        if let Some(new) = new {
            unchanged.push(new_rows.append(&new).unwrap());
        }
    }
    (old_rows.finish(), new_rows.finish(), unchanged)
}

#[tokio::test]
async fn large_values_that_did_not_change_are_named_and_keys_stand_alone() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    session
        .run("CREATE TABLE t (n int, large text, id int PRIMARY KEY); ALTER TABLE t ALTER large SET STORAGE EXTERNAL")
        .await;
    session
        .run("INSERT INTO t SELECT g, repeat('x', 10000), g FROM generate_series(1, 3) g; CREATE PUBLICATION p FOR TABLE t")
        .await;
    make_slot(&session).await;
    session.run("UPDATE t SET n = 10 WHERE id = 1").await;
    session.run("UPDATE t SET id = 20 WHERE id = 2").await;
    session.run("UPDATE t SET large = NULL WHERE id = 1").await;
    session.run("DELETE FROM t WHERE id = 3").await;
    let shape = session.published("p", &[]).await.remove(0);
    let some = |values: &[&str]| {
        values
            .iter()
            .map(|value| Some((*value).to_owned()))
            .collect::<Vec<_>>()
    };
    for is_binary in [false, true] {
        let (old, new, unchanged) = images(&session.messages("p", is_binary).await, &shape);
        assert_eq!(unchanged, [vec![1], vec![1], vec![]]);
        assert_eq!((old.num_rows(), new.num_rows()), (2, 3));
        assert_eq!(shown(new.column(0)), some(&["10", "2", "10"]));
        assert_eq!(shown(new.column(1)), [None, None, None]);
        assert_eq!(shown(old.column(2)), some(&["2", "3"]));
        assert_eq!(shown(old.column(0)), [None, None]);
    }
    session.run("ALTER TABLE t REPLICA IDENTITY FULL; SELECT pg_replication_slot_advance('s', pg_current_wal_lsn())").await;
    session.run("UPDATE t SET n = 11 WHERE id = 20").await;
    let (old, _, unchanged) = images(&session.messages("p", false).await, &shape);
    assert_eq!(unchanged, [vec![1]]);
    assert_eq!(shown(old.column(1)), [Some("x".repeat(10_000))]);
}
