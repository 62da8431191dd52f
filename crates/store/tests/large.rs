//! Epochs that are written in parts are like any others: in what they read, in what they leave, and after a crash.

use crate::{nothing, open, pairs, relaxed};
use arrow::array::{Int64Array, RecordBatch};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use viewfeed_change::{Batch, Delta, Epoch, RelationId, Timestamp};
use viewfeed_store::{EpochRecord, Form, Options, Prober, Reader, Store, Txn};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const KEYS: u32 = 300;

fn key(random: &mut StdRng) -> Vec<u8> {
    // What is small is not in run files.
    let tag = if random.random_bool(0.05) { 'c' } else { 'a' };
    format!("{tag}{:03}", random.random_range(0..KEYS)).into_bytes()
}

/// Writes something, mostly some keys in a row.
fn write(random: &mut StdRng, txn: &mut Txn, model: &mut Model) {
    let first = key(random);
    for last in 0..random.random_range(1..40_u8) {
        let key = [&first[..], &[last]].concat();
        if random.random_bool(0.6) {
            let value = vec![random.random(); random.random_range(0..60)];
            txn.put(key.clone(), value.clone());
            model.insert(key, value);
        } else {
            txn.delete(key.clone());
            model.remove(&key);
        }
    }
}

fn agrees(reader: &Reader, model: &Model, random: &mut StdRng) {
    for prefix in [&b"a"[..], b"c", b"a1"] {
        let here = model.iter().filter(|(key, _)| key.starts_with(prefix));
        let here: Vec<_> = here.map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(pairs(reader, prefix), here, "at epoch {}", reader.epoch());
    }
    let mut prober = reader.prober();
    for _ in 0..30 {
        let key = [key(random), vec![random.random_range(0..40)]].concat();
        assert_eq!(reader.get(&key).unwrap(), model.get(&key).cloned());
        assert_eq!(prober.get(&key).unwrap(), model.get(&key).cloned());
        let next = model.range(key.clone()..).find(|(key, _)| key[0] == b'a');
        if key[0] == b'a' {
            assert_eq!(first_from(&mut prober, &key).as_ref(), next.map(|(key, _)| key));
        }
    }
}

fn first_from(prober: &mut Prober, from: &[u8]) -> Option<Vec<u8>> {
    let mut first = None;
    let each = &mut |key: &[u8], _: &[u8]| {
        first = Some(key.to_vec());
        Ok(ControlFlow::Break(()))
    };
    prober.scan(b"a", from, each).unwrap();
    first
}

fn small(form: Form) -> Options {
    Options {
        overlay_bytes: 30_000,
        segment_bytes: 20_000,
        form,
        ..relaxed()
    }
}

/// One epoch, perhaps in parts; true if it was committed.
fn epoch(random: &mut StdRng, store: &Store, model: &mut Model) -> bool {
    let (mut txn, mut after, mut sealed) = (store.begin().unwrap(), model.clone(), model.clone());
    let parts = [0.0, 0.1, 0.9][random.random_range(0..3)];
    for _ in 0..random.random_range(0..30) {
        write(random, &mut txn, &mut after);
        if random.random_bool(parts) {
            store.write_part(&mut txn, &nothing()).unwrap();
            sealed = after.clone();
        }
        if random.random_bool(0.2) {
            agrees(&txn.now(), &after, random);
            agrees(&txn.before(), &sealed, random);
        }
    }
    let is_committed = random.random_bool(0.7);
    if is_committed {
        store.commit(txn, &nothing()).unwrap();
        *model = after;
    }
    is_committed
}

fn epochs_against_a_model(form: Form, rounds: usize) {
    let mut random = StdRng::seed_from_u64(crate::seed());
    let dir = tempfile::tempdir().unwrap();
    let _quiet = crate::without_forks();
    let mut store = Store::open(dir.path(), small(form)).unwrap();
    let (mut model, mut held) = (Model::new(), Vec::<(Reader, Model)>::new());
    for _ in 0..rounds {
        match random.random_range(0..8) {
            0 => store.checkpoint().unwrap(),
            // More than have files of their own otherwise.
            1 | 2 if held.len() < 40 => held.push((store.reader(), model.clone())),
            3 if random.random_bool(0.2) => {
                held.clear();
                drop(store);
                store = Store::open(dir.path(), small(form)).unwrap();
            }
            _ => {
                epoch(&mut random, &store, &mut model);
            }
        }
        agrees(&store.reader(), &model, &mut random);
        if let Some((reader, model)) = held.get(random.random_range(0..held.len().max(1))) {
            agrees(reader, model, &mut random);
        }
    }
}

