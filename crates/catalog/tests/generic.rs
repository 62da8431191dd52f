//! Rows for tools that know no module.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Decimal128Array, Int32Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimeUnit};
use std::sync::Arc;
use viewfeed_catalog::{row_type, rows_to_wire, text_to_array};
use viewfeed_change::Column;
use viewfeed_wire::v1::value::Kind;

fn kinds(array: ArrayRef) -> Vec<Option<Kind>> {
    let rows = RecordBatch::try_from_iter_with_nullable([("a", array, true)]).unwrap();
    rows_to_wire(&rows)
        .unwrap()
        .into_iter()
        .map(|mut row| row.values.pop().unwrap().kind)
        .collect()
}

#[test]
fn every_type_has_a_value_and_null_is_nothing() {
    assert_eq!(
        kinds(Arc::new(Int32Array::from(vec![Some(-1), None]))),
        [Some(Kind::Int(-1)), None]
    );
    assert_eq!(
        kinds(Arc::new(StringArray::from(vec![Some("x"), None]))),
        [Some(Kind::Text("x".into())), None]
    );
    assert_eq!(
        kinds(Arc::new(BinaryArray::from(vec![&b"\0\xff"[..]]))),
        [Some(Kind::Bytes(vec![0, 255].into()))]
    );
    let numeric = Decimal128Array::from(vec![12345])
        .with_precision_and_scale(10, 2)
        .unwrap();
    assert_eq!(kinds(Arc::new(numeric)), [Some(Kind::Text("123.45".into()))]);
    let at = TimestampMicrosecondArray::from(vec![-1]).with_timezone("UTC");
    let [Some(Kind::Timestamp(at))] = &kinds(Arc::new(at))[..] else {
        panic!()
    };
    assert_eq!((at.seconds, at.nanos), (-1, 999_999_000));
}

#[test]
fn lists_and_structs_nest() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let [Some(Kind::List(list)), None] = &kinds(Arc::new(list))[..] else {
        panic!()
    };
    assert_eq!(
        list.values
            .iter()
            .map(|value| value.kind.clone())
            .collect::<Vec<_>>(),
        [Some(Kind::Int(1)), None]
    );
    let inner: ArrayRef = Arc::new(StringArray::from(vec!["general"]));
    let parent = StructArray::from(vec![(Arc::new(Field::new("name", DataType::Utf8, true)), inner)]);
    let [Some(Kind::Struct(value))] = &kinds(Arc::new(parent))[..] else {
        panic!()
    };
    assert_eq!(value.fields[0].name, "name");
}

#[test]
fn text_becomes_a_value_of_the_type() {
    let number = text_to_array(Some("42"), &DataType::Int64).unwrap();
    assert_eq!(number.as_primitive::<Int64Type>().value(0), 42);
    assert!(text_to_array(None, &DataType::Int64).unwrap().is_null(0));
    assert_eq!(
        text_to_array(Some("\\x00fF"), &DataType::Binary)
            .unwrap()
            .as_binary::<i32>()
            .value(0),
        [0, 255]
    );
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(
        text_to_array(Some("2020-01-01T00:00:00Z"), &at)
            .unwrap()
            .data_type(),
        &at
    );
    for (text, data_type) in [
        ("x", DataType::Int64),
        ("\\x0", DataType::Binary),
        ("\\xää", DataType::Binary),
        ("1", DataType::Struct(Default::default())),
    ] {
        let error = text_to_array(Some(text), &data_type).unwrap_err();
        assert_eq!(error.kind(), viewfeed_change::ErrorKind::Invalid);
    }
}

#[test]
fn a_row_type_names_columns_types_and_key() {
    let columns = [
        Column::new(0, "a", DataType::Int64, false),
        Column::new(1, "b", DataType::Utf8, true),
    ];
    let described = row_type(&columns, &[1], |column| format!("<{}>", column.name));
    assert_eq!(described.key, [1]);
    assert_eq!(described.columns[1].r#type, "<b>");
    assert!(described.columns[1].nullable && !described.columns[0].nullable);
}
