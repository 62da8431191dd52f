//! How long a store of a given size takes to load, to checkpoint, and to answer again after it is opened.
//!
//! `cargo bench -p viewfeed-store --bench restart -- 1000000 3000000` (numbers of entries). The data folder is made in
//! `$VIEWFEED_BENCH_DIR` (default: the system's folder for temporary files).

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use std::time::Instant;
use viewfeed_change::Timestamp;
use viewfeed_store::{EpochRecord, Options, Store};

const KEY_BYTES: usize = 40;
const EPOCH_ENTRIES: u64 = 10_000;
/// Just below what starts a checkpoint with the default settings.
const TAIL_ENTRIES: u64 = 300_000;

/// Keys spread over three arrangements, in random order: what a table with a join and an aggregate makes.
fn key(random: &mut StdRng, number: u64) -> Vec<u8> {
    let mut key = vec![b'a', 0, 0, 0, (number % 3) as u8];
    key.extend(random.random::<u64>().to_be_bytes());
    key.resize(KEY_BYTES, b'x');
    key
}

fn fill(store: &Store, random: &mut StdRng, entries: u64) {
    for epoch in 0..entries / EPOCH_ENTRIES {
        let mut txn = store.begin().unwrap();
        for number in 0..EPOCH_ENTRIES {
            txn.put(key(random, epoch * EPOCH_ENTRIES + number), Vec::new());
        }
        let record = EpochRecord {
            commit_time: Timestamp(0),
            transactions: Vec::new(),
            deltas: Vec::new(),
            schema_versions: Vec::new(),
        };
        store.commit(txn, &record).unwrap();
    }
}

fn load(dir: &Path, entries: u64) {
    let store = Store::open(dir, Options::default()).unwrap();
    let started = Instant::now();
    fill(&store, &mut StdRng::seed_from_u64(1), entries);
    let per_second = entries as f64 / started.elapsed().as_secs_f64();
    println!("  load        {per_second:>9.0} entries/s");
    let started = Instant::now();
    store.checkpoint().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "  checkpoint  {seconds:>9.3} s for what was left, memory {}",
        memory()
    );
}

/// Commits as much as may be in memory without a checkpoint, and closes: what a crash leaves to be replayed.
fn leave_a_tail(dir: &Path) {
    let store = Store::open(dir, Options::default()).unwrap();
    fill(&store, &mut StdRng::seed_from_u64(2), TAIL_ENTRIES);
}

fn reopen(dir: &Path, entries: u64, what: &str) {
    let (started, processor) = (Instant::now(), processor_seconds());
    let store = Store::open(dir, Options::default()).unwrap();
    let opened = started.elapsed();
    let reader = store.reader();
    let mut random = StdRng::seed_from_u64(1);
    assert!(reader.get(&key(&mut random, 0)).unwrap().is_some());
    println!(
        "  {what} {:>8.3} s to open, {:.3} s to the first answer ({:.3} s of processor)",
        opened.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        processor_seconds() - processor,
    );
    let started = Instant::now();
    for number in 1..10_000u64 {
        assert!(
            reader
                .get(&key(&mut random, number % EPOCH_ENTRIES))
                .unwrap()
                .is_some()
        );
    }
    println!(
        "  get, cold   {:>9.2} µs each",
        started.elapsed().as_secs_f64() * 100.0
    );
    let (log, kv) = store.disk_bytes().unwrap();
    println!(
        "  disk        {:>9.1} bytes per entry in the kv, {:.1} in the log, memory {}",
        kv as f64 / entries as f64,
        log as f64 / entries as f64,
        memory()
    );
}

/// Processor time of this thread so far, in seconds: what a machine without other work would need.
fn processor_seconds() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = statistics.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| rest.trim().to_owned())
    };
    format!(
        "{} (peak {})",
        line("VmRSS:").unwrap_or_default(),
        line("VmHWM:").unwrap_or_default()
    )
}

fn main() {
    let sizes: Vec<u64> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    for entries in if sizes.is_empty() { vec![100_000] } else { sizes } {
        println!("{entries} entries with keys of {KEY_BYTES} bytes");
        let dir = match std::env::var_os("VIEWFEED_BENCH_DIR") {
            Some(dir) => tempfile::tempdir_in(dir).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        load(dir.path(), entries);
        reopen(dir.path(), entries, "reopen     ");
        reopen(dir.path(), entries, "once more  ");
        leave_a_tail(dir.path());
        reopen(dir.path(), entries, "with a tail");
    }
}
