//! What reading and opening do with a log that is cut, flipped, or gone.

use crate::{nothing, pairs, relaxed};
use arrow::array::{Int64Array, RecordBatch};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use viewfeed_change::{
    Batch, Delta, Epoch, Error, ErrorKind, Position, RelationId, SourceId, Timestamp, Transaction,
    TransactionId,
};
use viewfeed_store::{Durability, EpochRecord, MemoryKv, Options, Retention, Store};

fn options() -> Options {
    // Synced records prove what was durable; and nothing is checkpointed unless asked for.
    Options {
        durability: Durability::Sync,
        overlay_bytes: 1 << 30,
        ..relaxed()
    }
}

fn reopen(dir: &Path) -> Result<Store, Error> {
    Store::open_over(dir, &options(), Arc::new(MemoryKv::default()))
}

fn put(store: &Store, value: u8) {
    let mut txn = store.begin().unwrap();
    txn.put(b"k".to_vec(), vec![value; 30]);
    store.commit(txn, &nothing()).unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// Three epochs in one segment: the bytes of the file, and where the last record starts.
fn three_epochs(dir: &Path) -> (PathBuf, Vec<u8>, usize) {
    let store = reopen(dir).unwrap();
    put(&store, 1);
    put(&store, 2);
    let path = segments(dir).remove(0);
    let last = fs::metadata(&path).unwrap().len() as usize;
    put(&store, 3);
    drop(store);
    let bytes = fs::read(&path).unwrap();
    (path, bytes, last)
}

fn latest(store: &Store) -> (u64, u8) {
    (
        store.epoch().0,
        pairs(&store.reader(), b"k")
            .first()
            .map_or(0, |(_, value)| value[0]),
    )
}

#[test]
fn a_record_cut_anywhere_is_forgotten_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, last) = three_epochs(dir.path());
    for length in last..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let store = reopen(dir.path()).unwrap();
        assert_eq!(latest(&store), (2, 2), "cut at byte {length}");
        put(&store, 9);
        assert_eq!(
            store
                .read_log(Epoch(0))
                .unwrap()
                .map(|epoch| epoch.unwrap().epoch.0)
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
        drop(store);
        assert_eq!(
            latest(&reopen(dir.path()).unwrap()),
            (3, 9),
            "cut at byte {length}"
        );
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(latest(&reopen(dir.path()).unwrap()), (3, 3));
}

#[test]
fn a_flipped_bit_in_the_last_record_is_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, last) = three_epochs(dir.path());
    for place in last..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        fs::write(&path, &damaged).unwrap();
        assert_eq!(
            latest(&reopen(dir.path()).unwrap()),
            (2, 2),
            "flipped at byte {place}"
        );
    }
}

#[test]
fn a_flipped_bit_before_durable_records_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, last) = three_epochs(dir.path());
    for place in 0..last {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        fs::write(&path, &damaged).unwrap();
        let error = reopen(dir.path())
            .err()
            .unwrap_or_else(|| panic!("flipped at byte {place}"));
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "flipped at byte {place}: {error}"
        );
        assert!(
            error.message().contains("00000000000000000001.log at byte "),
            "{error}"
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            damaged,
            "a damaged log is left as it is"
        );
    }
}

#[test]
fn garbage_and_zeros_after_the_last_record_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = three_epochs(dir.path());
    for tail in [vec![0; 5000], vec![0xFF; 77], bytes[8..40].to_vec()] {
        fs::write(&path, [bytes.clone(), tail].concat()).unwrap();
        assert_eq!(latest(&reopen(dir.path()).unwrap()), (3, 3));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn an_unfinished_new_segment_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _, _) = three_epochs(dir.path());
    for start in [&b""[..], b"VFL", b"VFLOG\0\0\x01"] {
        let next = dir.path().join("log/00000000000000000004.log");
        fs::write(&next, start).unwrap();
        let store = reopen(dir.path()).unwrap();
        assert_eq!(latest(&store), (3, 3));
        put(&store, 4);
        drop(store);
        assert_eq!(latest(&reopen(dir.path()).unwrap()), (4, 4));
        fs::remove_file(&next).unwrap();
    }
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Arc::new(MemoryKv::default());
    let small = Options {
        segment_bytes: 150,
        ..options()
    };
    let store = Store::open_over(dir.path(), &small, kv.clone()).unwrap();
    (1..7).for_each(|value| put(&store, value));
    drop(store);
    let paths = segments(dir.path());
    assert!(paths.len() > 3);
    let middle = fs::read(&paths[1]).unwrap();
    fs::remove_file(&paths[1]).unwrap();
    assert_eq!(reopen(dir.path()).err().unwrap().kind(), ErrorKind::Corrupt);
    fs::write(&paths[1], middle).unwrap();
    // With a checkpoint, a log that ends before it is not the log of this database.
    let store = Store::open_over(dir.path(), &small, kv.clone()).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    for path in segments(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    let error = Store::open_over(dir.path(), &small, kv).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// An epoch with one table change and one view change, weights of every form.
fn full_record(n: i64) -> EpochRecord {
    let rows = |values: Vec<i64>| {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values)) as _)]).unwrap()
    };
    let delta = |relation, weights: Vec<i64>| Delta {
        relation: RelationId(relation),
        batch: Batch::new(rows((n..).take(weights.len()).collect()), weights).unwrap(),
    };
    EpochRecord {
        commit_time: Timestamp(n * 1000),
        transactions: vec![Transaction {
            source: SourceId::new("embedded"),
            id: TransactionId(n as u64),
            position: Position(vec![1, 2]),
            commit_time: Timestamp(-n),
            changes: vec![delta(1, vec![1, 1]), delta(1, vec![-1])],
        }],
        deltas: vec![delta(2, vec![-3, i64::MAX]), delta(2, vec![])],
        schema_versions: vec![(RelationId(2), 20), (RelationId(1), 10)],
    }
}

