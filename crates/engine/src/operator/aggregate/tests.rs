//! The operator against DataFusion's own accumulators, for every function and type it says it supports.

use super::*;
use crate::operator::distinct::Distinct;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, IntervalDayTime, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::functions_aggregate::{average, bit_and_or_xor, bool_and_or, count, min_max, sum};
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::scalar::ScalarValue;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use viewfeed_change::{RelationId, Timestamp};
use viewfeed_store::{Durability, EpochRecord, Options, Store};

const FUNCTIONS: [AggregateFunction; 10] = [
    AggregateFunction::Count,
    AggregateFunction::Sum,
    AggregateFunction::Avg,
    AggregateFunction::Min,
    AggregateFunction::Max,
    AggregateFunction::BoolAnd,
    AggregateFunction::BoolOr,
    AggregateFunction::BitAnd,
    AggregateFunction::BitOr,
    AggregateFunction::BitXor,
];

fn unlogged() -> ErrorLog {
    ErrorLog::new(RelationId(0), "aggregate")
}

fn types() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Utf8,
        Binary,
        FixedSizeBinary(2),
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Decimal128(10, 2),
        Decimal128(38, 4),
        Decimal256(50, 3),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
    ];
    for unit in [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ] {
        types.extend([
            Timestamp(unit, None),
            Timestamp(unit, Some("UTC".into())),
            Duration(unit),
        ]);
    }
    types
}

/// A value of `data_type` that grows with `i`, or NULL for `i` = 0.
fn value(data_type: &DataType, i: i64) -> ScalarValue {
    let small = i as i32 - 3;
    match data_type {
        _ if i == 0 => ScalarValue::try_from(data_type).unwrap(),
        DataType::Boolean => ScalarValue::Boolean(Some(i > 3)),
        DataType::Binary => ScalarValue::Binary(Some(vec![0; i as usize])),
        DataType::FixedSizeBinary(_) => ScalarValue::FixedSizeBinary(2, Some(vec![i as u8, 0])),
        DataType::Interval(IntervalUnit::YearMonth) => ScalarValue::IntervalYearMonth(Some(small)),
        DataType::Interval(IntervalUnit::DayTime) => {
            ScalarValue::IntervalDayTime(Some(IntervalDayTime::new(small, -small)))
        }
        DataType::Interval(_) => {
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(small / 2, small, i * i)))
        }
        DataType::Float64 => ScalarValue::Float64(Some(f64::from(small) / 4.0)),
        DataType::Date64 => ScalarValue::Date64(Some(i * 86_400_000)),
        other => ScalarValue::Int32(Some(i as i32))
            .cast_to(&DataType::Int64)
            .and_then(|value| value.cast_to(other))
            .or_else(|_| ScalarValue::Int32(Some(i as i32)).cast_to(other))
            .unwrap(),
    }
}

fn udaf(function: AggregateFunction) -> Arc<AggregateUDF> {
    match function {
        AggregateFunction::Count | AggregateFunction::CountRows => count::count_udaf(),
        AggregateFunction::Sum => sum::sum_udaf(),
        AggregateFunction::Avg => average::avg_udaf(),
        AggregateFunction::Min => min_max::min_udaf(),
        AggregateFunction::Max => min_max::max_udaf(),
        AggregateFunction::BoolAnd => bool_and_or::bool_and_udaf(),
        AggregateFunction::BoolOr => bool_and_or::bool_or_udaf(),
        AggregateFunction::BitAnd => bit_and_or_xor::bit_and_udaf(),
        AggregateFunction::BitOr => bit_and_or_xor::bit_or_udaf(),
        AggregateFunction::BitXor => bit_and_or_xor::bit_xor_udaf(),
        other => panic!("{other:?} is not tested here"),
    }
}

