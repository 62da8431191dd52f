//! Queries over a real store: what is read, by which keys, and as of when.

use crate::house::{MESSAGE, NOW, POST, lines, relations, rows, table};
use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use viewfeed_change::{
    Batch, ColumnPath, Error, ErrorKind, Index, Relation, RelationId, RelationKind, Relations, Timestamp,
};
use viewfeed_query::{Planner, Purpose};
use viewfeed_store::{Durability, EpochRecord, Options, Reader, Store, arrange};

struct House {
    store: Store,
    relations: Arc<Relations>,
    planner: Planner,
    _folder: tempfile::TempDir,
}

impl House {
    /// A store with `batches` of each relation in its primary arrangement, and an arrangement for each of `keys`.
    fn of(
        relations: Arc<Relations>,
        keys: &[(RelationId, &[&[usize]])],
        batches: &[(RelationId, Batch)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 1000 },
            ..Options::default()
        };
        let house = Self {
            store: Store::open(folder.path(), options).unwrap(),
            relations,
            planner: Planner::new().unwrap(),
            _folder: folder,
        };
        let mut txn = house.store.begin().unwrap();
        for relation in house.relations.iter() {
            arrange::ensure(&mut txn, relation, &relation.key_paths()).unwrap();
            for (_, keys) in keys.iter().filter(|(id, _)| *id == relation.id) {
                let paths: Vec<_> = keys.iter().map(|path| ColumnPath(path.to_vec())).collect();
                arrange::ensure(&mut txn, relation, &paths).unwrap();
            }
        }
        house.commit(txn, batches);
        house
    }

    /// The messages, chats, users and posts of the other tests.
    fn talking(keys: &[(RelationId, &[&[usize]])]) -> Self {
        let relations = relations();
        let batches: Vec<_> = relations
            .iter()
            .map(|relation| (relation.id, Batch::inserts(rows(relation.id).unwrap().remove(0))))
            .collect();
        Self::of(relations, keys, &batches)
    }

    fn commit(&self, mut txn: viewfeed_store::Txn, batches: &[(RelationId, Batch)]) {
        for (id, batch) in batches {
            let relation = self.relations.get(*id).unwrap();
            for arrangement in arrange::all(&txn.now(), relation).unwrap() {
                arrangement.stage(&mut txn, batch).unwrap();
            }
        }
        let record = EpochRecord {
            commit_time: Timestamp(0),
            transactions: Vec::new(),
            deltas: Vec::new(),
            schema_versions: Vec::new(),
        };
        self.store.commit(txn, &record).unwrap();
    }

    fn run_at(&self, sql: &str, purpose: Purpose, reader: &Reader) -> Vec<String> {
        let plan = self.planner.plan_sql(sql, &self.relations, "talk", purpose);
        let plan = plan.unwrap_or_else(|error| panic!("{sql}: {error}"));
        lines(
            &self
                .planner
                .execute(&plan, reader, NOW)
                .unwrap_or_else(|error| panic!("{sql}: {error}")),
        )
    }

    fn run(&self, sql: &str) -> Vec<String> {
        self.run_at(sql, Purpose::Batch, &self.store.reader())
    }

    /// The lines of the executed plan that say how relations are read.
    fn access(&self, sql: &str, purpose: Purpose) -> Vec<String> {
        let plan = self
            .planner
            .plan_sql(sql, &self.relations, "talk", purpose)
            .unwrap();
        let text = self.planner.explain(&plan, &self.store.reader(), NOW).unwrap();
        let scan = |line: &str| line.trim().strip_prefix("RelationScan: ").map(str::to_owned);
        text.lines().filter_map(scan).collect()
    }
}

