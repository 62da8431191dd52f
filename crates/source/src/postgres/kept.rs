//! Changes of a table that is being copied, kept in the store until the copy is complete: so the stream goes on, its
//! position is acknowledged, and the server keeps no log for our sake.
//!
//! ```text
//! o ‖ state id ‖ number (u64)  →  commit (u64) ‖ 0 truncated
//!                                 commit (u64) ‖ 1 ‖ operations ‖ unchanged, JSON ‖ new rows ‖ old rows
//! ```
//! Counts and lengths are u32, numbers big-endian. Rows are in the codec of `change::row`.

use super::{Lsn, OldImage, RowChange, RowChanges};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::ops::ControlFlow;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Error, Result};
use viewfeed_store::{Reader, Txn, keys};

/// Operations of one entry.
const OPERATIONS_MAX: usize = 8192;

/// One kept event.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// All rows went.
    Truncated,
    /// Rows changed.
    Rows(RowChanges),
}

/// The kept changes of one attempt to copy a table.
pub(super) struct KeptChanges {
    name: String,
}

/// An entry and its key.
pub(super) struct Entry {
    key: Vec<u8>,
    /// Where the transaction was committed.
    pub(super) commit: Lsn,
    /// What the transaction did.
    pub(super) kept: Kept,
}

impl Entry {
    /// How many operations it has.
    pub(super) fn operations(&self) -> usize {
        match &self.kept {
            Kept::Truncated => 1,
            Kept::Rows(changes) => changes.operations.len(),
        }
    }
}

impl KeptChanges {
    pub(super) fn of(source: &str, table: super::pgoutput::Oid) -> Self {
        Self {
            name: format!("source/{source}/kept/{}", table.0),
        }
    }

    /// Adds what a transaction did, behind everything else.
    pub(super) fn push(&self, txn: &mut Txn, commit: Lsn, kept: &Kept) -> Result<()> {
        let (state, _) = keys::allocate(txn, &self.name)?;
        let parts = match kept {
            Kept::Truncated => vec![vec![0]],
            Kept::Rows(changes) => changes
                .pieces(OPERATIONS_MAX)
                .iter()
                .map(encode)
                .collect::<Result<_>>()?,
        };
        for part in parts {
            let number = keys::advance(txn, &self.name, 1)?;
            let mut key = keys::operator_prefix(state);
            key.extend_from_slice(&number.to_be_bytes());
            txn.put(key, [&commit.0.to_be_bytes()[..], &part].concat());
        }
        Ok(())
    }

    /// The first entries, as many as have about `operations_max` operations. `schema` is that of the rows.
    pub(super) fn first(
        &self,
        reader: &Reader,
        schema: &SchemaRef,
        operations_max: usize,
    ) -> Result<Vec<Entry>> {
        let Some(state) = keys::find(reader, &self.name)? else {
            return Ok(Vec::new());
        };
        let (prefix, codec) = (keys::operator_prefix(state), RowCodec::for_schema(schema)?);
        let (mut entries, mut operations) = (Vec::new(), 0);
        reader.scan(&prefix, &prefix, &mut |key, value| {
            let entry = decode(key, value, &codec)?;
            operations += entry.operations();
            entries.push(entry);
            match operations < operations_max {
                true => Ok(ControlFlow::Continue(())),
                false => Ok(ControlFlow::Break(())),
            }
        })?;
        Ok(entries)
    }

    /// Forgets what was committed before `at`: a copy of that point has it.
    pub(super) fn drop_before(&self, txn: &mut Txn, at: Lsn) -> Result<()> {
        let reader = txn.now();
        let Some(state) = keys::find(&reader, &self.name)? else {
            return Ok(());
        };
        let (prefix, mut gone) = (keys::operator_prefix(state), Vec::new());
        reader.scan(&prefix, &prefix, &mut |key, value| {
            // Commits are in order, and so are the entries.
            if Lsn(u64::from_be_bytes(Input(value).take::<8>()?)) >= at {
                return Ok(ControlFlow::Break(()));
            }
            gone.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        drop(reader);
        gone.into_iter().for_each(|key| txn.delete(key));
        Ok(())
    }

    /// Forgets entries that have been applied.
    pub(super) fn remove(&self, txn: &mut Txn, entries: Vec<Entry>) {
        entries.into_iter().for_each(|entry| txn.delete(entry.key));
    }

    /// Forgets everything.
    pub(super) fn release(&self, txn: &mut Txn) -> Result<()> {
        txn.delete(keys::sequence(&self.name));
        keys::release(txn, &self.name)
    }
}

fn encode(changes: &RowChanges) -> Result<Vec<u8>> {
    let unchanged = serde_json::to_vec(&changes.unchanged)
        .map_err(|error| Error::internal("kept changes could not be written").because(error))?;
    let mut bytes = vec![1];
    put(
        &mut bytes,
        &changes.operations.iter().map(operation_byte).collect::<Vec<_>>(),
    );
    put(&mut bytes, &unchanged);
    for rows in [&changes.new, &changes.old] {
        bytes.extend_from_slice(&(rows.num_rows() as u32).to_be_bytes());
        for row in RowCodec::for_schema(&rows.schema())?.encode(rows)?.iter() {
            put(&mut bytes, row);
        }
    }
    Ok(bytes)
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
    bytes.extend_from_slice(part);
}

fn decode(key: &[u8], value: &[u8], codec: &RowCodec) -> Result<Entry> {
    let mut input = Input(value);
    let commit = Lsn(u64::from_be_bytes(input.take::<8>()?));
    let kept = match input.take::<1>()? {
        [0] => Kept::Truncated,
        [1] => {
            let operations = input.part()?.iter().map(|byte| operation(*byte));
            let operations = operations.collect::<Result<_>>()?;
            let unchanged = serde_json::from_slice(input.part()?).map_err(|_| unreadable())?;
            let new = input.rows(codec)?;
            let old = input.rows(codec)?;
            Kept::Rows(RowChanges {
                operations,
                new,
                old,
                unchanged,
            })
        }
        _ => return Err(unreadable()),
    };
    Ok(Entry {
        key: key.to_vec(),
        commit,
        kept,
    })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(unreadable)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn part(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_be_bytes(self.take::<4>()?) as usize;
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    fn rows(&mut self, codec: &RowCodec) -> Result<RecordBatch> {
        let count = u32::from_be_bytes(self.take::<4>()?);
        let rows = (0..count).map(|_| self.part()).collect::<Result<Vec<_>>>()?;
        codec.decode(rows.into_iter())
    }
}

fn operation_byte(operation: &RowChange) -> u8 {
    let image = |image: &OldImage| match image {
        OldImage::None => 0,
        OldImage::Key => 1,
        OldImage::Full => 2,
    };
    match operation {
        RowChange::Insert => 0,
        RowChange::Update(old) => 0x10 | image(old),
        RowChange::Delete(old) => 0x20 | image(old),
    }
}

fn operation(byte: u8) -> Result<RowChange> {
    let image = match byte & 0x0f {
        0 => OldImage::None,
        1 => OldImage::Key,
        2 => OldImage::Full,
        _ => return Err(unreadable()),
    };
    match byte & 0xf0 {
        0 => Ok(RowChange::Insert),
        0x10 => Ok(RowChange::Update(image)),
        0x20 => Ok(RowChange::Delete(image)),
        _ => Err(unreadable()),
    }
}

fn unreadable() -> Error {
    Error::corrupt("a kept change of a source's table cannot be read")
}
