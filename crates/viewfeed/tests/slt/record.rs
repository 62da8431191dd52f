//! What is written in an `.slt` file. Of the format of SQLite's sqllogictest and its descendants: `statement ok`,
//! `statement count <n>`, `statement error [text]`, `query <types> [nosort|rowsort|valuesort] [label]`, `query error
//! [text]`, `onlyif`, `skipif`, `halt`, `hash-threshold` and comments. We answer to `postgresql`, and to `viewfeed`.

use viewfeed_change::Error;

/// The names of databases in `onlyif` and `skipif` that mean us.
const OUR_NAMES: [&str; 3] = ["viewfeed", "postgresql", "postgres"];

/// A part of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Statement(Statement),
    Query(Query),
    /// Nothing after it is run.
    Halt,
}

/// A statement without an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Statement {
    /// Where it is, from 1.
    pub(super) line: usize,
    pub(super) sql: String,
    /// If it must fail: what the error must say.
    pub(super) error: Option<String>,
}

/// A query and its answer.
#[derive(Debug, PartialEq)]
pub(super) struct Query {
    /// Where it is, from 1.
    pub(super) line: usize,
    pub(super) sql: String,
    pub(super) sort: Sort,
    pub(super) expected: Expected,
}

/// What is sorted before answers are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sort {
    Nothing,
    Rows,
    Values,
}

/// What a query shall answer.
#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    /// A row or a value per line.
    Lines(Vec<String>),
    /// Only a sum of so many values is known.
    Hash { values: usize },
    /// An error that says this.
    Error(String),
}

/// Whether `error` says `text`, in any case.
pub(super) fn says(error: &Error, text: &str) -> bool {
    let said = format!("{error:?}").to_lowercase();
    said.contains(&text.to_lowercase())
}

/// The parts of a file. Fails on what is not understood.
pub(super) fn records(text: &str) -> Result<Vec<Record>, String> {
    let mut lines = text.lines().enumerate().peekable();
    let (mut records, mut applies) = (Vec::new(), true);
    while let Some((place, line)) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = |count: usize| words.get(count..).unwrap_or_default().join(" ");
        match words.as_slice() {
            [] => {}
            [word, ..] if word.starts_with('#') => {}
            ["onlyif", name, ..] => applies &= OUR_NAMES.contains(name),
            ["skipif", name, ..] => applies &= !OUR_NAMES.contains(name),
            [
                "hash-threshold" | "subtest" | "connection" | "sleep" | "control",
                ..,
            ] => {}
            ["halt", ..] if applies => {
                records.push(Record::Halt);
                return Ok(records);
            }
            ["halt", ..] => applies = true,
            [kind @ ("statement" | "query"), words @ ..] => {
                let mut block = Vec::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
                    block.push(line);
                }
                let record = match *kind {
                    "statement" => Record::Statement(statement(place + 1, words, &rest(2), &block)),
                    _ => Record::Query(query(place + 1, words, &rest(2), &block)),
                };
                records.extend(applies.then_some(record));
                applies = true;
            }
            _ => return Err(format!("line {}: {line:?} is not understood", place + 1)),
        }
    }
    Ok(records)
}

fn statement(line: usize, words: &[&str], rest: &str, block: &[&str]) -> Statement {
    let (sql, _) = cut(block);
    Statement {
        line,
        sql,
        error: (words.first() == Some(&"error")).then(|| rest.to_owned()),
    }
}

fn query(line: usize, words: &[&str], rest: &str, block: &[&str]) -> Query {
    let (sql, answer) = cut(block);
    let sort = match (words.contains(&"rowsort"), words.contains(&"valuesort")) {
        (true, _) => Sort::Rows,
        (_, true) => Sort::Values,
        _ => Sort::Nothing,
    };
    let hashed = |line: &str| {
        line.split_once(" values hashing to ")
            .and_then(|(count, _)| count.parse().ok())
    };
    let expected = match (words.first(), answer) {
        (Some(&"error"), _) => Expected::Error(rest.to_owned()),
        (_, [only]) if hashed(only).is_some() => Expected::Hash {
            values: hashed(only).unwrap_or_default(),
        },
        (_, lines) => Expected::Lines(lines.iter().map(|line| (*line).to_owned()).collect()),
    };
    Query {
        line,
        sql,
        sort,
        expected,
    }
}

/// The SQL and the answer of a block.
fn cut<'a>(block: &'a [&'a str]) -> (String, &'a [&'a str]) {
    let end = block.iter().position(|line| line.trim() == "----");
    let sql = block[..end.unwrap_or(block.len())].join("\n");
    let sql = sql.trim().trim_end_matches(';').to_owned();
    (sql, end.map_or(&[], |end| &block[end + 1..]))
}

#[test]
fn records_are_read() {
    let text = "# a comment\nhash-threshold 8\n\nstatement ok\nCREATE TABLE t\n(a INT);\n\nonlyif mysql\nstatement ok\nX\n\n\
                statement error no way\nDROP TABLE u\n\nskipif mysql\nquery IT rowsort label-1\nSELECT 1,\n'a b'\n----\n\
                1 a b\n\nquery I\nSELECT 2\n----\n3 values hashing to 0f\n\nquery error\nSELECT\n\nhalt\n\nnonsense\n";
    let statement = |line, sql: &str, error: Option<&str>| {
        Record::Statement(Statement {
            line,
            sql: sql.to_owned(),
            error: error.map(str::to_owned),
        })
    };
    let query = |line, sql: &str, sort, expected| {
        Record::Query(Query {
            line,
            sql: sql.to_owned(),
            sort,
            expected,
        })
    };
    let wanted = vec![
        statement(4, "CREATE TABLE t\n(a INT)", None),
        statement(12, "DROP TABLE u", Some("no way")),
        query(
            16,
            "SELECT 1,\n'a b'",
            Sort::Rows,
            Expected::Lines(vec!["1 a b".to_owned()]),
        ),
        query(22, "SELECT 2", Sort::Nothing, Expected::Hash { values: 3 }),
        query(27, "SELECT", Sort::Nothing, Expected::Error(String::new())),
        Record::Halt,
    ];
    assert_eq!(records(text).unwrap(), wanted);
    assert!(records("nonsense").is_err());
}