#[test]
fn a_key_is_looked_up_instead_of_reading_everything() {
    let house = House::talking(&[]);
    for purpose in [Purpose::Batch, Purpose::View] {
        let access = |sql: &str| house.access(sql, purpose);
        assert_eq!(
            access("SELECT author FROM message WHERE id = 3"),
            ["message, 1 keys of (id), columns=[id, author]"]
        );
        assert_eq!(
            access("SELECT id FROM message WHERE 4 = id AND author = 'bob'"),
            ["message, 1 keys of (id), columns=[id, author]"]
        );
        assert_eq!(
            access("SELECT id FROM message WHERE id IN (1, 3, 3, 9, 12, 14)"),
            ["message, 5 keys of (id), columns=[id]"]
        );
        assert_eq!(
            access("SELECT id FROM message WHERE id = 1 OR id = 3"),
            ["message, 2 keys of (id), columns=[id]"]
        );
        assert_eq!(
            access("SELECT id FROM message WHERE id > 3"),
            ["message, all rows, columns=[id]"]
        );
        assert_eq!(
            access("SELECT id FROM message WHERE id = 3 OR author = 'ann'"),
            ["message, all rows, columns=[id, author]"]
        );
        assert_eq!(
            access("SELECT id FROM message WHERE author = 'ann'"),
            ["message, all rows, columns=[id, author]"]
        );
    }
    assert_eq!(
        house.run("SELECT author FROM message WHERE id = 3"),
        ["author", "ann"]
    );
    assert_eq!(
        house.run("SELECT id FROM message WHERE id IN (1, 3, 3, 9, 12, 14) ORDER BY id"),
        ["id", "1", "3"]
    );
    assert_eq!(
        house.run("SELECT id FROM message WHERE id = 3 AND id = 4"),
        Vec::<String>::new()
    );
    assert_eq!(
        house.run("SELECT id FROM message WHERE id = NULL"),
        Vec::<String>::new()
    );
    assert_eq!(
        house.run("SELECT count(*) FROM message WHERE id = 3"),
        ["count", "1"]
    );
}

#[test]
fn an_arrangement_that_others_made_is_used() {
    let sql = "SELECT id FROM message WHERE author = 'ann' ORDER BY id";
    let nested = "SELECT message FROM post WHERE channel.name = 'general' ORDER BY message";
    let plain = House::talking(&[]);
    assert!(plain.access(sql, Purpose::Batch)[0].contains("all rows"));
    let house = House::talking(&[(MESSAGE, &[&[2]]), (POST, &[&[1, 0]])]);
    assert_eq!(
        house.access(sql, Purpose::Batch),
        ["message, 1 keys of (author), columns=[id, author]"]
    );
    assert_eq!(
        house.access(nested, Purpose::Batch),
        ["talk.post, 1 keys of (name), columns=[channel, message]"]
    );
    assert_eq!(house.run(sql), ["id", "1", "3"]);
    assert_eq!(house.run(sql), plain.run(sql));
    assert_eq!(house.run(nested), ["message", "hi", "ho"]);
}

#[test]
fn too_many_keys_are_found_by_reading_everything() {
    let house = House::talking(&[]);
    let list = (1..=1001).map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT count(*) FROM message WHERE id IN ({list})");
    assert!(house.access(&sql, Purpose::Batch)[0].contains("all rows"));
    assert_eq!(house.run(&sql), ["count", "5"]);
}

#[test]
fn a_reader_shows_its_epoch() {
    let house = House::talking(&[]);
    let before = house.store.reader();
    let message = rows(MESSAGE).unwrap().remove(0);
    house.commit(
        house.store.begin().unwrap(),
        &[(MESSAGE, Batch::deletes(message.slice(0, 4)))],
    );
    let sql = "SELECT count(*) FROM message";
    assert_eq!(house.run_at(sql, Purpose::Batch, &before), ["count", "5"]);
    assert_eq!(
        house.run_at(sql, Purpose::View, &house.store.reader()),
        ["count", "1"]
    );
}

#[test]
fn plans_of_views_run_over_a_reader() {
    let house = House::talking(&[]);
    let sql =
        "SELECT DISTINCT c.topic FROM message m JOIN chat c ON c.id = m.chat_id WHERE m.sent_at > now()";
    assert_eq!(
        house.run_at(sql, Purpose::View, &house.store.reader()),
        ["topic", "rust"]
    );
}

