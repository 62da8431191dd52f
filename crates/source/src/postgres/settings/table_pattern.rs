//! Names of tables and columns in lists, by the quoting rules of SQL.

use std::fmt;
use viewfeed_change::{Error, Result};

const DEFAULT_SCHEMA: &str = "public";

/// A table, or every table of a schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TablePattern {
    /// The schema at the server.
    pub schema: String,
    /// The table there; None for all of them.
    pub table: Option<String>,
}

impl TablePattern {
    /// `schema.table`, `schema.*` or `table` (of `public`). Without quotes, names are in lower case (of ASCII), as in SQL.
    pub fn parse(text: &str) -> Result<Self> {
        match Self::parse_list(text)?.as_slice() {
            [pattern] => Ok(pattern.clone()),
            _ => Err(misnamed()),
        }
    }

    /// The same with commas between.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        let patterns = names(text)?.into_iter().map(|parts| match parts.as_slice() {
            [Part::Name(table)] => Ok(Self::one(DEFAULT_SCHEMA, table)),
            [Part::Name(schema), Part::Name(table)] => Ok(Self::one(schema, table)),
            [Part::Name(schema), Part::All] => Ok(Self {
                schema: schema.clone(),
                table: None,
            }),
            _ => Err(misnamed()),
        });
        patterns.collect()
    }

    /// Whether it means this table.
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        self.schema == schema && self.table.as_deref().is_none_or(|named| named == table)
    }

    fn one(schema: &str, table: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            table: Some(table.to_owned()),
        }
    }
}

impl fmt::Display for TablePattern {
    /// In the form that is read: quoted where SQL needs it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.as_deref().map_or("*".to_owned(), quoted);
        write!(f, "{}.{table}", quoted(&self.schema))
    }
}

/// `schema.table.column` or `table.column` (of `public`), with commas between: schema, table, column.
pub(in crate::postgres) fn parse_columns(text: &str) -> Result<Vec<[String; 3]>> {
    let misnamed = || {
        wrong("this is not a list of columns")
            .hint("name columns as schema.table.column, with commas between")
    };
    let columns = names(text)?.into_iter().map(|parts| match parts.as_slice() {
        [Part::Name(table), Part::Name(column)] => {
            Ok([DEFAULT_SCHEMA.to_owned(), table.clone(), column.clone()])
        }
        [Part::Name(schema), Part::Name(table), Part::Name(column)] => {
            Ok([schema.clone(), table.clone(), column.clone()])
        }
        _ => Err(misnamed()),
    });
    columns.collect()
}

/// A name as SQL writes it, in quotes only where it needs them. (Keywords are not quoted: these lists have none.)
pub(in crate::postgres) fn quoted(name: &str) -> String {
    let is_plain = |c: char| c == '_' || c.is_alphanumeric() && !c.is_ascii_uppercase();
    match name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

enum Part {
    Name(String),
    All,
}

/// The dotted names of a list; none of an empty one.
fn names(text: &str) -> Result<Vec<Vec<Part>>> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut parts = Vec::new();
        loop {
            let (part, after) = part(rest)?;
            parts.push(part);
            rest = after.trim_start();
            match rest.strip_prefix('.') {
                Some(after) => rest = after.trim_start(),
                None => break,
            }
        }
        names.push(parts);
        rest = match rest.strip_prefix(',') {
            Some(after) if !after.trim_start().is_empty() => after.trim_start(),
            None if rest.is_empty() => rest,
            _ => return Err(misnamed()),
        };
    }
    Ok(names)
}

/// The first part of `text`, and what is behind it.
fn part(text: &str) -> Result<(Part, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((Part::All, rest));
    }
    let Some(quoted) = text.strip_prefix('"') else {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '-');
        let length = text.find(|c| !is_plain(c)).unwrap_or(text.len());
        return match length {
            0 => Err(misnamed()),
            length => Ok((Part::Name(text[..length].to_ascii_lowercase()), &text[length..])),
        };
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"').ok_or_else(misnamed)?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None if name.is_empty() => return Err(misnamed()),
            None => return Ok((Part::Name(name), after)),
        }
    }
}

fn misnamed() -> Error {
    wrong("this is not a list of tables")
        .hint("name tables as schema.table or schema.*, with commas between and \"quotes\" as in SQL")
}

fn wrong(message: &str) -> Error {
    Error::invalid("SOURCE_OPTION", message)
}