#[test]
fn an_epoch_in_parts_reads_and_leaves_what_one_in_memory_does() {
    epochs_against_a_model(Form::Runs, 150);
}

/// Where nothing can be written apart, it stays in memory.
#[test]
fn an_epoch_in_parts_is_one_over_sled_too() {
    epochs_against_a_model(Form::Sled, 50);
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir.join("runs")).map_or(0, |entries| entries.count())
}

fn put(txn: &mut Txn, keys: std::ops::Range<u32>) {
    for number in keys {
        let key = [&b"a"[..], &number.to_be_bytes()].concat();
        txn.put(key, vec![7; 100]);
    }
}

fn count(store: &Store) -> usize {
    pairs(&store.reader(), b"a").len()
}

#[test]
fn what_was_written_is_in_files_and_goes_with_an_epoch_that_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let _quiet = crate::without_forks();
    let store = open(dir.path());
    let log_before = store.disk_bytes().unwrap().0;
    let mut txn = store.begin().unwrap();
    for part in 0..20 {
        put(&mut txn, part * 1000..part * 1000 + 1000);
        assert!(txn.memory_bytes() > 100_000);
        store.write_part(&mut txn, &nothing()).unwrap();
        assert!(txn.memory_bytes() < 1000, "{}", txn.memory_bytes());
    }
    // Many parts are few files.
    assert!(
        (1..10).contains(&files(dir.path())),
        "{} files",
        files(dir.path())
    );
    assert_eq!(pairs(&txn.before(), b"a").len(), 20_000);
    assert_eq!(count(&store), 0);
    drop(txn);
    assert_eq!((files(dir.path()), count(&store)), (0, 0));
    let log: u64 = fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(log <= log_before + 8, "{log} bytes of log");
    crate::commit(&store, &[(b"a", Some(b"1"))]);
    drop(store);
    assert_eq!(count(&open(dir.path())), 1);
}

/// Where a scan has found nothing but deletes, the next one jumps over: not over what a large epoch puts there.
#[test]
fn what_a_large_epoch_puts_where_nothing_was_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let _quiet = crate::without_forks();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    put(&mut txn, 0..500);
    txn.put(b"az".to_vec(), vec![1]);
    store.commit(txn, &nothing()).unwrap();
    let mut txn = store.begin().unwrap();
    for number in 0..500_u32 {
        txn.delete([&b"a"[..], &number.to_be_bytes()].concat());
    }
    store.commit(txn, &nothing()).unwrap();
    assert_eq!(count(&store), 1);
    let passed = store.dead_passed();
    assert!(passed >= 500, "{passed}");
    assert_eq!((count(&store), store.dead_passed()), (1, passed));
    let mut txn = store.begin().unwrap();
    put(&mut txn, 250..251);
    for _ in 0..2 {
        store.write_part(&mut txn, &nothing()).unwrap();
        assert_eq!(pairs(&txn.before(), b"a").len(), 2);
    }
    // Nor does it hide from others what it deletes itself.
    txn.delete(b"az".to_vec());
    store.write_part(&mut txn, &nothing()).unwrap();
    assert_eq!((pairs(&txn.now(), b"a").len(), count(&store)), (1, 1));
    store.commit(txn, &nothing()).unwrap();
    assert_eq!(
        pairs(&store.reader(), b"a")[0].0,
        [&b"a"[..], &250_u32.to_be_bytes()].concat()
    );
}

/// A record about rows of relation 1.
fn record(first: i64, rows: i64) -> EpochRecord {
    let column: Arc<Int64Array> = Arc::new((first..first + rows).collect());
    let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
    EpochRecord {
        commit_time: Timestamp(first),
        deltas: vec![Delta {
            relation: RelationId(1),
            batch: Batch::new(batch, vec![1; rows as usize]).unwrap(),
        }],
        schema_versions: vec![(RelationId(1), 1)],
        ..nothing()
    }
}

/// Of each part: its epoch, rows of feeds, whether it is the last.
fn logged(store: &Store, after: u64) -> Vec<(u64, usize, bool)> {
    let parts = store.read_log(Epoch(after)).unwrap().map(Result::unwrap);
    let rows = |deltas: &[viewfeed_store::LoggedDelta]| deltas.iter().map(|delta| delta.rows.len()).sum();
    parts
        .map(|part| (part.epoch.0, rows(&part.deltas), part.is_last))
        .collect()
}

