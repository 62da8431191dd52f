//! A commit beside the bare append and fdatasync of the same disk, and what arrangements cost per row.
//!
//! `cargo bench -p viewfeed-store --bench commit`. The data folder is made in `$VIEWFEED_BENCH_DIR` (default: the
//! system's folder for temporary files): point it to the disk you ask about.

#![allow(missing_docs, clippy::unwrap_used)]

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, ColumnPath, Timestamp};
use viewfeed_store::{EpochRecord, Options, Store, arrange};

fn folder() -> tempfile::TempDir {
    match std::env::var_os("VIEWFEED_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn nothing() -> EpochRecord {
    EpochRecord {
        commit_time: Timestamp(0),
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    }
}

/// What a commit of a few rows puts in the log.
const SMALL_EPOCH_BYTES: usize = 300;

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(50);
    let dir = folder();
    let mut file = File::create(dir.path().join("bare")).unwrap();
    group.bench_function("bare append and fdatasync", |bencher| {
        bencher.iter(|| {
            file.write_all(&[7; SMALL_EPOCH_BYTES]).unwrap();
            file.sync_data().unwrap();
        });
    });
    let store = Store::open(&dir.path().join("store"), Options::default()).unwrap();
    let mut number = 0u64;
    group.bench_function("one small epoch", |bencher| {
        bencher.iter(|| {
            let mut txn = store.begin().unwrap();
            for _ in 0..4 {
                number += 1;
                txn.put(
                    [&b"a0000"[..], &number.to_be_bytes(), &[1; 40]].concat(),
                    Vec::new(),
                );
            }
            store.commit(txn, &nothing()).unwrap();
        });
    });
    group.finish();
}

/// `count` rows of (id, group, text), ids from `first` on.
fn rows(first: i64, count: i64) -> Batch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("group", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
    ]);
    let ids = Int64Array::from_iter_values(first..first + count);
    let groups = Int64Array::from_iter_values((first..first + count).map(|id| id % 1000));
    let texts = StringArray::from_iter_values((first..first + count).map(|id| format!("text of item {id}")));
    let columns = vec![Arc::new(ids) as _, Arc::new(groups) as _, Arc::new(texts) as _];
    Batch::inserts(RecordBatch::try_new(Arc::new(schema), columns).unwrap())
}

fn arrangements(criterion: &mut Criterion) {
    let dir = folder();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mut txn = store.begin().unwrap();
    let key = [ColumnPath::from(0)];
    let filled = rows(0, 200_000);
    let (made, _) = arrange::ensure_named(&mut txn, "bench", &filled.schema(), &key).unwrap();
    made.stage(&mut txn, &filled).unwrap();
    store.commit(txn, &nothing()).unwrap();
    store.checkpoint().unwrap();
    let mut group = criterion.benchmark_group("arrangement");
    group.sample_size(10);
    for count in [1, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        let fresh = rows(1_000_000, count);
        group.bench_function(format!("stage {count}"), |bencher| {
            let start = || store.shadow();
            bencher.iter_batched(
                start,
                |mut txn| {
                    made.stage(&mut txn, &fresh).unwrap();
                    txn
                },
                BatchSize::PerIteration,
            );
        });
        let reader = store.reader();
        let codec = RowCodec::for_paths(&filled.schema(), &key).unwrap();
        let probes = codec.encode(rows(50_000, count).rows()).unwrap();
        group.bench_function(format!("lookup {count}"), |bencher| {
            bencher.iter(|| made.lookup(&reader, &probes).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, commits, arrangements);
criterion_main!(benches);
