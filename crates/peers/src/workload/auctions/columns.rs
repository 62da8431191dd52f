//! Events as columns, and the tables they go to. The queries are those of the engine's tests.

use super::{Auction, Bid, Person};
use crate::ours::TableShape;
use crate::workload::batch;
use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use std::sync::Arc;
use viewfeed_change::{Batch, Relation, Result};

const INT: DataType = DataType::Int64;
const TEXT: DataType = DataType::Utf8;
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The place of the table that is filled before the first event.
pub(crate) const SIDE_INPUT: usize = 3;
const SIDE_ROWS: i64 = 20;

/// The tables' shapes, by place: persons, auctions, bids, the side input. Bids have no key.
pub(crate) fn tables() -> Vec<TableShape> {
    let table = |name, key, columns: &[(&'static str, DataType)]| TableShape {
        name,
        columns: columns.to_vec(),
        key,
    };
    let (name, extra, date_time) = (("name", TEXT), ("extra", TEXT), ("date_time", TIME));
    let person = [
        ("id", INT),
        name,
        ("email", TEXT),
        ("credit_card", TEXT),
        ("city", TEXT),
        ("state", TEXT),
        date_time.clone(),
        extra.clone(),
    ];
    let auction = [
        ("id", INT),
        ("item", TEXT),
        ("description", TEXT),
        ("initial_bid", INT),
        ("reserve", INT),
        date_time.clone(),
        ("expires", TIME),
        ("seller", INT),
        ("category", INT),
        extra.clone(),
    ];
    let bid = [
        ("auction", INT),
        ("bidder", INT),
        ("price", INT),
        ("channel", TEXT),
        ("url", TEXT),
        date_time,
        extra,
    ];
    vec![
        table("person", 1, &person),
        table("auction", 1, &auction),
        table("bid", 0, &bid),
        table("side_input", 1, &[("key", INT), ("value", TEXT)]),
    ]
}

/// New persons.
pub(crate) fn person_batch(relation: &Relation, rows: &[Person]) -> Result<Batch> {
    let columns = vec![
        ints(rows, |row| row.id),
        texts(rows, |row| &row.name),
        texts(rows, |row| &row.email),
        texts(rows, |row| &row.credit_card),
        texts(rows, |row| &row.city),
        texts(rows, |row| &row.state),
        times(rows, |row| row.date_time),
        texts(rows, |row| &row.extra),
    ];
    batch(relation, columns, vec![1; rows.len()])
}

/// New auctions.
pub(crate) fn auction_batch(relation: &Relation, rows: &[Auction]) -> Result<Batch> {
    let columns = vec![
        ints(rows, |row| row.id),
        texts(rows, |row| &row.item),
        texts(rows, |row| &row.description),
        ints(rows, |row| row.initial_bid),
        ints(rows, |row| row.reserve),
        times(rows, |row| row.date_time),
        times(rows, |row| row.expires),
        ints(rows, |row| row.seller),
        ints(rows, |row| row.category),
        texts(rows, |row| &row.extra),
    ];
    batch(relation, columns, vec![1; rows.len()])
}

/// New bids.
pub(crate) fn bid_batch(relation: &Relation, rows: &[Bid]) -> Result<Batch> {
    let columns = vec![
        ints(rows, |row| row.auction),
        ints(rows, |row| row.bidder),
        ints(rows, |row| row.price),
        texts(rows, |row| &row.channel),
        texts(rows, |row| &row.url),
        times(rows, |row| row.date_time),
        texts(rows, |row| &row.extra),
    ];
    batch(relation, columns, vec![1; rows.len()])
}

/// The side input.
pub(crate) fn side_input_batch(relation: &Relation) -> Result<Batch> {
    let rows: Vec<(i64, String)> = (0..SIDE_ROWS).map(|key| (key, format!("side {key}"))).collect();
    let columns = vec![ints(&rows, |row| row.0), texts(&rows, |row| &row.1)];
    batch(relation, columns, vec![1; rows.len()])
}

fn ints<R>(rows: &[R], value: impl Fn(&R) -> i64) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int64Array>())
}

fn times<R>(rows: &[R], value: impl Fn(&R) -> i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(
        rows.iter().map(value),
    ))
}

fn texts<R>(rows: &[R], value: impl Fn(&R) -> &String) -> ArrayRef {
    Arc::new(rows.iter().map(|row| Some(value(row))).collect::<StringArray>())
}
