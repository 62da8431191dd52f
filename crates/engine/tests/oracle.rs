//! The random oracle: after every epoch, every view is what DataFusion computes from scratch, on random SELECTs over
//! tables with few values, NULLs and duplicates.
//!
//! `VIEWFEED_ORACLE_SEED` repeats a run, with `VIEWFEED_ORACLE_WORLD` only one world of it; `VIEWFEED_ORACLE_CASES` makes
//! it longer:
//! `VIEWFEED_ORACLE_CASES=200000 cargo test --release -p viewfeed-engine --test main oracle`.

mod aggregates;
mod case;
mod compare;
mod expressions;
mod failing;
mod orders;
mod plans;
mod script;
mod shrink;
mod state;
mod watched;
mod world;

use case::{Case, Step};
use plans::Plans;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};
use viewfeed_query::Planner;
use world::{Defect, Failure, World};

/// Cases of a run, unless the environment says otherwise. A case is one view, checked after each of some epochs.
const CASES: u64 = 20_000;
/// Views that share a world, on average: from 1 to one less than twice as many.
const VIEWS_PER_WORLD: u64 = 2;
/// Runs spent on making a failing case smaller.
const SHRINK_TRIES: usize = 400;

/// A number from the environment.
fn setting(name: &str, default: impl FnOnce() -> u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("the oracle's settings are numbers"),
        Err(_) => default(),
    }
}

fn seed() -> u64 {
    let seed = setting("VIEWFEED_ORACLE_SEED", || rand::rng().random());
    println!("VIEWFEED_ORACLE_SEED={seed}");
    seed
}

/// The case with this number: the same for the same seed, however many threads run.
fn random_case(seed: u64, number: u64) -> Case {
    let mut rng = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let count = rng.random_range(1..2 * VIEWS_PER_WORLD as usize);
    let views = Plans::new(&mut rng).views(count);
    let modes = script::modes(&mut rng);
    let steps = script::script(&mut rng, views.len(), modes);
    Case { modes, views, steps }
}

fn run(planner: &Planner, case: &Case, defect: Defect) -> (Result<(), Failure>, world::Tally) {
    match World::new(planner, case.modes, defect) {
        Ok(mut world) => (world.run(case), world.tally),
        Err(failure) => (Err(failure), world::Tally::default()),
    }
}

fn is_wrong(planner: &Planner, case: &Case, defect: Defect) -> bool {
    matches!(run(planner, case, defect).0, Err(Failure::Wrong(_)))
}

/// What is wrong with a case, on a smaller one if that fails too.
fn report(planner: &Planner, seed: u64, number: u64, case: &Case, failure: &str) -> String {
    let head = format!("VIEWFEED_ORACLE_SEED={seed} VIEWFEED_ORACLE_WORLD={number}");
    let smallest = shrink::shrink(case, SHRINK_TRIES, &|case| is_wrong(planner, case, Defect::None));
    match run(planner, &smallest, Defect::None).0 {
        Err(Failure::Wrong(failure)) => format!("{head}\n{smallest}{failure}"),
        _ => format!("{head}, but not always\n{case}{failure}"),
    }
}

/// Runs `work` for every case number, on as many threads as there are cores, until one gives an error.
fn for_each_case(cases: u64, work: &(dyn Fn(u64) -> Result<(), String> + Sync)) -> Result<(), String> {
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

#[test]
fn views_are_what_datafusion_computes_after_every_epoch() {
    let (seed, cases) = (seed(), setting("VIEWFEED_ORACLE_CASES", || CASES));
    let planner = Planner::new().unwrap();
    let [checked, unanswerable, comparisons, rows] = [0; 4].map(AtomicU64::new);
    let only = setting("VIEWFEED_ORACLE_WORLD", || u64::MAX);
    let work = |number| {
        if only != u64::MAX && only != number {
            return Ok(());
        }
        let case = random_case(seed, number);
        let (outcome, tally) = run(&planner, &case, Defect::None);
        comparisons.fetch_add(tally.comparisons as u64, Ordering::Relaxed);
        rows.fetch_add(tally.rows as u64, Ordering::Relaxed);
        let views = case.views.len() as u64;
        match outcome {
            Ok(()) => drop(checked.fetch_add(views, Ordering::Relaxed)),
            Err(Failure::Unanswerable(why)) => {
                unanswerable.fetch_add(views, Ordering::Relaxed);
                println!("world {number} has no answer: {why}\n{case}");
            }
            Err(Failure::Wrong(failure)) => return Err(report(&planner, seed, number, &case, &failure)),
        }
        Ok(())
    };
    if let Err(report) = for_each_case(cases.div_ceil(VIEWS_PER_WORLD), &work) {
        panic!("{report}");
    }
    let [checked, unanswerable, comparisons, rows] =
        [checked, unanswerable, comparisons, rows].map(AtomicU64::into_inner);
    println!(
        "{checked} cases, {comparisons} comparisons of {rows} rows, {unanswerable} cases without an answer"
    );
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
        let mut world =
            World::new(&planner, case.modes, Defect::None).map_err(|failure| format!("{failure:?}"))?;
        let epochs = case
            .steps
            .drain(..)
            .filter(|step| !matches!(step, Step::Create(_)))
            .collect();
        let created = world.run(&Case {
            steps: creates,
            ..case.clone()
        });
        let before = world.state_entries().map_err(|failure| format!("{failure:?}"))?;
        case.steps = epochs;
        case.steps.push(Step::Clear);
        match created.and_then(|()| world.run(&case)) {
            Err(Failure::Wrong(wrong)) => return Err(format!("{seed}, case {number}:\n{case}{wrong}")),
            Err(Failure::Unanswerable(_)) => return Ok(()),
            Ok(()) => {}
        }
        match world.state_entries() {
            Ok(after) if after == before => Ok(()),
            after => Err(format!(
                "{seed}, case {number}: {before} entries became {after:?}\n{case}"
            )),
        }
    };
    if let Err(report) = for_each_case(cases.max(1), &work) {
        panic!("{report}");
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