#[test]
fn a_result_may_run_other_plans_while_it_is_read() {
    let house = House::talking(&[]);
    let reader = house.store.reader();
    let plan = |sql: &str| {
        house
            .planner
            .plan_sql(sql, &house.relations, "public", Purpose::Batch)
            .unwrap()
    };
    let (outer, inner) = (plan("SELECT id FROM chat"), plan("SELECT count(*) FROM user"));
    let mut seen = 0;
    let each = &mut |batch: RecordBatch| {
        seen += batch.num_rows();
        assert_eq!(
            lines(&house.planner.execute(&inner, &reader, NOW)?),
            ["count", "2"]
        );
        Ok(())
    };
    house.planner.execute_each(&outer, &reader, NOW, each).unwrap();
    assert_eq!(seen, 2);
}

const LOG: RelationId = RelationId(9);

/// `log(number, word)` without a key, with `rows` rows that are there `weight` times each.
fn logging(rows: i64, weight: i64) -> House {
    let mut relations = Relations::default();
    let columns = [("number", DataType::Int64), ("word", DataType::Utf8)];
    relations.put(table(LOG, "public", "log", &columns, &[])).unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let words: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..rows).map(|row| format!("w{}", row % 7)),
    ));
    let schema = relations.get(LOG).unwrap().schema();
    let batch = RecordBatch::try_new(schema, vec![numbers, words]).unwrap();
    let batch = Batch::new(batch, vec![weight; rows as usize]).unwrap();
    House::of(Arc::new(relations), &[], &[(LOG, batch)])
}

#[test]
fn more_rows_than_a_batch_are_all_read() {
    let house = logging(30_000, 1);
    assert_eq!(
        house.run("SELECT count(*), sum(number) FROM log"),
        ["count | sum", "30000 | 449985000"]
    );
    assert_eq!(
        house.run("SELECT count(*) FROM log a JOIN log b ON a.number = b.number"),
        ["count", "30000"]
    );
    assert_eq!(
        house.run("SELECT count(*) FROM (SELECT * FROM log UNION ALL SELECT * FROM log)"),
        ["count", "60000"]
    );
    assert_eq!(house.run("SELECT number FROM log LIMIT 2"), ["number", "0", "1"]);
    assert_eq!(
        house.run("SELECT number FROM log WHERE number > 20000 LIMIT 1"),
        ["number", "20001"]
    );
    assert_eq!(
        house.run("SELECT number FROM log LIMIT 1 OFFSET 25000"),
        ["number", "25000"]
    );
}

#[test]
fn a_row_is_given_as_often_as_it_is_there() {
    let house = logging(3, 5_000);
    assert_eq!(
        house.run("SELECT number, count(*) FROM log GROUP BY number ORDER BY number"),
        ["number | count", "0 | 5000", "1 | 5000", "2 | 5000"]
    );
    assert_eq!(
        house.run("SELECT count(*) FROM (SELECT number FROM log LIMIT 7003)"),
        ["count", "7003"]
    );
    assert_eq!(house.run("SELECT number FROM log LIMIT 2"), ["number", "0", "0"]);
}

#[test]
fn a_row_below_zero_is_not_hidden() {
    let house = logging(2, -1);
    let plan = house
        .planner
        .plan_sql("SELECT * FROM log", &house.relations, "public", Purpose::Batch)
        .unwrap();
    let error = house
        .planner
        .execute(&plan, &house.store.reader(), NOW)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
}

#[test]
fn a_reader_that_stops_gets_its_own_error_back() {
    let house = logging(50_000, 1);
    let plan = house
        .planner
        .plan_sql("SELECT * FROM log", &house.relations, "public", Purpose::Batch)
        .unwrap();
    let mut batches = 0;
    let stop = &mut |_: RecordBatch| {
        batches += 1;
        Err(Error::new(
            ErrorKind::Cancelled,
            "ENOUGH",
            "the caller has enough",
        ))
    };
    let error = house
        .planner
        .execute_each(&plan, &house.store.reader(), NOW, stop)
        .unwrap_err();
    assert_eq!((error.reason(), batches), ("ENOUGH", 1));
}

