//! The random oracle: after every epoch, every view is what DataFusion computes from scratch, on random SELECTs over
//! tables with few values, NULLs and duplicates.
//!
//! What must make no difference is chosen at random: how the state is stored, on which rung nodes stand, how changes are
//! dealt out to epochs, when views are created or replaced, checkpoints, restarts and kills between epochs.
//!
//! `VIEWFEED_ORACLE_SEED` repeats a run, with `VIEWFEED_ORACLE_WORLD` only one world of it. `VIEWFEED_ORACLE_CASES` makes
//! it longer; `endless` goes on until it is stopped, and keeps what fails in `oracle/regressions.txt`.
//! `VIEWFEED_ORACLE_PLANS=recursive` makes recursive queries only.

mod aggregates;
pub(crate) mod case;
mod compare;
mod expressions;
mod failing;
mod orders;
mod plans;
mod recursion;
mod script;
pub(crate) mod shrink;
mod state;
pub(crate) mod tables;
mod text;
mod views;
mod watched;
pub(crate) mod world;

use case::{Case, Form, Step};
use plans::Plans;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};
use viewfeed_engine::Rung;
use viewfeed_query::Planner;
use world::{Defect, Failure, World};

/// Cases of a run, unless the environment says otherwise. A case is one view, checked after each of some epochs.
const CASES: u64 = 20_000;
/// Views that share a world, on average: from 1 to one less than twice as many.
const VIEWS_PER_WORLD: u64 = 2;
/// Runs spent on making a failing case smaller.
const SHRINK_TRIES: usize = 400;

/// Worlds between two words of a run without end.
const PROGRESS_WORLDS: u64 = 500;

/// A number from the environment.
pub(crate) fn setting(name: &str, default: impl FnOnce() -> u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("the oracle's settings are numbers"),
        Err(_) => default(),
    }
}

/// The seed of a plain run: always the same one, so that whoever changes something sees what that did. Other cases are
/// for other seeds, and for the run without end, which takes a new one each time.
const SEED: u64 = 1;

fn is_endless() -> bool {
    std::env::var("VIEWFEED_ORACLE_CASES").is_ok_and(|cases| cases == "endless")
}

fn seed() -> u64 {
    let seed = match is_endless() {
        true => setting("VIEWFEED_ORACLE_SEED", || rand::rng().random()),
        false => setting("VIEWFEED_ORACLE_SEED", || SEED),
    };
    println!("VIEWFEED_ORACLE_SEED={seed}");
    seed
}

/// A query that is run once, asks for the time and has an OFFSET may skip no row (docs/sql.md): nothing to compare with.
fn without_offset_beside_clock(sql: String) -> String {
    if !sql.contains("now()") && !sql.contains("current_date") {
        return sql;
    }
    (1..3).fold(sql, |sql, offset| {
        sql.replace(&format!(" OFFSET {offset}"), " OFFSET 0")
    })
}

/// The case with this number: the same for the same seed, however many threads run.
pub(crate) fn random_case(seed: u64, number: u64) -> Case {
    let mut rng = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let tables = tables::random_tables(&mut rng);
    let count = rng.random_range(1..2 * VIEWS_PER_WORLD as usize);
    let views = Plans::new(&mut rng, &tables).views(count);
    let views: Vec<String> = views.into_iter().map(without_offset_beside_clock).collect();
    let mut modes = script::modes(&mut rng);
    let steps = script::script(&mut rng, &tables, views.len(), modes);
    // On lower rungs a row that fails is not told from the others.
    if views.iter().any(|sql| failing::may_fail(sql)) {
        modes.rung = Rung::Incremental;
    }
    Case {
        modes,
        tables,
        views,
        steps,
    }
}

fn run(planner: &Planner, case: &Case, defect: Defect) -> (Result<(), Failure>, world::Tally) {
    match World::new(planner, case, defect) {
        Ok(mut world) => (world.run(case), world.tally),
        Err(failure) => (Err(failure), world::Tally::default()),
    }
}

fn is_wrong(planner: &Planner, case: &Case, defect: Defect) -> bool {
    matches!(run(planner, case, defect).0, Err(Failure::Wrong(_)))
}

