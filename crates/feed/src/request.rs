//! What may be asked for, and the check that it makes sense: a [`Request`] is made into a [`Selection`] once.

use crate::envelope::Shape;
use arrow::array::RecordBatch;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, ColumnPath, Epoch, Error, Relation, RelationId, Result};

/// How changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// Rows to put, keys to take away.
    Upsert,
    /// Rows with weights.
    Diff,
    /// The whole result each time.
    State,
}

/// What to do when the token is older than the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// RESET and a new snapshot.
    Reset,
    /// Fail as `OutOfRange`/`RESUME_TOKEN_COMPACTED`.
    Error,
}

/// Only rows whose values at `columns` are the ones encoded in `key` (by the row codec of those columns).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The columns, each a path from the row.
    pub columns: Vec<ColumnPath>,
    /// Their values, encoded.
    pub key: Vec<u8>,
}

/// What to subscribe to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The table or view.
    pub relation: RelationId,
    /// Which of its rows. If there is an arrangement by these columns, a snapshot reads only the matching rows.
    pub filter: Option<Filter>,
    /// The columns that make a row unique (UPSERT); empty: the relation's key. UPSERT without any key is refused.
    ///
    /// It is the caller's promise that they do. If several rows have the same values there, a frame puts the last of
    /// the rows added, in row-encoding order, and deletes the key when rows were only taken away: the subscriber then
    /// holds one of those rows or none, and `row_count` is left out.
    pub key: Vec<usize>,
    /// How changes are told.
    pub envelope: Envelope,
    /// Resume after this token.
    pub token: Option<Vec<u8>>,
    /// Without a token: no snapshot, only what changes after the version of HELLO.
    pub skip_snapshot: bool,
    /// BYE `UP_TO_VERSION` once this is reached.
    pub up_to: Option<Epoch>,
    /// When the token is too old.
    pub on_gap: OnGap,
    /// How often PROGRESS comes when nothing changes; at least 1 s, at most a day.
    pub heartbeat: Duration,
    /// Hash of everything else the token is bound to (the rpc, the principal).
    pub bound_to: u64,
}

/// Which rows of which relation, told how: the checked part of a request that never changes.
pub(crate) struct Selection {
    pub(crate) relation: Arc<Relation>,
    pub(crate) filter: Option<Filter>,
    pub(crate) shape: Shape,
    /// Hash of the request, for its tokens.
    pub(crate) hash: u64,
    codec: RowCodec,
    filter_codec: Option<RowCodec>,
}

impl Selection {
    /// Checks `request` against the relation it names. Fails as `Invalid`.
    pub(crate) fn new(request: &Request, relation: Arc<Relation>) -> Result<Self> {
        let schema = relation.schema();
        let filter = request.filter.clone().filter(|filter| !filter.columns.is_empty());
        let filter_codec = match &filter {
            Some(filter) => Some(check_filter(&relation, filter)?),
            None => None,
        };
        let key = check_key(request, &relation)?;
        let shape = Shape {
            envelope: request.envelope,
            unique: !relation.key.is_empty() && relation.key.iter().all(|column| key.contains(column)),
            key,
        };
        Ok(Self {
            hash: hash(&shape, filter.as_ref(), request.bound_to),
            codec: RowCodec::for_schema(&schema)?,
            relation,
            filter,
            shape,
            filter_codec,
        })
    }

    /// The rows with these bytes, as logged.
    pub(crate) fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<RecordBatch> {
        self.codec.decode(rows)
    }

    /// The entries of `batch` that pass the filter.
    pub(crate) fn keep(&self, batch: Batch) -> Result<Batch> {
        let (Some(filter), Some(codec)) = (&self.filter, &self.filter_codec) else {
            return Ok(batch);
        };
        let keys = codec.encode(batch.rows())?;
        let wanted: Vec<u32> = (0..keys.len() as u32)
            .filter(|i| keys.row(*i as usize) == filter.key)
            .collect();
        if wanted.len() == batch.len() {
            return Ok(batch);
        }
        batch.take(&wanted)
    }
}

fn check_filter(relation: &Relation, filter: &Filter) -> Result<RowCodec> {
    let refused = || {
        let message = format!(
            "the filter does not fit the columns of relation \"{}\"",
            relation.name
        );
        Error::invalid("FILTER_INVALID", message)
    };
    let codec = RowCodec::for_paths(&relation.schema(), &filter.columns).map_err(|e| refused().because(e))?;
    codec
        .decode([filter.key.as_slice()].into_iter())
        .map_err(|e| refused().because(e))?;
    Ok(codec)
}

/// The key columns, each once and sorted out against the relation.
fn check_key(request: &Request, relation: &Relation) -> Result<Vec<usize>> {
    if request.envelope != Envelope::Upsert {
        return Ok(Vec::new());
    }
    let key = if request.key.is_empty() {
        relation.key.clone()
    } else {
        request.key.clone()
    };
    if key.is_empty() {
        let message = format!("rows of relation \"{}\" have no key", relation.name);
        return Err(Error::invalid("KEY_REQUIRED", message)
            .hint("name the columns that make a row unique, or use the DIFF envelope"));
    }
    let mut seen = vec![false; relation.columns.len()];
    for column in &key {
        match seen.get_mut(*column) {
            Some(seen) if !*seen => *seen = true,
            _ => {
                let message = format!(
                    "the key names a column twice, or one that relation \"{}\" does not have",
                    relation.name
                );
                return Err(Error::invalid("KEY_INVALID", message));
            }
        }
    }
    Ok(key)
}

/// Must stay the same from release to release: it is in the tokens that clients keep.
fn hash(shape: &Shape, filter: Option<&Filter>, bound_to: u64) -> u64 {
    let mut bytes = vec![match shape.envelope {
        Envelope::Upsert => 1,
        Envelope::Diff => 2,
        Envelope::State => 3,
    }];
    bytes.extend(bound_to.to_be_bytes());
    let mut put = |number: usize| bytes.extend((number as u64).to_be_bytes());
    put(shape.key.len());
    shape.key.iter().for_each(|column| put(*column));
    let columns = filter.map_or(&[][..], |filter| &filter.columns);
    put(columns.len());
    for column in columns {
        put(column.0.len());
        column.0.iter().for_each(|step| put(*step));
    }
    bytes.extend(filter.map_or(&[][..], |filter| &filter.key));
    let digest = Sha256::digest(&bytes);
    u64::from_be_bytes(std::array::from_fn(|i| digest[i]))
}
