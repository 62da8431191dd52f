//! SQL text to statements: sqlparser's Postgres dialect, and the few statements of ours it does not know.
//!
//! What differs from Postgres' grammar: `user` is a plain name (`SELECT * FROM user` reads the table), `DATETIME` and
//! `UNSIGNED` are types, and `CREATE MATERIALIZED VIEW … AS SELECT … WITH (name = value)` may have its options behind
//! the query as well as, like in Postgres, before `AS`. How a script is cut is in `script`, our own statements are in
//! `own` and `source`, the wording of failures in `syntax_error`.

mod own;
mod script;
mod source;
mod syntax_error;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use script::Piece;
pub use source::{SourceKind, SourceOptions, SourceStatement};
pub(crate) use syntax_error::lower_first;
use viewfeed_change::{Error, Result};

/// Expressions nested deeper than this are refused, so that no statement can exhaust the stack.
const NESTING_MAX: usize = 100;

static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// A statement of a script.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Its text, without the semicolon.
    pub text: String,
    /// The line of the script it starts on, from 1.
    pub line: usize,
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Standard SQL, as sqlparser understands it.
    Sql(Box<ast::Statement>),
    /// `EXPLAIN VIEW name`, with `VERBOSE`.
    ExplainView {
        /// The view.
        name: String,
        /// With state ids and fingerprints.
        verbose: bool,
    },
    /// `SHOW …`.
    Show(Show),
    /// `CREATE SOURCE`, `ALTER SOURCE`, `DROP SOURCE`.
    Source(SourceStatement),
}

/// What to show. Names are as written in a catalog: unquoted parts in lower case, parts joined with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// `SHOW RELATIONS`, also `SHOW TABLES`.
    Relations,
    /// `SHOW VIEWS`.
    Views,
    /// `SHOW COLUMNS FROM name`, also `DESCRIBE name`.
    Columns(String),
    /// `SHOW MODULES`.
    Modules,
    /// `SHOW CREATE name`.
    Create(String),
    /// `SHOW SOURCES`.
    Sources,
    /// `SHOW CREATE SOURCE name`.
    CreateSource(String),
}

/// The statements of `sql`. Fails as `Invalid`/`SQL_SYNTAX` with line and column.
pub fn parse(sql: &str) -> Result<Vec<Parsed>> {
    script::pieces(sql)?.into_iter().map(parse_piece).collect()
}

/// The one query that `sql` is. Fails if it is anything else.
pub(crate) fn parse_query(sql: &str) -> Result<ast::Query> {
    let not_one = |what: &str| {
        Error::invalid("SQL_SYNTAX", format!("expected one SELECT, found {what}"))
            .hint("write a single SELECT, WITH … SELECT or VALUES statement")
    };
    let mut statements = parse(sql)?;
    match (statements.pop(), statements.len()) {
        (None, _) => Err(not_one("nothing")),
        (Some(parsed), 0) => match parsed.statement {
            Statement::Sql(statement) => match *statement {
                ast::Statement::Query(query) => Ok(*query),
                _ => Err(not_one("another statement")),
            },
            _ => Err(not_one("another statement")),
        },
        (Some(_), more) => Err(not_one(&format!("{} statements", more + 1))),
    }
}

/// The one scalar expression that `sql` is.
pub(crate) fn parse_expression(sql: &str) -> Result<ast::Expr> {
    let mut pieces = script::pieces(sql)?;
    let (Some(piece), true) = (pieces.pop(), pieces.is_empty()) else {
        return Err(Error::invalid("SQL_SYNTAX", "expected one expression"));
    };
    parse_with(&piece, |parser| parser.parse_expr())
}

fn parse_piece(piece: Piece<'_>) -> Result<Parsed> {
    let statement = match own::parse(&piece)? {
        Some(statement) => statement,
        None => Statement::Sql(Box::new(parse_with(&piece, |parser| parser.parse_statement())?)),
    };
    Ok(Parsed {
        statement,
        text: piece.text.to_owned(),
        line: piece.line(),
    })
}

/// Runs one of sqlparser's rules over all tokens of `piece`.
fn parse_with<T>(
    piece: &Piece<'_>,
    rule: impl Fn(&mut Parser<'_>) -> std::result::Result<T, datafusion::sql::sqlparser::parser::ParserError>,
) -> Result<T> {
    let mut parser = Parser::new(&DIALECT)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(piece.tokens.clone());
    let parsed = rule(&mut parser).map_err(|error| syntax_error::of(error, piece))?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(parsed),
        _ => Err(syntax_error::unexpected("the end of the statement", &next, piece)),
    }
}

/// Whether `token` is the unquoted word `word`, in any case.
fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}
