//! What DataFusion's errors mean to who asked: a kind, a reason, a sentence without noise, and advice.

use crate::parse::lower_first;
use datafusion::arrow::error::ArrowError;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use viewfeed_change::{Error, ErrorKind};

const COLUMNS_NAMED_MAX: usize = 12;
/// How alike two names must be for one to be proposed for the other.
const ALIKE_MIN: f64 = 0.6;

/// The error of planning a statement: `Invalid`/`SQL_PLAN` unless it says more.
pub(crate) fn planning(error: DataFusionError) -> Error {
    translate(error, "SQL_PLAN")
}

/// The error of running a plan: `Invalid`/`EVALUATION` unless it says more. Never holds a value of a row.
pub(crate) fn execution(error: DataFusionError) -> Error {
    translate(error, "EVALUATION")
}

/// The error of computing an expression: `Invalid`/`EVALUATION` if it is the row's fault. Never holds a value of a row, so
/// that the same row fails with the same message whenever it is computed.
pub fn evaluation_failure(error: DataFusionError) -> Error {
    execution(error)
}

fn translate(error: DataFusionError, reason: &'static str) -> Error {
    match root(&error) {
        DataFusionError::External(external) => match external.downcast_ref::<Error>() {
            Some(own) => own.clone(),
            None => stated(&external.to_string(), reason),
        },
        DataFusionError::ArrowError(arrow, _) => evaluation(arrow, reason),
        DataFusionError::SchemaError(schema, _) => of_schema(schema),
        DataFusionError::ResourcesExhausted(_) => Error::new(
            ErrorKind::Exhausted,
            "MEMORY_LIMIT",
            "the query needs more memory than it may have",
        )
        .hint("ask for less: filter, aggregate or LIMIT; or raise the memory limit of queries"),
        DataFusionError::NotImplemented(text) if reason == "SQL_PLAN" => {
            stated(text, reason).hint("this part of SQL is not supported; docs/sql.md lists what is")
        }
        DataFusionError::Plan(text) if text.contains("require unique expression names") => {
            let name = text.split('"').nth(1).unwrap_or_default();
            specified_twice(name.rsplit('.').next().unwrap_or(name))
        }
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => stated(text, reason),
        DataFusionError::Execution(text) if reason == "SQL_PLAN" => stated(text, reason),
        DataFusionError::Execution(text) => stated(&without_values(text), reason),
        DataFusionError::Internal(text) | DataFusionError::Configuration(text) if reason == "SQL_PLAN" => {
            stated(text, reason)
        }
        DataFusionError::IoError(io) => Error::from(std::io::Error::from(io.kind())),
        other => Error::internal(without_values(&other.strip_backtrace())),
    }
}

/// The innermost error that says something.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, root),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::ExternalError(inner) => inner.downcast_ref::<DataFusionError>().map_or(error, root),
            _ => error,
        },
        DataFusionError::External(inner) => inner.downcast_ref::<DataFusionError>().map_or(error, root),
        _ => error,
    }
}

/// `text` as a message, with what follows its first line, or its question, as advice.
fn stated(text: &str, reason: &'static str) -> Error {
    const NOISE: [&str; 4] = [
        "Error during planning: ",
        "Execution error: ",
        "Internal error: ",
        "Optimizer rule failed: ",
    ];
    let text = NOISE
        .iter()
        .fold(text.trim().to_owned(), |text, noise| text.replace(noise, ""));
    let text = text.split("\n\nbacktrace:").next().unwrap_or(&text);
    let text = text
        .split("This issue was likely caused by a bug")
        .next()
        .unwrap_or(text);
    let text = &text.replace(", errors: ", "\n");
    let split = text
        .find(" Did you mean")
        .into_iter()
        .chain(text.find('\n'))
        .min();
    let (message, advice) = text.split_at(split.unwrap_or(text.len()));
    // The inside of a syntax tree helps nobody.
    let message = message.split(" { ").next().unwrap_or(message);
    let error = Error::invalid(reason, lower_first(message.trim().trim_end_matches('.')));
    let advice = advice.split_whitespace().collect::<Vec<_>>().join(" ");
    match (quoted(message), quoted(&advice)) {
        (Some(name), Some(proposed)) if message.contains("nvalid function") => {
            if alike(name, proposed) < ALIKE_MIN {
                return error.hint("docs/sql.md says which functions there are");
            }
            error.hint(format!("did you mean {proposed}?"))
        }
        _ if advice.is_empty() => error,
        _ => error.hint(lower_first(&advice)),
    }
}