/// A store with one operator's state, and what it has put out.
struct Bench {
    store: Store,
    _dir: tempfile::TempDir,
    state: StateId,
    output: BTreeMap<Vec<u8>, i64>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 60_000 },
            ..Options::default()
        };
        let store = Store::open(dir.path(), options).unwrap();
        let mut txn = store.begin().unwrap();
        let (state, is_new) = keys::allocate(&mut txn, "under test").unwrap();
        assert!(is_new);
        let bench = Self {
            store,
            _dir: dir,
            state,
            output: BTreeMap::new(),
        };
        bench.commit(txn);
        bench
    }

    fn commit(&self, txn: Txn) {
        let record = EpochRecord {
            commit_time: Timestamp(0),
            transactions: Vec::new(),
            deltas: Vec::new(),
            schema_versions: vec![(RelationId(1), 1)],
        };
        self.store.commit(txn, &record).unwrap();
    }

    /// Fills the state from nothing, as when the view is created over empty tables.
    fn hydrate(&mut self, operator: &dyn Operator, batches: &[Batch]) {
        let mut txn = self.store.begin().unwrap();
        let mut changed = Vec::new();
        let collect: &Collect<'_> =
            &|txn, emit| batches.iter().try_for_each(|batch| emit(txn, batch.clone()));
        let mut emit = |_: &mut Txn, batch| {
            changed.push(batch);
            Ok(())
        };
        operator.hydrate(&[collect], &mut txn, &mut emit).unwrap();
        changed.iter().for_each(|batch| self.add(batch));
        self.commit(txn);
    }

    fn step(&mut self, operator: &dyn Operator, batch: &Batch) -> Result<()> {
        let mut txn = self.store.begin()?;
        let changed = operator.step(&[Some(batch)], &mut txn)?;
        changed.iter().for_each(|batch| self.add(batch));
        self.commit(txn);
        Ok(())
    }

    fn add(&mut self, batch: &Batch) {
        let rows = RowCodec::for_schema(&batch.schema())
            .unwrap()
            .encode(batch.rows())
            .unwrap();
        for (row, weight) in rows.iter().zip(batch.weights()) {
            *self.output.entry(row.to_vec()).or_default() += weight;
        }
        self.output.retain(|_, weight| *weight != 0);
    }

    fn state_entries(&self) -> usize {
        let prefix = keys::operator_prefix(self.state);
        let mut entries = 0;
        let mut each = |_: &[u8], _: &[u8]| {
            entries += 1;
            Ok(ControlFlow::Continue(()))
        };
        self.store.reader().scan(&prefix, &prefix, &mut each).unwrap();
        entries
    }
}

/// DataFusion's accumulator for a call of column `x`, if it has one.
fn accumulator(call: &AggregateCall, input: &SchemaRef) -> Option<Box<dyn Accumulator>> {
    let mut builder = AggregateExprBuilder::new(udaf(call.function), vec![Arc::new(ColumnExpr::new("x", 1))])
        .schema(input.clone())
        .alias("x");
    if call.is_distinct {
        builder = builder.distinct();
    }
    builder.build().unwrap().create_accumulator().ok()
}

/// One table: a group column and an argument of one type; every supported function of the argument.
struct Model {
    input: SchemaRef,
    spec: AggregateSpec,
    /// Groups and arguments by number (see [`value`]), with their weights.
    rows: BTreeMap<(i64, i64), i64>,
}

impl Model {
    fn new(data_type: &DataType, is_grouped: bool) -> Self {
        let group = Field::new("g", DataType::Int64, true);
        let input: SchemaRef = Arc::new(Schema::new(vec![
            group.clone(),
            Field::new("x", data_type.clone(), true),
        ]));
        let mut fields = vec![group];
        fields.truncate(usize::from(is_grouped));
        let mut calls = vec![AggregateCall::new(
            AggregateFunction::CountRows,
            vec![],
            DataType::Int64,
        )];
        for function in FUNCTIONS {
            let Ok(output_type) = udaf(function).return_type(std::slice::from_ref(data_type)) else {
                continue;
            };
            let argument = Argument {
                value: Arc::new(ColumnExpr::new("x", 1)),
                data_type: data_type.clone(),
            };
            let call = AggregateCall::new(function, vec![argument], output_type);
            let distinct = AggregateCall {
                is_distinct: true,
                ..call.clone()
            };
            let is_in_datafusion = |call: &&AggregateCall| accumulator(call, &input).is_some();
            let both = [call, distinct];
            calls.extend(
                both.iter()
                    .filter(|call| supports(call))
                    .filter(is_in_datafusion)
                    .cloned(),
            );
        }
        let named =
            |(i, call): (usize, &AggregateCall)| Field::new(format!("c{i}"), call.output_type.clone(), true);
        fields.extend(calls.iter().enumerate().map(named));
        let spec = AggregateSpec {
            group: (0..usize::from(is_grouped))
                .map(|_| Arc::new(ColumnExpr::new("g", 0)) as _)
                .collect(),
            always: (!is_grouped).then(Vec::new).into_iter().collect(),
            calls,
            output_schema: Arc::new(Schema::new(fields)),
        };
        Self {
            input,
            spec,
            rows: BTreeMap::new(),
        }
    }

