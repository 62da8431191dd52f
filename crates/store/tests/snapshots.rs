//! Readers against a model, while commits and checkpoints go on.

use crate::{nothing, pairs, relaxed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use viewfeed_store::{Kv, MemoryKv, Options, Reader, RunsKv, SledKv, Store};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Commits one random epoch to the store and the model.
fn commit_some(random: &mut StdRng, store: &Store, model: &mut Model, keys: u32) {
    let mut txn = store.begin().unwrap();
    let in_parts = random.random_bool(0.2);
    for _ in 0..random.random_range(0..40) {
        let key = format!("ak{:03}", random.random_range(0..keys)).into_bytes();
        if random.random_bool(0.7) {
            let value = random.random::<u32>().to_be_bytes().to_vec();
            txn.put(key.clone(), value.clone());
            model.insert(key, value);
        } else {
            txn.delete(key.clone());
            model.remove(&key);
        }
        if random.random_bool(0.1) {
            txn.seal();
        }
        if in_parts && random.random_bool(0.1) {
            store.write_part(&mut txn, &nothing()).unwrap();
        }
    }
    store.commit(txn, &nothing()).unwrap();
}

fn agrees(reader: &Reader, model: &Model) {
    let want: Vec<_> = model
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(pairs(reader, b"ak"), want, "at epoch {}", reader.epoch());
}

fn against_a_model(kv: Arc<dyn Kv>, rounds: u32) {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        overlay_bytes: 20_000,
        segment_bytes: 4000,
        ..relaxed()
    };
    let mut store = Store::open_over(dir.path(), &options, kv.clone()).unwrap();
    let mut model = Model::new();
    let mut held: Vec<(Reader, Model)> = Vec::new();
    for _ in 0..rounds {
        match random.random_range(0..10) {
            0 => store.checkpoint().unwrap(),
            1 | 2 => held.push((store.reader(), model.clone())),
            3 if !held.is_empty() => {
                held.swap_remove(random.random_range(0..held.len()));
            }
            4 if random.random_bool(0.1) => {
                held.clear();
                drop(store);
                store = Store::open_over(dir.path(), &options, kv.clone()).unwrap();
            }
            _ => commit_some(&mut random, &store, &mut model, 600),
        }
        agrees(&store.reader(), &model);
        if let Some((reader, model)) = held.get(random.random_range(0..held.len().max(1))) {
            agrees(reader, model);
            let key = format!("ak{:03}", random.random_range(0..600)).into_bytes();
            assert_eq!(reader.get(&key).unwrap(), model.get(&key).cloned());
        }
    }
}

#[test]
fn readers_keep_their_epoch_over_a_tree_in_memory() {
    against_a_model(Arc::new(MemoryKv::default()), 1500);
}

#[test]
fn readers_keep_their_epoch_over_sled() {
    let dir = tempfile::tempdir().unwrap();
    against_a_model(Arc::new(SledKv::open(dir.path(), 4 << 20).unwrap()), 400);
}

#[test]
fn readers_keep_their_epoch_over_run_files() {
    let dir = tempfile::tempdir().unwrap();
    let small = Arc::new(MemoryKv::default());
    against_a_model(Arc::new(RunsKv::open(dir.path(), small, 1 << 20).unwrap()), 1500);
}

/// Every epoch writes its number to a random half of all keys and, under `osum`, how often it did so in total; what a
/// reader sees must be one epoch's state, whatever commits and checkpoints do meanwhile.
#[test]
fn concurrent_readers_see_whole_epochs() {
    readers_see_whole_epochs(Arc::new(MemoryKv::default()));
}

#[test]
fn concurrent_readers_see_whole_epochs_while_run_files_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let small = Arc::new(MemoryKv::default());
    readers_see_whole_epochs(Arc::new(RunsKv::open(dir.path(), small, 100_000).unwrap()));
}

fn readers_see_whole_epochs(kv: Arc<dyn Kv>) {
    let seed = crate::seed();
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        overlay_bytes: 30_000,
        segment_bytes: 50_000,
        ..relaxed()
    };
    let store = Store::open_over(dir.path(), &options, kv).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| read_until(&store, &is_done)))
            .collect();
        write_epochs(&store, seed, 600);
        is_done.store(true, Ordering::SeqCst);
        let reads: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(reads > 100, "only {reads} reads happened");
    });
}

