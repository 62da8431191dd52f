//! Makes a failing case smaller: fewer steps, fewer rows, fewer views, as long as it still fails.

use super::case::{Case, Form, Step};
use viewfeed_engine::Rung;

/// The smallest case found that still `fails`, in at most `tries` runs.
pub(crate) fn shrink(case: &Case, mut tries: usize, fails: &dyn Fn(&Case) -> bool) -> Case {
    let mut smallest = case.clone();
    loop {
        let smaller = candidates(&smallest).into_iter().find(|candidate| {
            tries = tries.saturating_sub(1);
            tries > 0 && fails(candidate)
        });
        match smaller {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}

/// Cases with one thing less, the largest things first. Views that are read by others stay, since a case without them
/// fails for another reason.
fn candidates(case: &Case) -> Vec<Case> {
    let mut candidates = Vec::new();
    let mut plain = case.clone();
    (plain.modes.form, plain.modes.rung) = (Form::Memory, Rung::Incremental);
    candidates.extend((plain.modes != case.modes).then_some(plain));
    let mut at_once = case.clone();
    at_once.modes.filling = None;
    candidates.extend((at_once.modes != case.modes).then_some(at_once));
    for at in (0..case.steps.len()).rev() {
        candidates.push(with(case, |steps| drop(steps.remove(at))));
    }
    for (at, step) in case.steps.iter().enumerate() {
        let Step::Epoch(tables) = step else {
            continue;
        };
        for (table, (_, rows)) in tables.iter().enumerate() {
            candidates.push(in_epoch(case, at, |tables| drop(tables.remove(table))));
            for row in 0..rows.len() {
                candidates.push(in_epoch(case, at, |tables| drop(tables[table].1.remove(row))));
            }
        }
    }
    candidates
}

fn with(case: &Case, change: impl FnOnce(&mut Vec<Step>)) -> Case {
    let mut smaller = case.clone();
    change(&mut smaller.steps);
    smaller
}

fn in_epoch(
    case: &Case,
    at: usize,
    change: impl FnOnce(&mut Vec<(usize, Vec<(super::tables::Row, i64)>)>),
) -> Case {
    with(case, |steps| {
        if let Step::Epoch(tables) = &mut steps[at] {
            change(tables);
        }
    })
}
