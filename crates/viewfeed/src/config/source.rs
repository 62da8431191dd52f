//! `[[source]]` in the settings file: the options of `CREATE SOURCE` under the same names.

use toml::{Table, Value};
use viewfeed_change::{Error, Result};
use viewfeed_source::postgres::Settings;

/// The key whose value is the connection string; it says what kind of source it is.
const POSTGRES: &str = "postgres";
const NAME: &str = "name";

/// All of them, each name once.
pub(super) fn all(tables: Vec<Table>) -> Result<Vec<(String, Settings)>> {
    let mut sources: Vec<(String, Settings)> = Vec::new();
    for (place, table) in tables.into_iter().enumerate() {
        let (name, settings) =
            one(table).map_err(|error| error.at(format_args!("[[source]] number {}", place + 1)))?;
        if sources.iter().any(|(other, _)| *other == name) {
            return Err(wrong(format!("there are two sources \"{name}\"")).hint("give each another name"));
        }
        sources.push((name, settings));
    }
    Ok(sources)
}

fn one(mut table: Table) -> Result<(String, Settings)> {
    let Some(Value::String(name)) = table.remove(NAME) else {
        return Err(wrong("name is missing").hint("give the source a name: name = \"shop\""));
    };
    let Some(connection) = table.remove(POSTGRES) else {
        return Err(wrong("postgres is missing")
            .hint("say where the server is: postgres = \"host=… dbname=… user=…\""));
    };
    let mut options = vec![("connection".to_owned(), text("postgres", connection)?)];
    for (option, value) in table {
        let value = text(&option, value)?;
        options.push((option, value));
    }
    let settings = Settings::from_options(&name, &options)?;
    Ok((name, settings))
}

/// As the option has it in SQL: a list with commas between.
fn text(option: &str, value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(boolean) => Ok(boolean.to_string()),
        Value::Array(values) => {
            let texts = values.into_iter().map(|value| text(option, value));
            Ok(texts.collect::<Result<Vec<_>>>()?.join(", "))
        }
        _ => Err(wrong(format!("{option} is no text, number or list of these"))
            .hint("write it as in CREATE SOURCE")),
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::invalid("CONFIG", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, Settings)>> {
        let mut file: Table = toml::from_str(text).unwrap();
        let Some(Value::Array(sources)) = file.remove("source") else {
            panic!();
        };
        let table = |value: Value| match value {
            Value::Table(table) => table,
            other => panic!("{other:?}"),
        };
        all(sources.into_iter().map(table).collect())
    }

    #[test]
    fn a_source_has_the_options_of_create_source() {
        let sources = read(
            "[[source]]
            name = \"shop\"
            postgres = \"host=db dbname=shop user=reader\"
            tables = [\"orders\", 'crm.\"Person\"']
            text_columns = \"orders.total\"
            password_env = \"SHOP_PASSWORD\"
            wal_limit = \"20GB\"
            [[source]]
            name = \"crm\"
            postgres = \"postgres://reader@db/crm\"
            wal_limit = 1000000",
        )
        .unwrap();
        let names: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["shop", "crm"]);
        let shop = &sources[0].1;
        assert_eq!(shop.tables, ["public.orders", "crm.\"Person\""]);
        assert_eq!(shop.password_env.as_deref(), Some("SHOP_PASSWORD"));
        assert_eq!(shop.wal_bytes_max, 20 << 30);
        assert_eq!(
            (sources[1].1.slot.as_str(), sources[1].1.wal_bytes_max),
            ("viewfeed_crm", 1_000_000)
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let first = "[[source]]\nname = \"shop\"\npostgres = \"host=db\"\n";
        for (text, message) in [
            (
                "[[source]]\nname = \"a\"",
                "[[source]] number 1: postgres is missing",
            ),
            (
                "[[source]]\npostgres = \"\"",
                "[[source]] number 1: name is missing",
            ),
            (&format!("{first}{first}"), "there are two sources \"shop\""),
            (
                &format!("{first}table = \"a\""),
                "[[source]] number 1: there is no option \"table\"",
            ),
            (
                &format!("{first}tables = 1.5"),
                "[[source]] number 1: tables is no text, number or list of these",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.message(), message);
            assert!(error.advice().is_some());
        }
    }
}
