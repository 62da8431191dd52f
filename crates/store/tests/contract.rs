//! What every `Kv` must do, run for each form.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_store::{Kv, MemoryKv, RunsKv, SledKv};

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn writes(pairs: &[(&str, Option<&str>)]) -> Writes {
    let own = |text: &str| text.as_bytes().to_vec();
    pairs
        .iter()
        .map(|(key, value)| (own(key), value.map(own)))
        .collect()
}

fn scan(kv: &dyn Kv, from: &str, to: Option<&str>, limit: usize) -> Vec<String> {
    let pairs = kv.scan(from.as_bytes(), to.map(str::as_bytes), limit).unwrap();
    pairs
        .into_iter()
        .map(|(key, _)| String::from_utf8(key).unwrap())
        .collect()
}

fn keeps_the_contract(kv: &dyn Kv) {
    kv.apply(&writes(&[
        ("b", Some("2")),
        ("a", Some("")),
        ("c", Some("3")),
        ("ab", Some("4")),
    ]))
    .unwrap();
    assert_eq!(kv.get(b"a").unwrap().unwrap(), b"");
    assert_eq!(kv.get(b"x").unwrap(), None);
    assert_eq!(scan(kv, "", None, 10), ["a", "ab", "b", "c"]);
    assert_eq!(scan(kv, "ab", Some("c"), 10), ["ab", "b"]);
    assert_eq!(scan(kv, "", None, 3), ["a", "ab", "b"]);
    assert_eq!(scan(kv, "c", Some("c"), 10), [""; 0]);
    assert_eq!(scan(kv, "c", Some("a"), 10), [""; 0]);
    kv.apply(&writes(&[("a", None), ("b", Some("5")), ("never", None)]))
        .unwrap();
    assert_eq!(kv.get(b"a").unwrap(), None);
    assert_eq!(kv.get(b"b").unwrap().unwrap(), b"5");
    kv.flush().unwrap();
    kv.apply(
        &kv.scan(b"", None, 100)
            .unwrap()
            .into_iter()
            .map(|(key, _)| (key, None))
            .collect(),
    )
    .unwrap();
    assert_eq!(scan(kv, "", None, 10), [""; 0]);
    behaves_as_a_tree(kv);
}

/// Random writes and scans over a tiny domain of keys, some of them prefixes of others.
fn behaves_as_a_tree(kv: &dyn Kv) {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut key = {
        let mut random = StdRng::seed_from_u64(seed + 1);
        move || {
            (0..random.random_range(0..4))
                .map(|_| [0, b'a', 255][random.random_range(0..3)])
                .collect::<Vec<u8>>()
        }
    };
    let mut model = BTreeMap::new();
    for _ in 0..300 {
        let batch: Writes = (0..random.random_range(0..8))
            .map(|_| {
                (
                    key(),
                    random
                        .random_bool(0.6)
                        .then(|| vec![random.random(); random.random_range(0..40)]),
                )
            })
            .collect();
        kv.apply(&batch).unwrap();
        if random.random_bool(0.1) {
            kv.flush().unwrap();
        }
        for (key, value) in batch {
            match value {
                Some(value) => model.insert(key, value),
                None => model.remove(&key),
            };
        }
        let (from, to, limit) = (
            key(),
            random.random_bool(0.7).then(&mut key),
            random.random_range(0..6),
        );
        let want: Vec<_> = model
            .iter()
            .filter(|(key, _)| **key >= from && to.as_ref().is_none_or(|to| *key < to))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(kv.scan(&from, to.as_deref(), limit).unwrap(), want);
        assert_eq!(kv.get(&from).unwrap(), model.get(&from).cloned());
    }
}

#[test]
fn a_tree_in_memory_keeps_the_contract() {
    keeps_the_contract(&MemoryKv::default());
}

#[test]
fn sled_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    keeps_the_contract(&SledKv::open(dir.path(), 4 << 20).unwrap());
}

#[test]
fn run_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let small = Arc::new(MemoryKv::default());
    keeps_the_contract(&RunsKv::open(dir.path(), small, 4 << 20).unwrap());
}

#[test]
fn what_sled_flushed_is_there_when_it_is_opened_again() {
    let _guard = crate::without_forks();
    let dir = tempfile::tempdir().unwrap();
    let kv = SledKv::open(dir.path(), 4 << 20).unwrap();
    kv.apply(&writes(&[("a", Some("1")), ("b", Some(""))])).unwrap();
    kv.flush().unwrap();
    drop(kv);
    let kv = SledKv::open(dir.path(), 4 << 20).unwrap();
    assert_eq!(scan(&kv, "", None, 10), ["a", "b"]);
}
