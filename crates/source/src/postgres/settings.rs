//! What a user says of a Postgres source: where it is, which tables, what things are called there and here.
//!
//! Owns the settings, their names as options and their defaults; how a connection is made is left to `connection`, which
//! tables a pattern matches to the queries that read the server's catalog.

mod secret;
mod size;
mod table_pattern;

use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use serde::{Deserialize, Serialize};
use std::fmt;
use viewfeed_change::{Error, RelationName, Result};

pub use secret::without_password;
pub(super) use size::shown_bytes;
pub use table_pattern::TablePattern;
pub(super) use table_pattern::{parse_columns, quoted};

/// Bytes of a name at the server; it cuts longer ones off.
const NAME_BYTES_MAX: usize = 63;
/// How alike, from 0 to 1, an unknown option and a known one must be for the latter to be proposed.
const ALIKE_MIN: f64 = 0.5;
/// What the names of our slots and publications begin with.
pub(super) const OUR_PREFIX: &str = "viewfeed_";
const DEFAULT_TABLES: &str = "public.*";
const DEFAULT_WAL_LIMIT: &str = "10GB";

/// Every option, in the order in which they are shown.
const OPTIONS: [&str; 9] = [
    "connection",
    "password_env",
    "password_file",
    "tables",
    "schema",
    "publication",
    "slot",
    "text_columns",
    "wal_limit",
];
/// Those that say what the source is: they cannot be changed, it would be another source.
const FIXED: [&str; 3] = ["schema", "publication", "slot"];

/// The settings of a source, as `CREATE SOURCE` or the settings file gives them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A libpq connection string or URL: host, port, user, dbname, sslmode, sslrootcert, …
    pub connection: String,
    /// The name of the environment variable that holds the password, if the connection string has none.
    pub password_env: Option<String>,
    /// The path of the file whose first line is the password, likewise.
    pub password_file: Option<String>,
    /// Which tables: `schema.table` or `schema.*`, each in the form of [`TablePattern`]'s `Display`.
    pub tables: Vec<String>,
    /// The schema of ours that the tables appear in; by default the source's name.
    pub schema: String,
    /// The publication, made if it is absent.
    pub publication: String,
    /// The replication slot, made if it is absent.
    pub slot: String,
    /// Columns (`schema.table.column`) that are read as the text Postgres shows, whatever their type. Each part is quoted
    /// where SQL needs it.
    pub text_columns: Vec<String>,
    /// Bytes of WAL that the slot may keep at the server before the source says so and acts (see `guardian`).
    pub wal_bytes_max: u64,
}

impl Settings {
    /// The settings that `options` (names and values) give for the source `source`. Fails as `Invalid`/`SOURCE_OPTION`; the
    /// message names the option, never its value if that may be secret.
    pub fn from_options(source: &str, options: &[(String, String)]) -> Result<Self> {
        let given = Given::of(options)?;
        let connection = given.required("connection")?;
        let settings = Self {
            connection: secret::checked_connection(connection)?,
            password_env: given.optional("password_env")?,
            password_file: given.optional("password_file")?,
            tables: tables(given.get("tables").unwrap_or(DEFAULT_TABLES))?,
            schema: given.get("schema").unwrap_or(source).to_owned(),
            publication: given.name("publication", source),
            slot: given.name("slot", source),
            text_columns: text_columns(given.get("text_columns").unwrap_or_default())?,
            wal_bytes_max: size::bytes("wal_limit", given.get("wal_limit").unwrap_or(DEFAULT_WAL_LIMIT))?,
        };
        settings.check_names()?;
        settings.check_password()?;
        Ok(settings)
    }

    /// The settings with `options` in place of their present values. What the source is called there and here stays: another
    /// slot, publication or schema is another source.
    pub fn with_options(&self, source: &str, options: &[(String, String)]) -> Result<Self> {
        Given::of(options)?;
        if let Some(fixed) = FIXED
            .iter()
            .find(|fixed| options.iter().any(|(name, _)| name == **fixed))
        {
            let message = format!("{fixed} of a source cannot be changed");
            return Err(Error::invalid("SOURCE_OPTION", message).hint("drop the source and create it again"));
        }
        // A new place of the password is instead of the old one.
        let moves_password = options.iter().any(|(name, value)| match name.as_str() {
            "connection" => without_password(value) != *value,
            name => name.starts_with("password_"),
        });
        let kept = self.options().into_iter().filter(|(name, _)| {
            let is_replaced = options.iter().any(|(given, _)| given == name);
            !(is_replaced || moves_password && name.starts_with("password_"))
        });
        let kept = kept.map(|(name, value)| (name.to_owned(), value));
        Self::from_options(source, &kept.chain(options.iter().cloned()).collect::<Vec<_>>())
    }

    /// The settings as options of `CREATE SOURCE`, for people: a password in the connection string is shown as `…`.
    pub fn to_options(&self) -> Vec<(&'static str, String)> {
        let mut options = self.options();
        options[0].1 = without_password(&self.connection);
        options
    }

    /// Which tables.
    pub fn patterns(&self) -> Result<Vec<TablePattern>> {
        self.tables.iter().map(|text| TablePattern::parse(text)).collect()
    }

