//! Facts about the store, through its public doors.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod arrangements;
mod checkpoints;
mod contract;
mod crash;
mod disk_full;
mod growing;
mod large;
mod log_damage;
mod queues;
mod runs;
mod snapshots;
mod transactions;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{RwLock, RwLockReadGuard};
use viewfeed_change::Timestamp;
use viewfeed_store::{Durability, EpochRecord, Options, Store};

/// Where a random test starts: another place each time, or `$VIEWFEED_SEED` to see a failure again.
fn seed() -> u64 {
    let given = std::env::var("VIEWFEED_SEED").ok();
    let seed = given.map_or_else(any_seed, |text| text.parse().unwrap());
    println!("VIEWFEED_SEED={seed}");
    seed
}

/// Another number each time: what a hash map is seeded with.
fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

/// A child holds every open file of its parent until it becomes another program, and with it sled's lock. So children
/// are started under the writing side of this, and who opens sled a second time holds the reading side.
static FORKING: RwLock<()> = RwLock::new(());

/// Starts a child.
fn spawn(command: &mut Command) -> Child {
    let _alone = FORKING.write().unwrap();
    command.spawn().unwrap()
}

/// No child is started while this is held.
fn without_forks() -> RwLockReadGuard<'static, ()> {
    FORKING.read().unwrap()
}

/// Settings for tests that are not about durability: no waiting for the disk.
fn relaxed() -> Options {
    Options {
        durability: Durability::Relaxed { interval_ms: 1000 },
        memory_bytes: 8 << 20,
        ..Options::default()
    }
}

/// An epoch with nothing in it but its writes.
fn nothing() -> EpochRecord {
    EpochRecord {
        commit_time: Timestamp(0),
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, relaxed()).unwrap()
}

/// Commits one epoch that puts (Some) and deletes (None).
fn commit(store: &Store, writes: &[(&[u8], Option<&[u8]>)]) {
    let mut txn = store.begin().unwrap();
    for (key, value) in writes {
        match value {
            Some(value) => txn.put(key.to_vec(), value.to_vec()),
            None => txn.delete(key.to_vec()),
        }
    }
    store.commit(txn, &nothing()).unwrap();
}

/// Every pair a reader sees under `prefix`.
fn pairs(reader: &viewfeed_store::Reader, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    reader
        .scan(prefix, &[], &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    found
}