fn write_epochs(store: &Store, seed: u64, epochs: u32) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for _ in 0..epochs {
        let mut txn = store.begin().unwrap();
        for key in 0..2000u32 {
            if random.random_bool(0.02) {
                let count = counts.entry(key).or_default();
                *count = if random.random_bool(0.2) { 0 } else { *count + 1 };
                let name = [b"an".as_slice(), &key.to_be_bytes()].concat();
                match *count {
                    0 => txn.delete(name),
                    count => txn.put(name, count.to_be_bytes().to_vec()),
                }
            }
        }
        let sum: u32 = counts.values().sum();
        txn.put(b"osum".to_vec(), sum.to_be_bytes().to_vec());
        store.commit(txn, &nothing()).unwrap();
    }
}

fn read_until(store: &Store, is_done: &AtomicBool) -> usize {
    let number = |value: &[u8]| u32::from_be_bytes(value.try_into().unwrap());
    let mut reads = 0;
    while !is_done.load(Ordering::SeqCst) {
        let reader = store.reader();
        let counts = pairs(&reader, b"an");
        let got: u32 = counts.iter().map(|(_, value)| number(value)).sum();
        let want = reader.get(b"osum").unwrap().map_or(0, |value| number(&value));
        assert_eq!(got, want, "at epoch {}", reader.epoch());
        for (key, value) in counts.iter().step_by(97) {
            assert_eq!(reader.get(key).unwrap().as_ref(), Some(value));
        }
        reads += 1;
    }
    reads
}

/// Writes far past the limit of the overlay in one thread that holds a reader: waiting for that reader would be for ever.
#[test]
fn a_held_reader_delays_the_checkpoint_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        overlay_bytes: 1000,
        ..relaxed()
    };
    let store = Store::open_over(dir.path(), &options, Arc::new(MemoryKv::default())).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut model = Model::new();
    commit_some(&mut random, &store, &mut model, 600);
    let (held, seen) = (store.reader(), model.clone());
    for _ in 0..200 {
        commit_some(&mut random, &store, &mut model, 600);
    }
    agrees(&held, &seen);
    drop(held);
    store.checkpoint().unwrap();
    agrees(&store.reader(), &model);
}

/// The same over run files: the reader gets the files of its epoch, and memory stays within its limit.
#[test]
fn a_held_reader_over_run_files_keeps_no_versions_in_memory() {
    const OVERLAY_BYTES: usize = 20_000;
    let (dir, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = Options {
        overlay_bytes: OVERLAY_BYTES,
        ..relaxed()
    };
    let kv = Arc::new(RunsKv::open(runs.path(), Arc::new(MemoryKv::default()), 1 << 20).unwrap());
    let store = Store::open_over(dir.path(), &options, kv.clone()).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut model = Model::new();
    let mut held = Vec::new();
    for round in 0..600 {
        commit_some(&mut random, &store, &mut model, 600);
        // What is not in files is of a reader's time too.
        let mut txn = store.begin().unwrap();
        txn.put(b"ak999".to_vec(), vec![round as u8]);
        txn.put(b"c/name".to_vec(), vec![round as u8]);
        store.commit(txn, &nothing()).unwrap();
        model.insert(b"ak999".to_vec(), vec![round as u8]);
        if round % 120 == 7 {
            held.push((store.reader(), model.clone(), round as u8));
        }
    }
    store.checkpoint().unwrap();
    assert!(
        store.versions_bytes() <= OVERLAY_BYTES,
        "{} bytes",
        store.versions_bytes()
    );
    kv.wait_until_merged().unwrap();
    for (reader, model, round) in &held {
        agrees(reader, model);
        assert_eq!(reader.get(b"c/name").unwrap(), Some(vec![*round]));
        assert_eq!(pairs(reader, b"c"), [(b"c/name".to_vec(), vec![*round])]);
    }
    let files = || std::fs::read_dir(runs.path()).unwrap().count();
    assert!(files() > kv.runs(), "nothing was kept for the readers");
    drop(held);
    assert_eq!(files(), kv.runs());
    agrees(&store.reader(), &model);
}
