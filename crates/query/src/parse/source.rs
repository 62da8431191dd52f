//! `CREATE SOURCE`, `ALTER SOURCE`, `DROP SOURCE`: what they say. Which options there are and what they mean is left to the
//! kind of source.

use super::own::Words;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::fmt;
use viewfeed_change::Result;

const NAME: &str = "the name of a source";
const OPTION: &str = "the name of an option";
const VALUE: &str = "a text, number or word as the value of an option";

/// A statement about a source. A name of a source has no schema: it is the default schema of its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceStatement {
    /// `CREATE SOURCE [IF NOT EXISTS] name FROM POSTGRES (option = value, …)`.
    Create {
        /// The source.
        name: String,
        /// Nothing is done if it exists.
        if_not_exists: bool,
        /// What it is.
        kind: SourceKind,
        /// Its settings.
        options: SourceOptions,
    },
    /// `ALTER SOURCE name SET (option = value, …)`.
    Set {
        /// The source.
        name: String,
        /// The settings that change.
        options: SourceOptions,
    },
    /// `ALTER SOURCE name RESYNC [TABLE name]`.
    Resync {
        /// The source.
        name: String,
        /// One table, by its name there or here; else all of them.
        table: Option<String>,
    },
    /// `DROP SOURCE [IF EXISTS] name [CASCADE]`.
    Drop {
        /// The source.
        name: String,
        /// Nothing is done if it does not exist.
        if_exists: bool,
        /// Views over its tables are dropped too.
        cascade: bool,
    },
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A Postgres database, by logical replication.
    Postgres,
}

/// The options of a source in the order written: names in lower case, values as text. Some values are secrets: `Debug`
/// shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SourceOptions(pub Vec<(String, String)>);

impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// The statement, if it is about a source; else nothing is read.
pub(super) fn parse(words: &mut Words<'_>) -> Result<Option<SourceStatement>> {
    let statement = match () {
        () if words.take_all(&["create", "source"]) => create(words)?,
        () if words.take_all(&["alter", "source"]) => alter(words)?,
        () if words.take_all(&["drop", "source"]) => drop(words)?,
        () => return Ok(None),
    };
    words.end()?;
    Ok(Some(statement))
}

fn create(words: &mut Words<'_>) -> Result<SourceStatement> {
    let if_not_exists = words.take_all(&["if", "not", "exists"]);
    let name = words.name_part(NAME)?;
    if !words.take("from") {
        return Err(words.unexpected("FROM POSTGRES"));
    }
    if !words.take("postgres") {
        return Err(words.unexpected("POSTGRES, the kind of source"));
    }
    Ok(SourceStatement::Create {
        name,
        if_not_exists,
        kind: SourceKind::Postgres,
        options: options(words)?,
    })
}

fn alter(words: &mut Words<'_>) -> Result<SourceStatement> {
    let name = words.name_part(NAME)?;
    if words.take("set") {
        let options = options(words)?;
        return Ok(SourceStatement::Set { name, options });
    }
    if !words.take("resync") {
        return Err(words.unexpected("SET or RESYNC"));
    }
    let table = match words.take("table") {
        true => Some(words.name("the name of a table")?),
        false => None,
    };
    Ok(SourceStatement::Resync { name, table })
}

fn drop(words: &mut Words<'_>) -> Result<SourceStatement> {
    let if_exists = words.take_all(&["if", "exists"]);
    let name = words.name_part(NAME)?;
    let cascade = words.take("cascade");
    let _ = !cascade && words.take("restrict");
    Ok(SourceStatement::Drop {
        name,
        if_exists,
        cascade,
    })
}

/// `(name = value, …)`, at least one.
fn options(words: &mut Words<'_>) -> Result<SourceOptions> {
    words.expect_token(&Token::LParen, "`(` and the options")?;
    let mut options = Vec::new();
    loop {
        let name = words.name_part(OPTION)?.to_lowercase();
        words.expect_token(&Token::Eq, "`=`")?;
        options.push((name, value(words)?));
        if words.take_token(&Token::RParen) {
            return Ok(SourceOptions(options));
        }
        words.expect_token(&Token::Comma, "`,` or `)`")?;
    }
}

/// A text in any of SQL's quotings, a number, or a bare word such as `true`.
fn value(words: &mut Words<'_>) -> Result<String> {
    let value = match words.peek() {
        Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => text.clone(),
        Some(Token::DollarQuotedString(text)) => text.value.clone(),
        Some(Token::Number(number, _)) => number.clone(),
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.clone(),
        _ => return Err(words.unexpected(VALUE)),
    };
    words.skip();
    Ok(value)
}
