//! A script cut into its statements, by tokens, so that semicolons in texts, comments and `$$ … $$` do not count.

use super::{DIALECT, is_word};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use viewfeed_change::{Error, Result};

/// One statement: at least one token that is not blank.
pub(super) struct Piece<'a> {
    /// From the first to the last token that is not blank.
    pub(super) tokens: Vec<TokenWithSpan>,
    /// The same as text.
    pub(super) text: &'a str,
}

impl Piece<'_> {
    /// The line it starts on, from 1.
    pub(super) fn line(&self) -> usize {
        self.tokens
            .first()
            .map_or(1, |token| token.span.start.line as usize)
    }

    /// Where its last token ends.
    pub(super) fn end(&self) -> Location {
        self.tokens
            .last()
            .map_or(Location::new(1, 1), |token| token.span.end)
    }

    /// Its tokens without blanks and comments.
    pub(super) fn solid(&self) -> impl Iterator<Item = &TokenWithSpan> {
        self.tokens.iter().filter(|token| !is_blank(token))
    }
}

/// The statements of `sql`; empty ones are left out.
pub(super) fn pieces(sql: &str) -> Result<Vec<Piece<'_>>> {
    let mut tokens = Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|error| unreadable(&error.message, error.location))?;
    free_the_word_user(&mut tokens);
    let lines = Lines::of(sql);
    let pieces = tokens
        .split(|token| token.token == Token::SemiColon)
        .filter_map(|tokens| {
            let first = tokens.iter().position(|token| !is_blank(token))?;
            let last = tokens.iter().rposition(|token| !is_blank(token))?;
            let tokens = &tokens[first..=last];
            let text = lines.between(tokens[0].span.start, tokens[tokens.len() - 1].span.end);
            Some(Piece {
                tokens: options_before_as(tokens),
                text,
            })
        });
    Ok(pieces.collect())
}

fn unreadable(message: &str, location: Location) -> Error {
    let message = message.trim().trim_end_matches(" at").to_lowercase();
    Error::invalid("SQL_SYNTAX", message)
        .at(format_args!("line {}:{}", location.line, location.column))
        .hint("texts are written 'like this' and quoted names \"like this\"; each must be closed")
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Makes `user` a plain word wherever it does not say `CREATE USER` and the like: sqlparser takes it for the function
/// `CURRENT_USER`, but a table called `user` is what people have.
fn free_the_word_user(tokens: &mut [TokenWithSpan]) {
    let mut of_roles = false;
    for token in tokens.iter_mut().filter(|token| !is_blank(token)) {
        let after_verb = ["create", "alter", "drop"]
            .iter()
            .any(|verb| is_word(token, verb));
        if let Token::Word(word) = &mut token.token
            && word.keyword == Keyword::USER
            && !of_roles
        {
            word.keyword = Keyword::NoKeyword;
        }
        of_roles = after_verb;
    }
}

/// Moves `WITH (name = value, …)` behind the query of a CREATE VIEW to where sqlparser reads it: before `AS`.
fn options_before_as(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let unchanged = || tokens.to_vec();
    let head: Vec<_> = tokens.iter().filter(|token| !is_blank(token)).take(6).collect();
    if !head.first().is_some_and(|token| is_word(token, "create"))
        || !head.iter().any(|token| is_word(token, "view"))
    {
        return unchanged();
    }
    let (Some(with), Some(as_)) = (
        trailing_options(tokens),
        tokens.iter().position(|token| is_word(token, "as")),
    ) else {
        return unchanged();
    };
    if with < as_ {
        return unchanged();
    }
    [&tokens[..as_], &tokens[with..], &tokens[as_..with]].concat()
}

/// The place of the `WITH` of a `WITH (name = …)` that ends `tokens`.
fn trailing_options(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0;
    let open = tokens.iter().rposition(|token| {
        match token.token {
            Token::RParen => depth += 1,
            Token::LParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    let mut inside = tokens[open..].iter().filter(|token| !is_blank(token)).skip(1);
    let named = matches!(inside.next()?.token, Token::Word(_)) && inside.next()?.token == Token::Eq;
    let with = tokens[..open].iter().rposition(|token| !is_blank(token))?;
    (named && is_word(&tokens[with], "with")).then_some(with)
}

/// Turns line and column, both from 1 and in characters, into a slice.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    fn between(&self, start: Location, end: Location) -> &'a str {
        &self.text[self.offset(start)..self.offset(end)]
    }

    fn offset(&self, location: Location) -> usize {
        let start = self
            .starts
            .get(location.line as usize - 1)
            .copied()
            .unwrap_or(self.text.len());
        self.text[start..]
            .char_indices()
            .nth(location.column as usize - 1)
            .map_or(self.text.len(), |(at, _)| start + at)
    }
}
