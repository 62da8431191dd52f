//! Rows written without SQL, and tables with a hidden key.

use crate::database::Database;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use std::sync::Arc;
use viewfeed_change::{Column, Relation, RelationId, RelationKind, RelationName, Result, SourceId, Table};
use viewfeed_source::embedded::{Operation, SOURCE};

impl Database {
    fn write(&mut self, table: &str, operation: Operation, rows: &RecordBatch) -> Result<u64> {
        let relation = self.relation(table);
        Ok(self
            .transaction(|embedded, context| embedded.write(&relation, operation, rows, context))?
            .0)
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn keyed() -> Database {
    Database::with(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(5) DEFAULT 'anon', n BIGINT NOT NULL DEFAULT 3);
         INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 20)",
    )
}

#[test]
fn rows_are_inserted_with_defaults() {
    let mut database = keyed();
    let rows = batch(vec![("n", ints(&[7, 8])), ("id", ints(&[3, 4]))]);
    assert_eq!(database.write("t", Operation::Insert, &rows).unwrap(), 2);
    assert_eq!(
        database.rows("SELECT * FROM t WHERE id > 2"),
        ["3|anon|7", "4|anon|8"]
    );
    assert_eq!(
        database
            .write("t", Operation::Insert, &rows)
            .unwrap_err()
            .reason(),
        "DUPLICATE_KEY"
    );
    let long = batch(vec![("id", ints(&[5])), ("name", texts(&[Some("too long")]))]);
    assert_eq!(
        database
            .write("t", Operation::Insert, &long)
            .unwrap_err()
            .reason(),
        "VALUE_TOO_LONG"
    );
    let unknown = batch(vec![("id", ints(&[5])), ("nope", ints(&[5]))]);
    assert_eq!(
        database
            .write("t", Operation::Insert, &unknown)
            .unwrap_err()
            .reason(),
        "UNKNOWN_COLUMN"
    );
    database.check_arrangements("t", true);
}

#[test]
fn given_columns_are_updated_the_others_stay() {
    let mut database = keyed();
    let rows = batch(vec![("id", ints(&[2, 1])), ("name", texts(&[Some("z"), None]))]);
    assert_eq!(database.write("t", Operation::Update, &rows).unwrap(), 2);
    assert_eq!(database.rows("SELECT * FROM t"), ["1|∅|10", "2|z|20"]);
    let rows = batch(vec![("id", ints(&[1, 9])), ("n", ints(&[0, 0]))]);
    assert_eq!(
        database
            .write("t", Operation::Update, &rows)
            .unwrap_err()
            .reason(),
        "ROW_NOT_FOUND"
    );
    let rows = batch(vec![("n", ints(&[0]))]);
    assert_eq!(
        database
            .write("t", Operation::Update, &rows)
            .unwrap_err()
            .reason(),
        "KEY_MISSING"
    );
    database.check_arrangements("t", true);
}

#[test]
fn an_upsert_inserts_or_updates_in_the_order_of_the_rows() {
    let mut database = keyed();
    let rows = batch(vec![
        ("id", ints(&[2, 5, 5, 2, 6])),
        ("name", texts(&[Some("x"), Some("p"), Some("q"), Some("y"), None])),
    ]);
    assert_eq!(database.write("t", Operation::Upsert, &rows).unwrap(), 5);
    assert_eq!(
        database.rows("SELECT * FROM t"),
        ["1|a|10", "2|y|20", "5|q|3", "6|∅|3"]
    );
    database.check_arrangements("t", true);
}

#[test]
fn rows_are_deleted_by_key() {
    let mut database = keyed();
    assert_eq!(
        database
            .write("t", Operation::Delete, &batch(vec![("id", ints(&[1]))]))
            .unwrap(),
        1
    );
    assert_eq!(
        database
            .write("t", Operation::Delete, &batch(vec![("id", ints(&[2, 2]))]))
            .unwrap_err()
            .reason(),
        "ROW_NOT_FOUND"
    );
    assert_eq!(database.rows("SELECT * FROM t"), ["2|b|20"]);
    database.run("CREATE TABLE free (a INT); INSERT INTO free VALUES (1)");
    assert_eq!(
        database
            .write("free", Operation::Delete, &batch(vec![("a", ints(&[1]))]))
            .unwrap_err()
            .reason(),
        "NO_KEY"
    );
}

