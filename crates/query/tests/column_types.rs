//! SQL types to Arrow types and back.

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use viewfeed_change::{Column, LogicalType, Result};
use viewfeed_query::{Statement, column_type, is_serial, parse, sql_type};

fn sql_of(name: &str) -> ast::DataType {
    let script = format!("CREATE TABLE t (c {name})");
    let mut parsed = parse(&script).unwrap_or_else(|error| panic!("{name}: {error}"));
    match parsed.remove(0).statement {
        Statement::Sql(statement) => match *statement {
            ast::Statement::CreateTable(table) => table.columns[0].data_type.clone(),
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

fn of(name: &str) -> Result<(DataType, LogicalType)> {
    column_type(&sql_of(name))
}

fn shown(name: &str) -> String {
    let (data_type, logical) = of(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let column = Column {
        logical,
        ..Column::new(1, "c", data_type, true)
    };
    sql_type(&column)
}

#[test]
fn every_type_is_shown_by_its_name() {
    let names = [
        ("tinyint", "tinyint"),
        ("smallint int2", "smallint"),
        ("int integer int4 mediumint", "integer"),
        ("bigint int8", "bigint"),
        ("real float4", "real"),
        ("float float8 double", "double precision"),
        ("boolean bool", "boolean"),
        ("text", "text"),
        ("varchar", "text"),
        ("char", "varchar(1)"),
        ("bytea blob", "bytea"),
        ("date", "date"),
        ("time", "time"),
        ("timestamp datetime", "timestamp"),
        ("timestamptz", "timestamptz"),
        ("interval", "interval"),
        ("uuid", "uuid"),
        ("json jsonb", "jsonb"),
        ("serial", "integer"),
        ("bigserial", "bigint"),
        ("smallserial", "smallint"),
        ("numeric decimal", "numeric(38, 10)"),
        ("int[]", "integer[]"),
        ("text[]", "text[]"),
        ("int[][]", "integer[][]"),
    ];
    for (given, want) in names {
        for name in given.split(' ') {
            assert_eq!(shown(name), want, "{name}");
            assert_eq!(shown(&name.to_uppercase()), want, "{name}");
        }
    }
    let spaced = [
        ("double precision", "double precision"),
        ("float(24)", "real"),
        ("float(25)", "double precision"),
        ("character varying(20)", "varchar(20)"),
        ("char(32)", "varchar(32)"),
        ("varchar(255)", "varchar(255)"),
        ("numeric(12, 2)", "numeric(12, 2)"),
        ("decimal(5)", "numeric(5, 0)"),
        ("binary(16)", "bytea"),
        ("varbinary(16)", "bytea"),
        ("timestamp(3)", "timestamp"),
        ("timestamp without time zone", "timestamp"),
        ("timestamp with time zone", "timestamptz"),
        ("tinyint unsigned", "tinyint unsigned"),
        ("smallint unsigned", "smallint unsigned"),
        ("int unsigned", "integer unsigned"),
        ("bigint unsigned", "bigint unsigned"),
    ];
    for (name, want) in spaced {
        assert_eq!(shown(name), want, "{name}");
    }
}

#[test]
fn a_shown_type_means_the_same_when_it_is_read() {
    let names = [
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "tinyint unsigned",
        "smallint unsigned",
        "integer unsigned",
        "bigint unsigned",
        "real",
        "double precision",
        "boolean",
        "text",
        "varchar(7)",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "uuid",
        "jsonb",
        "numeric(38, 10)",
        "numeric(9, 3)",
        "integer[]",
        "text[]",
        "timestamptz[]",
        "bigint[][]",
    ];
    for name in names {
        assert_eq!(shown(name), name);
    }
}

#[test]
fn types_have_the_agreed_form() {
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    assert_eq!(of("datetime").unwrap().0, micros(None));
    assert_eq!(of("timestamptz").unwrap().0, micros(Some("UTC")));
    assert_eq!(
        of("interval").unwrap().0,
        DataType::Interval(IntervalUnit::MonthDayNano)
    );
    assert_eq!(of("time").unwrap().0, DataType::Time64(TimeUnit::Microsecond));
    assert_eq!(of("uuid").unwrap(), (DataType::Utf8, LogicalType::Uuid));
    assert_eq!(of("json").unwrap(), (DataType::Utf8, LogicalType::Json));
    assert_eq!(
        of("char(32)").unwrap(),
        (DataType::Utf8, LogicalType::Text { chars_max: 32 })
    );
}

#[test]
fn serial_types_are_told_apart() {
    assert!(
        ["serial", "BIGSERIAL", "smallserial", "serial8"]
            .iter()
            .all(|name| is_serial(&sql_of(name)))
    );
    assert!(
        ["int", "bigint", "text", "uuid"]
            .iter()
            .all(|name| !is_serial(&sql_of(name)))
    );
}

#[test]
fn an_unknown_type_is_refused_with_the_types_there_are() {
    for name in [
        "money", "inet", "point", "timetz", "serial[]", "int128", "bit(3)", "xml",
    ] {
        let error = of(name).expect_err(name);
        assert_eq!(error.reason(), "UNKNOWN_TYPE", "{name}");
        assert!(error.advice().unwrap().contains("timestamptz"), "{name}: {error}");
    }
    for name in [
        "numeric(39)",
        "numeric(5, 6)",
        "timestamp(7)",
        "numeric(0)",
        "varchar(0)",
        "varchar(99999999999)",
    ] {
        assert_eq!(of(name).expect_err(name).reason(), "UNKNOWN_TYPE", "{name}");
    }
}

#[test]
fn a_struct_is_shown_with_its_fields() {
    let fields = Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("size", DataType::Int64, true),
    ]);
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields), true)));
    let column = Column::new(1, "c", list, true);
    assert_eq!(sql_type(&column), "struct(name text, size bigint)[]");
}