    fn batch(&self, rows: &[((i64, i64), i64)]) -> Batch {
        let column = |i: usize, of: &dyn Fn(&(i64, i64)) -> i64| -> ArrayRef {
            let data_type = self.input.field(i).data_type();
            let values = rows.iter().map(|(row, _)| value(data_type, of(row)));
            match rows.is_empty() {
                true => arrow::array::new_empty_array(data_type),
                false => ScalarValue::iter_to_array(values).unwrap(),
            }
        };
        let columns = vec![column(0, &|row| row.0), column(1, &|row| row.1)];
        let batch = RecordBatch::try_new(self.input.clone(), columns).unwrap();
        Batch::new(batch, rows.iter().map(|(_, weight)| *weight).collect()).unwrap()
    }

    /// Random changes that leave no weight below 0.
    fn change(&mut self, rng: &mut SmallRng) -> Batch {
        let mut changes = Vec::new();
        for _ in 0..rng.random_range(0..8) {
            let row = (rng.random_range(0..3), rng.random_range(0..7));
            let count = self.rows.entry(row).or_default();
            let weight = if rng.random_bool(0.5) {
                -*count
            } else {
                rng.random_range(1..3)
            };
            *count += weight;
            changes.push((row, weight));
        }
        self.batch(&changes)
    }

    fn expected(&self) -> BTreeMap<Vec<u8>, i64> {
        let mut groups: BTreeMap<i64, Vec<ScalarValue>> = BTreeMap::new();
        let is_grouped = !self.spec.group.is_empty();
        if !is_grouped {
            groups.insert(0, Vec::new());
        }
        for ((group, argument), count) in &self.rows {
            let rows =
                std::iter::repeat_n(value(self.input.field(1).data_type(), *argument), *count as usize);
            if *count > 0 {
                groups
                    .entry(if is_grouped { *group } else { 0 })
                    .or_default()
                    .extend(rows);
            }
        }
        let codec = RowCodec::for_schema(&self.spec.output_schema).unwrap();
        let mut expected = BTreeMap::new();
        for (group, rows) in groups {
            let mut columns = vec![value(&DataType::Int64, group).to_array().unwrap()];
            columns.truncate(usize::from(is_grouped));
            columns.extend(
                self.spec
                    .calls
                    .iter()
                    .map(|call| self.reference(call, &rows).to_array().unwrap()),
            );
            let row = RecordBatch::try_new(self.spec.output_schema.clone(), columns).unwrap();
            expected.insert(codec.encode(&row).unwrap().row(0).to_vec(), 1);
        }
        expected
    }

    /// What DataFusion's accumulator makes of these rows.
    fn reference(&self, call: &AggregateCall, rows: &[ScalarValue]) -> ScalarValue {
        if call.function == AggregateFunction::CountRows {
            return ScalarValue::Int64(Some(rows.len() as i64));
        }
        let mut accumulator = accumulator(call, &self.input).unwrap();
        if !rows.is_empty() {
            accumulator
                .update_batch(&[ScalarValue::iter_to_array(rows.iter().cloned()).unwrap()])
                .unwrap();
        }
        accumulator.evaluate().unwrap()
    }
}

