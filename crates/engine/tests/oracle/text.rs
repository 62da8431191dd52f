//! Cases as text: read as they are printed, so that one that has failed stays a test, whatever random cases become.

use super::case::{Case, Filling, Form, Modes, Step};
use super::tables::{Cell, Row, Shape, Type};
use std::io::Write;
use std::path::PathBuf;
use viewfeed_engine::Rung;

/// The texts that cells have.
pub(super) const TEXTS: [&str; 4] = ["", "a", "b", "ab"];

/// Where cases are kept that have failed once.
fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/regressions.txt")
}

/// The cases that have failed once.
pub(super) fn regressions() -> Vec<Case> {
    let text = std::fs::read_to_string(file()).expect("the file of regressions is part of the sources");
    text.split("\n\n").filter_map(case).collect()
}

/// Keeps a case for all later runs.
pub(super) fn keep(head: &str, case: &Case) {
    let opened = std::fs::OpenOptions::new().append(true).open(file());
    let mut file = opened.expect("the file of regressions is part of the sources");
    write!(file, "\n# {head}\n{case}").expect("a source file can be written");
}

/// One case; None for text without any.
pub(super) fn case(text: &str) -> Option<Case> {
    let lines = text.lines().map(str::trim);
    let mut case = Case {
        modes: Modes {
            form: Form::Memory,
            rung: Rung::Incremental,
            filling: None,
        },
        tables: Vec::new(),
        views: Vec::new(),
        steps: Vec::new(),
    };
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        read_line(&mut case, line).unwrap_or_else(|| panic!("not a line of a case: {line}"));
    }
    (!case.steps.is_empty()).then_some(case)
}

fn read_line(case: &mut Case, line: &str) -> Option<()> {
    if let Some((name, sql)) = line.split_once(" := ") {
        let place: usize = name.strip_prefix('v')?.parse().ok()?;
        (place == case.views.len()).then(|| case.views.push(sql.to_owned()))?;
        return Some(());
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let view = || rest.strip_prefix('v')?.parse().ok();
    let step = match word {
        "modes" => {
            case.modes = modes(rest)?;
            return Some(());
        }
        "table" => {
            case.tables.push(shape(rest)?);
            return Some(());
        }
        "create" => Step::Create(view()?),
        "replace" => Step::Replace(view()?),
        "checkpoint" => Step::Checkpoint,
        "reopen" => Step::Reopen,
        "crash" => Step::Crash,
        "clear" => Step::Clear,
        "wait" => Step::Wait(rest.strip_suffix(" s")?.parse().ok()?),
        "epoch" => Step::Epoch(Vec::new()),
        table => return change(case, table, rest),
    };
    case.steps.push(step);
    Some(())
}

fn modes(text: &str) -> Option<Modes> {
    let (form, rest) = text.split_once(' ')?;
    let (rung, filling) = match rest.split_once(' ') {
        Some((rung, filling)) => (rung, Some(filling_of(filling)?)),
        None => (rest, None),
    };
    let forms = [Form::Memory, Form::Sled, Form::Runs];
    let rungs = [Rung::Incremental, Rung::Scoped, Rung::Recompute];
    Some(Modes {
        form: forms.into_iter().find(|known| format!("{known:?}") == form)?,
        rung: rungs.into_iter().find(|known| format!("{known:?}") == rung)?,
        filling,
    })
}

/// `filling 3 x 2`: pieces of 3 rows, 2 in each epoch.
fn filling_of(text: &str) -> Option<Filling> {
    let (rows, pieces) = text.strip_prefix("filling ")?.split_once(" x ")?;
    Some(Filling {
        rows: rows.parse().ok()?,
        pieces: pieces.parse().ok()?,
    })
}

fn shape(text: &str) -> Option<Shape> {
    let (name, rest) = text.split_once('(')?;
    let (columns, key) = rest.split_once(')')?;
    let types = [
        Type::Int,
        Type::Small,
        Type::Text,
        Type::Decimal,
        Type::Float,
        Type::Bool,
    ];
    let column = |text: &str| {
        let (name, data_type) = text.split_once(' ')?;
        let data_type = types
            .into_iter()
            .find(|known| format!("{known:?}") == data_type)?;
        Some((name.to_owned(), data_type))
    };
    Some(Shape {
        name: name.to_owned(),
        columns: columns.split(", ").map(column).collect::<Option<_>>()?,
        keyed: key == " keyed",
    })
}

/// `t0 +1 NULL, 'a'`, within an epoch.
fn change(case: &mut Case, name: &str, text: &str) -> Option<()> {
    let table = case.tables.iter().position(|shape| shape.name == name)?;
    let (weight, cells) = text.split_once(' ')?;
    let types = case.tables[table].columns.iter().map(|(_, data_type)| *data_type);
    let row: Row = cells
        .split(", ")
        .zip(types)
        .map(|(text, data_type)| cell(text, data_type))
        .collect::<Option<_>>()?;
    (row.len() == case.tables[table].columns.len()).then_some(())?;
    let Some(Step::Epoch(tables)) = case.steps.last_mut() else {
        return None;
    };
    let row = (row, weight.parse().ok()?);
    match tables.last_mut() {
        Some((last, rows)) if *last == table => rows.push(row),
        _ => tables.push((table, vec![row])),
    }
    Some(())
}

fn cell(text: &str, data_type: Type) -> Option<Cell> {
    let number = || text.parse::<f64>().ok();
    Some(match data_type {
        _ if text == "NULL" => Cell::Null,
        Type::Int | Type::Small => Cell::Int(text.parse().ok()?),
        Type::Decimal => Cell::Decimal((number()? * 100.0).round() as i128),
        Type::Bool => Cell::Bool(text.parse().ok()?),
        Type::Text => {
            let known = TEXTS.into_iter().find(|known| format!("'{known}'") == text);
            Cell::Text(known?)
        }
        _ => Cell::Float((number()? * 2.0).round() as i64),
    })
}
