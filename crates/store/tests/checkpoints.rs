//! Checkpoints over a `Kv` that fails, half-way or for good.

use crate::{nothing, pairs, relaxed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_store::{Kv, MemoryKv, Options, Store};

/// Takes so many more puts and deletes, then fails as a full disk does, in the middle of a batch.
struct FailingKv {
    inner: MemoryKv,
    writes_left: AtomicUsize,
}

impl FailingKv {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryKv::default(),
            writes_left: AtomicUsize::new(usize::MAX),
        })
    }

    fn allow(&self, writes: usize) {
        self.writes_left.store(writes, Ordering::SeqCst);
    }
}

impl Kv for FailingKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.inner.scan(from, to, limit)
    }

    fn apply(&self, writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<()> {
        for (key, value) in writes {
            let take_one = |left: usize| left.checked_sub(1);
            if self
                .writes_left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one)
                .is_err()
            {
                return Err(Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull)));
            }
            self.inner
                .apply(&BTreeMap::from([(key.clone(), value.clone())]))?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn commit_some(store: &Store, random: &mut StdRng, model: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Result<()> {
    let mut txn = store.begin()?;
    let mut changed = model.clone();
    for _ in 0..50 {
        let key = format!("k{:03}", random.random_range(0..300)).into_bytes();
        if random.random_bool(0.6) {
            let value = vec![random.random(); 20];
            txn.put(key.clone(), value.clone());
            changed.insert(key, value);
        } else {
            txn.delete(key.clone());
            changed.remove(&key);
        }
    }
    store.commit(txn, &nothing())?;
    *model = changed;
    Ok(())
}

fn agrees(store: &Store, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let want: Vec<_> = model.clone().into_iter().collect();
    assert_eq!(pairs(&store.reader(), b"k"), want);
}

#[test]
fn a_checkpoint_that_fails_half_way_changes_nothing_for_readers_and_restarts() {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let kv = FailingKv::new();
    let mut model = BTreeMap::new();
    for _ in 0..60 {
        kv.allow(usize::MAX);
        let store = Store::open_over(dir.path(), &relaxed(), kv.clone()).unwrap();
        agrees(&store, &model);
        let held = (store.reader(), model.clone());
        commit_some(&store, &mut random, &mut model).unwrap();
        kv.allow(random.random_range(0..200));
        let _ = store.checkpoint();
        commit_some(&store, &mut random, &mut model).unwrap();
        let _ = store.checkpoint();
        agrees(&store, &model);
        assert_eq!(pairs(&held.0, b"k"), held.1.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn commits_go_on_while_checkpoints_fail_until_memory_is_full_and_again_after() {
    let dir = tempfile::tempdir().unwrap();
    let kv = FailingKv::new();
    let options = Options {
        overlay_bytes: 10_000,
        ..relaxed()
    };
    let store = Store::open_over(dir.path(), &options, kv.clone()).unwrap();
    let mut random = StdRng::seed_from_u64(3);
    let mut model = BTreeMap::new();
    commit_some(&store, &mut random, &mut model).unwrap();
    kv.allow(0);
    let mut fails = || (0..1000).find_map(|_| commit_some(&store, &mut random, &mut model).err());
    let error = fails().expect("memory is limited");
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Exhausted, "DISK_FULL")
    );
    agrees(&store, &model);
    kv.allow(usize::MAX);
    for _ in 0..50 {
        commit_some(&store, &mut random, &mut model).unwrap();
    }
    agrees(&store, &model);
}

#[test]
fn after_a_checkpoint_the_kv_alone_holds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let kv = FailingKv::new();
    let store = Store::open_over(dir.path(), &relaxed(), kv.clone()).unwrap();
    let mut model = BTreeMap::new();
    let mut random = StdRng::seed_from_u64(4);
    for _ in 0..20 {
        commit_some(&store, &mut random, &mut model).unwrap();
    }
    store.checkpoint().unwrap();
    let end = Some(&b"l"[..]);
    assert_eq!(
        kv.scan(b"k", end, usize::MAX).unwrap(),
        model.into_iter().collect::<Vec<_>>()
    );
}
