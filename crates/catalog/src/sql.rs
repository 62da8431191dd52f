//! The little this crate knows of SQL text, without parsing it: names, `$field` parameters, ORDER BY lists, and which
//! relations a script creates.

/// A piece of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A word: a keyword, a name without quotes, or a number.
    Word(&'a str),
    /// A quoted name, with its quotes.
    Quoted(&'a str),
    /// `$name`, without the `$`.
    Parameter(&'a str),
    /// One character that is none of the above.
    Mark(&'a str),
    /// Text literals, white space, comments.
    Other(&'a str),
}

impl<'a> Piece<'a> {
    /// The text.
    pub(crate) fn text(self) -> &'a str {
        match self {
            Self::Word(text)
            | Self::Quoted(text)
            | Self::Parameter(text)
            | Self::Mark(text)
            | Self::Other(text) => text,
        }
    }
}

/// Cuts SQL into pieces. Any text can be cut.
pub(crate) fn pieces<'a>(sql: &'a str) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (len, make): (usize, fn(&'a str) -> Piece<'a>) = match first {
            '\'' => (quoted_len(rest, '\''), Piece::Other),
            '"' => (quoted_len(rest, '"'), Piece::Quoted),
            '-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), Piece::Other),
            '/' if rest.starts_with("/*") => (
                rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
                Piece::Other,
            ),
            '$' if rest[1..].starts_with(is_name_start) => {
                let len = 1 + word_len(&rest[1..]);
                pieces.push(Piece::Parameter(&rest[1..len]));
                rest = &rest[len..];
                continue;
            }
            c if c.is_whitespace() => (c.len_utf8(), Piece::Other),
            c if is_name(c) => (word_len(rest), Piece::Word),
            c => (c.len_utf8(), Piece::Mark),
        };
        pieces.push(make(&rest[..len]));
        rest = &rest[len..];
    }
    pieces
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| !is_name(c)).unwrap_or(text.len())
}

/// How long the quoted text at the start is; a doubled quote does not end it.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = text[at..].find(quote) {
        at += end + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// `name` as a quoted identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name as SQL understands it: without quotes, and in lower case if it had none.
fn unquote(piece: Piece<'_>) -> Option<String> {
    match piece {
        Piece::Word(word) => Some(word.to_lowercase()),
        Piece::Quoted(name) => Some(name.trim_matches('"').replace("\"\"", "\"")),
        _ => None,
    }
}

/// The names of relations that a script creates: `name` or `schema.name`.
pub(crate) fn created_relations(script: &str) -> Vec<String> {
    let pieces: Vec<Piece<'_>> = pieces(script)
        .into_iter()
        .filter(|piece| !matches!(piece, Piece::Other(_)))
        .collect();
    let mut names = Vec::new();
    for start in 0..pieces.len() {
        if is_word(&pieces, start, "create") {
            names.extend(created_at(&pieces, start + 1));
        }
    }
    names
}

fn is_word(pieces: &[Piece<'_>], at: usize, word: &str) -> bool {
    matches!(pieces.get(at), Some(Piece::Word(found)) if found.eq_ignore_ascii_case(word))
}

fn created_at(pieces: &[Piece<'_>], mut at: usize) -> Option<String> {
    while ["or", "replace", "materialized", "temporary", "temp"]
        .iter()
        .any(|word| is_word(pieces, at, word))
    {
        at += 1;
    }
    if !is_word(pieces, at, "table") && !is_word(pieces, at, "view") {
        return None;
    }
    at += 1;
    while ["if", "not", "exists"]
        .iter()
        .any(|word| is_word(pieces, at, word))
    {
        at += 1;
    }
    let first = unquote(*pieces.get(at)?)?;
    match (pieces.get(at + 1), pieces.get(at + 2).copied().and_then(unquote)) {
        (Some(Piece::Mark(".")), Some(second)) => Some(format!("{first}.{second}")),
        _ => Some(first),
    }
}

/// `sql` with `$field` replaced by `$1`, `$2` …, and the fields in that order.
pub(crate) fn number_parameters(sql: &str) -> (String, Vec<String>) {
    let (mut text, mut fields) = (String::new(), Vec::<String>::new());
    for piece in pieces(sql) {
        let Piece::Parameter(field) = piece else {
            text.push_str(piece.text());
            continue;
        };
        let place = fields.iter().position(|known| known == field).unwrap_or_else(|| {
            fields.push(field.to_owned());
            fields.len() - 1
        });
        text.push_str(&format!("${}", place + 1));
    }
    (text, fields)
}

/// One item of an ORDER BY list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderItem {
    pub(crate) column: String,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// `sent_at DESC, id`: as in Postgres, NULLs are last, or first when descending. None if it is anything else.
pub(crate) fn parse_order(text: &str) -> Option<Vec<OrderItem>> {
    text.split(',').map(parse_order_item).collect()
}

fn parse_order_item(text: &str) -> Option<OrderItem> {
    let pieces: Vec<Piece<'_>> = pieces(text)
        .into_iter()
        .filter(|piece| !matches!(piece, Piece::Other(_)))
        .collect();
    let column = unquote(*pieces.first()?)?;
    let mut at = 1;
    let descending = is_word(&pieces, at, "desc");
    if descending || is_word(&pieces, at, "asc") {
        at += 1;
    }
    let mut nulls_first = descending;
    if is_word(&pieces, at, "nulls") {
        nulls_first = is_word(&pieces, at + 1, "first");
        if !nulls_first && !is_word(&pieces, at + 1, "last") {
            return None;
        }
        at += 2;
    }
    (at == pieces.len()).then_some(OrderItem {
        column,
        descending,
        nulls_first,
    })
}

/// The relation of `name`, `schema.name` or `SELECT * FROM name`; None if it is anything else.
pub(crate) fn relation_name(text: &str) -> Option<String> {
    let all: Vec<Piece<'_>> = pieces(text)
        .into_iter()
        .filter(|piece| !matches!(piece, Piece::Other(_)))
        .collect();
    let select_all = is_word(&all, 0, "select")
        && matches!(all.get(1), Some(Piece::Mark("*")))
        && is_word(&all, 2, "from");
    let name = if select_all { &all[3..] } else { &all[..] };
    match name {
        [one] => unquote(*one),
        [schema, Piece::Mark("."), name] => Some(format!("{}.{}", unquote(*schema)?, unquote(*name)?)),
        _ => None,
    }
}