const ITEM: RelationId = RelationId(11);

/// `item(a, b, c, d)` over tiny domains with NULLs; the key is (a, b), an index on (c, a).
fn item() -> Relation {
    let columns = [
        ("a", DataType::Int64),
        ("b", DataType::Utf8),
        ("c", DataType::Int32),
        ("d", DataType::Utf8),
    ];
    let mut relation = table(ITEM, "public", "item", &columns, &[0, 1]);
    if let RelationKind::Table(table) = &mut relation.kind {
        table.indexes.push(Index {
            name: "by_c".to_owned(),
            columns: vec![ColumnPath::from(2), ColumnPath::from(0)],
            unique: false,
        });
    }
    relation
}

fn random_items(random: &mut StdRng) -> RecordBatch {
    let mut keys: Vec<(i64, String)> = (0..4)
        .flat_map(|a| (0..4).map(move |b| (a, format!("b{b}"))))
        .collect();
    keys.retain(|_| random.random_bool(0.7));
    let a: Int64Array = keys.iter().map(|key| Some(key.0)).collect();
    let b: StringArray = keys.iter().map(|key| Some(key.1.clone())).collect();
    let c: Int32Array = keys
        .iter()
        .map(|_| random.random_bool(0.8).then(|| random.random_range(0..3)))
        .collect();
    let d: StringArray = keys
        .iter()
        .map(|_| {
            random
                .random_bool(0.8)
                .then(|| format!("d{}", random.random_range(0..3)))
        })
        .collect();
    RecordBatch::try_new(
        item().schema(),
        vec![Arc::new(a), Arc::new(b), Arc::new(c), Arc::new(d)],
    )
    .unwrap()
}

fn random_condition(random: &mut StdRng, depth: usize) -> String {
    let (column, prefix, size) =
        [("a", "", 5), ("b", "'b", 5), ("c", "", 4), ("d", "'d", 4)][random.random_range(0..4)];
    let quote = if prefix.is_empty() { "" } else { "'" };
    let mut value = || match random.random_range(0..size + 1) {
        0 => "NULL".to_owned(),
        value => format!("{prefix}{}{quote}", value - 1),
    };
    let (first, second, third, fourth) = (value(), value(), value(), value());
    match random.random_range(0..if depth == 0 { 4 } else { 7 }) {
        0 | 1 => format!("{column} = {first}"),
        2 => format!("{column} IN ({first}, {second}, {third}, {fourth})"),
        3 => format!("{second} = {column}"),
        4 => format!("NOT ({})", random_condition(random, depth - 1)),
        5 => format!(
            "({} OR {})",
            random_condition(random, depth - 1),
            random_condition(random, depth - 1)
        ),
        _ => format!(
            "({} AND {})",
            random_condition(random, depth - 1),
            random_condition(random, depth - 1)
        ),
    }
}

#[test]
fn looking_up_gives_what_reading_everything_gives() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut relations = Relations::default();
    relations.put(item()).unwrap();
    let relations = Arc::new(relations);
    let batch = random_items(&mut random);
    let keys: [(RelationId, &[&[usize]]); 3] =
        [(ITEM, &[&[2], &[0]]), (ITEM, &[&[3]]), (ITEM, &[&[1], &[3]])];
    let house = House::of(relations.clone(), &keys, &[(ITEM, Batch::inserts(batch.clone()))]);
    let mut by_key = 0;
    for _ in 0..300 {
        let conditions: Vec<_> = (0..random.random_range(1..4))
            .map(|_| random_condition(&mut random, 2))
            .collect();
        let sql = format!(
            "SELECT * FROM item WHERE {} ORDER BY a, b",
            conditions.join(" AND ")
        );
        let plan = house
            .planner
            .plan_sql(&sql, &relations, "public", Purpose::Batch)
            .unwrap();
        let given = |_| Some(vec![batch.clone()]);
        let want = lines(&house.planner.execute_over(&plan, &given, NOW).unwrap());
        assert_eq!(house.run(&sql), want, "{sql}");
        by_key += usize::from(
            house
                .access(&sql, Purpose::Batch)
                .iter()
                .any(|line| line.contains("keys of")),
        );
    }
    assert!(by_key > 50, "only {by_key} of 300 queries were answered by key");
}

