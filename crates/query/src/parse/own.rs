//! The statements sqlparser does not know, recognised from tokens: `EXPLAIN VIEW`, `SHOW …`, `DESCRIBE`.

use super::script::Piece;
use super::{Show, Statement, is_word, syntax_error};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use viewfeed_change::Result;

const SHOW_WHAT: &str = "RELATIONS, VIEWS, MODULES, COLUMNS FROM name or CREATE name";

/// The statement, if `piece` is one of ours.
pub(super) fn parse(piece: &Piece<'_>) -> Result<Option<Statement>> {
    let mut words = Words {
        piece,
        tokens: piece.solid().collect(),
        at: 0,
    };
    if words.take("explain") {
        return words.explain_view();
    }
    if words.take("show") {
        return words.show().map(Some);
    }
    let describes = words.take("describe") || words.take("desc");
    if describes
        && !["select", "with", "insert", "update", "delete"]
            .iter()
            .any(|verb| words.take(verb))
    {
        let _ = words.take("table") || words.take("view");
        return Ok(Some(Statement::Show(Show::Columns(words.last_name()?))));
    }
    Ok(None)
}

/// The tokens of a statement and how many have been read.
struct Words<'a> {
    piece: &'a Piece<'a>,
    tokens: Vec<&'a TokenWithSpan>,
    at: usize,
}

impl Words<'_> {
    /// Reads `word` if it comes next.
    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| is_word(token, word));
        self.at += usize::from(found);
        found
    }

    /// `EXPLAIN` is read: `[VERBOSE] VIEW [VERBOSE] name` is ours, anything else is sqlparser's.
    fn explain_view(&mut self) -> Result<Option<Statement>> {
        let before = self.take("verbose");
        if !self.take("view") {
            return Ok(None);
        }
        let verbose = self.take("verbose") || before;
        let name = self.last_name()?;
        Ok(Some(Statement::ExplainView { name, verbose }))
    }

    fn show(&mut self) -> Result<Statement> {
        let plain = [
            ("relations", Show::Relations),
            ("tables", Show::Relations),
            ("views", Show::Views),
            ("modules", Show::Modules),
        ];
        for (word, show) in plain {
            if self.take(word) {
                self.end()?;
                return Ok(Statement::Show(show));
            }
        }
        if self.take("columns") {
            if !(self.take("from") || self.take("in")) {
                return Err(self.unexpected("FROM and the name of a table or view"));
            }
            return Ok(Statement::Show(Show::Columns(self.last_name()?)));
        }
        if self.take("create") {
            let _ = self.take("materialized");
            let _ = self.take("table") || self.take("view");
            return Ok(Statement::Show(Show::Create(self.last_name()?)));
        }
        Err(self.unexpected(SHOW_WHAT))
    }

    /// `name` or `schema.name`, and nothing behind it.
    fn last_name(&mut self) -> Result<String> {
        let mut name = self.name_part()?;
        while self
            .tokens
            .get(self.at)
            .is_some_and(|token| token.token == Token::Period)
        {
            self.at += 1;
            name = format!("{name}.{}", self.name_part()?);
        }
        self.end()?;
        Ok(name)
    }

    fn name_part(&mut self) -> Result<String> {
        match self.tokens.get(self.at).map(|token| &token.token) {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(match word.quote_style {
                    Some(_) => word.value.clone(),
                    None => word.value.to_lowercase(),
                })
            }
            _ => Err(self.unexpected("the name of a table or view")),
        }
    }

    fn end(&self) -> Result<()> {
        match self.tokens.get(self.at) {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the statement")),
        }
    }

    fn unexpected(&self, expected: &str) -> viewfeed_change::Error {
        match self.tokens.get(self.at) {
            Some(found) => syntax_error::unexpected(expected, found, self.piece),
            None => syntax_error::ended(expected, self.piece),
        }
    }
}