#[test]
fn the_log_gives_back_transactions_and_deltas_from_any_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Arc::new(MemoryKv::default());
    let small = Options {
        segment_bytes: 1500,
        ..options()
    };
    let mut store = Store::open_over(dir.path(), &small, kv.clone()).unwrap();
    for n in 1..=60 {
        let txn = store.begin().unwrap();
        store.commit(txn, &full_record(n)).unwrap();
    }
    for is_fresh in [true, false] {
        for after in 0..=60u64 {
            let logged: Vec<_> = store
                .read_log(Epoch(after))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(
                logged.iter().map(|epoch| epoch.epoch.0).collect::<Vec<_>>(),
                (after + 1..=60).collect::<Vec<_>>()
            );
            let Some(first) = logged.first() else { continue };
            let n = after as i64 + 1;
            let transaction = &first.transactions[0];
            assert_eq!(
                (first.commit_time.0, transaction.commit_time.0, transaction.id.0),
                (n * 1000, -n, n as u64)
            );
            assert_eq!(
                (&*transaction.source.0, &transaction.position.0[..]),
                ("embedded", &[1, 2][..])
            );
            let shape: Vec<_> = transaction
                .changes
                .iter()
                .chain(&first.deltas)
                .map(|delta| {
                    (
                        delta.relation.0,
                        delta.schema_version,
                        delta.rows.len(),
                        delta.weights.clone(),
                    )
                })
                .collect();
            assert_eq!(
                shape,
                [
                    (1, 10, 2, vec![1, 1]),
                    (1, 10, 1, vec![-1]),
                    (2, 20, 2, vec![-3, i64::MAX]),
                    (2, 20, 0, vec![])
                ]
            );
            assert_eq!(
                transaction.changes[0].rows.row(0)[1..],
                (n as u64 ^ 1 << 63).to_be_bytes()
            );
        }
        assert_eq!(store.read_log(Epoch(99)).unwrap().count(), 0);
        if is_fresh {
            drop(store);
            store = Store::open_over(dir.path(), &small, kv.clone()).unwrap();
        }
    }
}

#[test]
fn a_delta_without_a_schema_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = reopen(dir.path()).unwrap();
    let mut record = full_record(1);
    record.schema_versions.pop();
    assert_eq!(
        store.commit(store.begin().unwrap(), &record).unwrap_err().kind(),
        ErrorKind::Internal
    );
    assert_eq!(
        store.commit(store.begin().unwrap(), &full_record(1)).unwrap(),
        Epoch(1)
    );
}

#[test]
fn history_is_dropped_when_either_limit_is_passed_and_checkpointed() {
    let by_size = Retention {
        bytes_max: 5000,
        age_us: i64::MAX,
    };
    let by_age = Retention {
        bytes_max: u64::MAX,
        age_us: 20_000,
    };
    for retention in [by_size, by_age] {
        let dir = tempfile::tempdir().unwrap();
        let small = Options {
            segment_bytes: 1000,
            retention,
            ..options()
        };
        let store = Store::open_over(dir.path(), &small, Arc::new(MemoryKv::default())).unwrap();
        for n in 1..=100 {
            store.commit(store.begin().unwrap(), &full_record(n)).unwrap();
        }
        let mut slow = store.read_log(Epoch(0)).unwrap();
        assert_eq!(slow.next().unwrap().unwrap().epoch, Epoch(1));
        assert_eq!(store.oldest(), Epoch(0));
        store.checkpoint().unwrap();
        let oldest = store.oldest();
        assert!((50..=90).contains(&oldest.0), "kept from {oldest}");
        assert_eq!(
            store.read_log(Epoch(oldest.0 - 1)).err().unwrap().kind(),
            ErrorKind::OutOfRange
        );
        assert_eq!(
            store.read_log(oldest).unwrap().map(Result::unwrap).count() as u64,
            100 - oldest.0
        );
        // A reader that was overtaken says so, once.
        let rest: Vec<_> = slow.collect();
        assert_eq!(
            rest.last().unwrap().as_ref().unwrap_err().kind(),
            ErrorKind::OutOfRange
        );
        assert_eq!(rest.iter().filter(|read| read.is_err()).count(), 1);
    }
}

#[test]
fn damage_is_found_by_who_reads_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = reopen(dir.path()).unwrap();
    (1..4).for_each(|value| put(&store, value));
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let read: Vec<_> = store.read_log(Epoch(1)).unwrap().collect();
    assert_eq!(read.len(), 2);
    assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
}