/// A table as it is inferred from a message without a key.
fn inferred() -> Database {
    let mut database = Database::new();
    let hidden = Column {
        hidden: true,
        ..Column::new(1_000, "_id", DataType::Int64, false)
    };
    let table = Relation {
        id: RelationId(77),
        name: RelationName::new("chatpb", "message"),
        columns: vec![
            Column::new(1, "sender", DataType::Utf8, false),
            Column::new(3, "message", DataType::Utf8, false),
            hidden,
        ],
        key: vec![2],
        kind: RelationKind::Table(Table {
            source: SourceId::new(SOURCE),
            checks: vec![],
            indexes: vec![],
        }),
        schema_version: 1,
    };
    let made = database
        .transaction(|embedded, context| embedded.create_table(table, context))
        .unwrap()
        .0;
    assert_ne!(made.id, RelationId(77));
    database
}

#[test]
fn a_hidden_key_counts_the_rows_in_the_order_they_came() {
    let mut database = inferred();
    let rows = batch(vec![
        ("sender", texts(&[Some("z"), Some("a")])),
        ("message", texts(&[Some("first"), Some("second")])),
    ]);
    database
        .write("chatpb.message", Operation::Insert, &rows)
        .unwrap();
    database
        .write("chatpb.message", Operation::Upsert, &rows)
        .unwrap();
    database.run("INSERT INTO chatpb.message VALUES ('s', 'third')");
    assert_eq!(
        database.rows("SELECT \"_id\", sender, message FROM chatpb.message"),
        ["1|z|first", "2|a|second", "3|z|first", "4|a|second", "5|s|third"]
    );
    assert_eq!(
        database.returning("INSERT INTO chatpb.message VALUES ('r', 'x') RETURNING *"),
        ["r|x"]
    );
    assert_eq!(
        database.reason("INSERT INTO chatpb.message (\"_id\", sender, message) VALUES (1, 'r', 'x')"),
        "GENERATED_COLUMN"
    );
    assert_eq!(
        database.reason("UPDATE chatpb.message SET \"_id\" = 1"),
        "GENERATED_COLUMN"
    );
    database.check_arrangements("chatpb.message", true);
}

#[test]
fn rows_with_a_hidden_key_are_changed_by_it() {
    let mut database = inferred();
    let rows = batch(vec![
        ("sender", texts(&[Some("z"), Some("a")])),
        ("message", texts(&[Some("first"), Some("second")])),
    ]);
    database
        .write("chatpb.message", Operation::Insert, &rows)
        .unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    let change = batch(vec![("_id", ids.clone()), ("message", texts(&[Some("edited")]))]);
    assert_eq!(
        database
            .write("chatpb.message", Operation::Update, &change)
            .unwrap(),
        1
    );
    assert_eq!(
        database
            .write("chatpb.message", Operation::Upsert, &change)
            .unwrap_err()
            .reason(),
        "GENERATED_COLUMN"
    );
    assert_eq!(
        database.rows("SELECT message FROM chatpb.message"),
        ["edited", "first"]
    );
    assert_eq!(
        database
            .write("chatpb.message", Operation::Delete, &batch(vec![("_id", ids)]))
            .unwrap(),
        1
    );
    assert_eq!(
        database.count("UPDATE chatpb.message SET sender = 'q' WHERE message = 'first'"),
        1
    );
    assert_eq!(database.count("DELETE FROM chatpb.message WHERE sender = 'q'"), 1);
    database.check_arrangements("chatpb.message", true);
}

#[test]
fn tables_of_other_sources_are_not_written() {
    let mut database = keyed();
    let mut other = Relation::clone(&database.relation("t"));
    other.name = RelationName::new("public", "replicated");
    other.kind = RelationKind::Table(Table {
        source: SourceId::new("postgres"),
        checks: vec![],
        indexes: vec![],
    });
    let made = database
        .transaction(|embedded, context| embedded.create_table(other, context))
        .unwrap()
        .0;
    assert_eq!(
        database.reason("INSERT INTO replicated VALUES (1)"),
        "READ_ONLY_TABLE"
    );
    let rows = batch(vec![("id", ints(&[1]))]);
    let error = database
        .transaction(|embedded, context| embedded.write(&made, Operation::Insert, &rows, context))
        .err()
        .unwrap();
    assert_eq!(error.reason(), "READ_ONLY_TABLE");
}
