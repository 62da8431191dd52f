//! Every type: what is written as a literal, as text, and by a query is read back.

use crate::database::Database;

/// A column of the type; for each literal what is read back.
fn check(sql_type: &str, cases: &[(&str, &str)]) {
    let mut database = Database::with(&format!(
        "CREATE TABLE t (id BIGSERIAL PRIMARY KEY, v {sql_type}); CREATE TABLE u (v {sql_type})"
    ));
    for (literal, want) in cases {
        assert_eq!(
            database.returning(&format!("INSERT INTO t (v) VALUES ({literal}) RETURNING v")),
            [*want],
            "{literal} as {sql_type}"
        );
    }
    database.run("INSERT INTO t (v) VALUES (NULL)");
    let mut want: Vec<String> = cases
        .iter()
        .map(|(_, want)| (*want).to_owned())
        .chain(["∅".to_owned()])
        .collect();
    want.sort();
    assert_eq!(database.rows("SELECT v FROM t"), want, "{sql_type}");
    database.run("INSERT INTO u SELECT v FROM t");
    assert_eq!(database.rows("SELECT v FROM u"), want, "{sql_type} by a query");
    database.check_arrangements("t", true);
}

fn refuse(sql_type: &str, cases: &[(&str, &str)]) {
    let mut database = Database::with(&format!("CREATE TABLE t (v {sql_type})"));
    for (literal, reason) in cases {
        assert_eq!(
            database.reason(&format!("INSERT INTO t VALUES ({literal})")),
            *reason,
            "{literal} as {sql_type}"
        );
    }
}

#[test]
fn integers() {
    check(
        "SMALLINT",
        &[
            ("1", "1"),
            ("-32768", "-32768"),
            ("' 7 '", "7"),
            ("1.5", "2"),
            ("2 + 3", "5"),
            ("7::int", "7"),
            ("1e2", "100"),
        ],
    );
    check(
        "INT",
        &[
            ("2147483647", "2147483647"),
            ("'-1'", "-1"),
            ("- 5", "-5"),
            ("-2.5", "-3"),
        ],
    );
    check(
        "BIGINT",
        &[
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
        ],
    );
    refuse(
        "SMALLINT",
        &[
            ("32768", "VALUE_OUT_OF_RANGE"),
            ("'x'", "INVALID_TEXT"),
            ("'1.5'", "INVALID_TEXT"),
            ("40000::int", "VALUE_OUT_OF_RANGE"),
        ],
    );
    refuse(
        "BIGINT",
        &[
            ("9223372036854775808", "VALUE_OUT_OF_RANGE"),
            ("true", "TYPE_MISMATCH"),
            ("''", "INVALID_TEXT"),
        ],
    );
}

#[test]
fn numerics_and_floats() {
    check(
        "NUMERIC(8, 2)",
        &[
            ("1.005", "1.01"),
            ("-1.005", "-1.01"),
            ("'12.5'", "12.50"),
            ("1e3", "1000.00"),
            ("1.1 + 1", "2.10"),
            ("3", "3.00"),
        ],
    );
    check("REAL", &[("1.5", "1.5"), ("'-Infinity'", "-inf"), ("2", "2.0")]);
    check(
        "DOUBLE PRECISION",
        &[
            ("1e300", "1e300"),
            ("'NaN'", "NaN"),
            ("0.1", "0.1"),
            ("1 / 4.0::double precision", "0.25"),
        ],
    );
    refuse(
        "NUMERIC(4, 2)",
        &[
            ("100", "VALUE_OUT_OF_RANGE"),
            ("'99.999'", "VALUE_OUT_OF_RANGE"),
            ("'x'", "INVALID_TEXT"),
            ("10 * 10", "VALUE_OUT_OF_RANGE"),
        ],
    );
    refuse("REAL", &[("'x'", "INVALID_TEXT"), ("true", "TYPE_MISMATCH")]);
}

#[test]
fn booleans() {
    check(
        "BOOLEAN",
        &[
            ("true", "true"),
            ("'t'", "true"),
            ("'YES'", "true"),
            ("'off'", "false"),
            ("'0'", "false"),
            ("1 < 2", "true"),
        ],
    );
    refuse("BOOLEAN", &[("1", "TYPE_MISMATCH"), ("'maybe'", "INVALID_TEXT")]);
}

#[test]
fn text() {
    check(
        "TEXT",
        &[
            ("'it''s'", "it's"),
            ("$$dollar$$", "dollar"),
            ("E'a\\tb'", "a\tb"),
            ("12", "12"),
            ("true", "true"),
            ("''", ""),
            ("'a' || 'b'", "ab"),
        ],
    );
    check("VARCHAR(4)", &[("'ünïc'", "ünïc"), ("'ab'::text", "ab")]);
    check("CHAR(3)", &[("'abc'", "abc"), ("'a'", "a")]);
    refuse(
        "VARCHAR(2)",
        &[
            ("'abc'", "VALUE_TOO_LONG"),
            ("'a' || 'bc'", "VALUE_TOO_LONG"),
            ("123", "VALUE_TOO_LONG"),
        ],
    );
}

#[test]
fn bytes() {
    check(
        "BYTEA",
        &[
            ("'\\xDEADbeef'", "deadbeef"),
            ("'ab'", "6162"),
            ("'\\x'", ""),
            ("'\\\\a'", "5c61"),
        ],
    );
    refuse(
        "BYTEA",
        &[
            ("'\\xabc'", "INVALID_TEXT"),
            ("'\\xzz'", "INVALID_TEXT"),
            ("1", "TYPE_MISMATCH"),
        ],
    );
}

