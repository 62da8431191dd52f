//! What a syntax error says: line and column, what was expected, what was found (never the content of a text, which
//! may be a secret), and what the statement should look like.

use super::script::Piece;
use super::{NESTING_MAX, is_word};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use viewfeed_change::Error;

/// `found` stands where `expected` should.
pub(super) fn unexpected(expected: &str, found: &TokenWithSpan, piece: &Piece<'_>) -> Error {
    made(
        format!("expected {expected}, found {}", named(&found.token)),
        found.span.start,
        piece,
    )
}

/// The statement ends where `expected` should stand.
pub(super) fn ended(expected: &str, piece: &Piece<'_>) -> Error {
    made(
        format!("expected {expected}, found the end of the statement"),
        piece.end(),
        piece,
    )
}

/// What sqlparser says about `piece`.
pub(super) fn of(error: ParserError, piece: &Piece<'_>) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            let text = format!("the statement is nested deeper than {NESTING_MAX} levels");
            return made(text, piece.tokens[0].span.start, piece);
        }
    };
    let (text, place) = split_place(&text);
    let found = place.and_then(|place| piece.tokens.iter().find(|token| token.span.start == place));
    let place = place.unwrap_or(piece.end());
    match (text.split_once("Expected: "), found) {
        (Some((_, expected)), found) => {
            let expected = expected
                .rsplit_once(", found: ")
                .map_or(expected, |(expected, _)| expected);
            let found = found.map_or("the end of the statement".to_owned(), |token| named(&token.token));
            made(format!("expected {expected}, found {found}"), place, piece)
        }
        (None, Some(token)) if is_literal(&token.token) => {
            made("this text or number cannot stand here", place, piece)
        }
        (None, _) => made(lower_first(text), place, piece),
    }
}

fn made(message: impl Into<String>, place: Location, piece: &Piece<'_>) -> Error {
    Error::invalid("SQL_SYNTAX", message)
        .at(format_args!("line {}:{}", place.line, place.column))
        .hint(form(piece))
}

/// `… at Line: 3, Column: 7` as text and place.
fn split_place(text: &str) -> (&str, Option<Location>) {
    let split = || {
        let (text, place) = text.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((
            text,
            Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?),
        ))
    };
    match split() {
        Some((text, place)) => (text, Some(place)),
        None => (text, None),
    }
}

fn is_literal(token: &Token) -> bool {
    !matches!(token, Token::Word(_)) && matches!(named(token).as_str(), "a text" | "a number")
}

fn named(token: &Token) -> String {
    match token {
        Token::EOF => "the end of the statement".to_owned(),
        Token::Number(..) => "a number".to_owned(),
        Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::SingleQuotedRawStringLiteral(_) => "a text".to_owned(),
        other => format!("`{other}`"),
    }
}

pub(crate) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// What a statement that starts like `piece` looks like.
fn form(piece: &Piece<'_>) -> &'static str {
    let head: Vec<_> = piece.solid().take(4).collect();
    let starts = |words: &[&str]| {
        words
            .iter()
            .zip(&head)
            .filter(|(word, token)| is_word(token, word))
            .count()
            == words.len()
    };
    let has = |word: &str| head.iter().any(|token| is_word(token, word));
    if let Some(form) = source_form(&head) {
        return form;
    }
    match () {
        () if starts(&["create"]) && has("view") => {
            "CREATE [OR REPLACE] MATERIALIZED VIEW [IF NOT EXISTS] name [WITH (require = 'incremental')] AS SELECT …"
        }
        () if starts(&["create"]) && has("table") => {
            "CREATE TABLE [IF NOT EXISTS] name (column type [NOT NULL] [DEFAULT …], …, PRIMARY KEY (column, …))"
        }
        () if starts(&["insert"]) => {
            "INSERT INTO name [(column, …)] VALUES (…), … | SELECT … [ON CONFLICT …] [RETURNING …]"
        }
        () if starts(&["update"]) => "UPDATE name SET column = value, … [WHERE …] [RETURNING …]",
        () if starts(&["delete"]) => "DELETE FROM name [WHERE …] [RETURNING …]",
        () if starts(&["explain"]) => "EXPLAIN VIEW [VERBOSE] name, or EXPLAIN SELECT …",
        () if starts(&["show"]) => {
            "SHOW RELATIONS | VIEWS | MODULES | SOURCES | COLUMNS FROM name | CREATE name | CREATE SOURCE name"
        }
        () if starts(&["select"]) || starts(&["with"]) => {
            "check the commas, parentheses and keywords around this place; names that are keywords need \"quotes\""
        }
        () => {
            "statements start with SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, SHOW, DESCRIBE or EXPLAIN"
        }
    }
}

/// The same, if it is about a source.
fn source_form(head: &[&TokenWithSpan]) -> Option<&'static str> {
    let [verb, what, ..] = head else {
        return None;
    };
    let starts = |word: &str| is_word(verb, word) && is_word(what, "source");
    match () {
        () if starts("create") => Some(
            "CREATE SOURCE [IF NOT EXISTS] name FROM POSTGRES (connection = 'host=… dbname=… user=…', option = 'value', …)",
        ),
        () if starts("alter") => {
            Some("ALTER SOURCE name SET (option = 'value', …), or ALTER SOURCE name RESYNC [TABLE name]")
        }
        () if starts("drop") => Some("DROP SOURCE [IF EXISTS] name [CASCADE]"),
        () => None,
    }
}
