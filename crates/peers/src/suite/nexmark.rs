//! Nexmark: events as fast as they are taken, in epochs of two sizes, each query by itself on an empty database.

use super::{Settings, same};
use crate::checksum::Checksum;
use crate::circuit::{
    self,
    auctions::{AuctionsCircuit, EventRows, QUERIES},
};
use crate::ours::{Database, Mode};
use crate::report::Table;
use crate::timing::Steps;
use crate::workload::auctions::{
    Events, House, SIDE_INPUT, auction_batch, bid_batch, person_batch, side_input_batch, tables,
};
use std::path::Path;
use std::time::Duration;
use viewfeed_change::{Batch, Result};

/// The queries, as the engine's tests have them.
const SQL: [(&str, &str); 18] = [
    ("q00", include_str!("../../../engine/tests/nexmark/q00.sql")),
    ("q01", include_str!("../../../engine/tests/nexmark/q01.sql")),
    ("q02", include_str!("../../../engine/tests/nexmark/q02.sql")),
    ("q03", include_str!("../../../engine/tests/nexmark/q03.sql")),
    ("q04", include_str!("../../../engine/tests/nexmark/q04.sql")),
    ("q05", include_str!("../../../engine/tests/nexmark/q05.sql")),
    ("q07", include_str!("../../../engine/tests/nexmark/q07.sql")),
    ("q08", include_str!("../../../engine/tests/nexmark/q08.sql")),
    ("q09", include_str!("../../../engine/tests/nexmark/q09.sql")),
    ("q13", include_str!("../../../engine/tests/nexmark/q13.sql")),
    ("q14", include_str!("../../../engine/tests/nexmark/q14.sql")),
    ("q15", include_str!("../../../engine/tests/nexmark/q15.sql")),
    ("q16", include_str!("../../../engine/tests/nexmark/q16.sql")),
    ("q17", include_str!("../../../engine/tests/nexmark/q17.sql")),
    ("q18", include_str!("../../../engine/tests/nexmark/q18.sql")),
    ("q19", include_str!("../../../engine/tests/nexmark/q19.sql")),
    ("q20", include_str!("../../../engine/tests/nexmark/q20.sql")),
    ("q22", include_str!("../../../engine/tests/nexmark/q22.sql")),
];

/// Events of an epoch. The smaller one is measured of the queries a peer runs, too.
const EPOCH_EVENTS: [usize; 2] = [10_000, 1_000];
/// A run ends when its epochs took this long: what is not linear in the events would go on for ever.
const TIME_MAX: Duration = Duration::from_secs(8);

/// Runs it; gives a table per epoch size.
pub(crate) fn run(settings: &Settings, scratch: &Path) -> Result<Vec<Table>> {
    let mut made = Vec::new();
    for (epoch_events, file) in EPOCH_EVENTS.into_iter().zip(["nexmark-10000", "nexmark-1000"]) {
        let title = format!("Nexmark: events a second, {epoch_events} an epoch");
        let mut table = Table::new(title, file, "events/s", circuit::NAME, true);
        let mut house = House::new();
        let epochs: Vec<Events> = (0..settings.events / epoch_events)
            .map(|_| house.events(epoch_events))
            .collect();
        for (query, sql) in SQL
            .into_iter()
            .filter(|(query, _)| query.contains(&settings.query))
        {
            if epoch_events == EPOCH_EVENTS[0] || QUERIES.contains(&query) {
                measure(
                    query,
                    sql,
                    &epochs,
                    epoch_events,
                    settings.is_alone,
                    scratch,
                    &mut table,
                )?;
            }
        }
        made.push(table);
    }
    Ok(made)
}

#[allow(clippy::too_many_arguments)]
fn measure(
    query: &str,
    sql: &str,
    epochs: &[Events],
    epoch_events: usize,
    is_alone: bool,
    scratch: &Path,
    table: &mut Table,
) -> Result<()> {
    let mut put = |subject: &str, steps: &Steps, sum: Checksum| {
        let rate = steps.per_second(epoch_events);
        table.put(query, subject, Some(rate));
        let rows = sum.rows;
        println!("nexmark: {query}: {subject}: {rate:.0} events/s in epochs of {epoch_events}, {rows} rows");
    };
    let mut ours = Vec::new();
    for mode in if is_alone { &Mode::ALL[2..3] } else { &Mode::ALL[..] } {
        let dir = tempfile::tempdir_in(scratch)?;
        let mut database = Database::open(dir.path(), *mode, &tables(), sql)?;
        let side = side_input_batch(database.table(SIDE_INPUT))?;
        database.epoch(vec![(SIDE_INPUT, side)])?;
        let steps = run_epochs(epochs.len(), &mut |i| {
            let changes = changes(&database, &epochs[i])?;
            database.epoch(changes)
        })?;
        put(&mode.to_string(), &steps, database.output);
        ours.push((steps.count(), database.output));
    }
    let most = ours.iter().map(|(count, _)| *count).max().unwrap_or(0);
    let Some(mut peer) = AuctionsCircuit::new(query).filter(|_| !is_alone) else {
        return Ok(());
    };
    let steps = run_epochs(most, &mut |i| Ok(peer.step(EventRows::new(epochs[i].clone()))))?;
    put(circuit::NAME, &steps, peer.circuit.output);
    for (count, sum) in ours {
        if count == steps.count() {
            same(query, sum, peer.circuit.output)?;
        }
    }
    peer.circuit.close();
    Ok(())
}

/// Up to `count` epochs.
fn run_epochs(count: usize, step: &mut dyn FnMut(usize) -> Result<Duration>) -> Result<Steps> {
    let mut steps = Steps::default();
    for i in 0..count {
        steps.push(step(i)?);
        if steps.total() > TIME_MAX {
            break;
        }
    }
    Ok(steps)
}

/// An epoch as changes of tables.
fn changes(database: &Database, events: &Events) -> Result<Vec<(usize, Batch)>> {
    let all = vec![
        (0, person_batch(database.table(0), &events.persons)?),
        (1, auction_batch(database.table(1), &events.auctions)?),
        (2, bid_batch(database.table(2), &events.bids)?),
    ];
    Ok(all.into_iter().filter(|(_, batch)| !batch.is_empty()).collect())
}
