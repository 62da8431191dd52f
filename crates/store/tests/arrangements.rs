//! Arrangements against a naive model: a map from rows to weights.

use crate::{nothing, open};
use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{
    Batch, Column, ColumnPath, Relation, RelationId, RelationKind, RelationName, SourceId, Table,
};
use viewfeed_store::arrange::{self, Arrangement};
use viewfeed_store::{Reader, Txn};

/// A row of `items`: id, name, (code, note). The struct itself, and everything but the id, may be NULL.
type Item = (i64, Option<String>, Option<(Option<i32>, Option<String>)>);

fn place_fields() -> Fields {
    Fields::from(vec![
        Field::new("code", DataType::Int32, true),
        Field::new("note", DataType::Utf8, true),
    ])
}

fn items(key: &[usize]) -> Relation {
    let table = Table {
        source: SourceId::new("embedded"),
        checks: Vec::new(),
        indexes: Vec::new(),
    };
    Relation {
        id: RelationId(7),
        name: RelationName::new("public", "items"),
        columns: vec![
            Column::new(1, "id", DataType::Int64, false),
            Column::new(2, "name", DataType::Utf8, true),
            Column::new(3, "place", DataType::Struct(place_fields()), true),
        ],
        key: key.to_vec(),
        kind: RelationKind::Table(table),
        schema_version: 1,
    }
}

fn to_batch(rows: &[(Item, i64)]) -> Batch {
    let ids: Int64Array = rows.iter().map(|(row, _)| Some(row.0)).collect();
    let names: StringArray = rows.iter().map(|(row, _)| row.1.clone()).collect();
    let codes: Int32Array = rows
        .iter()
        .map(|(row, _)| row.2.as_ref().and_then(|place| place.0))
        .collect();
    let notes: StringArray = rows
        .iter()
        .map(|(row, _)| row.2.as_ref().and_then(|place| place.1.clone()))
        .collect();
    let valid = arrow::buffer::NullBuffer::from_iter(rows.iter().map(|(row, _)| row.2.is_some()));
    let children: Vec<ArrayRef> = vec![Arc::new(codes), Arc::new(notes)];
    let places = StructArray::new(place_fields(), children, Some(valid));
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names), Arc::new(places)];
    let rows_ = RecordBatch::try_new(items(&[]).schema(), columns).unwrap();
    Batch::new(rows_, rows.iter().map(|(_, weight)| *weight).collect()).unwrap()
}

fn to_rows(batch: &Batch) -> Vec<(Item, i64)> {
    let column = |place: usize| batch.rows().column(place);
    let ids = column(0).as_any().downcast_ref::<Int64Array>().unwrap();
    let names = column(1).as_any().downcast_ref::<StringArray>().unwrap();
    let places = column(2).as_any().downcast_ref::<StructArray>().unwrap();
    let codes = places.column(0).as_any().downcast_ref::<Int32Array>().unwrap();
    let notes = places.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    let text = |array: &StringArray, row| array.is_valid(row).then(|| array.value(row).to_owned());
    let one = |row: usize| {
        let place = places
            .is_valid(row)
            .then(|| (codes.is_valid(row).then(|| codes.value(row)), text(notes, row)));
        ((ids.value(row), text(names, row), place), batch.weights()[row])
    };
    (0..batch.len()).map(one).collect()
}

fn some_item(random: &mut StdRng) -> Item {
    let mut text = || {
        random
            .random_bool(0.7)
            .then(|| ["", "a", "b\0", "ab"][random.random_range(0..4)].to_owned())
    };
    let (name, note) = (text(), text());
    let code = random.random_bool(0.7).then(|| random.random_range(-1..2));
    (
        random.random_range(-2..3),
        name,
        random.random_bool(0.7).then_some((code, note)),
    )
}

/// Keys of every kind: none, the relation's, composite, nested, a column with a field of it, and one twice.
fn keys() -> Vec<Vec<ColumnPath>> {
    let path = |places: &[usize]| ColumnPath(places.to_vec());
    vec![
        vec![],
        vec![path(&[0])],
        vec![path(&[1]), path(&[0])],
        vec![path(&[2, 1])],
        vec![path(&[2, 0]), path(&[2])],
        vec![path(&[1]), path(&[1])],
    ]
}

type Model = BTreeMap<Item, i64>;

fn add(model: &mut Model, rows: &[(Item, i64)]) {
    for (row, weight) in rows {
        *model.entry(row.clone()).or_default() += weight;
    }
    model.retain(|_, weight| *weight != 0);
}