#[test]
fn an_index_is_read_by_its_first_columns() {
    let mut relations = Relations::default();
    relations.put(item()).unwrap();
    let batch = random_items(&mut StdRng::seed_from_u64(1));
    assert!(batch.num_rows() > 0 && batch.column(2).null_count() < batch.num_rows());
    let house = House::of(
        Arc::new(relations),
        &[(ITEM, &[&[2], &[0]])],
        &[(ITEM, Batch::inserts(batch))],
    );
    let access = |sql: &str| house.access(sql, Purpose::Batch).remove(0);
    assert!(access("SELECT a FROM item WHERE c = 1").contains("1 keys of (c)"));
    assert!(access("SELECT a FROM item WHERE c = 1 AND a IN (1, 2)").contains("2 keys of (c, a)"));
    assert!(access("SELECT c FROM item WHERE a = 1").contains("1 keys of (a)"));
    assert!(access("SELECT c FROM item WHERE a = 1 AND b = 'b1'").contains("1 keys of (a, b)"));
    assert!(access("SELECT c FROM item WHERE b = 'b1'").contains("all rows"));
}

#[test]
fn a_prepared_query_gives_what_is_there_at_each_run() {
    let house = House::talking(&[]);
    let queries = [
        "SELECT author FROM message WHERE id = 3",
        "SELECT m.author, c.topic FROM message m FULL JOIN chat c ON c.id = m.chat_id ORDER BY m.id, c.id",
        "SELECT c.topic, count(*) AS n FROM message m JOIN chat c ON c.id = m.chat_id GROUP BY c.topic ORDER BY c.topic",
        "SELECT a.id, b.id AS other FROM message a JOIN message b ON a.likes < b.likes ORDER BY a.id, b.id LIMIT 5",
        "SELECT id FROM message WHERE likes = (SELECT max(likes) FROM message) ORDER BY id",
        "SELECT id FROM chat WHERE id NOT IN (SELECT chat_id FROM message WHERE likes > 3) ORDER BY id",
        "SELECT id, row_number() OVER (PARTITION BY author ORDER BY id) AS n FROM message ORDER BY id",
        "SELECT id FROM message CROSS JOIN (SELECT count(*) AS n FROM chat) AS c WHERE id > n ORDER BY id",
        "SELECT now() AS t, id FROM message ORDER BY id",
    ];
    let plan = |sql: &str| {
        let plan = house
            .planner
            .plan_sql(sql, &house.relations, "talk", Purpose::Batch);
        let prepared = house.planner.prepare(plan.unwrap(), &house.store.reader(), NOW);
        prepared.unwrap()
    };
    let prepared: Vec<_> = queries.iter().map(|sql| plan(sql)).collect();
    let messages = Batch::inserts(rows(MESSAGE).unwrap().remove(0));
    for change in [
        messages.clone().negate(),
        messages.clone(),
        messages.take(&[0, 2]).unwrap().negate(),
    ] {
        house.commit(house.store.begin().unwrap(), &[(MESSAGE, change)]);
        let reader = house.store.reader();
        for (sql, prepared) in queries.iter().zip(&prepared) {
            let again = lines(&prepared.run(&reader, NOW).unwrap());
            let fresh = house.run(sql);
            // Without rows there may be no batch to show the columns of.
            assert!(
                again == fresh || again.len() <= 1 && fresh.len() <= 1,
                "{sql}: {again:?}, not {fresh:?}"
            );
        }
    }
    assert!(!prepared[..8].iter().any(viewfeed_query::Prepared::follows_clock));
    assert!(prepared[8].follows_clock());
}