#[test]
fn the_log_gives_the_parts_of_an_epoch_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let _quiet = crate::without_forks();
    let store = open(dir.path());
    crate::commit(&store, &[(b"a", Some(b"1"))]);
    let mut txn = store.begin().unwrap();
    store.write_part(&mut txn, &record(1, 10)).unwrap();
    store.write_part(&mut txn, &record(11, 20)).unwrap();
    put(&mut txn, 0..3);
    store.commit(txn, &record(31, 3)).unwrap();
    crate::commit(&store, &[(b"a", Some(b"2"))]);
    let want = [
        (1, 0, true),
        (2, 10, false),
        (2, 20, false),
        (2, 3, true),
        (3, 0, true),
    ];
    assert_eq!(logged(&store, 0), want);
    drop(store);
    let store = open(dir.path());
    assert_eq!(logged(&store, 0), want);
    assert_eq!(logged(&store, 1), want[1..]);
    assert_eq!(logged(&store, 2), want[4..]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            // sled removes files of its own while this looks.
            false => match fs::copy(entry.path(), target) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => copied.map(drop).unwrap(),
            },
        }
    }
}

/// A store whose epoch 5 is large; `at` gets its folder before the commit, and after it.
fn with_a_large_epoch(dir: &Path, mut at: impl FnMut(&Path)) {
    let options = Options {
        form: Form::Runs,
        ..relaxed()
    };
    let store = Store::open(dir, options).unwrap();
    for _ in 0..4 {
        let mut txn = store.begin().unwrap();
        put(&mut txn, 0..500);
        txn.put(b"cname".to_vec(), vec![1]);
        store.commit(txn, &nothing()).unwrap();
    }
    let mut txn = store.begin().unwrap();
    // So few files that none are merged while they are copied.
    for part in 0..2 {
        put(&mut txn, 1000 * part..1000 * part + 600);
        store.write_part(&mut txn, &record(1, 2)).unwrap();
    }
    txn.put(b"cname".to_vec(), vec![2]);
    txn.delete([&b"a"[..], &0_u32.to_be_bytes()].concat());
    at(dir);
    store.commit(txn, &nothing()).unwrap();
    at(dir);
}

#[test]
fn parts_without_a_last_one_are_gone_after_a_crash() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _quiet = crate::without_forks();
    let before = copies.path().join("before");
    with_a_large_epoch(dir.path(), |dir| {
        if !before.exists() {
            copy(dir, &before);
        }
    });
    assert!(files(&before) > 0);
    let store = open(&before);
    assert_eq!((store.epoch(), count(&store), files(&before)), (Epoch(4), 500, 0));
    assert_eq!(logged(&store, 3), [(4, 0, true)]);
    crate::commit(&store, &[(b"a", Some(b"1"))]);
    drop(store);
    assert_eq!(count(&open(&before)), 501);
}

/// The commit point is the last part: the list of files may be as it was before.
#[test]
fn files_that_were_not_listed_before_a_crash_are_listed_by_the_next_open() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _quiet = crate::without_forks();
    let at = |name: &str| copies.path().join(name);
    let mut names = ["before", "crashed"].into_iter();
    with_a_large_epoch(dir.path(), |dir| copy(dir, &at(names.next().unwrap())));
    fs::remove_dir_all(at("crashed").join("kv")).unwrap();
    copy(&at("before").join("kv"), &at("crashed").join("kv"));
    let mut is_first = true;
    for _ in 0..3 {
        let store = open(&at("crashed"));
        assert_eq!((store.epoch(), count(&store)), (Epoch(5), 1199));
        assert_eq!(store.reader().get(b"cname").unwrap(), Some(vec![2]));
        if !std::mem::take(&mut is_first) {
            store.checkpoint().unwrap();
        }
    }
}

/// Damage of a part is damage of its epoch, which is whole or not there.
#[test]
fn an_epoch_with_a_torn_part_is_not_there() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _quiet = crate::without_forks();
    let mut copied = Vec::new();
    with_a_large_epoch(dir.path(), |dir| {
        copied.push(copies.path().join(copied.len().to_string()));
        copy(dir, &copied[copied.len() - 1]);
    });
    let mut segments: Vec<_> = fs::read_dir(copied[0].join("log")).unwrap().collect();
    segments.sort_by_key(|entry| entry.as_ref().unwrap().path());
    let segment = segments.pop().unwrap().unwrap().path();
    let whole = fs::read(&segment).unwrap();
    for cut in [1, 20, whole.len() / 2, whole.len() - 9] {
        let mut torn = whole.clone();
        torn.truncate(whole.len() - cut);
        fs::write(&segment, &torn).unwrap();
        let again = copies.path().join(format!("cut{cut}"));
        copy(&copied[0], &again);
        let store = open(&again);
        assert_eq!((store.epoch(), count(&store)), (Epoch(4), 500), "cut by {cut}");
        crate::commit(&store, &[(b"a", Some(b"1"))]);
        assert_eq!(logged(&store, 3), [(4, 0, true), (5, 0, true)], "cut by {cut}");
    }
}
