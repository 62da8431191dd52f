//! Plays the program: writes rows to the store and publishes them, scans tables for a SELECT, and answers one SQL script.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc};
use viewfeed_catalog::Mutation;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{
    Batch, Column, Delta, Epoch, Error, ErrorKind, Position, Relation, RelationId, Relations, Result,
    SourceId, Timestamp, Transaction, TransactionId,
};
use viewfeed_feed::{Feed, Published};
use viewfeed_server::{Command, Executed, Selected, SessionRequest, Written};
use viewfeed_store::{EpochRecord, Store, arrange};
use viewfeed_wire::v1;

/// What the program and the test share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) feed: Feed,
    /// A write takes one permit: without, it waits.
    pub(crate) writes_allowed: Semaphore,
    /// Writes that came, whether the caller was still there or not.
    pub(crate) writes_asked: AtomicUsize,
    /// Writes that were done.
    pub(crate) writes_done: AtomicUsize,
    /// Positions of sources that were waited for.
    pub(crate) reached: std::sync::Mutex<Vec<(String, String)>>,
}

/// When every epoch is committed.
pub(crate) const COMMIT_TIME: Timestamp = Timestamp(1_700_000_000_000_000);

pub(crate) async fn run(shared: Arc<Shared>, mut commands: mpsc::Receiver<Command>) {
    let mut program = Program {
        shared,
        keys: HashMap::new(),
        next_id: 1,
    };
    while let Some(command) = commands.recv().await {
        match command {
            Command::Mutate {
                table,
                mutation,
                rows,
                reply,
            } => {
                program.shared.writes_asked.fetch_add(1, Ordering::SeqCst);
                let permit = program.shared.writes_allowed.acquire().await;
                permit.expect("never closed").forget();
                if reply.is_closed() {
                    continue;
                }
                reply.send(program.write(&table, mutation, &rows));
            }
            Command::Select {
                sql,
                min_version,
                reply,
                ..
            } => {
                program.shared.feed.wait_for(Epoch(min_version)).await;
                let _ = reply.send(program.select(&sql));
            }
            Command::Reach {
                source,
                position,
                reply,
            } => {
                program.shared.reached.lock().unwrap().push((source, position));
                let _ = reply.send(Ok(()));
            }
            Command::Session { requests, replies } => {
                tokio::spawn(session(requests, replies));
            }
            Command::Status { reply } => {
                let status = v1::StatusResponse {
                    server_version: "test".to_owned(),
                    version: program.shared.feed.epoch().0,
                    oldest_version: program.shared.store.oldest().0,
                    ..v1::StatusResponse::default()
                };
                let _ = reply.send(status);
            }
        }
    }
}

/// The rows by table and encoded key.
type Keys = HashMap<(RelationId, Vec<u8>), RecordBatch>;

struct Program {
    shared: Arc<Shared>,
    keys: Keys,
    next_id: i64,
}

impl Program {
    fn write(&mut self, table: &Arc<Relation>, mutation: Mutation, rows: &RecordBatch) -> Written {
        let (entries, keys) = match mutation {
            Mutation::Delete => self.delete(table, rows)?,
            _ => self.put(table, mutation, rows)?,
        };
        let batch = Batch::concat(&table.schema(), &entries)?;
        let epoch = commit(
            &self.shared,
            vec![Delta {
                relation: table.id,
                batch,
            }],
        )?;
        self.keys = keys;
        self.shared.writes_done.fetch_add(1, Ordering::SeqCst);
        Ok((epoch.0, rows.num_rows() as u64, COMMIT_TIME))
    }

    fn put(
        &mut self,
        table: &Arc<Relation>,
        mutation: Mutation,
        rows: &RecordBatch,
    ) -> Result<(Vec<Batch>, Keys)> {
        let rows = self.complete(table, rows)?;
        let encoded = RowCodec::for_paths(&table.schema(), &table.key_paths())?.encode(&rows)?;
        let (mut entries, mut keys) = (Vec::new(), self.keys.clone());
        for (place, key) in encoded.iter().enumerate() {
            let row = rows.slice(place, 1);
            let before = keys.insert((table.id, key.to_vec()), row.clone());
            if mutation == Mutation::Insert && before.is_some() {
                let text = format!("a row with this key is in \"{}\" already", table.name);
                return Err(Error::new(ErrorKind::Exists, "DUPLICATE_KEY", text).hint("choose another key"));
            }
            entries.extend(before.map(Batch::deletes));
            entries.push(Batch::inserts(row));
        }
        Ok((entries, keys))
    }

    fn delete(&self, table: &Relation, rows: &RecordBatch) -> Result<(Vec<Batch>, Keys)> {
        let (mut entries, mut keys) = (Vec::new(), self.keys.clone());
        for key in RowCodec::for_schema(&rows.schema())?.encode(rows)?.iter() {
            let Some(row) = keys.remove(&(table.id, key.to_vec())) else {
                return Err(Error::not_found("ROW_NOT_FOUND", "there is no row with this key"));
            };
            entries.push(Batch::deletes(row));
        }
        Ok((entries, keys))
    }

