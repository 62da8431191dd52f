//! A small database: each script is one transaction over a store in a temporary folder.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{
    Delta, Error, Position, Relation, RelationId, RelationKind, RelationName, Relations, Result, SourceId,
    Timestamp, Transaction, TransactionId, View,
};
use viewfeed_query::{Planner, Purpose, Statement};
use viewfeed_source::embedded::{Context, Embedded, Outcome, SOURCE};
use viewfeed_store::{Durability, EpochRecord, Options, Retention, Store, arrange};

/// What `now()` is in every test: 2024-05-06 07:08:09.123456 UTC.
pub(crate) const NOW: Timestamp = Timestamp(1_714_979_289_123_456);

pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) relations: Arc<Relations>,
    pub(crate) embedded: Embedded,
    pub(crate) planner: Planner,
    /// The sum of all changes of each table, by encoded row.
    pub(crate) sums: BTreeMap<RelationId, BTreeMap<Vec<u8>, i64>>,
    _folder: tempfile::TempDir,
}

/// What a transaction did.
pub(crate) struct Done {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) changes: Vec<Delta>,
    pub(crate) touched: BTreeSet<RelationId>,
}

impl Database {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 1_000 },
            retention: Retention {
                bytes_max: 1 << 30,
                age_us: i64::MAX,
            },
            memory_bytes: 16 << 20,
            segment_bytes: 16 << 20,
            ..Options::default()
        };
        let planner = Planner::new().unwrap();
        Self {
            store: Store::open(folder.path(), options).unwrap(),
            relations: Arc::new(Relations::starting_at(1)),
            embedded: Embedded::new(planner.clone()),
            planner,
            sums: BTreeMap::new(),
            _folder: folder,
        }
    }

    /// A database in which `sql` has run.
    pub(crate) fn with(sql: &str) -> Self {
        let mut database = Self::new();
        database.run(sql);
        database
    }

    /// Runs `work` as one transaction and commits it, or discards it if it fails.
    pub(crate) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Embedded, &mut Context<'_>) -> Result<T>,
    ) -> Result<(T, Vec<Delta>, BTreeSet<RelationId>)> {
        let mut txn = self.store.begin()?;
        let (mut relations, mut changes, mut touched) = (self.relations.clone(), Vec::new(), BTreeSet::new());
        let mut context = Context {
            txn: &mut txn,
            relations: &mut relations,
            search_schema: "public",
            now: NOW,
            changes: &mut changes,
            touched: &mut touched,
        };
        let done = work(&self.embedded, &mut context)?;
        let versions = relations
            .iter()
            .map(|relation| (relation.id, relation.schema_version))
            .collect();
        let transaction = Transaction {
            source: SourceId::new(SOURCE),
            id: TransactionId(txn.epoch().0),
            position: Position::default(),
            commit_time: NOW,
            changes: changes.clone(),
        };
        let record = EpochRecord {
            commit_time: NOW,
            transactions: vec![transaction],
            deltas: Vec::new(),
            schema_versions: versions,
        };
        self.store.commit(txn, &record)?;
        self.relations = relations;
        changes.iter().for_each(|delta| self.add_up(delta));
        Ok((done, changes, touched))
    }

    /// Runs a script as one transaction.
    pub(crate) fn try_run(&mut self, sql: &str) -> Result<Done> {
        let statements = viewfeed_query::parse(sql)?;
        let (outcomes, changes, touched) = self.transaction(|embedded, context| {
            let run = |parsed: viewfeed_query::Parsed| match parsed.statement {
                Statement::Sql(statement) => {
                    assert!(Embedded::handles(&statement), "not handled: {statement}");
                    embedded.execute(&statement, context)
                }
                _ => panic!("not SQL: {}", parsed.text),
            };
            statements.into_iter().map(run).collect::<Result<Vec<_>>>()
        })?;
        Ok(Done {
            outcomes,
            changes,
            touched,
        })
    }

    pub(crate) fn run(&mut self, sql: &str) -> Done {
        self.try_run(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// How many rows the last statement of a script wrote.
    pub(crate) fn count(&mut self, sql: &str) -> u64 {
        self.run(sql).outcomes.pop().map_or(0, |outcome| outcome.rows)
    }

    /// What the last statement of a script returns.
    pub(crate) fn returning(&mut self, sql: &str) -> Vec<String> {
        let outcome = self.run(sql).outcomes.pop().unwrap();
        outcome.returning.unwrap().1.iter().flat_map(spell).collect()
    }

    /// The failure of a script.
    pub(crate) fn fail(&mut self, sql: &str) -> Error {
        match self.try_run(sql) {
            Ok(_) => panic!("{sql} should fail"),
            Err(error) => error,
        }
    }

    /// The reason of a script's failure.
    pub(crate) fn reason(&mut self, sql: &str) -> &'static str {
        self.fail(sql).reason()
    }

    /// The rows of a SELECT, sorted, values separated by `|`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let plan = self
            .planner
            .plan_sql(sql, &self.relations, "public", Purpose::Batch)
            .unwrap();
        let batches = self.planner.execute(&plan, &self.store.reader(), NOW).unwrap();
        let mut rows: Vec<String> = batches.iter().flat_map(spell).collect();
        rows.sort();
        rows
    }

    pub(crate) fn relation(&self, name: &str) -> Arc<Relation> {
        self.relations.resolve(name, "public").unwrap().clone()
    }

    /// Makes a view that reads `input`, as far as the catalog is concerned.
    pub(crate) fn add_view(&mut self, name: &str, input: &str) {
        let input = self.relation(input);
        let relations = Arc::make_mut(&mut self.relations);
        let view = View {
            sql: format!("SELECT * FROM {}", input.name),
            search_schema: "public".into(),
            inputs: vec![input.id],
            require_incremental: false,
            on_error: Default::default(),
        };
        let id = relations.allocate();
        let relation = Relation {
            id,
            name: RelationName::new("public", name),
            columns: input.columns.clone(),
            key: input.key.clone(),
            kind: RelationKind::View(view),
            schema_version: 1,
        };
        relations.put(relation).unwrap();
    }

    /// Every arrangement of a table holds the same rows as the primary one, and, unless the table was altered, they are
    /// the sum of its changes.
    pub(crate) fn check_arrangements(&self, name: &str, against_changes: bool) {
        let relation = self.relation(name);
        let reader = self.store.reader();
        let codec = RowCodec::for_schema(&relation.schema()).unwrap();
        let contents: Vec<BTreeMap<Vec<u8>, i64>> = arrange::all(&reader, &relation)
            .unwrap()
            .iter()
            .map(|arrangement| {
                let mut content = BTreeMap::new();
                let scanned = arrangement.scan(&reader, &[], 100, &mut |batch| {
                    let rows = codec.encode(batch.rows())?;
                    for (row, weight) in rows.iter().zip(batch.weights()) {
                        *content.entry(row.to_vec()).or_insert(0) += weight;
                    }
                    Ok(std::ops::ControlFlow::Continue(()))
                });
                scanned.unwrap();
                content
            })
            .collect();
        contents
            .iter()
            .for_each(|content| assert_eq!(content, &contents[0], "an arrangement of {name} differs"));
        if against_changes {
            let sum = self.sums.get(&relation.id).cloned().unwrap_or_default();
            assert_eq!(
                sum, contents[0],
                "the changes of {name} do not add up to its rows"
            );
        }
    }

    fn add_up(&mut self, delta: &Delta) {
        let rows = RowCodec::for_schema(&delta.batch.schema())
            .unwrap()
            .encode(delta.batch.rows())
            .unwrap();
        let sum = self.sums.entry(delta.relation).or_default();
        for (row, weight) in rows.iter().zip(delta.batch.weights()) {
            let total = sum.entry(row.to_vec()).or_insert(0);
            *total += weight;
            if *total == 0 {
                sum.remove(row);
            }
        }
    }
}

/// The rows of a batch as text.
pub(crate) fn spell(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let row = |row| {
        columns
            .iter()
            .map(|column| column.value(row).to_string())
            .collect::<Vec<_>>()
            .join("|")
    };
    (0..batch.num_rows()).map(row).collect()
}
