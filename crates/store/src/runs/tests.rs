//! What a crash leaves between any two steps of a change, and what a small database that fails does.

use super::state::Step;
use super::{RunsKv, Writes};
use crate::kv::{Kv, MemoryKv};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use viewfeed_change::{Error, Result};

/// Called at each step.
pub(super) type Watcher = Mutex<Option<Box<dyn FnMut(Step) + Send>>>;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Loses what was not flushed, when it is asked what a crash would leave; and fails on demand.
#[derive(Default)]
struct Small {
    now: MemoryKv,
    durable: Mutex<Pairs>,
    fails: AtomicBool,
}

impl Small {
    fn after_a_crash(&self) -> Self {
        let small = Self::default();
        let pairs = self.durable.lock().clone();
        let writes = pairs.into_iter().map(|(key, value)| (key, Some(value)));
        small.now.apply(&writes.collect()).unwrap();
        small.flush().unwrap();
        small
    }
}

impl Kv for Small {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.now.get(key)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Pairs> {
        self.now.scan(from, to, limit)
    }

    fn apply(&self, writes: &Writes) -> Result<()> {
        self.now.apply(writes)
    }

    fn flush(&self) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::internal("it was told to fail"));
        }
        *self.durable.lock() = self.now.scan(&[], None, usize::MAX)?;
        Ok(())
    }
}

fn everything(kv: &dyn Kv) -> Pairs {
    kv.scan(&[], None, usize::MAX).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn writes(random: &mut StdRng) -> Writes {
    (0..200)
        .map(|_| {
            let key = [b"a".as_slice(), &random.random_range(0..2000u32).to_be_bytes()].concat();
            (
                key,
                random
                    .random_bool(0.8)
                    .then(|| random.random::<u64>().to_be_bytes().to_vec()),
            )
        })
        .collect()
}

/// Opens what a crash at this moment would leave: it is the state before the flush that was going on, or after it.
fn check(dir: &Path, small: &Small, allowed: &[Pairs]) {
    let left = tempfile::tempdir().unwrap();
    copy(dir, left.path());
    let runs = RunsKv::open(left.path(), Arc::new(small.after_a_crash()), 1 << 20).unwrap();
    let found = everything(&runs);
    assert!(allowed.contains(&found), "neither before nor after");
    for (key, value) in found.iter().step_by(37) {
        assert_eq!(runs.get(key).unwrap().as_ref(), Some(value));
    }
    runs.wait_until_merged().unwrap();
    assert_eq!(fs::read_dir(left.path()).unwrap().count(), runs.runs());
}

#[test]
fn a_crash_between_any_steps_leaves_the_state_before_or_after() {
    let mut random = StdRng::seed_from_u64(7);
    let (dir, small) = (tempfile::tempdir().unwrap(), Arc::new(Small::default()));
    let runs = RunsKv::open(dir.path(), small.clone(), 1 << 20).unwrap();
    let model = MemoryKv::default();
    let allowed: Arc<Mutex<Vec<Pairs>>> = Arc::default();
    let steps: Arc<Mutex<Vec<Step>>> = Arc::default();
    *runs.state.watcher.lock() = Some(Box::new({
        let (dir, small, steps) = (dir.path().to_owned(), small.clone(), steps.clone());
        let allowed = allowed.clone();
        move |step| {
            steps.lock().push(step);
            check(&dir, &small, &allowed.lock());
        }
    }));
    for round in 0..24 {
        let before = everything(&model);
        let some = writes(&mut random);
        model.apply(&some).unwrap();
        *allowed.lock() = vec![before, everything(&model)];
        runs.apply(&some).unwrap();
        runs.flush().unwrap();
        // So that no file of a merge comes or goes while the next round copies the folder.
        runs.wait_until_merged().unwrap();
        if round % 8 == 7 {
            let (mut gone, prefix) = (model.scan(b"a\0\0\x01", None, usize::MAX).unwrap(), b"a\0\0\x01");
            gone.retain(|(key, _)| key.starts_with(prefix));
            let before = everything(&model);
            model
                .apply(&gone.into_iter().map(|(key, _)| (key, None)).collect())
                .unwrap();
            *allowed.lock() = vec![before, everything(&model)];
            assert!(runs.remove_prefix(prefix).unwrap());
            runs.wait_until_merged().unwrap();
        }
    }
    // Each flush has three steps, each merge and each removal too, or two.
    let count = steps.lock().len();
    assert!(count > 24 * 3 + 3 * 2 + 5 * 3, "only {count} steps");
    assert_eq!(everything(&runs), everything(&model));
}

#[test]
fn a_flush_that_fails_loses_nothing_and_the_next_one_makes_up_for_it() {
    let mut random = StdRng::seed_from_u64(8);
    let (dir, small) = (tempfile::tempdir().unwrap(), Arc::new(Small::default()));
    let runs = RunsKv::open(dir.path(), small.clone(), 1 << 20).unwrap();
    let model = MemoryKv::default();
    for _ in 0..6 {
        for fails in [true, true, false] {
            small.fails.store(fails, Ordering::SeqCst);
            let some = writes(&mut random);
            model.apply(&some).unwrap();
            runs.apply(&some).unwrap();
            assert_eq!(runs.flush().is_err(), fails);
            assert_eq!(everything(&runs), everything(&model));
        }
        runs.wait_until_merged().unwrap();
        check(dir.path(), &small, &[everything(&model)]);
    }
}
