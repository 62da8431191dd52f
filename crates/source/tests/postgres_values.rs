//! Every type of Postgres, by COPY and by pgoutput, in text and in binary: always the same value, and the one the server has.

use crate::postgres_rows::{Session, copied, inserted, shown};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use viewfeed_change::ErrorKind;
use viewfeed_source::postgres::pgoutput::{Message, Within};
use viewfeed_source::postgres::value::{RowBuilder, ValueType};
use viewfeed_source::postgres::{CopyOptions, TableShape, Tables, read_shapes};
use viewfeed_testbed::Postgres;

/// Types of our own.
const TYPES: &str = r#"
    CREATE EXTENSION citext; CREATE EXTENSION hstore;
    CREATE TYPE mood AS ENUM ('sad', 'so, so', 'q"\', 'ä');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN price AS numeric(10, 2) CHECK (value >= 0);
    CREATE DOMAIN discount AS price;
    CREATE DOMAIN numbers AS int[];"#;

/// Types that have a form of their own here, and values of each as SQL.
pub(crate) const NATIVE: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "32767", "0"]),
    ("int4", &["-2147483648", "2147483647", "0"]),
    ("int8", &["-9223372036854775808", "9223372036854775807", "0"]),
    ("oid", &["0", "4294967295"]),
    (
        "float4",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "0",
            "1.1",
            "3.4028235e38",
            "1e-45",
            "16777217",
        ],
    ),
    (
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "0.1",
            "4.9e-324",
            "1.7976931348623157e308",
            "1e22",
        ],
    ),
    (
        "numeric(10,2)",
        &[
            "99999999.99",
            "-99999999.99",
            "0",
            "0.01",
            "-0.01",
            "12345.60",
            "10000",
            "9999.99",
        ],
    ),
    (
        "numeric(38,0)",
        &[
            "99999999999999999999999999999999999999",
            "-1",
            "10000000000000000",
        ],
    ),
    (
        "numeric(38,38)",
        &["0.99999999999999999999999999999999999999", "-1e-38", "0"],
    ),
    (
        "numeric(50,10)",
        &[
            "9999999999999999999999999999999999999999.1234567890",
            "-1e-10",
            "1e39",
            "0",
        ],
    ),
    (
        "numeric(76,30)",
        &[
            "-9999999999999999999999999999999999999999999999.999999999999999999999999999999",
            "7",
        ],
    ),
    ("numeric(2,-3)", &["99000", "-1000", "0"]),
    ("numeric(3,5)", &["0.00999", "-0.00001", "0"]),
    (
        "numeric",
        &[
            "1.5",
            "1.50000000000000000",
            "9999999999999999999999999999.9999999999",
            "-1e-10",
            "1e27",
            "0",
        ],
    ),
    ("price", &["0.05", "99999999.99"]),
    ("discount", &["0.50"]),
    (
        "text",
        &[
            "''",
            "'äß€😀'",
            r"E'a\tb\nc\\d\r\b\f\v\x01'",
            "'NULL'",
            r"'\N'",
            r"'\.'",
            "repeat('xy', 9000)",
        ],
    ),
    ("varchar(10)", &["'ten chars!'", "''", "'ä'"]),
    ("char(5)", &["'ab'", "''", "'ab cd'"]),
    ("name", &["'pg_class'"]),
    ("citext", &["'CaSe'"]),
    ("mood", &["'sad'", "'so, so'", r#"'q"\'"#, "'ä'"]),
    (
        "bytea",
        &["''", r"'\x00ff5c0a09'", "decode(repeat('00ff', 5000), 'hex')"],
    ),
    (
        "date",
        &[
            "'1970-01-01'",
            "'0001-01-01'",
            "'4714-11-24 BC'",
            "'5874897-12-31'",
            "'infinity'",
            "'-infinity'",
            "'2000-02-29'",
            "'1900-03-01'",
            "'0044-03-15 BC'",
            "'12024-12-31'",
        ],
    ),
    ("time", &["'00:00'", "'23:59:59.999999'", "'12:00:00.5'"]),
    (
        "timestamp",
        &[
            "'4714-11-24 00:00:00 BC'",
            "'294246-12-31 23:59:59.999999'",
            "'infinity'",
            "'-infinity'",
            "'1969-12-31 23:59:59.999999'",
            "'2024-02-29 12:34:56.7'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'4714-11-24 00:00:00+00 BC'",
            "'294246-12-31 23:59:59.999999+00'",
            "'infinity'",
            "'-infinity'",
            "'2024-06-01 12:00+05:30'",
            "'0044-03-15 00:00:00.000001+00 BC'",
        ],
    ),
    (
        "uuid",
        &[
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "'00000000-0000-0000-0000-000000000000'",
        ],
    ),
    (
        "json",
        &[
            r#"'{"a": 1 , "b":"ä\n", "a": 12345678901234567890.10}'"#,
            "'null'",
            "'[]'",
        ],
    ),
    ("jsonb", &[r#"'{"b": 1e5, "a":"ä\n\\"}'"#, "'null'", "'\"x\"'"]),
    ("bool[]", &["'{t,f,NULL}'", "'{}'"]),
    ("int4[]", &["'{}'", "'{1,NULL,3}'", "'{-2147483648}'", "'{NULL}'"]),
    ("numbers", &["'{1,2}'"]),
    (
        "text[]",
        &[
            r#"ARRAY['', 'NULL', NULL, 'null', 'a,b', '{x}', '}', 'q"q', E'b\\s', ' sp ', E'tab\t', E'n\n', 'ä', '""']"#,
        ],
    ),
    ("varchar(3)[]", &["'{abc,\"\"}'"]),
    ("numeric(10,2)[]", &["'{1.5,NULL,-99999999.99}'"]),
    ("numeric[]", &["'{1e-10,100000}'"]),
    ("price[]", &["ARRAY[1.25, NULL]::price[]"]),
    ("float8[]", &["'{NaN,-Infinity,0.1}'"]),
    ("bytea[]", &[r"ARRAY['\x00ff', '', NULL]::bytea[]"]),
    ("date[]", &["'{infinity,2024-01-01,NULL}'"]),
    ("timestamptz[]", &["'{\"2024-01-01 00:00:00+00\",-infinity}'"]),
    (
        "uuid[]",
        &["ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', NULL]::uuid[]"],
    ),
    ("jsonb[]", &[r#"ARRAY['{"a": "b\\c"}', NULL, '[1, 2]']::jsonb[]"#]),
    ("mood[]", &[r#"ARRAY['q"\', 'so, so', NULL]::mood[]"#]),
    ("citext[]", &["ARRAY['A', NULL]::citext[]"]),
];

/// Types that are text here.
const AS_TEXT: &[(&str, &[&str])] = &[
    ("interval", &["'1 year 2 mons -3 days 04:05:06.7'", "'0'"]),
    ("timetz", &["'12:00:00+05:30'", "'24:00:00-15:59'"]),
    ("bit(3)", &["B'101'"]),
    ("varbit", &["B''", "B'1'"]),
    ("money", &["-12.34"]),
    ("inet", &["'10.0.0.1'", "'10.0.0.1/8'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("int4range", &["'[1,5)'", "'empty'", "'(,)'"]),
    ("tstzrange", &["'[2024-01-01,)'"]),
    ("int4multirange", &["'{[1,2),[5,9)}'"]),
    ("pair", &["ROW(1, 'a \"b\",(')"]),
    ("pair[]", &["ARRAY[ROW(1, NULL)]::pair[]"]),
    ("xml", &["'<a>&#228;</a>'"]),
    ("tsvector", &["'a b'::tsvector"]),
    ("tsquery", &["'a & b'::tsquery"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("point", &["'(1.5,-2)'"]),
    ("box", &["'(1,1),(0,0)'"]),
    ("box[]", &["'{(1,1),(0,0);(2,2),(1,1)}'"]),
    ("polygon", &["'((0,0),(1,1))'"]),
    ("hstore", &["'a=>1, \"b c\"=>NULL'"]),
    ("interval[]", &["'{1 day,NULL}'"]),
    ("\"char\"", &["'x'", "''"]),
    ("int2vector", &["'1 2'"]),
    ("oidvector", &["'1 2'"]),
    ("regtype", &["'int4'"]),
    ("numeric(100,50)", &["1.5", "'NaN'"]),
];

/// Values that their type here cannot hold.
const NOT_REPRESENTABLE: &[(&str, &str)] = &[
    ("numeric", "'NaN'"),
    ("numeric", "'Infinity'"),
    ("numeric", "'-Infinity'"),
    ("numeric", "1e-11"),
    ("numeric", "1e28"),
    ("numeric", "1e1000"),
    ("numeric(10,2)", "'NaN'"),
    ("numeric[]", "'{1,NaN}'"),
    ("int4[]", "'{{1,2},{3,4}}'"),
    ("int4[]", "'[0:1]={1,2}'"),
    ("text[]", "'[2:2][1:1]={{a}}'"),
    ("time", "'24:00:00'"),
    ("time[]", "'{24:00:00}'"),
    ("timestamp", "'294276-12-31 23:59:59.999999'"),
    ("timestamptz", "'294247-01-10 04:00:54.775807+00'"),
];

/// Makes a table for every type, named after its place, with an `id` and the values.
pub(crate) async fn make_tables(session: &Session, types: &[(&str, &[&str])], prefix: &str) -> Vec<String> {
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

pub(crate) async fn make_types(session: &Session) {
    session.run(TYPES).await;
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
    let names: Vec<String> = tables.iter().map(|table| format!("public.{table}.v")).collect();
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