#[test]
fn dates_and_times() {
    check(
        "DATE",
        &[
            ("'2024-02-29'", "2024-02-29"),
            ("DATE '2024-01-01'", "2024-01-01"),
            ("'2024-01-02'::date", "2024-01-02"),
            ("now()", "2024-05-06"),
        ],
    );
    check(
        "TIME",
        &[("'12:34:56'", "12:34:56"), ("'01:02:03.5'", "01:02:03.500")],
    );
    check(
        "TIMESTAMP",
        &[
            ("'2024-01-02 03:04:05'", "2024-01-02T03:04:05"),
            ("'2024-01-02T03:04:05.678'", "2024-01-02T03:04:05.678"),
            ("'2024-01-02'", "2024-01-02T00:00:00"),
            ("TIMESTAMP '2024-01-02 03:04:05'", "2024-01-02T03:04:05"),
            ("now()", "2024-05-06T07:08:09.123456"),
            ("'0001-01-01 00:00:00'", "0001-01-01T00:00:00"),
        ],
    );
    check(
        "DATETIME",
        &[
            ("'2024-01-02 03:04:05'", "2024-01-02T03:04:05"),
            ("DATE '2024-01-02'", "2024-01-02T00:00:00"),
        ],
    );
    check(
        "TIMESTAMPTZ",
        &[
            ("'2024-01-02 03:04:05+02:00'", "2024-01-02T01:04:05Z"),
            ("'2024-01-02 03:04:05+02'", "2024-01-02T01:04:05Z"),
            ("'2024-01-02 03:04:05'", "2024-01-02T03:04:05Z"),
            ("'2024-01-02T03:04:05Z'", "2024-01-02T03:04:05Z"),
            ("current_timestamp", "2024-05-06T07:08:09.123456Z"),
        ],
    );
    refuse(
        "DATE",
        &[("'2024-13-01'", "INVALID_TEXT"), ("5", "TYPE_MISMATCH")],
    );
    refuse(
        "TIMESTAMP",
        &[("'soon'", "INVALID_TEXT"), ("true", "TYPE_MISMATCH")],
    );
    check(
        "INTERVAL",
        &[
            ("'1 day'", "1 days"),
            ("INTERVAL '2 hours'", "2 hours"),
            ("INTERVAL '3' MONTH", "3 mons"),
        ],
    );
    refuse("INTERVAL", &[("'long'", "INVALID_TEXT")]);
}

#[test]
fn documents_and_uuids() {
    check(
        "JSON",
        &[("'{\"a\": [1, null]}'", "{\"a\": [1, null]}"), ("'null'", "null")],
    );
    check("JSONB", &[("'[]'", "[]"), ("'\"text\"'", "\"text\"")]);
    check(
        "UUID",
        &[(
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        )],
    );
    refuse("JSONB", &[("'{'", "INVALID_TEXT"), ("''", "INVALID_TEXT")]);
    refuse("UUID", &[("'a0eebc99'", "INVALID_TEXT")]);
}

#[test]
fn arrays() {
    check(
        "INT[]",
        &[
            ("'{1,2,NULL}'", "[1, 2, ∅]"),
            ("ARRAY[3, -4]", "[3, -4]"),
            ("'{}'", "[]"),
            ("ARRAY[1 + 1]", "[2]"),
            ("ARRAY[]::int[]", "[]"),
        ],
    );
    check(
        "TEXT[]",
        &[
            ("'{a,\"b,c\",\"NULL\"}'", "[a, b,c, NULL]"),
            ("ARRAY['x', NULL]", "[x, ∅]"),
        ],
    );
    check(
        "INT[][]",
        &[("'{{1,2},{3}}'", "[[1, 2], [3]]"), ("ARRAY[ARRAY[5]]", "[[5]]")],
    );
    refuse(
        "INT[]",
        &[
            ("'{1,x}'", "INVALID_TEXT"),
            ("'1,2'", "INVALID_TEXT"),
            ("5", "TYPE_MISMATCH"),
            ("ARRAY['x']", "INVALID_TEXT"),
        ],
    );
}

#[test]
fn defaults_of_every_kind() {
    let database = Database::with(
        "CREATE TABLE t (id INT, a TIMESTAMP DEFAULT now(), b DATE DEFAULT current_date, c TEXT DEFAULT 'x' || 'y', d NUMERIC(4,1) DEFAULT 1.25,
         e INT[] DEFAULT '{1}', f BOOLEAN DEFAULT false, g INTERVAL DEFAULT '1 day', h INT DEFAULT -1, i DOUBLE PRECISION DEFAULT random(), j TEXT DEFAULT NULL);
         INSERT INTO t (id) VALUES (1), (2)",
    );
    let one = "2024-05-06T07:08:09.123456|2024-05-06|xy|1.3|[1]|false|1 days|-1";
    assert_eq!(
        database.rows("SELECT id, a, b, c, d, e, f, g, h FROM t"),
        [format!("1|{one}"), format!("2|{one}")]
    );
    assert_eq!(
        database.rows("SELECT DISTINCT i FROM t").len(),
        2,
        "each row anew"
    );
    assert_eq!(database.rows("SELECT count(*) FROM t WHERE j IS NULL"), ["2"]);
    database.check_arrangements("t", true);
}
