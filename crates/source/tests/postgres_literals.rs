//! The types of Postgres, and values at the edges of each.

use crate::postgres_rows::Session;

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
pub(crate) const AS_TEXT: &[(&str, &[&str])] = &[
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
pub(crate) const NOT_REPRESENTABLE: &[(&str, &str)] = &[
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

/// Makes the types and extensions that the values need.
pub(crate) async fn make_types(session: &Session) {
    session.run(TYPES).await;
}
