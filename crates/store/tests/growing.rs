//! Arrangements that are made piece by piece while the relation changes.

use crate::{nothing, open};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{
    Batch, Column, ColumnPath, Relation, RelationId, RelationKind, RelationName, SourceId, Table, View,
};
use viewfeed_store::arrange::{self, Arrangement, Position};
use viewfeed_store::{Reader, Txn, keys};

type Rows = BTreeMap<(i64, i64), i64>;

fn relation(kind: RelationKind) -> Relation {
    Relation {
        id: RelationId(3),
        name: RelationName::new("public", "pairs"),
        columns: vec![
            Column::new(1, "a", DataType::Int64, true),
            Column::new(2, "b", DataType::Int64, true),
        ],
        key: vec![],
        kind,
        schema_version: 1,
    }
}

fn table() -> Relation {
    relation(RelationKind::Table(Table {
        source: SourceId::new("test"),
        checks: vec![],
        indexes: vec![],
    }))
}

fn batch(rows: &[((i64, i64), i64)]) -> Batch {
    let column = |pick: fn(&(i64, i64)) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|(row, _)| pick(row)).collect::<Int64Array>())
    };
    let columns = vec![column(|row| row.0), column(|row| row.1)];
    let rows_ = RecordBatch::try_new(table().schema(), columns).unwrap();
    Batch::new(rows_, rows.iter().map(|(_, weight)| *weight).collect()).unwrap()
}

fn content(arrangement: &dyn Arrangement, reader: &Reader) -> Rows {
    let mut found = Rows::new();
    let mut each = |batch: Batch| {
        let column = |place: usize| {
            let column = batch.rows().column(place).as_any().downcast_ref::<Int64Array>();
            column.unwrap().clone()
        };
        let (a, b) = (column(0), column(1));
        for (row, weight) in batch.weights().iter().enumerate() {
            found.insert((a.value(row), b.value(row)), *weight);
        }
        Ok(ControlFlow::Continue(()))
    };
    arrangement.scan(reader, &[], 100, &mut each).unwrap();
    found
}

fn some_rows(random: &mut StdRng, count: usize) -> Vec<((i64, i64), i64)> {
    let mut row = || {
        let pair = (random.random_range(0..12), random.random_range(0..12));
        (pair, random.random_range(1..3))
    };
    (0..count).map(|_| row()).collect()
}

fn stage(txn: &mut Txn, rows: &[((i64, i64), i64)]) {
    for arrangement in arrange::all(&txn.now(), &table()).unwrap() {
        arrangement.stage(txn, &batch(rows)).unwrap();
    }
}

#[test]
fn an_arrangement_grows_to_what_it_would_be_at_once() {
    let mut random = StdRng::seed_from_u64(crate::seed());
    let by_b = [ColumnPath::from(1)];
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let mut txn = store.begin().unwrap();
        arrange::ensure(&mut txn, &table(), &[]).unwrap();
        stage(&mut txn, &some_rows(&mut random, 40));
        assert!(arrange::begin(&mut txn, &table(), &by_b).unwrap());
        store.commit(txn, &nothing()).unwrap();
        // One that began before, and is adopted at the end.
        let mut shadow = store.shadow();
        let late = some_rows(&mut random, 10);
        stage(&mut shadow, &late);
        let mut is_whole = false;
        while !is_whole {
            let mut txn = store.begin().unwrap();
            assert!(arrange::find(&txn.now(), &table(), &by_b).unwrap().is_none());
            let rows_max = random.random_range(1..9);
            let (rows, whole) = arrange::grow(&mut txn, &table(), &by_b, rows_max).unwrap();
            assert!(rows <= rows_max);
            is_whole = whole;
            store.commit(txn, &nothing()).unwrap();
            if !is_whole && random.random_bool(0.2) {
                let mut txn = store.begin().unwrap();
                let base = shadow.now();
                txn.adopt(std::mem::replace(&mut shadow, store.shadow()));
                arrange::catch_up(&mut txn, &base, &table(), &batch(&late)).unwrap();
                store.commit(txn, &nothing()).unwrap();
                break;
            }
        }
        let mut txn = store.begin().unwrap();
        for _ in 0..3 {
            stage(&mut txn, &some_rows(&mut random, 5));
            txn.seal();
            arrange::grow(&mut txn, &table(), &by_b, 4).unwrap();
            txn.seal();
        }
        let grown = arrange::ensure(&mut txn, &table(), &by_b).unwrap();
        let primary = arrange::primary(&txn.now(), &table()).unwrap();
        let now = txn.now();
        assert_eq!(content(grown.as_ref(), &now), content(primary.as_ref(), &now));
    }
}

#[test]
fn a_view_that_is_being_filled_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let view = relation(RelationKind::View(View {
        sql: String::new(),
        search_schema: String::new(),
        inputs: vec![],
        require_incremental: false,
        on_error: Default::default(),
    }));
    let mut txn = store.begin().unwrap();
    let half = arrange::Filling {
        rows: 10,
        rows_estimated: 20,
    };
    arrange::mark_filling(&mut txn, &view, half).unwrap();
    let refused = arrange::primary(&txn.now(), &view).err().unwrap();
    assert_eq!(refused.reason(), "VIEW_FILLING");
    assert!(refused.to_string().contains("50 %"), "{refused}");
    assert!(arrange::unfinished(&txn.now(), &view).is_ok());
    arrange::mark_filled(&mut txn, &view).unwrap();
    assert!(arrange::primary(&txn.now(), &view).is_ok());
    arrange::mark_filling(&mut txn, &view, half).unwrap();
    keys::release(&mut txn, &arrange::relation_state(&view, &[])).unwrap();
    arrange::renew_all(&mut txn, &view).unwrap();
    assert!(arrange::primary(&txn.now(), &view).is_ok());
}

#[test]
fn rows_are_estimated_from_a_part_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    let primary = arrange::ensure(&mut txn, &table(), &[]).unwrap();
    assert_eq!(arrange::rows_about(primary.as_ref(), &txn.now(), 100).unwrap(), 0);
    let rows: Vec<_> = (0..10_000).map(|row| ((row * 3, row % 7), 1)).collect();
    stage(&mut txn, &rows[..60]);
    assert_eq!(
        arrange::rows_about(primary.as_ref(), &txn.now(), 100).unwrap(),
        60
    );
    stage(&mut txn, &rows[60..]);
    let about = arrange::rows_about(primary.as_ref(), &txn.now(), 100).unwrap();
    assert!((9_000..11_000).contains(&about), "{about}");
}

#[test]
fn a_position_is_what_was_stored() {
    for position in [Position::Start, Position::At(vec![0, 255]), Position::End] {
        assert_eq!(Position::from_bytes(&position.to_bytes()).unwrap(), position);
    }
    for damaged in [&[][..], &[0, 1], &[2, 1], &[9]] {
        assert!(Position::from_bytes(damaged).is_err());
    }
}