/// What stands in `text` between quotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('\'').nth(1)
}

/// How alike two names are; 1 if they are the same but for case.
fn alike(a: &str, b: &str) -> f64 {
    normalized_levenshtein(&a.to_lowercase(), &b.to_lowercase())
}

fn evaluation(error: &ArrowError, reason: &'static str) -> Error {
    let made = |message: &str, advice: &str| Error::invalid("EVALUATION", message).hint(advice);
    match error {
        ArrowError::DivideByZero => made("division by zero", "use nullif(divisor, 0) to get NULL instead"),
        ArrowError::ArithmeticOverflow(_) => made("a number is out of range", "cast to a larger type first"),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            let target = ["type ", "to "].iter().find_map(|word| target_after(text, word));
            let target = target.map(|target| format!(" to {target}")).unwrap_or_default();
            made(
                &format!("a value cannot be converted{target}"),
                "TRY_CAST(value AS type) gives NULL instead of failing",
            )
        }
        ArrowError::InvalidArgumentError(text) | ArrowError::ComputeError(text) => {
            stated(&without_values(text), "EVALUATION")
        }
        ArrowError::SchemaError(text) => stated(text, reason),
        other => stated(&without_values(&other.to_string()), "EVALUATION"),
    }
}

/// The SQL name of the Arrow type named behind the last `word`, such as in `to value of Int32 type`.
fn target_after(text: &str, word: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 16] = [
        ("Boolean", "boolean"),
        ("Int8", "tinyint"),
        ("Int16", "smallint"),
        ("Int32", "integer"),
        ("Int64", "bigint"),
        ("UInt8", "tinyint unsigned"),
        ("UInt16", "smallint unsigned"),
        ("UInt32", "integer unsigned"),
        ("UInt64", "bigint unsigned"),
        ("Float32", "real"),
        ("Float64", "double precision"),
        ("Decimal128", "numeric"),
        ("Date32", "date"),
        ("Time64", "time"),
        ("Timestamp", "timestamp"),
        ("Interval", "interval"),
    ];
    let (_, rest) = text.rsplit_once(word)?;
    let rest = rest.strip_prefix("value of ").unwrap_or(rest);
    let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    NAMES
        .iter()
        .find(|(arrow, _)| *arrow == &rest[..end])
        .map(|(_, sql)| *sql)
}

/// `text` with everything in quotes, and every number, replaced: they may come from rows.
fn without_values(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut quote = None;
    let mut after_letter = false;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => {
                quote = None;
                clean.push(c);
            }
            Some(_) => {}
            None if c == '"' || (c == '\'' && !after_letter) => {
                quote = Some(c);
                clean.push(c);
                clean.push('…');
            }
            None if c.is_ascii_digit() && !after_letter => {
                if !clean.ends_with('…') {
                    clean.push('…');
                }
            }
            None => clean.push(c),
        }
        after_letter = c.is_alphabetic() || (after_letter && c.is_ascii_digit());
    }
    clean
}

fn of_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => Error::invalid(
            "SQL_PLAN",
            format!("column \"{}\" could be of more than one table", field.name),
        )
        .hint("write table.column"),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => Error::invalid(
            "SQL_PLAN",
            format!("column \"{name}\" is specified more than once"),
        )
        .hint("give each its own name with AS"),
    }
}

fn specified_twice(name: &str) -> Error {
    Error::invalid(
        "SQL_PLAN",
        format!("column \"{name}\" is specified more than once"),
    )
    .hint("give each its own name with AS")
}

fn unknown_column(field: &Column, valid: &[Column]) -> Error {
    let error = Error::invalid(
        "SQL_PLAN",
        format!("column \"{}\" does not exist", field.flat_name()),
    );
    let likeness = |column: &&Column| alike(&column.name, &field.name);
    let best = valid.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(column) if likeness(&column) >= ALIKE_MIN => {
            error.hint(format!("did you mean {}?", column.quoted_flat_name()))
        }
        Some(_) => {
            let named: Vec<_> = valid
                .iter()
                .take(COLUMNS_NAMED_MAX)
                .map(Column::quoted_flat_name)
                .collect();
            let more = if valid.len() > COLUMNS_NAMED_MAX {
                ", …"
            } else {
                ""
            };
            error.hint(format!("columns here are {}{more}", named.join(", ")))
        }
        None => error.hint("there are no columns here; texts are written 'like this'"),
    }
}
