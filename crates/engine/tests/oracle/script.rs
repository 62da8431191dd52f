//! Random scripts: inserts, duplicates, deletes, updates that move a row, rows that come and go within an epoch, both
//! sides of a join in one epoch, empty epochs, time that passes, late views and restarts.

use super::case::{Filling, Form, Modes, Step};
use super::tables::{Cell, Row, Shape, Type};
use super::text::TEXTS;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use viewfeed_engine::Rung;

/// How changes are dealt out to epochs, which makes no difference in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Some changes in each.
    Some,
    /// One row in each.
    Single,
    /// Everything between two other steps at once.
    Merged,
}

/// Steps that create `views` views among some epochs; late ones more often if there is something about filling them.
pub(crate) fn script(rng: &mut SmallRng, shapes: &[Shape], views: usize, modes: Modes) -> Vec<Step> {
    let lateness = if modes.filling.is_some() { 0.8 } else { 0.3 };
    let mut tables: Vec<Vec<Row>> = vec![Vec::new(); shapes.len()];
    let epochs = rng.random_range(2..7);
    let pace = match rng.random_range(0..25) {
        0 => Pace::Single,
        1 | 2 => Pace::Merged,
        _ => Pace::Some,
    };
    let timed = (0..epochs).flat_map(|_| timed_epoch(rng, shapes, &mut tables, pace));
    let mut steps = at_pace(timed.collect(), pace);
    let mut earliest = 0;
    for view in 0..views {
        let late = rng.random_bool(lateness);
        let at = if late {
            rng.random_range(earliest..=steps.len())
        } else {
            earliest
        };
        steps.insert(at, Step::Create(view));
        earliest = at + 1;
    }
    for (step, probability) in [(Step::Checkpoint, 0.25), (Step::Reopen, 0.1), (Step::Crash, 0.1)] {
        if rng.random_bool(probability) {
            steps.insert(rng.random_range(0..=steps.len()), step);
        }
    }
    if rng.random_bool(0.1) {
        let replaced = Step::Replace(rng.random_range(0..views));
        steps.insert(rng.random_range(earliest..=steps.len()), replaced);
    }
    steps
}

fn at_pace(steps: Vec<Step>, pace: Pace) -> Vec<Step> {
    let mut paced: Vec<Step> = Vec::new();
    for step in steps {
        match (step, pace) {
            (Step::Epoch(tables), Pace::Single) => {
                let rows = tables
                    .into_iter()
                    .flat_map(|(table, rows)| rows.into_iter().map(move |row| (table, row)));
                paced.extend(rows.map(|(table, row)| Step::Epoch(vec![(table, vec![row])])));
            }
            (Step::Epoch(tables), Pace::Merged) => match paced.last_mut() {
                Some(Step::Epoch(before)) => before.extend(tables),
                _ => paced.push(Step::Epoch(tables)),
            },
            (step, _) => paced.push(step),
        }
    }
    paced
}

/// `steps` with a checkpoint after each: nothing stays above the form of the state, so every read is one of it.
pub(crate) fn with_checkpoints(steps: &[Step]) -> Vec<Step> {
    let others = steps.iter().filter(|step| !matches!(step, Step::Checkpoint));
    others.flat_map(|step| [step.clone(), Step::Checkpoint]).collect()
}

/// What must make no difference. In memory mostly, which is quickest.
pub(crate) fn modes(rng: &mut SmallRng) -> Modes {
    let form = match rng.random_range(0..20) {
        0 => Form::Sled,
        1..=3 => Form::Runs,
        _ => Form::Memory,
    };
    let rung = match rng.random_range(0..20) {
        0 | 1 => Rung::Scoped,
        2 | 3 => Rung::Recompute,
        _ => Rung::Incremental,
    };
    let filling = rng.random_bool(0.5).then(|| Filling {
        rows: rng.random_range(1..8),
        pieces: rng.random_range(1..4),
    });
    Modes { form, rung, filling }
}