fn scanned(
    arrangement: &dyn Arrangement,
    reader: &Reader,
    prefix: &[u8],
    rows_max: usize,
) -> Vec<(Item, i64)> {
    let mut found = Vec::new();
    arrangement
        .scan(reader, prefix, rows_max, &mut |batch| {
            assert!(batch.len() <= rows_max && !batch.is_empty());
            found.extend(to_rows(&batch));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

/// How many rows a range has.
fn in_range(arrangement: &dyn Arrangement, reader: &Reader, from: &[u8], last: Option<&[u8]>) -> usize {
    let mut count = 0;
    let mut each = |batch: Batch| {
        count += batch.len();
        Ok(ControlFlow::Continue(()))
    };
    arrangement.scan_range(reader, from, last, 3, &mut each).unwrap();
    count
}

/// Everything an arrangement answers about `probes` must be what the model says.
fn agrees(arrangement: &dyn Arrangement, reader: &Reader, model: &Model, probes: &[(Item, i64)]) {
    let mut all = scanned(arrangement, reader, &[], 3);
    let codec = RowCodec::for_paths(&items(&[]).schema(), arrangement.key()).unwrap();
    let key_of = |rows: &[(Item, i64)]| codec.encode(to_batch(rows).rows()).unwrap();
    let ordered = key_of(&all);
    assert!(
        ordered.iter().zip(ordered.iter().skip(1)).all(|(a, b)| a <= b),
        "a scan is in key order"
    );
    all.sort();
    assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
    let keys = key_of(probes);
    let matches = arrangement.lookup(reader, &keys).unwrap();
    assert!(matches.probe.is_sorted());
    let found = to_rows(&matches.batch);
    let model_rows: Vec<_> = model.clone().into_iter().collect();
    let model_keys = key_of(&model_rows);
    for probe in 0..keys.len() {
        let mut got: Vec<_> = found
            .iter()
            .zip(&matches.probe)
            .filter(|(_, at)| **at as usize == probe)
            .map(|(row, _)| row.clone())
            .collect();
        got.sort();
        let mut want: Vec<_> = (0..model_rows.len())
            .filter(|row| model_keys.row(*row) == keys.row(probe))
            .map(|row| model_rows[row].clone())
            .collect();
        want.sort();
        assert_eq!(got, want);
        assert_eq!(
            arrangement.count(reader, keys.row(probe), 10_000).unwrap(),
            want.len() as u64
        );
        assert_eq!(
            arrangement.count(reader, keys.row(probe), 1).unwrap(),
            want.len().min(1) as u64
        );
        assert_eq!(
            scanned(arrangement, reader, keys.row(probe), 100).len(),
            want.len()
        );
        let from = keys.row(probe);
        for last in [None, Some(from), Some(keys.row(0))] {
            let is_in = |key: &[u8]| key >= from && last.is_none_or(|last| key <= last);
            let want = model_keys.iter().filter(|key| is_in(key)).count();
            assert_eq!(in_range(arrangement, reader, from, last), want);
        }
    }
}

fn stage_all(txn: &mut Txn, relation: &Relation, rows: &[(Item, i64)]) {
    arrange::stage_all(txn, relation, &to_batch(rows)).unwrap();
}

#[test]
fn arrangements_of_a_bag_agree_with_a_map_of_rows_to_weights() {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let relation = items(&[]);
    let mut model = Model::new();
    for round in 0..60 {
        let mut txn = store.begin().unwrap();
        if let Some(key) = keys().get(round / 5) {
            arrange::ensure(&mut txn, &relation, key).unwrap();
        }
        let before = model.clone();
        for _ in 0..random.random_range(0..4) {
            let rows: Vec<_> = (0..random.random_range(0..12))
                .map(|_| (some_item(&mut random), random.random_range(-1..3)))
                .collect();
            let savepoint = txn.savepoint();
            stage_all(&mut txn, &relation, &rows);
            if random.random_bool(0.3) {
                txn.rollback(savepoint).unwrap();
            } else {
                add(&mut model, &rows);
            }
            let probes: Vec<_> = (0..5).map(|_| (some_item(&mut random), 1)).collect();
            for arrangement in arrange::all(&txn.now(), &relation).unwrap() {
                agrees(arrangement.as_ref(), &txn.now(), &model, &probes);
            }
            if random.random_bool(0.2) {
                txn.seal();
                let primary = arrange::primary(&txn.before(), &relation).unwrap();
                agrees(primary.as_ref(), &txn.before(), &model, &probes);
            }
        }
        match random.random_range(0..4) {
            0 => {
                drop(txn);
                model = before;
            }
            _ => {
                store.commit(txn, &nothing()).unwrap();
            }
        }
        if round == 0 && store.epoch().0 == 0 {
            let mut txn = store.begin().unwrap();
            arrange::ensure(&mut txn, &relation, &[]).unwrap();
            store.commit(txn, &nothing()).unwrap();
        }
        if random.random_bool(0.2) {
            store.checkpoint().unwrap();
        }
    }
}

#[test]
fn a_relation_with_a_key_is_staged_in_any_order_within_a_delta() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let relation = items(&[0]);
    let item = |id, name: &str| (id, Some(name.to_owned()), None);
    let mut txn = store.begin().unwrap();
    let primary = arrange::ensure(&mut txn, &relation, &relation.key_paths()).unwrap();
    primary
        .stage(&mut txn, &to_batch(&[(item(1, "a"), 1), (item(2, "b"), 1)]))
        .unwrap();
    store.commit(txn, &nothing()).unwrap();
    let mut txn = store.begin().unwrap();
    // An update that changes nothing, and one that does, the new row first.
    primary
        .stage(&mut txn, &to_batch(&[(item(1, "a"), 1), (item(1, "a"), -1)]))
        .unwrap();
    primary
        .stage(&mut txn, &to_batch(&[(item(2, "c"), 1), (item(2, "b"), -1)]))
        .unwrap();
    assert_eq!(
        scanned(primary.as_ref(), &txn.now(), &[], 10),
        [(item(1, "a"), 1), (item(2, "c"), 1)]
    );
    assert!(primary.stage(&mut txn, &to_batch(&[(item(3, "d"), 2)])).is_err());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "weight 1 of a relation with a key changed by 1")]
fn a_row_added_twice_to_a_relation_with_a_key_is_caught_in_debug_builds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    let primary = arrange::ensure(&mut txn, &items(&[0]), &[ColumnPath::from(0)]).unwrap();
    let row = to_batch(&[((1, None, None), 1)]);
    primary.stage(&mut txn, &row).unwrap();
    primary.stage(&mut txn, &row).unwrap();
}

