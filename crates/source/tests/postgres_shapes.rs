//! What the catalog says of tables: those that can be had, those that cannot, and what became of them since.

use crate::postgres_rows::{Session, inserted};
use arrow::datatypes::DataType;
use viewfeed_change::LogicalType;
use viewfeed_source::postgres::pgoutput::{Message, ReplicaIdentity, Within};
use viewfeed_source::postgres::{Found, TableShape, Tables, read_shapes};
use viewfeed_testbed::Postgres;

async fn all(session: &Session) -> Found {
    let patterns = ["public.*".to_owned()];
    read_shapes(session, Tables::Matching(&patterns), &[])
        .await
        .unwrap()
}

async fn one(session: &Session, name: &str) -> TableShape {
    let mut found = all(session).await;
    found.tables.retain(|table| table.name == name);
    found.tables.remove(0)
}

#[tokio::test]
async fn a_table_here_has_the_servers_columns_and_key() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE TABLE t (gone int, b varchar(7) NOT NULL, \"A\" uuid, n numeric(12, 3), PRIMARY KEY (\"A\", b));
            ALTER TABLE t DROP COLUMN gone; ALTER TABLE t ADD COLUMN j jsonb NOT NULL",
        )
        .await;
    let shape = one(&session, "t").await;
    let columns = shape.relation_columns();
    let told: Vec<_> = columns
        .iter()
        .map(|column| (column.id, &*column.name, column.nullable))
        .collect();
    assert_eq!(
        told,
        [(2, "b", false), (3, "A", false), (4, "n", true), (5, "j", true)]
    );
    assert_eq!(columns[0].logical, LogicalType::Text { chars_max: 7 });
    assert_eq!(columns[1].logical, LogicalType::Uuid);
    assert_eq!(columns[2].data_type, DataType::Decimal128(12, 3));
    assert_eq!(columns[3].logical, LogicalType::Json);
    assert_eq!(shape.key_places(), [0, 1]);
    assert_eq!(shape.last_number, 5);
    assert!(
        shape
            .row_schema()
            .fields()
            .iter()
            .all(|field| field.is_nullable())
    );
}

#[tokio::test]
async fn rows_are_found_by_what_the_identity_says() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE TABLE by_index (a int PRIMARY KEY, b int NOT NULL, c int NOT NULL);
            CREATE UNIQUE INDEX i ON by_index (c, b) INCLUDE (a); ALTER TABLE by_index REPLICA IDENTITY USING INDEX i;
            CREATE TABLE whole (a int); ALTER TABLE whole REPLICA IDENTITY FULL;
            CREATE TABLE whole_key (a int, b int PRIMARY KEY); ALTER TABLE whole_key REPLICA IDENTITY FULL;
            CREATE TABLE late (a int, b int PRIMARY KEY DEFERRABLE); ALTER TABLE late REPLICA IDENTITY FULL",
        )
        .await;
    let key = async |name| one(&session, name).await.key_places();
    assert_eq!(key("by_index").await, [1, 2]);
    assert_eq!(key("whole").await, Vec::<usize>::new());
    assert_eq!(key("whole_key").await, [1]);
    assert_eq!(key("late").await, Vec::<usize>::new());
    assert_eq!(one(&session, "by_index").await.identity, ReplicaIdentity::Index);
}

#[tokio::test]
async fn tables_that_cannot_be_had_are_named_with_reason_and_remedy() {
    let server = Postgres::start();
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE TABLE fine (id int PRIMARY KEY);
            CREATE TABLE keyless (id int);
            CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
            CREATE TABLE silent (id int PRIMARY KEY); ALTER TABLE silent REPLICA IDENTITY NOTHING;
            CREATE TABLE unindexed (id int NOT NULL); CREATE UNIQUE INDEX gone ON unindexed (id);
            ALTER TABLE unindexed REPLICA IDENTITY USING INDEX gone; DROP INDEX gone;
            CREATE UNLOGGED TABLE forgetful (id int PRIMARY KEY);
            CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE abroad (id int) SERVER s;
            CREATE VIEW looks AS SELECT 1 AS id;
            CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE odd PARTITION OF root FOR VALUES FROM (0) TO (9); ALTER TABLE root REPLICA IDENTITY FULL",
        )
        .await;
    let found = all(&session).await;
    assert_eq!(
        found.tables.iter().map(|table| &*table.name).collect::<Vec<_>>(),
        ["fine"]
    );
    let refused: Vec<_> = found.refused.iter().map(|refused| &*refused.table).collect();
    let names = [
        "abroad",
        "deferred",
        "forgetful",
        "keyless",
        "root",
        "silent",
        "unindexed",
    ];
    assert_eq!(refused, names.map(|name| format!("public.{name}")));
    let look = ["public.looks".to_owned()];
    let found_view = read_shapes(&session, Tables::Matching(&look), &[]).await.unwrap();
    assert!(found_view.refused[0].why.contains("view"));
    // What is SQL in the advice is right: with it the table can be had.
    for refused in found
        .refused
        .iter()
        .filter(|refused| refused.fix.starts_with("ALTER"))
    {
        let fix = refused.fix.rsplit(", or ").next().unwrap();
        session.run(fix).await;
    }
    let refused = all(&session).await.refused;
    assert_eq!(
        refused.iter().map(|refused| &*refused.table).collect::<Vec<_>>(),
        ["public.abroad"]
    );
}

