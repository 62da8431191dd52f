//! Names of tables and columns as the settings give them: `schema.table`, `schema.*`, `schema.table.column`. As in SQL, names
//! without quotes are in lower case.

use viewfeed_change::{Error, Result};

/// Which tables: one, or all of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TablePattern {
    pub(super) schema: String,
    /// None for all.
    pub(super) table: Option<String>,
}

impl TablePattern {
    pub(super) fn parse(text: &str) -> Result<Self> {
        match parts(text).as_deref() {
            Some([schema, table]) if schema.name != "*" || schema.is_quoted => Ok(Self {
                schema: schema.name.clone(),
                table: (table.name != "*" || table.is_quoted).then(|| table.name.clone()),
            }),
            _ => Err(
                Error::invalid("BAD_TABLE_PATTERN", format!("{text} does not name tables")).hint(
                    "write schema.table or schema.*; names that are not in lower case go in double quotes",
                ),
            ),
        }
    }

    pub(super) fn matches(&self, schema: &str, table: &str) -> bool {
        self.schema == schema && self.table.as_deref().is_none_or(|own| own == table)
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnName {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) column: String,
}

impl ColumnName {
    pub(super) fn parse(text: &str) -> Result<Self> {
        match parts(text).as_deref() {
            Some([schema, table, column]) => Ok(Self {
                schema: schema.name.clone(),
                table: table.name.clone(),
                column: column.name.clone(),
            }),
            _ => Err(Error::invalid(
                "BAD_COLUMN_NAME",
                format!("{text} in text_columns does not name a column"),
            )
            .hint("write schema.table.column; names that are not in lower case go in double quotes")),
        }
    }
}

struct Part {
    name: String,
    is_quoted: bool,
}

fn parts(text: &str) -> Option<Vec<Part>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let (part, after) = part(rest)?;
        parts.push(part);
        match after.strip_prefix('.') {
            Some(after) => rest = after,
            None => return after.is_empty().then_some(parts),
        }
    }
}

/// The name that `text` begins with, and what follows.
fn part(text: &str) -> Option<(Part, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        let part = Part {
            name: name.to_ascii_lowercase(),
            is_quoted: false,
        };
        return (!name.is_empty() && !name.contains('"')).then_some((part, rest));
    };
    let mut name = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => {
                let part = Part {
                    name,
                    is_quoted: true,
                };
                return Some((part, after));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_one_table_or_all_of_a_schema() {
        let parse = |text| TablePattern::parse(text).map(|pattern| (pattern.schema, pattern.table));
        let both = |schema: &str, table: &str| (schema.to_owned(), Some(table.to_owned()));
        assert_eq!(parse("public.orders").unwrap(), both("public", "orders"));
        assert_eq!(parse("public.Orders").unwrap(), both("public", "orders"));
        assert_eq!(parse(r#"public."Orders""#).unwrap(), both("public", "Orders"));
        assert_eq!(parse("shop.*").unwrap(), ("shop".to_owned(), None));
        assert_eq!(parse(r#""a.b"."say ""x""""#).unwrap(), both("a.b", r#"say "x""#));
        assert_eq!(parse(r#"a."*""#).unwrap(), both("a", "*"));
        for wrong in [
            "orders", "", ".", "a.", ".a", "a.b.c", "*.*", "a.\"b", "a.\"b\"c", "a.b\"c",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn columns_have_three_names() {
        let column = ColumnName::parse(r#"public.t."a.b""#).unwrap();
        assert_eq!(column.column, "a.b");
        assert!(ColumnName::parse("public.t").is_err());
    }
}