/// What is wrong with a case, on a smaller one if that fails too; and that one.
fn report(planner: &Planner, head: &str, case: &Case, failure: &str) -> (String, Box<Case>) {
    let smallest = shrink::shrink(case, SHRINK_TRIES, &|case| is_wrong(planner, case, Defect::None));
    let report = match run(planner, &smallest, Defect::None).0 {
        Err(Failure::Wrong(failure)) => format!("{head}\n{smallest}{failure}"),
        _ => format!("{head}, but not always\n{case}{failure}"),
    };
    (report, Box::new(smallest))
}

/// Runs `work` for every number below `cases`, on as many threads as there are cores, until one gives an error.
pub(crate) fn for_each_number(
    cases: u64,
    work: &(dyn Fn(u64) -> Result<(), String> + Sync),
) -> Result<(), String> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        let worker = || loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= cases {
                return Ok(());
            }
            if let Err(report) = work(number) {
                next.store(cases, Ordering::Relaxed);
                return Err(report);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a case panicked; its seed is above"))
    })
}

/// What a run has done.
#[derive(Default)]
struct Totals {
    checked: AtomicU64,
    unanswerable: AtomicU64,
    comparisons: AtomicU64,
    rows: AtomicU64,
    wrong: AtomicU64,
}

impl Totals {
    /// Runs a case; gives what is wrong with it.
    fn run(&self, planner: &Planner, head: &str, case: &Case) -> Result<(), (String, Box<Case>)> {
        let (outcome, tally) = run(planner, case, Defect::None);
        self.comparisons
            .fetch_add(tally.comparisons as u64, Ordering::Relaxed);
        self.rows.fetch_add(tally.rows as u64, Ordering::Relaxed);
        let views = case.views.len() as u64;
        match outcome {
            Ok(()) => {
                self.checked.fetch_add(views, Ordering::Relaxed);
            }
            Err(Failure::Unanswerable(why)) => {
                self.unanswerable.fetch_add(views, Ordering::Relaxed);
                println!("{head} has no answer: {why}\n{case}");
            }
            Err(Failure::Wrong(failure)) => {
                self.wrong.fetch_add(1, Ordering::Relaxed);
                return Err(report(planner, head, case, &failure));
            }
        }
        Ok(())
    }

    /// Checked, unanswerable, comparisons, rows, wrong.
    fn all(&self) -> [u64; 5] {
        let all = [
            &self.checked,
            &self.unanswerable,
            &self.comparisons,
            &self.rows,
            &self.wrong,
        ];
        all.map(|count| count.load(Ordering::Relaxed))
    }

    fn print(&self) {
        let [checked, unanswerable, comparisons, rows, wrong] = self.all();
        println!(
            "{checked} cases, {comparisons} comparisons of {rows} rows, {unanswerable} cases without an answer, \
            {wrong} worlds wrong"
        );
    }
}

#[test]
fn cases_that_failed_once_are_right() {
    let (planner, totals) = (Planner::new().unwrap(), Totals::default());
    for case in text::regressions() {
        if let Err((report, _)) = totals.run(&planner, "regressions.txt", &case) {
            panic!("{report}");
        }
    }
    let [checked, unanswerable, ..] = totals.all();
    assert!(
        checked > 0 && unanswerable == 0,
        "a kept case cannot be run any more"
    );
}

#[test]
fn views_are_what_datafusion_computes_after_every_epoch() {
    let is_endless = is_endless();
    let cases = if is_endless {
        u64::MAX
    } else {
        setting("VIEWFEED_ORACLE_CASES", || CASES)
    };
    let (seed, only) = (seed(), setting("VIEWFEED_ORACLE_WORLD", || u64::MAX));
    let (planner, totals) = (Planner::new().unwrap(), Totals::default());
    let work = |number| {
        if only != u64::MAX && only != number {
            return Ok(());
        }
        if is_endless && number % PROGRESS_WORLDS == 0 {
            totals.print();
        }
        let head = format!("VIEWFEED_ORACLE_SEED={seed} VIEWFEED_ORACLE_WORLD={number}");
        match totals.run(&planner, &head, &random_case(seed, number)) {
            Err((report, smallest)) if is_endless => {
                println!("{report}");
                text::keep(&head, &smallest);
                Ok(())
            }
            outcome => outcome.map_err(|(report, _)| report),
        }
    };
    if let Err(report) = for_each_number(cases.div_ceil(VIEWS_PER_WORLD), &work) {
        panic!("{report}");
    }
    totals.print();
    let [checked, unanswerable, comparisons, rows, _] = totals.all();
    if only == u64::MAX {
        assert!(
            unanswerable * 10 <= checked,
            "too many cases that DataFusion cannot answer"
        );
        assert!(
            comparisons >= 2 * checked && rows >= checked,
            "the cases are too empty to tell anything"
        );
    }
}