#[tokio::test]
async fn a_key_that_is_not_published_is_refused() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    session
        .run("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE PUBLICATION p FOR TABLE t (v)")
        .await;
    let found = read_shapes(&session, Tables::Publication("p"), &[])
        .await
        .unwrap();
    assert!(
        found.tables.is_empty() && found.refused[0].why.contains("key"),
        "{found:?}"
    );
}

#[tokio::test]
async fn relation_messages_match_the_shape_until_the_table_changes() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    session
        .run(
            "CREATE DOMAIN small AS numeric(5, 1); CREATE TABLE t (gone int, id int PRIMARY KEY, v small, g int GENERATED ALWAYS AS (1) STORED);
            ALTER TABLE t DROP COLUMN gone; CREATE TABLE f (id int PRIMARY KEY, v varchar(3)); ALTER TABLE f REPLICA IDENTITY FULL;
            CREATE TABLE root (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
            CREATE TABLE leaf (v int, id int NOT NULL); ALTER TABLE root ATTACH PARTITION leaf FOR VALUES FROM (0) TO (9);
            CREATE PUBLICATION p FOR ALL TABLES WITH (publish_via_partition_root = true)",
        )
        .await;
    session
        .run("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        .await;
    session
        .run("INSERT INTO t VALUES (1, 1.5); INSERT INTO f VALUES (1, 'x'); INSERT INTO root VALUES (1, 2)")
        .await;
    let shapes = session.published("p", &[]).await;
    assert_eq!(
        shapes.iter().map(|shape| &*shape.name).collect::<Vec<_>>(),
        ["f", "root", "t"]
    );
    let rows = inserted(&session.messages("p", true).await, &shapes).unwrap();
    assert!(rows.values().all(|rows| rows.num_rows() == 1));
    for (change, name, id) in [
        ("ALTER TABLE t RENAME v TO w", "t", 2),
        ("ALTER TABLE t RENAME TO t2", "t2", 3),
        ("ALTER TABLE t2 ADD COLUMN x int", "t2", 4),
        ("ALTER TABLE t2 ALTER COLUMN x TYPE bigint", "t2", 5),
        ("ALTER TABLE f DROP COLUMN v", "f", 6),
        ("ALTER TABLE root ADD COLUMN x int", "root", 7),
    ] {
        let before = session.published("p", &[]).await;
        session.run(change).await;
        session
            .run(&format!("INSERT INTO {name} (id) VALUES ({id})"))
            .await;
        let messages = session.messages("p", false).await;
        let mut relations =
            messages
                .iter()
                .filter_map(|message| match Message::decode(message, Within::Committed) {
                    Ok(Message::Relation(relation)) if relation.name == name => Some(relation),
                    _ => None,
                });
        let last = relations.next_back().unwrap();
        let shape = before.iter().find(|shape| shape.oid == last.oid).unwrap();
        assert!(!shape.matches(&last), "{change}");
        assert!(one(&session, name).await.matches(&last), "{change}");
    }
}

#[tokio::test]
async fn rows_that_a_change_of_columns_has_written_anew_are_told_from_others() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    let cases = [
        ("SELECT 1", false),
        ("VACUUM FULL t", false),
        ("TRUNCATE t", false),
        ("ALTER TABLE t ALTER v SET DEFAULT 7", false),
        ("ALTER TABLE t ALTER v SET NOT NULL", false),
        ("ALTER TABLE t ALTER v TYPE int USING v + 1", true),
        ("ALTER TABLE t ALTER v TYPE bigint", true),
        ("CREATE TABLE three PARTITION OF root FOR VALUES IN (3)", false),
        ("VACUUM FULL two", false),
        ("ALTER TABLE root ALTER v TYPE int USING v + 1", true),
    ];
    for (change, is_rewritten) in cases {
        session
            .run(
                "DROP TABLE IF EXISTS t, root; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 2);
                CREATE TABLE root (id int PRIMARY KEY, v int) PARTITION BY LIST (id);
                CREATE TABLE two PARTITION OF root FOR VALUES IN (2); INSERT INTO root VALUES (2, 2)",
            )
            .await;
        let versions = async || [one(&session, "t").await.rows, one(&session, "root").await.rows];
        let before = versions().await;
        session.run(change).await;
        let pairs = before.into_iter().zip(versions().await);
        let rewritten: Vec<_> = pairs.map(|(before, after)| before.is_rewritten(after)).collect();
        let of_t = is_rewritten && change.contains(" t ");
        assert_eq!(rewritten, [of_t, is_rewritten && !of_t], "{change}");
    }
}

#[tokio::test]
async fn a_shape_is_stored_with_its_row_filter() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    let session = Session::open(&server).await;
    session
        .run("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE PUBLICATION p FOR TABLE t WHERE (id > 0)")
        .await;
    let filtered = session.published("p", &[]).await.remove(0);
    assert!(filtered.row_filter.is_some());
    let stored = serde_json::to_string(&filtered).unwrap();
    assert_eq!(serde_json::from_str::<TableShape>(&stored).unwrap(), filtered);
}
