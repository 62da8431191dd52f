//! Top-K: the fifty best of a list whose scores change.

use super::{Settings, same};
use crate::circuit::{self, players::PlayersCircuit};
use crate::ours::{Database, Mode};
use crate::report::Table;
use crate::timing::Steps;
use crate::workload::players::{self, Players, Score};
use std::path::Path;
use std::time::Duration;
use viewfeed_change::Result;

/// New scores of a change, and how many changes of it.
const CHANGES: [(usize, usize); 2] = [(100, 300), (10_000, 30)];
const WARM_UP_STEPS: usize = 5;
/// Rows loaded in one epoch.
const LOAD_ROWS: usize = 50_000;
const RECOMPUTE: &str = "DataFusion, anew each time";

/// Runs it; gives rates. A new score is one update: the old row goes, the new one comes.
pub(crate) fn run(settings: &Settings, scratch: &Path) -> Result<Vec<Table>> {
    let title = "The 50 best: new scores a second".to_owned();
    let mut table = Table::new(title, "top", "updates/s", circuit::NAME, true);
    for rows in &settings.rows {
        let modes = if settings.is_alone {
            &Mode::ALL[2..3]
        } else {
            &Mode::ALL[..]
        };
        let mut sums = Vec::new();
        for (i, mode) in modes.iter().enumerate() {
            let dir = tempfile::tempdir_in(scratch)?;
            let mut database = Database::open(dir.path(), *mode, &players::tables(), players::SQL)?;
            measure(*rows, &mode.to_string(), &mut table, &mut |scores| {
                step(&mut database, scores)
            })?;
            sums.push(database.output);
            if i + 1 == modes.len() {
                let anew = database.recompute(players::SQL)?.as_secs_f64();
                for (change, _) in CHANGES {
                    put(&mut table, *rows, change, RECOMPUTE, change as f64 / anew);
                }
            }
        }
        if settings.is_alone {
            continue;
        }
        let mut peer = PlayersCircuit::new();
        measure(*rows, circuit::NAME, &mut table, &mut |scores| {
            Ok(peer.step(scores))
        })?;
        for sum in sums {
            same("the 50 best", sum, peer.circuit.output)?;
        }
        peer.circuit.close();
    }
    Ok(vec![table])
}

/// Loads `rows`, then times changes of every size. Everybody gets the same ones.
fn measure(
    rows: usize,
    subject: &str,
    table: &mut Table,
    step: &mut dyn FnMut(&[Score]) -> Result<Duration>,
) -> Result<()> {
    let mut players = Players::new(rows);
    loop {
        let loaded = players.load(LOAD_ROWS);
        if loaded.is_empty() {
            break;
        }
        step(&loaded)?;
    }
    for (change, count) in CHANGES {
        let mut steps = Steps::default();
        for _ in 0..WARM_UP_STEPS {
            step(&players.play(change))?;
        }
        for _ in 0..count {
            steps.push(step(&players.play(change))?);
        }
        put(table, rows, change, subject, steps.per_second(change));
    }
    Ok(())
}

fn put(table: &mut Table, rows: usize, change: usize, subject: &str, rate: f64) {
    let case = format!("{change} of {rows} players");
    table.put(&case, subject, Some(rate));
    println!("top: {case}: {subject}: {rate:.0} updates/s");
}

fn step(database: &mut Database, scores: &[Score]) -> Result<Duration> {
    let batch = players::score_batch(database.table(0), scores)?;
    database.epoch(vec![(0, batch)])
}
