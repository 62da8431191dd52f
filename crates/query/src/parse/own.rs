//! The statements sqlparser does not know, recognised from tokens: `EXPLAIN VIEW`, `SHOW …`, `DESCRIBE`; those about
//! sources are in `source`.

use super::script::Piece;
use super::{Show, Statement, is_word, source, syntax_error};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use viewfeed_change::Result;

const SHOW_WHAT: &str = "RELATIONS, VIEWS, MODULES, SOURCES, COLUMNS FROM name or CREATE name";
const RELATION: &str = "the name of a table or view";

/// The statement, if `piece` is one of ours.
pub(super) fn parse(piece: &Piece<'_>) -> Result<Option<Statement>> {
    let mut words = Words {
        piece,
        tokens: piece.solid().collect(),
        at: 0,
    };
    if let Some(statement) = source::parse(&mut words)? {
        return Ok(Some(Statement::Source(statement)));
    }
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
pub(super) struct Words<'a> {
    piece: &'a Piece<'a>,
    tokens: Vec<&'a TokenWithSpan>,
    at: usize,
}

impl<'a> Words<'a> {
    /// Reads `word` if it comes next.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| is_word(token, word));
        self.at += usize::from(found);
        found
    }

    /// Reads `words` if all of them come next.
    pub(super) fn take_all(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        let found = words.iter().all(|word| self.take(word));
        if !found {
            self.at = start;
        }
        found
    }

    /// The next token, not read.
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    /// Reads the next token if it is `token`.
    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    /// Reads `token`, called `shown`.
    pub(super) fn expect_token(&mut self, token: &Token, shown: &str) -> Result<()> {
        match self.take_token(token) {
            true => Ok(()),
            false => Err(self.unexpected(shown)),
        }
    }

    /// Reads a token whatever it is.
    pub(super) fn skip(&mut self) {
        self.at += 1;
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
            ("sources", Show::Sources),
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
            if self.is_next_of_two("source") {
                self.skip();
                let name = self.name_part("the name of a source")?;
                self.end()?;
                return Ok(Statement::Show(Show::CreateSource(name)));
            }
            let _ = self.take("materialized");
            let _ = self.take("table") || self.take("view");
            return Ok(Statement::Show(Show::Create(self.last_name()?)));
        }
        Err(self.unexpected(SHOW_WHAT))
    }

    /// Whether `word` comes next and something that is no dot behind it: then it is not itself a name.
    fn is_next_of_two(&self, word: &str) -> bool {
        let behind = self.tokens.get(self.at + 1);
        self.tokens.get(self.at).is_some_and(|token| is_word(token, word))
            && behind.is_some_and(|token| token.token != Token::Period)
    }

    /// `name` or `schema.name`, and nothing behind it.
    fn last_name(&mut self) -> Result<String> {
        let name = self.name(RELATION)?;
        self.end()?;
        Ok(name)
    }

    /// `name` or `schema.name`; `what` says what it names.
    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        let mut name = self.name_part(what)?;
        while self.take_token(&Token::Period) {
            name = format!("{name}.{}", self.name_part(what)?);
        }
        Ok(name)
    }

    /// A name without a dot.
    pub(super) fn name_part(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(match word.quote_style {
                    Some(_) => word.value.clone(),
                    None => word.value.to_lowercase(),
                })
            }
            _ => Err(self.unexpected(what)),
        }
    }

    pub(super) fn end(&self) -> Result<()> {
        match self.tokens.get(self.at) {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the statement")),
        }
    }

    /// Says that `expected` should stand where the next token is.
    pub(super) fn unexpected(&self, expected: &str) -> viewfeed_change::Error {
        match self.tokens.get(self.at) {
            Some(found) => syntax_error::unexpected(expected, found, self.piece),
            None => syntax_error::ended(expected, self.piece),
        }
    }
}
