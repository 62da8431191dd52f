//! Between two statements of a file the tables stay as they are: all queries asked there become views of one database,
//! on empty tables, which then come to the same rows on a random way.

use super::answer::Answer;
use super::database::Database;
use super::record::Query;
use super::tally::Count;
use arrow::array::UInt32Array;
use arrow::compute::{concat_batches, take};
use arrow::record_batch::RecordBatch;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use std::sync::Arc;
use viewfeed_change::{Batch, Delta, ErrorKind, Relation};

/// Views that are made in one database.
pub(super) const VIEWS_MAX: usize = 100;
/// Into how many epochs the way is cut, at most.
const EPOCHS_MAX: usize = 6;

/// A query that was run once.
pub(super) struct Asked {
    pub(super) query: Query,
    pub(super) answer: Answer,
}

/// How the views come to be.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// Created on empty tables, which are then filled.
    Filled,
    /// The same, with everything closed and opened again when half is done.
    Reopened,
}

/// What became of each query as a view over the rows of `database`, with an explanation.
pub(super) fn outcomes(
    database: &Database,
    asked: &[Asked],
    mode: Mode,
    rng: &mut SmallRng,
) -> Vec<(Count, String)> {
    let mut views = database.emptied();
    let name = |place: usize| format!("viewfeed_slt_{place}");
    let create = |(place, asked): (usize, &Asked)| views.create_view(&name(place), &asked.query.sql);
    let created: Vec<_> = asked.iter().enumerate().map(create).collect();
    let epochs = rng.random_range(2..=EPOCHS_MAX);
    let mut way = Vec::new();
    way.resize_with(epochs, Vec::new);
    for table in database.tables() {
        walk(rng, table, &database.rows(table), &mut way);
    }
    let mut failed = Vec::new();
    for (epoch, deltas) in way.into_iter().enumerate() {
        failed.extend(views.epoch(deltas));
        if mode == Mode::Reopened && epoch == epochs / 2 {
            views.reopen();
        }
    }
    if !failed.is_empty() {
        views.reopen();
    }
    let outcome = |(place, (asked, created)): (usize, (&Asked, _))| {
        let rung = match created {
            Ok(rung) => rung,
            Err(error) => return (Count::NoView, format!("{error:?}")),
        };
        let name = name(place);
        let on_the_way = failed.iter().find(|(failed, _)| *failed == name);
        match (views.failure(&name), on_the_way) {
            (Some(error), _) => (Count::Failed, format!("{error:?}")),
            (None, Some((_, error))) if is_ours(error.kind()) => (Count::Failed, format!("{error:?}")),
            (None, on_the_way) => match (judged(asked, &views.stored(&name)), on_the_way) {
                (Some(wrong), _) => wrong,
                (None, Some((_, error))) => (Count::FailedOnTheWay, format!("{error:?}")),
                (None, None) => (Count::View(rung), String::new()),
            },
        }
    };
    asked.iter().zip(created).enumerate().map(outcome).collect()
}

/// Whether an error tells of a mistake of viewfeed rather than of a value that cannot be computed.
fn is_ours(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Internal | ErrorKind::Corrupt)
}

/// What is wrong with the rows of a view.
fn judged(asked: &Asked, stored: &Answer) -> Option<(Count, String)> {
    if stored.has_rows_of(&asked.answer) {
        return None;
    }
    let may_choose = asked.query.sql.to_lowercase().contains("limit") && stored.is_as_long_as(&asked.answer);
    let count = if may_choose {
        Count::Ambiguous
    } else {
        Count::Failed
    };
    Some((
        count,
        format!("the view has\n{stored}\nthe query answers\n{}", asked.answer),
    ))
}

/// Adds a way to the rows of `table` to the epochs of `way`: every row comes at some time, some come twice and go once,
/// and before some of them comes another row, of values from anywhere in their columns, and goes.
fn walk(rng: &mut SmallRng, table: &Arc<Relation>, rows: &[Batch], way: &mut [Vec<Delta>]) {
    let (rows, weights) = Batch::concat(&table.schema(), rows).unwrap().into_parts();
    let count = rows.num_rows() as u32;
    let both = concat_batches(&rows.schema(), [&rows, &mixed(rng, table, &rows)]).unwrap();
    let mut changes = vec![Vec::new(); way.len()];
    for row in 0..count {
        let mut epochs: Vec<usize> = (0..5).map(|_| rng.random_range(0..way.len())).collect();
        epochs.sort_unstable();
        let weight = weights[row as usize];
        match rng.random_range(0..4) {
            0 => {
                changes[epochs[0]].push((row, weight));
                changes[epochs[1]].push((row, -weight));
                changes[epochs[2]].push((row, weight));
            }
            1 => {
                changes[epochs[0]].push((count + row, 1));
                changes[epochs[1]].push((count + row, -1));
                changes[epochs[2]].push((row, weight));
            }
            _ => changes[epochs[2]].push((row, weight)),
        }
    }
    for (changes, deltas) in changes.iter().zip(way) {
        let (rows, weights): (Vec<u32>, Vec<i64>) = changes.iter().copied().unzip();
        let inserts = Batch::inserts(both.clone()).take(&rows).unwrap();
        deltas.push(Delta {
            relation: table.id,
            batch: Batch::new(inserts.into_parts().0, weights).unwrap(),
        });
    }
}

/// As many rows with the same keys, whose other columns are in another order each.
fn mixed(rng: &mut SmallRng, table: &Relation, rows: &RecordBatch) -> RecordBatch {
    let columns = rows.columns().iter().enumerate().map(|(place, column)| {
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        if !table.key.contains(&place) {
            order.shuffle(rng);
        }
        take(column, &UInt32Array::from(order), None).unwrap()
    });
    RecordBatch::try_new(rows.schema(), columns.collect()).unwrap()
}