#[test]
fn removing_everything_leaves_no_state() {
    let (seed, cases) = (seed(), setting("VIEWFEED_ORACLE_CASES", || CASES) / 40);
    let planner = Planner::new().unwrap();
    let work = |number| {
        let mut case = random_case(!seed, number);
        let creates: Vec<Step> = (0..case.views.len()).map(Step::Create).collect();
        let is_other = |step: &Step| !matches!(step, Step::Create(_) | Step::Replace(_));
        let waits = case.steps.iter().filter(|step| matches!(step, Step::Wait(_)));
        // As late as the other, since a row of an aggregate over nothing may wait for its time too.
        let untouched = [
            creates.clone(),
            waits.cloned().collect(),
            vec![Step::Epoch(Vec::new())],
        ]
        .concat();
        let others = case.steps.drain(..).filter(is_other).collect();
        let cleared = [creates, others, vec![Step::Clear]].concat();
        let mut left = Vec::new();
        for steps in [untouched, cleared] {
            case.steps = steps;
            let world = World::new(&planner, &case, Defect::None);
            match world.and_then(|mut world| world.run(&case).and_then(|()| world.state_entries())) {
                Ok(entries) => left.push(entries),
                Err(Failure::Unanswerable(_)) => return Ok(()),
                Err(Failure::Wrong(wrong)) => return Err(format!("{seed}, case {number}:\n{case}{wrong}")),
            }
        }
        match left[0] == left[1] {
            true => Ok(()),
            false => Err(format!(
                "{seed}, case {number}: {} entries became {}\n{case}",
                left[0], left[1]
            )),
        }
    };
    if let Err(report) = for_each_number(cases.max(1), &work) {
        panic!("{report}");
    }
}

/// The entries a case leaves in run files, a file more after each step and merged as they become many, are those it leaves in
/// a tree in memory. What views say on the way is compared with DataFusion in both.
#[test]
fn run_files_and_a_tree_in_memory_hold_the_same() {
    let (seed, cases) = (seed(), setting("VIEWFEED_ORACLE_CASES", || CASES) / 200);
    let planner = Planner::new().unwrap();
    let work = |number| {
        let mut case = random_case(seed.rotate_left(17), number);
        case.steps = script::with_checkpoints(&case.steps);
        let mut left = Vec::new();
        for form in [Form::Runs, Form::Memory] {
            case.modes.form = form;
            let world = World::new(&planner, &case, Defect::None);
            let entries = world.and_then(|mut world| world.run(&case).and_then(|()| world.entries()));
            match entries {
                Ok(entries) => left.push(entries),
                Err(Failure::Unanswerable(_)) => return Ok(()),
                Err(Failure::Wrong(wrong)) => return Err(format!("{seed}, case {number}:\n{case}{wrong}")),
            }
        }
        let is_same = left[0] == left[1];
        is_same
            .then_some(())
            .ok_or_else(|| format!("{seed}, case {number}: they differ\n{case}"))
    };
    if let Err(report) = for_each_number(cases.max(1), &work) {
        panic!("{report}");
    }
}

#[test]
fn a_case_is_read_as_it_is_printed() {
    let seed = seed();
    for number in 0..200 {
        let printed = random_case(seed, number).to_string();
        let read = text::case(&printed).expect("a case has steps");
        assert_eq!(read.to_string(), printed);
    }
}

#[test]
fn the_oracle_finds_defects() {
    let seed = seed();
    let planner = Planner::new().unwrap();
    for defect in [Defect::RowLost, Defect::RowRepeated, Defect::DeltaCut] {
        let found = (0..200).any(|number| is_wrong(&planner, &random_case(seed, number), defect));
        assert!(found, "{defect:?} was not found in 200 cases");
    }
}

#[test]
fn a_failing_case_is_made_smaller() {
    let seed = seed();
    let planner = Planner::new().unwrap();
    let fails = |case: &Case| is_wrong(&planner, case, Defect::RowRepeated);
    let mut cases = (0..200).map(|number| random_case(seed, number));
    let failing = cases.find(|case| fails(case)).expect("a repeated row is found");
    let smallest = shrink::shrink(&failing, SHRINK_TRIES, &fails);
    assert!(fails(&smallest));
    assert!(smallest.to_string().len() < failing.to_string().len());
}
