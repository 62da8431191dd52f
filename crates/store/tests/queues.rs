//! "Take the least and delete it", over and over: scans must not pass over ever more of what is deleted.

use crate::{commit, nothing, relaxed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_store::{Kv, MemoryKv, Options, Reader, RunsKv, SledKv, Store};

/// Deleted entries a scan may pass over, on average.
const DEAD_EACH_MAX: u64 = 100;

fn key(number: u32) -> Vec<u8> {
    [b"a\0\0\0\x01".as_slice(), &number.to_be_bytes()].concat()
}

fn least(reader: &Reader, from: &[u8]) -> Option<u32> {
    let mut least = None;
    reader
        .scan(b"a\0\0\0\x01", from, &mut |key, _| {
            least = Some(u32::from_be_bytes(key[5..].try_into().unwrap()));
            Ok(ControlFlow::Break(()))
        })
        .unwrap();
    least
}

fn delete_the_least(kv: Arc<dyn Kv>, rows: u32) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_over(dir.path(), &relaxed(), kv).unwrap();
    let mut txn = store.begin().unwrap();
    (0..rows).for_each(|number| txn.put(key(number), Vec::new()));
    store.commit(txn, &nothing()).unwrap();
    store.checkpoint().unwrap();
    for number in 0..rows {
        assert_eq!(least(&store.reader(), &[]), Some(number));
        commit(&store, &[(key(number).as_slice(), None)]);
        if number % (rows / 5) == 7 {
            store.checkpoint().unwrap();
        }
    }
    assert_eq!(least(&store.reader(), &[]), None);
    let passed = store.dead_passed() / u64::from(rows);
    assert!(passed < DEAD_EACH_MAX, "{passed} deleted entries a scan");
}

#[test]
fn deleting_the_least_row_again_and_again_costs_the_same_each_time() {
    let (dir, small) = (tempfile::tempdir().unwrap(), Arc::new(MemoryKv::default()));
    delete_the_least(Arc::new(RunsKv::open(dir.path(), small, 1 << 20).unwrap()), 4000);
    delete_the_least(Arc::new(MemoryKv::default()), 4000);
    let dir = tempfile::tempdir().unwrap();
    delete_the_least(Arc::new(SledKv::open(dir.path(), 4 << 20).unwrap()), 1000);
}

/// Queues that grow at both ends and shrink at the front, scans from random places, readers that are held: what is
/// jumped over must be empty for that reader.
#[test]
fn rows_that_come_back_into_an_empty_stretch_are_found() {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (dir, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kv = RunsKv::open(runs.path(), Arc::new(MemoryKv::default()), 1 << 20).unwrap();
    let options = Options {
        overlay_bytes: 50_000,
        ..relaxed()
    };
    let store = Store::open_over(dir.path(), &options, Arc::new(kv)).unwrap();
    let mut model = BTreeSet::new();
    let mut held: Vec<(Reader, BTreeSet<u32>)> = Vec::new();
    for _ in 0..1500 {
        let mut txn = store.begin().unwrap();
        for _ in 0..random.random_range(0..80) {
            let number = random.random_range(0..4000);
            model.insert(number);
            txn.put(key(number), Vec::new());
        }
        for _ in 0..random.random_range(0..160) {
            if let Some(first) = model.pop_first() {
                txn.delete(key(first));
            }
        }
        if random.random_bool(0.2) {
            assert_eq!(least(&txn.now(), &[]), model.first().copied());
        }
        store.commit(txn, &nothing()).unwrap();
        if random.random_bool(0.1) {
            held.push((store.reader(), model.clone()));
        }
        if held.len() > 3 {
            held.remove(0);
        }
        for (reader, model) in held.iter().chain([&(store.reader(), model.clone())]) {
            assert_eq!(least(reader, &[]), model.first().copied());
            let from = random.random_range(0..4000);
            assert_eq!(least(reader, &key(from)), model.range(from..).next().copied());
        }
    }
    assert!(store.dead_passed() > 0);
}