#[test]
fn every_supported_function_and_type_is_what_datafusion_computes() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    for data_type in types() {
        for is_grouped in [true, false] {
            let mut model = Model::new(&data_type, is_grouped);
            assert!(model.spec.calls.len() >= 4, "count, min and max of {data_type}");
            let mut bench = Bench::new();
            let operator = Aggregate::new(model.spec.clone(), bench.state, unlogged()).unwrap();
            let first = [model.change(&mut rng), model.change(&mut rng)];
            bench.hydrate(&operator, &first);
            for _ in 0..12 {
                assert_eq!(
                    bench.output,
                    model.expected(),
                    "{data_type}, grouped: {is_grouped}"
                );
                let delta = model.change(&mut rng);
                bench.step(&operator, &delta).unwrap();
            }
            let all: Vec<_> = model.rows.iter().map(|(row, count)| (*row, -count)).collect();
            bench.step(&operator, &model.batch(&all)).unwrap();
            model.rows.clear();
            assert_eq!(bench.output, model.expected(), "{data_type}, everything removed");
            assert_eq!(bench.state_entries(), 0, "{data_type}, everything removed");
        }
    }
}

#[test]
fn an_aggregate_without_groups_has_a_row_over_an_empty_input() {
    let model = Model::new(&DataType::Int64, false);
    let mut bench = Bench::new();
    let operator = Aggregate::new(model.spec.clone(), bench.state, unlogged()).unwrap();
    bench.hydrate(&operator, &[]);
    assert_eq!(bench.output, model.expected());
    assert_eq!(bench.output.len(), 1);
}

#[test]
fn removing_a_row_that_is_not_there_is_an_error() {
    let model = Model::new(&DataType::Int64, true);
    let there = model.batch(&[((1, 2), 1), ((1, 4), 1)]);
    for wrong in [((1, 2), -2), ((1, 3), -1), ((2, 2), -1)] {
        let mut bench = Bench::new();
        let operator = Aggregate::new(model.spec.clone(), bench.state, unlogged()).unwrap();
        bench.hydrate(&operator, std::slice::from_ref(&there));
        let error = bench.step(&operator, &model.batch(&[wrong])).unwrap_err();
        assert_eq!(error.reason(), "NEGATIVE_MULTIPLICITY");
    }
}

#[test]
fn integer_sums_wrap_as_in_datafusion_and_come_back() {
    let model = Model::new(&DataType::Int64, false);
    let mut bench = Bench::new();
    let operator = Aggregate::new(model.spec.clone(), bench.state, unlogged()).unwrap();
    let column = |values: Vec<i64>| -> Batch {
        let groups: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1; values.len()]));
        let values: ArrayRef = Arc::new(arrow::array::Int64Array::from(values));
        Batch::inserts(RecordBatch::try_new(model.input.clone(), vec![groups, values]).unwrap())
    };
    bench.hydrate(&operator, &[column(vec![i64::MAX, 5])]);
    let sum = |bench: &Bench| -> i64 {
        let codec = RowCodec::for_schema(&model.spec.output_schema).unwrap();
        let rows = codec.decode(bench.output.keys().map(Vec::as_slice)).unwrap();
        let place = model
            .spec
            .calls
            .iter()
            .position(|call| call.function == AggregateFunction::Sum)
            .unwrap();
        ScalarValue::try_from_array(rows.column(place), 0)
            .unwrap()
            .try_into()
            .unwrap()
    };
    assert_eq!(sum(&bench), i64::MAX.wrapping_add(5));
    bench.step(&operator, &column(vec![i64::MAX]).negate()).unwrap();
    assert_eq!(sum(&bench), 5);
}

#[test]
fn a_row_is_distinct_while_it_is_there_at_all() {
    let model = Model::new(&DataType::Utf8, true);
    let mut bench = Bench::new();
    let operator = Distinct::new(model.input.clone(), bench.state).unwrap();
    bench.hydrate(
        &operator,
        &[
            model.batch(&[((1, 1), 1), ((0, 0), 2)]),
            model.batch(&[((1, 1), 1)]),
        ],
    );
    assert_eq!(bench.output.values().copied().collect::<Vec<_>>(), [1, 1]);
    bench
        .step(
            &operator,
            &model.batch(&[((1, 1), -1), ((2, 2), 1), ((2, 2), -1)]),
        )
        .unwrap();
    assert_eq!(bench.output.len(), 2);
    bench
        .step(&operator, &model.batch(&[((1, 1), -1), ((0, 0), -2)]))
        .unwrap();
    assert!(bench.output.is_empty());
    assert_eq!(bench.state_entries(), 0);
    let error = bench.step(&operator, &model.batch(&[((1, 1), -1)])).unwrap_err();
    assert_eq!(error.reason(), "NEGATIVE_MULTIPLICITY");
}
