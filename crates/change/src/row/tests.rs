//! Facts about the row codec, with `arrow-row` as the oracle of its order.

use super::*;
use arrow::array::*;
use arrow_row::{RowConverter, SortField};
use arrow_schema::SortOptions;
use proptest::prelude::*;

fn some_batch(values: &[Value]) -> RecordBatch {
    let lists = ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>(values.iter().map(|v| {
        v.3.as_ref().map(|b| {
            b.iter()
                .map(|x| (*x > 9).then_some(*x as i32))
                .collect::<Vec<_>>()
        })
    }));
    let text: StringArray = values.iter().map(|v| v.2.clone()).collect();
    let inner: Float64Array = values.iter().map(|v| v.1).collect();
    let field = Arc::new(Field::new("f", DataType::Float64, true));
    let nulls = arrow::buffer::NullBuffer::from_iter(values.iter().map(|v| v.4.is_some()));
    let nested = StructArray::try_new(vec![field].into(), vec![Arc::new(inner)], Some(nulls)).unwrap();
    RecordBatch::try_from_iter_with_nullable([
        (
            "i",
            Arc::new(values.iter().map(|v| v.0).collect::<Int64Array>()) as ArrayRef,
            true,
        ),
        (
            "f",
            Arc::new(values.iter().map(|v| v.1).collect::<Float64Array>()) as ArrayRef,
            true,
        ),
        ("t", Arc::new(text) as ArrayRef, true),
        (
            "b",
            Arc::new(values.iter().map(|v| v.3.clone()).collect::<BinaryArray>()) as ArrayRef,
            true,
        ),
        (
            "o",
            Arc::new(values.iter().map(|v| v.4).collect::<BooleanArray>()) as ArrayRef,
            true,
        ),
        ("l", Arc::new(lists) as ArrayRef, true),
        ("s", Arc::new(nested) as ArrayRef, true),
    ])
    .unwrap()
}

type Value = (
    Option<i64>,
    Option<f64>,
    Option<String>,
    Option<Vec<u8>>,
    Option<bool>,
);

fn value() -> impl Strategy<Value = Value> {
    let int = prop_oneof![Just(None), any::<i64>().prop_map(Some), (-2i64..3).prop_map(Some)];
    let float = prop_oneof![
        Just(None),
        any::<f64>().prop_map(Some),
        Just(Some(-0.0)),
        Just(Some(f64::NAN))
    ];
    let text = prop_oneof![Just(None), "[\u{0}a-c]{0,4}".prop_map(Some)];
    let bytes = proptest::option::of(proptest::collection::vec(
        prop_oneof![Just(0u8), Just(255), any::<u8>()],
        0..5,
    ));
    (int, float, text, bytes, any::<Option<bool>>())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(values in proptest::collection::vec(value(), 1..20)) {
        let batch = some_batch(&values);
        let codec = RowCodec::for_schema(&batch.schema()).unwrap();
        let rows = codec.encode(&batch).unwrap();
        let back = codec.decode(rows.iter()).unwrap();
        // Bytes are compared, not values: NaN differs from itself.
        prop_assert_eq!(codec.encode(&back).unwrap(), rows);
        prop_assert_eq!(back.column(0), batch.column(0));
        prop_assert_eq!(back.column(2), batch.column(2));
        prop_assert_eq!(back.column(5), batch.column(5));
    }

    #[test]
    fn bytes_sort_as_values_do(values in proptest::collection::vec(value(), 2..20)) {
        let batch = some_batch(&values);
        let fields = batch.schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        let converter = RowConverter::new(fields).unwrap();
        let oracle = converter.convert_columns(batch.columns()).unwrap();
        let rows = RowCodec::for_schema(&batch.schema()).unwrap().encode(&batch).unwrap();
        for a in 0..rows.len() {
            for b in 0..rows.len() {
                prop_assert_eq!(rows.row(a).cmp(rows.row(b)), oracle.row(a).cmp(&oracle.row(b)));
            }
        }
    }

    #[test]
    fn ordered_bytes_sort_as_an_order_by_does(
        values in proptest::collection::vec(value(), 2..20),
        options in proptest::collection::vec(any::<(bool, bool)>(), 7),
    ) {
        let batch = some_batch(&values);
        let options: Vec<SortOptions> = options
            .into_iter()
            .map(|(descending, nulls_first)| SortOptions { descending, nulls_first })
            .collect();
        for i in 0..options.len() {
            let (columns, options) = (&batch.columns()[i..], &options[i..]);
            let field = |(column, options): (&ArrayRef, &SortOptions)| {
                SortField::new_with_options(column.data_type().clone(), *options)
            };
            let converter = RowConverter::new(columns.iter().zip(options).map(field).collect()).unwrap();
            let oracle = converter.convert_columns(columns).unwrap();
            let rows = encode_ordered(columns, options, batch.num_rows()).unwrap();
            for a in 0..rows.len() {
                for b in 0..rows.len() {
                    prop_assert_eq!(rows.row(a).cmp(rows.row(b)), oracle.row(a).cmp(&oracle.row(b)));
                }
            }
        }
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let schema = some_batch(&[(None, None, None, None, None)]).schema();
        let _ = RowCodec::for_schema(&schema).unwrap().decode([bytes.as_slice()].into_iter());
    }

    #[test]
    fn a_key_is_a_prefix_of_its_row(values in proptest::collection::vec(value(), 1..9)) {
        let batch = some_batch(&values);
        let all = RowCodec::for_schema(&batch.schema()).unwrap();
        let key = RowCodec::for_paths(&batch.schema(), &[ColumnPath::from(0), ColumnPath::from(1)]).unwrap();
        let (rows, keys) = (all.encode(&batch).unwrap(), key.encode(&batch).unwrap());
        for i in 0..rows.len() {
            prop_assert_eq!(&rows.row(i)[..all.prefix_len(rows.row(i), 2).unwrap()], keys.row(i));
        }
    }
}

#[test]
fn a_path_reaches_into_a_struct_and_sees_its_null() {
    let batch = some_batch(&[
        (None, Some(1.5), None, None, Some(true)),
        (None, Some(2.5), None, None, None),
    ]);
    let array = array_at(&batch, &ColumnPath(vec![6, 0])).unwrap();
    assert_eq!(
        array
            .as_primitive::<arrow::datatypes::Float64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(1.5), None]
    );
}
