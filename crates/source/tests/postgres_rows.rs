//! What the tests of Postgres share: sessions, rows by every way they can come, and what the server itself says they are.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;
use std::collections::BTreeMap;
use std::ops::Deref;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use viewfeed_change::{Error, Result};
use viewfeed_source::postgres::pgoutput::{Message, Oid, Within};
use viewfeed_source::postgres::value::{RowBuilder, ValueType};
use viewfeed_source::postgres::{CopyEvent, CopyOptions, SnapshotCopy, TableShape, Tables, read_shapes};
use viewfeed_testbed::Postgres;

/// A connection and the task that reads it.
pub(crate) struct Session {
    client: Client,
    reading: JoinHandle<()>,
}

impl Session {
    pub(crate) async fn open(server: &Postgres) -> Self {
        let session = Self::of(server.connection()).await.unwrap();
        let style = "SET datestyle = 'ISO, YMD'; SET TimeZone = 'UTC'; SET bytea_output = 'hex'; SET extra_float_digits = 3";
        session.batch_execute(style).await.unwrap();
        session
    }

    pub(crate) async fn of(connection: String) -> Result<Self> {
        let connected = tokio_postgres::connect(&connection, NoTls).await;
        let (client, connection) = connected.map_err(|_| Error::internal("no connection"))?;
        let reading = tokio::spawn(async move {
            // It ends with the client.
            let _ = connection.await;
        });
        Ok(Self { client, reading })
    }