/// An epoch, later than the one before or not, with or without an empty one in between.
fn timed_epoch(rng: &mut SmallRng, shapes: &[Shape], tables: &mut [Vec<Row>], pace: Pace) -> Vec<Step> {
    let mut steps = Vec::new();
    let wait = |rng: &mut SmallRng| Step::Wait(*[1, 1, 1, 2, 3, 43_200].choose(rng).expect("there are some"));
    if rng.random_bool(0.2) {
        steps.extend([wait(rng), Step::Epoch(Vec::new())]);
    }
    if rng.random_bool(0.4) {
        steps.push(wait(rng));
    }
    steps.push(epoch(rng, shapes, tables, pace));
    steps
}

fn epoch(rng: &mut SmallRng, shapes: &[Shape], tables: &mut [Vec<Row>], pace: Pace) -> Step {
    let mut changes = Vec::new();
    for (table, content) in tables.iter_mut().enumerate() {
        let mut rows = Vec::new();
        if rng.random_bool(0.7) {
            for _ in 0..rng.random_range(0..6) {
                change(rng, &shapes[table], content, &mut rows);
            }
        }
        // One by one, rows come before they go.
        if pace != Pace::Single && rng.random_bool(0.5) {
            rows.shuffle(rng);
        }
        if !rows.is_empty() {
            changes.push((table, rows));
        }
    }
    Step::Epoch(changes)
}

/// Appends one change of a table to `rows`.
fn change(rng: &mut SmallRng, shape: &Shape, content: &mut Vec<Row>, rows: &mut Vec<(Row, i64)>) {
    let Shape { columns, keyed, .. } = shape;
    let old = (!content.is_empty()).then(|| rng.random_range(0..content.len()));
    match (rng.random_range(0..10), old) {
        (0..=1, Some(old)) => rows.push((content.swap_remove(old), -1)),
        (2..=3, Some(old)) => {
            let row = content.swap_remove(old);
            let column = rng.random_range(usize::from(*keyed)..row.len());
            let mut updated = row.clone();
            updated[column] = cell(rng, columns[column].1);
            rows.extend([(row, -1), (updated.clone(), 1)]);
            content.push(updated);
        }
        (4, Some(old)) if !*keyed => {
            let (row, weight) = (content[old].clone(), rng.random_range(1..3));
            (0..weight).for_each(|_| content.push(row.clone()));
            rows.push((row, weight));
        }
        (5, _) => {
            if let Some(row) = new_row(rng, shape, content) {
                rows.extend([(row.clone(), 1), (row, -1)]);
            }
        }
        _ => {
            if let Some(row) = new_row(rng, shape, content) {
                content.push(row.clone());
                rows.push((row, 1));
            }
        }
    }
}

/// A row that may be inserted; None if its key is taken.
fn new_row(rng: &mut SmallRng, shape: &Shape, content: &[Row]) -> Option<Row> {
    let Shape { columns, keyed, .. } = shape;
    let mut row: Row = columns
        .iter()
        .map(|(_, data_type)| cell(rng, *data_type))
        .collect();
    if *keyed {
        row[0] = Cell::Int(rng.random_range(0..8));
    }
    let is_taken = *keyed && content.iter().any(|other| other[0] == row[0]);
    (!is_taken).then_some(row)
}

fn cell(rng: &mut SmallRng, data_type: Type) -> Cell {
    if rng.random_bool(0.2) {
        return Cell::Null;
    }
    match data_type {
        Type::Int | Type::Small => Cell::Int(rng.random_range(0..4)),
        Type::Text => Cell::Text(TEXTS.choose(rng).expect("there are some")),
        Type::Decimal => Cell::Decimal(*[0, 50, 125, -125, 200].choose(rng).expect("there are some")),
        Type::Float | Type::Ratio => Cell::Float(rng.random_range(-1..4)),
        Type::Bool => Cell::Bool(rng.random_bool(0.5)),
        Type::Approximate | Type::List => Cell::Null,
    }
}