#[test]
fn a_weight_below_zero_is_kept_until_it_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    let schema = items(&[]).schema();
    let (made, is_new) = arrange::ensure_named(&mut txn, "view/3", &schema, &[ColumnPath::from(1)]).unwrap();
    assert!(is_new);
    let row = (5, None, None);
    made.stage(&mut txn, &to_batch(&[(row.clone(), -2)])).unwrap();
    assert_eq!(scanned(made.as_ref(), &txn.now(), &[], 9), [(row.clone(), -2)]);
    made.stage(&mut txn, &to_batch(&[(row.clone(), 2)])).unwrap();
    assert_eq!(scanned(made.as_ref(), &txn.now(), &[], 9), []);
    let (_, is_new) = arrange::ensure_named(&mut txn, "view/3", &schema, &[ColumnPath::from(1)]).unwrap();
    assert!(!is_new);
}

#[test]
fn a_relation_that_gets_a_column_gets_new_arrangements_beside_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = items(&[0]);
    let mut new = old.clone();
    new.columns.push(Column::new(4, "more", DataType::Int64, true));
    new.schema_version = 2;
    let mut txn = store.begin().unwrap();
    let row = ((1, None, None), 1);
    arrange::ensure(&mut txn, &old, &old.key_paths())
        .unwrap()
        .stage(&mut txn, &to_batch(std::slice::from_ref(&row)))
        .unwrap();
    assert!(arrange::primary(&txn.now(), &new).is_err());
    arrange::ensure(&mut txn, &new, &new.key_paths()).unwrap();
    arrange::ensure(&mut txn, &new, &[ColumnPath::from(3)]).unwrap();
    assert_eq!(arrange::all(&txn.now(), &new).unwrap().len(), 2);
    assert_eq!(
        arrange::all(&txn.now(), &new).unwrap()[0].key(),
        [ColumnPath::from(0)]
    );
    let kept = arrange::primary(&txn.now(), &old).unwrap();
    assert_eq!(scanned(kept.as_ref(), &txn.now(), &[], 9), [row]);
    arrange::release_all(&mut txn, &old).unwrap();
    assert!(arrange::primary(&txn.now(), &old).is_err());
    assert!(
        arrange::find(&txn.now(), &new, &[ColumnPath::from(3)])
            .unwrap()
            .is_some()
    );
    // A column of another type under the same id is another layout; a renamed one is not.
    let name = |relation: &Relation| arrange::relation_state(relation, &[]);
    let mut renamed = new.clone();
    renamed.columns[1].name = "title".into();
    assert_eq!(name(&renamed), name(&new));
    new.columns[1].data_type = DataType::Binary;
    assert_ne!(name(&renamed), name(&new));
}

#[test]
fn a_scan_stops_when_told_and_a_lookup_of_nothing_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    let primary = arrange::ensure(&mut txn, &items(&[0]), &[ColumnPath::from(0)]).unwrap();
    let rows: Vec<_> = (0..5000).map(|id| ((id, None, None), 1)).collect();
    primary.stage(&mut txn, &to_batch(&rows)).unwrap();
    store.commit(txn, &nothing()).unwrap();
    let mut batches = 0;
    let each = &mut |batch: Batch| {
        batches += 1;
        assert_eq!(batch.len(), 10);
        Ok(ControlFlow::Break(()))
    };
    primary.scan(&store.reader(), &[], 10, each).unwrap();
    assert_eq!(batches, 1);
    assert_eq!(primary.count(&store.reader(), &[], 4000).unwrap(), 4000);
    assert_eq!(primary.count(&store.reader(), &[], u64::MAX).unwrap(), 5000);
    let matches = primary.lookup(&store.reader(), &Rows::default()).unwrap();
    assert_eq!((matches.batch.len(), matches.probe.len()), (0, 0));
    assert_eq!(matches.batch.schema(), items(&[0]).schema());
}