    pub(crate) async fn run(&self, sql: &str) {
        let done = self.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// A snapshot that stays while this session's transaction does.
    pub(crate) async fn export(&self) -> String {
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
        let row = self.query_one("SELECT pg_export_snapshot()", &[]).await.unwrap();
        row.get(0)
    }

    pub(crate) async fn published(&self, publication: &str, text_columns: &[String]) -> Vec<TableShape> {
        let found = read_shapes(self, Tables::Publication(publication), text_columns)
            .await
            .unwrap();
        assert_eq!(found.refused, []);
        assert_eq!(found.unmatched, Vec::<String>::new());
        found.tables
    }

    /// The messages that the slot `s` has for a publication.
    pub(crate) async fn messages(&self, publication: &str, is_binary: bool) -> Vec<Vec<u8>> {
        let changes = format!(
            "SELECT data FROM pg_logical_slot_peek_binary_changes('s', NULL, NULL, 'proto_version', '1',
            'publication_names', '{publication}', 'binary', '{is_binary}')"
        );
        let rows = self.query(&changes, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// What the server says the values of a column are, in the form of [`shown`], ordered by `id`.
    pub(crate) async fn says(&self, table: &str, column: &str, value: &ValueType) -> Vec<Option<String>> {
        let shown = shown_by_server(value, column);
        let sql = format!("SELECT {shown} FROM {table} AS rows_there ORDER BY rows_there.id");
        let rows = self
            .query(&sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl AsRef<Client> for Session {
    fn as_ref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// The rows that the insert messages tell of, by table.
pub(crate) fn inserted(messages: &[Vec<u8>], shapes: &[TableShape]) -> Result<BTreeMap<Oid, RecordBatch>> {
    let builders = shapes.iter().map(|shape| (shape.oid, RowBuilder::new(shape)));
    let mut builders: BTreeMap<_, _> = builders.collect();
    for message in messages {
        match Message::decode(message, Within::Committed)? {
            Message::Insert { relation, new, .. } => {
                if let Some(rows) = builders.get_mut(&relation) {
                    assert_eq!(rows.append(&new)?, Vec::<u16>::new());
                }
            }
            Message::Relation(relation) => {
                let shape = shapes.iter().find(|shape| shape.oid == relation.oid);
                assert!(shape.is_none_or(|shape| shape.matches(&relation)), "{relation:?}");
            }
            _ => {}
        }
    }
    Ok(builders
        .into_iter()
        .map(|(table, mut rows)| (table, rows.finish()))
        .collect())
}

/// The rows of a snapshot, by table.
pub(crate) async fn copied(
    server: &Postgres,
    snapshot: &str,
    shapes: &[TableShape],
    options: CopyOptions,
) -> Result<BTreeMap<Oid, RecordBatch>> {
    let connect = || Session::of(server.connection());
    let mut copy = SnapshotCopy::start(connect, snapshot, shapes, options).await?;
    let mut batches: BTreeMap<Oid, Vec<RecordBatch>> = BTreeMap::new();
    let mut finished = BTreeMap::new();
    while let Some(event) = copy.next().await? {
        match event {
            CopyEvent::Copied { table, rows } => {
                assert!(rows.num_rows() > 0 && !finished.contains_key(&table));
                batches.entry(table).or_default().push(rows);
            }
            CopyEvent::Read { .. } => {}
            CopyEvent::Finished { table, rows } => assert_eq!(finished.insert(table, rows), None),
        }
    }
    let progress = copy.progress().tables();
    let mut all = BTreeMap::new();
    for (shape, progress) in shapes.iter().zip(progress) {
        let rows = concat_batches(
            &shape.row_schema(),
            batches.get(&shape.oid).unwrap_or(&Vec::new()),
        )
        .unwrap();
        assert_eq!(finished[&shape.oid], rows.num_rows() as u64);
        assert_eq!(
            (progress.table, progress.rows),
            (shape.oid, rows.num_rows() as u64)
        );
        assert_eq!(progress.pages_done, progress.pages_total);
        all.insert(shape.oid, rows);
    }
    Ok(all)
}

/// The values of a column in a form in which different values differ, and in which a server can say them too.
pub(crate) fn shown(array: &dyn Array) -> Vec<Option<String>> {
    let one = |row| (!array.is_null(row)).then(|| shown_one(array, row));
    (0..array.len()).map(one).collect()
}

fn shown_one(array: &dyn Array, row: usize) -> String {
    let endless = |is_greatest: bool| if is_greatest { "infinity" } else { "-infinity" }.to_owned();
    let trimmed = |digits: String| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits,
    };
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => format!("{:08x}", array.as_primitive::<Float32Type>().value(row).to_bits()),
        DataType::Float64 => format!(
            "{:016x}",
            array.as_primitive::<Float64Type>().value(row).to_bits()
        ),
        DataType::Decimal128(..) => trimmed(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => trimmed(array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(row);
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{digits}")
        }
        DataType::Date32 => match array.as_primitive::<Date32Type>().value(row) {
            days @ (i32::MAX | i32::MIN) => endless(days > 0),
            days => days.to_string(),
        },
        DataType::Time64(_) => array
            .as_primitive::<Time64MicrosecondType>()
            .value(row)
            .to_string(),
        DataType::Timestamp(..) => match array.as_primitive::<TimestampMicrosecondType>().value(row) {
            us @ (i64::MAX | i64::MIN) => endless(us > 0),
            us => us.to_string(),
        },
        DataType::List(_) => {
            let elements = shown(&array.as_list::<i32>().value(row));
            let element = |element: Option<String>| element.map_or("-".to_owned(), |text| format!("={text}"));
            format!(
                "[{}]",
                elements.into_iter().map(element).collect::<Vec<_>>().join("|")
            )
        }
        _ => array_value_to_string(array, row).unwrap(),
    }
}

/// The SQL of the same.
fn shown_by_server(value: &ValueType, of: &str) -> String {
    match value {
        ValueType::Bool | ValueType::Int16 | ValueType::Int32 | ValueType::Int64 | ValueType::Oid => {
            format!("{of}::text")
        }
        ValueType::Float32 => format!("encode(float4send({of}), 'hex')"),
        ValueType::Float64 => format!("encode(float8send({of}), 'hex')"),
        ValueType::Numeric { .. } => format!("trim_scale({of})::text"),
        ValueType::Bytes => format!("'\\x' || encode({of}, 'hex')"),
        ValueType::Date => {
            format!("CASE WHEN isfinite({of}) THEN ({of} - date '1970-01-01')::text ELSE {of}::text END")
        }
        ValueType::Time => format!("(extract(epoch FROM {of}) * 1000000)::numeric(40, 0)::text"),
        ValueType::Timestamp | ValueType::TimestampTz => format!(
            "CASE WHEN isfinite({of}) THEN (extract(epoch FROM {of}) * 1000000)::numeric(40, 0)::text ELSE {of}::text END"
        ),
        ValueType::List(element) => {
            let element = shown_by_server(element, "e");
            format!(
                "CASE WHEN {of} IS NOT NULL THEN '[' || coalesce((SELECT string_agg(coalesce('=' || ({element}), '-'), '|'
                ORDER BY o) FROM unnest({of}) WITH ORDINALITY AS u (e, o)), '') || ']' END"
            )
        }
        // As the type's output function writes it, which a cast to text does not always do.
        _ => format!("CASE WHEN {of} IS NOT DISTINCT FROM NULL THEN NULL ELSE format('%s', {of}) END"),
    }
}
