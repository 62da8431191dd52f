//! `viewfeed doctor`: is a Postgres server ready to be a source? Nothing is changed there.

use crate::cli::Doctor;
use crate::{config, output};
use serde_json::json;
use std::io::IsTerminal;
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_source::postgres::{Finding, Settings, Severity, examine};

/// What a source is called that has only a connection.
const DEFAULT_NAME: &str = "postgres";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const PLAIN: &str = "\u{1b}[0m";

/// Prints what was found. Fails if anything stands in the way of a source.
pub(super) async fn run(arguments: Doctor) -> Result<()> {
    let json = arguments.json;
    let (mut errors, mut warnings) = (0, 0);
    for (source, settings) in sources(arguments)? {
        let findings = examine(&source, &settings).await?;
        let count = |severity| {
            findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        errors += count(Severity::Error);
        warnings += count(Severity::Warning);
        match json {
            true => findings.iter().for_each(|finding| print_json(&source, finding)),
            false => print_text(&source, &findings),
        }
    }
    match errors {
        0 => {
            if !json {
                output::line(&format!("ready; warnings: {warnings}"));
            }
            Ok(())
        }
        _ => {
            let message = format!("not ready; errors: {errors}, warnings: {warnings}");
            Err(Error::new(ErrorKind::Precondition, "NOT_READY", message)
                .hint("run what is said above at the Postgres server, then ask again"))
        }
    }
}

/// Which sources to look at: the one of the connection, or those of the settings file.
fn sources(arguments: Doctor) -> Result<Vec<(String, Settings)>> {
    if let Some(connection) = arguments.connection {
        let name = arguments.source.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let mut options = vec![("connection".to_owned(), connection)];
        for option in &arguments.options {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                Error::invalid("OPTION", "an option has no value").hint("write --option 'tables=public.*'")
            })?;
            options.push((name.trim().to_owned(), value.to_owned()));
        }
        let settings = Settings::from_options(&name, &options)?;
        return Ok(vec![(name, settings)]);
    }
    let mut sources = config::sources(arguments.config.as_deref())?;
    if let Some(wanted) = arguments.source {
        sources.retain(|(name, _)| *name == wanted);
        if sources.is_empty() {
            let message = format!("the settings file has no source \"{wanted}\"");
            return Err(Error::not_found("UNKNOWN_SOURCE", message)
                .hint("correct the name, or give a connection string instead"));
        }
    }
    if sources.is_empty() {
        return Err(Error::invalid("NO_SOURCE", "there is no source to look at")
            .hint("give a connection string: viewfeed doctor 'host=… dbname=… user=…', or add [[source]] to viewfeed.toml"));
    }
    Ok(sources)
}

/// A line for each finding, under it why it matters and what to run, all of them aligned.
fn print_text(source: &str, findings: &[Finding]) {
    let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    output::line(&format!("source {source}"));
    for finding in findings {
        let (word, colour) = match finding.severity {
            Severity::Good => ("ok", GREEN),
            Severity::Note => ("note", PLAIN),
            Severity::Warning => ("warning", YELLOW),
            Severity::Error => ("error", RED),
        };
        let word = match is_coloured {
            true => format!("{colour}{word:>9}{PLAIN}"),
            false => format!("{word:>9}"),
        };
        output::line(&format!("{word}  {}", finding.what));
        if !finding.why.is_empty() {
            output::line(&format!("           {}", finding.why));
        }
        for run in finding.run.iter().flat_map(|run| run.lines()) {
            output::line(&format!("           → {run}"));
        }
    }
}

fn print_json(source: &str, finding: &Finding) {
    let line = json!({
        "source": source, "severity": finding.severity, "what": finding.what, "why": finding.why, "run": finding.run,
    });
    output::line(&line.to_string());
}
