//! Relations, rows and short forms that the tests share.

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use std::sync::Arc;
use viewfeed_change::{
    Column, Relation, RelationId, RelationKind, RelationName, Relations, Result, SourceId, Table, Timestamp,
    View,
};
use viewfeed_query::{Planner, Purpose};

/// 2024-05-06 07:08:09 UTC.
pub(crate) const NOW: Timestamp = Timestamp(1_714_979_289_000_000);

pub(crate) const MESSAGE: RelationId = RelationId(1);
pub(crate) const CHAT: RelationId = RelationId(2);
pub(crate) const USER: RelationId = RelationId(3);
pub(crate) const POST: RelationId = RelationId(4);

/// `message(id, chat_id, author, likes, sent_at)`, `chat(id, topic)`, `user(user_id, user_login)` in `public`, and
/// `post(sender, channel(name, topic), message)` in `talk`, a view.
pub(crate) fn relations() -> Arc<Relations> {
    let mut relations = Relations::default();
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let message = [
        ("id", DataType::Int64),
        ("chat_id", DataType::Int64),
        ("author", DataType::Utf8),
        ("likes", DataType::Int32),
        ("sent_at", timestamp),
    ];
    let text = DataType::Utf8;
    relations
        .put(table(MESSAGE, "public", "message", &message, &[0]))
        .unwrap();
    relations
        .put(table(
            CHAT,
            "public",
            "chat",
            &[("id", DataType::Int64), ("topic", text.clone())],
            &[0],
        ))
        .unwrap();
    relations
        .put(table(
            USER,
            "public",
            "user",
            &[("user_id", text.clone()), ("user_login", text)],
            &[0],
        ))
        .unwrap();
    let mut post = table(POST, "talk", "post", &post_columns(), &[]);
    post.kind = RelationKind::View(View {
        sql: String::new(),
        search_schema: "talk".to_owned(),
        inputs: Vec::new(),
        require_incremental: false,
        on_error: Default::default(),
    });
    relations.put(post).unwrap();
    Arc::new(relations)
}

pub(crate) fn table(
    id: RelationId,
    schema: &str,
    name: &str,
    columns: &[(&str, DataType)],
    key: &[usize],
) -> Relation {
    let column = |(place, (name, data_type)): (usize, &(&str, DataType))| {
        Column::new(place as u32 + 1, *name, data_type.clone(), !key.contains(&place))
    };
    Relation {
        id,
        name: RelationName::new(schema, name),
        columns: columns.iter().enumerate().map(column).collect(),
        key: key.to_vec(),
        kind: RelationKind::Table(Table {
            source: SourceId::new("embedded"),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version: 1,
    }
}

fn channel_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("topic", DataType::Utf8, true),
    ])
}

fn post_columns() -> [(&'static str, DataType); 3] {
    [
        ("sender", DataType::Utf8),
        ("channel", DataType::Struct(channel_fields())),
        ("message", DataType::Utf8),
    ]
}

/// Five messages in two chats, two users, three posts.
pub(crate) fn rows(id: RelationId) -> Option<Vec<RecordBatch>> {
    let relations = relations();
    let schema = relations.get(id)?.schema();
    let columns: Vec<ArrayRef> = match id {
        MESSAGE => vec![
            ints(&[1, 2, 3, 4, 5]),
            ints(&[10, 10, 10, 20, 20]),
            texts(&["ann", "bob", "ann", "bob", "cid"]),
            Arc::new(Int32Array::from(vec![Some(1), Some(5), None, Some(3), Some(7)])),
            Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![
                NOW.0 - 3_600_000_000,
                NOW.0 - 60_000_000,
                NOW.0,
                NOW.0 + 60_000_000,
                NOW.0 + 3_600_000_000,
            ])),
        ],
        CHAT => vec![ints(&[10, 20]), texts(&["tea", "rust"])],
        USER => vec![texts(&["u1", "u2"]), texts(&["ann", "bob"])],
        POST => vec![
            texts(&["ann", "bob", "cid"]),
            Arc::new(StructArray::new(
                channel_fields(),
                vec![
                    texts(&["general", "general", "random"]),
                    texts(&["tea", "tea", "noise"]),
                ],
                None,
            )),
            texts(&["hi", "ho", "hu"]),
        ],
        _ => return None,
    };
    Some(vec![RecordBatch::try_new(schema, columns).unwrap()])
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// What `sql` gives over [`rows`], planned as `purpose`, as lines of a table.
pub(crate) fn try_run(sql: &str, purpose: Purpose) -> Result<Vec<String>> {
    let planner = Planner::new()?;
    let plan = planner.plan_sql(sql, &relations(), "talk", purpose)?;
    Ok(lines(&planner.execute_over(&plan, &rows, NOW)?))
}

/// The same for a query that works, which must give the same rows for both purposes.
pub(crate) fn run(sql: &str) -> Vec<String> {
    let batch = try_run(sql, Purpose::Batch).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let view = try_run(sql, Purpose::View).unwrap_or_else(|error| panic!("as a view: {sql}: {error}"));
    assert_eq!(sorted(batch.clone()), sorted(view), "{sql}");
    batch
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    if let [_header, rows @ ..] = lines.as_mut_slice() {
        rows.sort();
    }
    lines
}

/// The header and rows of `batches`, cells separated by ` | `.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" | ")
    };
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

/// The optimised plan of `sql` as text.
pub(crate) fn plan_text(sql: &str, purpose: Purpose) -> String {
    let planner = Planner::new().unwrap();
    let plan = planner.plan_sql(sql, &relations(), "talk", purpose);
    plan.unwrap_or_else(|error| panic!("{sql}: {error}"))
        .display_indent()
        .to_string()
}
