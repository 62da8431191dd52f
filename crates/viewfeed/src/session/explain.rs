//! `EXPLAIN VIEW` as text: per node how it is kept true and why, what its states hold and who shares them, what steps cost.
//!
//! States are measured when asked, on the thread that asks and over a reader: the loop only hands out plans and times.

use super::system::users;
use crate::status::progress;
use std::fmt::Write;
use std::time::Duration;
use viewfeed_change::{Error, OnError, Relation, Relations, Result};
use viewfeed_engine::{ExplainedNode, ExplainedState, StepTimes, ViewReport};
use viewfeed_store::keys::{self, StateSize};
use viewfeed_store::{Reader, arrange, view_errors};

/// The text for `view`; `verbose` with the names of states, key and SQL.
pub(super) fn text(
    view: &Relation,
    reports: &[ViewReport],
    relations: &Relations,
    reader: &Reader,
    verbose: bool,
) -> Result<String> {
    let report = reports.iter().find(|report| report.view == view.id);
    let report = report.ok_or_else(|| Error::not_found("UNKNOWN_RELATION", "the view was just dropped"))?;
    let mut states = States {
        view,
        reports,
        relations,
        reader,
        verbose,
        total: StateSize::default(),
        count: 0,
        shared: 0,
    };
    let mut tree = String::new();
    for (depth, node) in report.plan.flattened() {
        states.describe(depth, node, &mut tree)?;
    }
    let head = format!(
        "view {}  {}\nstate: {} arrangements ({} shared), {}\nsteps: {}\n",
        view.name,
        errors(view, reader)?,
        states.count,
        states.shared,
        amount(states.total),
        steps(report.steps)
    );
    let tail = match (verbose, view.as_view()) {
        (true, Some(definition)) => format!("key: {:?}\nsql: {}\n", view.key, definition.sql),
        _ => String::new(),
    };
    Ok(head + &tree + &tail)
}

/// What is measured, and what was so far.
struct States<'a> {
    view: &'a Relation,
    reports: &'a [ViewReport],
    relations: &'a Relations,
    reader: &'a Reader,
    verbose: bool,
    total: StateSize,
    count: usize,
    shared: usize,
}

impl States<'_> {
    fn describe(&mut self, depth: usize, node: &ExplainedNode, text: &mut String) -> Result<()> {
        let indent = match depth {
            0 => String::new(),
            _ => format!("{}└ ", "  ".repeat(depth - 1)),
        };
        // writing to a String does not fail
        let _ = writeln!(text, "{indent}{}", node.line());
        for state in &node.states {
            let described = self.state(state)?;
            let _ = writeln!(text, "{}· {described}", "  ".repeat(depth + 1));
        }
        Ok(())
    }

    fn state(&mut self, state: &ExplainedState) -> Result<String> {
        let size = keys::size_of(self.reader, &state.name)?.unwrap_or_default();
        self.count += 1;
        self.total.entries += size.entries;
        self.total.bytes += size.bytes;
        let mut text = format!("{}: {}", state.shown, amount(size));
        let mut others = users(&state.name, self.reports, self.relations);
        others.retain(|name| *name != self.view.name.to_string());
        if state.is_shared {
            self.shared += 1;
            text += match others.is_empty() {
                true => ", of the relation",
                false => ", shared with ",
            };
            text += &others.join(", ");
        }
        if self.verbose {
            text += &format!("  [{}]", state.name);
        }
        Ok(text)
    }
}

fn errors(view: &Relation, reader: &Reader) -> Result<String> {
    let on_error = match view.as_view().map(|view| view.on_error) {
        Some(OnError::Strict) => "strict",
        _ => "isolate",
    };
    let rows: i64 = view_errors::of(reader, view.id)?
        .iter()
        .map(|error| error.rows)
        .sum();
    if let Some(filling) = arrange::filling(reader, view)? {
        let progress = progress(filling);
        return Ok(format!(
            "is being filled: {progress}; what is not incremental is computed at the end"
        ));
    }
    Ok(match rows {
        0 => format!("on_error {on_error}"),
        rows => format!("on_error {on_error}  errors {rows} rows, see viewfeed.view_errors"),
    })
}

fn steps(steps: StepTimes) -> String {
    match steps.measured {
        0 => "none of few rows since the program started".to_owned(),
        measured => format!(
            "of few rows: last {}, p50 {}, p99 {} (of the last {measured})",
            short(steps.last),
            short(steps.p50),
            short(steps.p99)
        ),
    }
}

fn short(time: Duration) -> String {
    match time.as_micros() {
        us @ ..10_000 => format!("{us} µs"),
        us => format!("{} ms", us / 1000),
    }
}

fn amount(size: StateSize) -> String {
    let bytes = match size.bytes {
        bytes @ ..10_000 => format!("{bytes} B"),
        bytes @ ..10_000_000 => format!("{} kB", bytes / 1000),
        bytes => format!("{} MB", bytes / 1_000_000),
    };
    format!("{} rows, {bytes}", size.entries)
}