    /// The columns that are read as text: schema, table and column there.
    pub fn text_column_parts(&self) -> Result<Vec<[String; 3]>> {
        table_pattern::parse_columns(&self.text_columns.join(", "))
    }

    /// As options that give the same settings, the password among them.
    fn options(&self) -> Vec<(&'static str, String)> {
        let values = [
            Some(self.connection.clone()),
            self.password_env.clone(),
            self.password_file.clone(),
            Some(self.tables.join(", ")),
            Some(self.schema.clone()),
            Some(self.publication.clone()),
            Some(self.slot.clone()),
            Some(self.text_columns.join(", ")).filter(|columns| !columns.is_empty()),
            Some(shown_bytes(self.wal_bytes_max)),
        ];
        let pairs = OPTIONS.into_iter().zip(values);
        pairs.filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn check_names(&self) -> Result<()> {
        for (option, name) in [("publication", &self.publication), ("slot", &self.slot)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                let message = format!("{option} must have 1 to {NAME_BYTES_MAX} bytes");
                return Err(wrong(message).hint(format!("set {option} to a shorter name")));
            }
        }
        let is_of_slots = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if !self.slot.bytes().all(is_of_slots) {
            return Err(wrong("slot may hold lower case letters, digits and _ only")
                .hint("that is Postgres' rule for names of replication slots"));
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_control());
        if !is_name(&self.schema) || self.schema == RelationName::SYSTEM {
            let message = format!("the schema may not be empty or \"{}\"", RelationName::SYSTEM);
            return Err(wrong(message).hint("set schema to another name"));
        }
        if !is_name(&self.publication) {
            return Err(wrong("publication may hold no control characters"));
        }
        Ok(())
    }

    fn check_password(&self) -> Result<()> {
        let in_connection = without_password(&self.connection) != self.connection;
        let places = [
            in_connection,
            self.password_env.is_some(),
            self.password_file.is_some(),
        ];
        match places.iter().filter(|is_there| **is_there).count() {
            0 | 1 => Ok(()),
            _ => Err(wrong("the password is given in more than one place")
                .hint("keep one of: password in connection, password_env, password_file")),
        }
    }
}

impl fmt::Debug for Settings {
    /// Without the connection string: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("tables", &self.tables)
            .field("schema", &self.schema)
            .field("publication", &self.publication)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// Options that are known, each at most once.
struct Given<'a>(&'a [(String, String)]);

impl<'a> Given<'a> {
    fn of(options: &'a [(String, String)]) -> Result<Self> {
        for (place, (name, _)) in options.iter().enumerate() {
            if !OPTIONS.contains(&name.as_str()) {
                return Err(unknown(name));
            }
            if options[..place].iter().any(|(earlier, _)| earlier == name) {
                return Err(wrong(format!("{name} is given twice")).hint("keep one of the two"));
            }
        }
        Ok(Self(options))
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(given, _)| given == name)?;
        Some(found.1.trim())
    }

    fn optional(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            Some("") => Err(wrong(format!("{name} is empty")).hint("give it a value or leave it out")),
            value => Ok(value.map(str::to_owned)),
        }
    }

    fn required(&self, name: &str) -> Result<&'a str> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            wrong(format!("{name} is missing"))
                .hint("say where the server is: connection = 'host=… port=5432 dbname=… user=…'")
        })
    }

    /// The name given, or the default of `source`: what the server does not allow in names of slots becomes `_`.
    fn name(&self, option: &str, source: &str) -> String {
        let plain = |c: char| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            _ => '_',
        };
        let default = || format!("{OUR_PREFIX}{}", source.chars().map(plain).collect::<String>());
        self.get(option).map_or_else(default, str::to_owned)
    }
}

/// The patterns of a list, each once, as they are stored.
fn tables(list: &str) -> Result<Vec<String>> {
    let mut patterns = Vec::new();
    for pattern in TablePattern::parse_list(list)? {
        let text = pattern.to_string();
        if !patterns.contains(&text) {
            patterns.push(text);
        }
    }
    match patterns.is_empty() {
        true => {
            Err(wrong("tables is empty").hint("name tables as schema.table or schema.*, with commas between"))
        }
        false => Ok(patterns),
    }
}

fn text_columns(list: &str) -> Result<Vec<String>> {
    let columns = table_pattern::parse_columns(list)?.into_iter();
    Ok(columns
        .map(|parts| parts.map(|part| table_pattern::quoted(&part)).join("."))
        .collect())
}

fn unknown(name: &str) -> Error {
    let likeness = |known: &&str| normalized_levenshtein(known, name);
    let nearest = OPTIONS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let guess = match nearest.filter(|known| likeness(known) >= ALIKE_MIN) {
        Some(known) => format!("did you mean {known}? "),
        None => String::new(),
    };
    wrong(format!("there is no option \"{name}\"")).hint(format!("{guess}options are {}", OPTIONS.join(", ")))
}

fn wrong(message: impl Into<String>) -> Error {
    Error::invalid("SOURCE_OPTION", message)
}

#[cfg(test)]
mod tests;