    /// The rows with the columns they leave out: NULL, or the next number for the hidden key.
    fn complete(&mut self, table: &Relation, rows: &RecordBatch) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut column = |column: &Column| -> ArrayRef {
            if let Some(given) = rows.column_by_name(&column.name) {
                return given.clone();
            }
            if column.hidden {
                let first = self.next_id;
                self.next_id += count as i64;
                return Arc::new(Int64Array::from_iter_values(first..self.next_id));
            }
            new_null_array(&column.data_type, count)
        };
        let columns = table.columns.iter().map(&mut column).collect();
        Ok(RecordBatch::try_new(table.schema(), columns)?)
    }

    /// The rows of the table whose name comes after FROM, in the columns between SELECT and FROM.
    fn select(&self, sql: &str) -> Result<Selected> {
        let words: Vec<String> = sql
            .split_whitespace()
            .map(|word| word.replace(['"', ','], ""))
            .collect();
        let from = words
            .iter()
            .position(|word| word == "FROM")
            .expect("the SELECT has a FROM");
        let name = words[from + 1].rsplit('.').next().expect("a name").to_owned();
        let relations = self.shared.feed.relations();
        let table = relations
            .iter()
            .find(|relation| relation.name.name == name)
            .expect("the table exists");
        let reader = self.shared.store.reader();
        let mut batches = Vec::new();
        arrange::primary(&reader, table)?.scan(&reader, &[], 1000, &mut |batch| {
            batches.push(batch.into_parts().0);
            Ok(ControlFlow::Continue(()))
        })?;
        let columns: Vec<usize> = words[1..from]
            .iter()
            .filter_map(|name| table.column(name))
            .collect();
        let rows = batches
            .iter()
            .map(|rows| rows.project(&columns))
            .collect::<Result<_, _>>()?;
        Ok(Selected {
            rows,
            version: self.shared.feed.epoch().0,
        })
    }
}

/// Commits changes as one transaction and publishes them.
pub(crate) fn commit(shared: &Shared, changes: Vec<Delta>) -> Result<Epoch> {
    let relations = shared.feed.relations();
    let mut txn = shared.store.begin()?;
    let reader = txn.before();
    for delta in &changes {
        for arrangement in arrange::all(&reader, relations.get(delta.relation).expect("the table exists"))? {
            arrangement.stage(&mut txn, &delta.batch)?;
        }
    }
    let transaction = Transaction {
        source: SourceId::new("embedded"),
        id: TransactionId(txn.epoch().0),
        position: Position(txn.epoch().0.to_be_bytes().to_vec()),
        commit_time: COMMIT_TIME,
        changes,
    };
    let schema_versions = transaction
        .changes
        .iter()
        .map(|delta| (delta.relation, 1))
        .collect();
    let record = EpochRecord {
        commit_time: COMMIT_TIME,
        transactions: vec![transaction.clone()],
        deltas: Vec::new(),
        schema_versions,
    };
    let epoch = shared.store.commit(txn, &record)?;
    shared.feed.publish(Published {
        epoch,
        commit_time: COMMIT_TIME,
        relations,
        transactions: vec![transaction],
        deltas: Vec::new(),
        is_large: false,
    });
    Ok(epoch)
}

/// Makes relations exist, in an epoch of their own.
pub(crate) fn create(store: &Store, relations: &Relations) -> Result<Epoch> {
    let mut txn = store.begin()?;
    for relation in relations.iter() {
        arrange::ensure(&mut txn, relation, &relation.key_paths())?;
    }
    let record = EpochRecord {
        commit_time: COMMIT_TIME,
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    };
    store.commit(txn, &record)
}

/// `numbers n` answers n rows, anything else fails.
async fn session(mut requests: mpsc::Receiver<SessionRequest>, replies: mpsc::Sender<Executed>) {
    while let Some(request) = requests.recv().await {
        for executed in script(&request.sql) {
            if replies.send(executed).await.is_err() {
                return;
            }
        }
    }
}

fn script(sql: &str) -> Vec<Executed> {
    let Some(count) = sql.strip_prefix("numbers ").and_then(|count| count.parse().ok()) else {
        let error = Error::invalid("SYNTAX", "only numbers are understood").hint("say numbers 3");
        return vec![Executed::Failed(error)];
    };
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let column = Column::new(1, "number", numbers.data_type().clone(), false);
    vec![
        Executed::Columns(vec![column]),
        Executed::Rows(RecordBatch::try_from_iter([("number", numbers)]).unwrap()),
        Executed::Command {
            command: format!("SELECT {count}"),
            version: 7,
            row_count: count as u64,
            notices: vec!["counted".to_owned()],
        },
        Executed::Done,
    ]
}
