//! viewfeed beside others: the same changes through our engine, through dbsp, through DataFusion computing everything anew
//! and through Postgres, in one run, so that ratios mean something. Prints tables for docs/benchmarks.md and draws them.

mod chart;
mod checksum;
mod circuit;
mod ours;
mod postgres;
mod report;
mod suite;
mod timing;
mod workload;

use report::Table;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use suite::Settings;
use viewfeed_change::{Error, Result};

/// The allocator that dbsp's own benchmarks use; both engines get it.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: dbsp::mimalloc::MiMalloc = dbsp::mimalloc::MiMalloc;

const USAGE: &str =
    "peers [all|join|nexmark|top] [--rows N,N…] [--events N] [--query NAME] [--alone] [--charts FOLDER]

  --rows    rows of state of the join and the top list (100000,1000000)
  --events  events of each of Nexmark's queries (200000)
  --query   only those of Nexmark's queries whose name holds this, for example q04
  --alone   only viewfeed with relaxed durability on run files: for a profiler
  --charts  where the charts go (docs/benchmarks of the repository)";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (suite, settings, charts) = arguments()?;
    let scratch = tempfile::Builder::new()
        .prefix("viewfeed-peers-")
        .tempdir_in(".")?;
    let mut tables = Vec::new();
    if ["all", "join"].contains(&suite.as_str()) {
        tables.extend(suite::join::run(&settings, scratch.path())?);
    }
    if ["all", "top"].contains(&suite.as_str()) {
        tables.extend(suite::top::run(&settings, scratch.path())?);
    }
    if ["all", "nexmark"].contains(&suite.as_str()) {
        tables.extend(suite::nexmark::run(&settings, scratch.path())?);
    }
    println!();
    tables.iter().for_each(|table| println!("{}", table.markdown()));
    match settings.is_alone {
        true => Ok(()),
        false => draw(&tables, &charts),
    }
}

fn draw(tables: &[Table], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for table in tables {
        let file = folder.join(table.file).with_extension("svg");
        fs::write(&file, chart::svg(table))?;
        println!("drawn: {}", file.display());
    }
    Ok(())
}

fn arguments() -> Result<(String, Settings, PathBuf)> {
    let mut settings = Settings {
        rows: vec![100_000, 1_000_000],
        events: 200_000,
        query: String::new(),
        is_alone: false,
    };
    let mut charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks");
    let mut suite = "all".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| wrong(&argument));
        let number = |text: &str| text.parse::<usize>().map_err(|_| wrong(text));
        match argument.as_str() {
            "all" | "join" | "nexmark" | "top" => suite.clone_from(&argument),
            "--rows" => settings.rows = value()?.split(',').map(number).collect::<Result<_>>()?,
            "--events" => settings.events = number(&value()?)?,
            "--query" => settings.query = value()?,
            "--charts" => charts = value()?.into(),
            "--alone" => settings.is_alone = true,
            _ => return Err(wrong(&argument)),
        }
    }
    Ok((suite, settings, charts))
}

fn wrong(argument: &str) -> Error {
    Error::invalid("USAGE", format!("what is meant by {argument}?\n\n{USAGE}"))
}
