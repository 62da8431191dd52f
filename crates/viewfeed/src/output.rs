//! How tools print: tables for people, JSON lines for programs, errors on stderr, exit codes with a meaning.

use comfy_table::{ContentArrangement, Table, presets};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use viewfeed_change::{Error, ErrorKind};
use viewfeed_wire::v1;
use viewfeed_wire::v1::value::Kind;

/// Prints a line. A closed pipe (`viewfeed tail … | head`) ends the program quietly.
pub(crate) fn line(text: &str) {
    if writeln!(io::stdout(), "{text}")
        .and_then(|()| io::stdout().flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Tells the user something that is no result.
pub(crate) fn note(text: &str) {
    // If stderr is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether stderr is read by a program.
pub(crate) fn is_quiet() -> bool {
    !io::stderr().is_terminal()
}

/// Prints why the program failed.
pub(crate) fn print_error(error: &Error) {
    note(&format!("error: {error}"));
}

/// 1: it failed; 2: the request was wrong; 3: the server is not there or stopping; 4: it conflicts with what exists.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound => 2,
        ErrorKind::Unavailable | ErrorKind::Cancelled => 3,
        ErrorKind::Exists | ErrorKind::Conflict | ErrorKind::Precondition => 4,
        _ => 1,
    })
}

/// Rows as a table.
pub(crate) fn table(row_type: &v1::RowType, rows: &[v1::Row]) -> String {
    let names = row_type.columns.iter().map(|column| column.name.clone());
    let cells = rows
        .iter()
        .map(|row| row.values.iter().map(text).collect::<Vec<_>>());
    text_table(names.collect(), cells.collect())
}

/// Text as a table.
pub(crate) fn text_table(header: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// A row on one line: `column=value …`.
pub(crate) fn inline(row_type: &v1::RowType, row: &v1::Row) -> String {
    let pair = |(column, value): (&v1::Column, &v1::Value)| format!("{}={}", column.name, text(value));
    row_type
        .columns
        .iter()
        .zip(&row.values)
        .map(pair)
        .collect::<Vec<_>>()
        .join("  ")
}

/// A row as a JSON object.
pub(crate) fn json_row(row_type: &v1::RowType, row: &v1::Row) -> serde_json::Value {
    let pair = |(column, value): (&v1::Column, &v1::Value)| (column.name.clone(), json(value));
    serde_json::Value::Object(row_type.columns.iter().zip(&row.values).map(pair).collect())
}

/// A value as text.
pub(crate) fn text(value: &v1::Value) -> String {
    match &value.kind {
        None => "NULL".to_owned(),
        Some(Kind::Text(text)) => text.clone(),
        Some(_) => match json(value) {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// A value as JSON. Integers keep all their digits; bytes are hexadecimal with `\x`, as Postgres prints them.
pub(crate) fn json(value: &v1::Value) -> serde_json::Value {
    match &value.kind {
        None => serde_json::Value::Null,
        Some(Kind::Bool(value)) => (*value).into(),
        Some(Kind::Int(value)) => (*value).into(),
        Some(Kind::Uint(value)) => (*value).into(),
        Some(Kind::Double(value)) => serde_json::Number::from_f64(*value)
            .map_or_else(|| value.to_string().into(), serde_json::Value::Number),
        Some(Kind::Text(value)) => value.as_str().into(),
        Some(Kind::Bytes(value)) => format!(
            "\\x{}",
            value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        )
        .into(),
        Some(Kind::Timestamp(value)) => timestamp(value).into(),
        Some(Kind::List(list)) => list.values.iter().map(json).collect(),
        Some(Kind::Struct(value)) => {
            let field = |field: &v1::value::Field| {
                (
                    field.name.clone(),
                    field.value.as_ref().map_or(serde_json::Value::Null, json),
                )
            };
            serde_json::Value::Object(value.fields.iter().map(field).collect())
        }
    }
}

/// RFC 3339.
pub(crate) fn timestamp(value: &prost_types::Timestamp) -> String {
    value.to_string()
}
