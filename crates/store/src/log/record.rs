//! The bytes of a record.
//!
//! ```text
//! frame   = payload length u32 · CRC-32 of length and payload u32 · payload           fixed numbers: little-endian
//! payload = form u8 · row codec u8 · epoch u64 · synced u64 · commit time i64 · feed length u32 · feed · rest
//! rest    = writes             form 1: a whole epoch
//!         | nothing            form 2: a part of an epoch, more of it follows in the next record
//!         | writes · files     form 3: the last part of one
//! feed    = count (source · id · position · time · count delta) · count delta         other numbers: varint
//! delta   = relation · schema version · count · weights · row…                       bytes: length, then bytes
//! weights = 0 (each +1) | 1 (each −1) | 2 weight…
//! writes  = count (key · 0 | key · value length + 1 · value)
//! files   = count (id · bytes · CRC of the footer)             run files, the newest first, with older writes of the epoch
//! ```
//!
//! Of a key that was written more than once the last write counts. `synced` is the last epoch known to be on disk when the record was made: it tells damage from what a crash leaves.

use super::output::Output;
use super::{LoggedDelta, LoggedEpoch, LoggedTransaction};
use crate::runs::WrittenRun;
use crate::writes::{SortedWrites, WritesBuilder};
use crate::{EpochRecord, varint};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use viewfeed_change::row::{self, RowCodec, Rows};
use viewfeed_change::{
    Delta, Epoch, Error, Position, RelationId, Result, SourceId, Timestamp, TransactionId,
};

/// Length and checksum.
pub(super) const FRAME_BYTES: usize = 8;
/// The payload up to the feed.
pub(super) const HEAD_BYTES: usize = 30;
/// No record may be larger: its length has 32 bits, and it is read as one piece.
pub(super) const RECORD_BYTES_MAX: usize = u32::MAX as usize;
/// Rows that are turned into bytes before these are handed on.
const ROWS_AT_ONCE: usize = 8192;

/// What a record is of its epoch. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// All of it.
    Whole = 1,
    /// Some of what feeds read.
    More = 2,
    /// The last part: from here on the epoch is committed.
    Last = 3,
}

impl Form {
    fn of(number: u8) -> Option<Self> {
        [Self::Whole, Self::More, Self::Last]
            .into_iter()
            .find(|form| *form as u8 == number)
    }
}

/// What recovery applies of an epoch.
pub(crate) struct Redo {
    /// Run files, the newest first.
    pub(crate) files: Vec<WrittenRun>,
    /// Later writes.
    pub(crate) writes: SortedWrites,
}

/// What the start of a payload says.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) form: Form,
    pub(super) epoch: Epoch,
    pub(super) synced: Epoch,
    pub(super) commit_time: Timestamp,
    feed_bytes: usize,
}

/// An epoch, or a part of one, on its way into the log.
pub(crate) struct LogEntry<'a> {
    /// Which.
    pub(crate) epoch: Epoch,
    /// The last epoch known to be on disk.
    pub(crate) synced: Epoch,
    /// What feeds read.
    pub(crate) record: &'a EpochRecord,
}

impl LogEntry<'_> {
    /// A whole epoch, frame included, into `output`. Of a key that is in several `writes` the last one counts. Gives its length.
    pub(crate) fn encode(&self, writes: &[Arc<SortedWrites>], mut output: Output<'_>) -> Result<usize> {
        let feed_bytes = self.put_feed(&mut output)?;
        put_writes(&mut output, writes)?;
        output.finish(self.head(Form::Whole, feed_bytes))
    }

    /// A part of an epoch that others follow.
    pub(crate) fn encode_more(&self, mut output: Output<'_>) -> Result<usize> {
        let feed_bytes = self.put_feed(&mut output)?;
        output.finish(self.head(Form::More, feed_bytes))
    }

    /// The last part of an epoch whose other writes are in `files`, the newest first.
    pub(crate) fn encode_last(
        &self,
        writes: &[Arc<SortedWrites>],
        files: &[WrittenRun],
        mut output: Output<'_>,
    ) -> Result<usize> {
        let feed_bytes = self.put_feed(&mut output)?;
        put_writes(&mut output, writes)?;
        put_files(&mut output.bytes, files);
        output.finish(self.head(Form::Last, feed_bytes))
    }

    fn put_feed(&self, output: &mut Output<'_>) -> Result<usize> {
        let start = output.len();
        put_feed(output, self.record)?;
        Ok(output.len() - start)
    }

    fn head(&self, form: Form, feed_bytes: usize) -> [u8; HEAD_BYTES] {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend([form as u8, row::VERSION]);
        head.extend(self.epoch.0.to_le_bytes());
        head.extend(self.synced.0.to_le_bytes());
        head.extend(self.record.commit_time.0.to_le_bytes());
        // A record whose length does not fit was refused before this.
        head.extend((feed_bytes as u32).to_le_bytes());
        head.try_into().expect("the head has its length")
    }
}

/// About how long a record of these writes is, if feeds see little of it.
pub(crate) fn bytes_about(writes: &[Arc<SortedWrites>]) -> usize {
    let writes: usize = writes.iter().map(|layer| layer.encoded_bytes()).sum();
    FRAME_BYTES + HEAD_BYTES + writes
}

/// The payload's length and its checksum, as the frame says.
pub(super) fn frame(bytes: [u8; FRAME_BYTES]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (
        u32::from_le_bytes([a, b, c, d]) as usize,
        u32::from_le_bytes([e, f, g, h]),
    )
}

/// The checksum a frame must have.
pub(super) fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// The start of a payload; fails on a form this program does not know.
pub(super) fn decode_head(payload: &[u8]) -> Result<Head> {
    let mut input = payload;
    let [form, codec] = take_fixed(&mut input)?;
    let known = Form::of(form).filter(|_| codec == row::VERSION);
    let Some(form) = known else {
        return Err(
            Error::corrupt(format!("unknown form {form}.{codec} of a log record"))
                .hint("this data folder was written by a newer version: use that one"),
        );
    };
    Ok(Head {
        form,
        epoch: Epoch(u64::from_le_bytes(take_fixed(&mut input)?)),
        synced: Epoch(u64::from_le_bytes(take_fixed(&mut input)?)),
        commit_time: Timestamp(i64::from_le_bytes(take_fixed(&mut input)?)),
        feed_bytes: u32::from_le_bytes(take_fixed(&mut input)?) as usize,
    })
}

/// What feeds read.
pub(super) fn decode_feed(payload: &[u8]) -> Result<LoggedEpoch> {
    let head = decode_head(payload)?;
    let mut input = &payload[HEAD_BYTES..];
    input = take_bytes(&mut input, head.feed_bytes)?;
    let transactions = take_many(&mut input, take_transaction)?;
    let deltas = take_many(&mut input, take_delta)?;
    Ok(LoggedEpoch {
        epoch: head.epoch,
        commit_time: head.commit_time,
        is_last: head.form != Form::More,
        transactions,
        deltas,
    })
}

/// What recovery applies of a whole epoch, or of the last part of one.
pub(super) fn decode_redo(payload: &[u8]) -> Result<Redo> {
    let head = decode_head(payload)?;
    let mut input = &payload[HEAD_BYTES..];
    take_bytes(&mut input, head.feed_bytes)?;
    let mut writes = WritesBuilder::default();
    for _ in 0..varint::take(&mut input)? {
        let key = take_sized(&mut input)?;
        let value = match varint::take(&mut input)? {
            0 => None,
            length => Some(take_bytes(&mut input, length as usize - 1)?),
        };
        writes.push(key, value);
    }
    let files = match head.form {
        Form::Last => take_many(&mut input, take_file)?,
        Form::Whole | Form::More => Vec::new(),
    };
    Ok(Redo {
        files,
        writes: writes.finish(),
    })
}

fn put_feed(output: &mut Output<'_>, record: &EpochRecord) -> Result<()> {
    let mut rows = PutRows {
        schema_versions: &record.schema_versions,
        codec: None,
    };
    varint::put(&mut output.bytes, record.transactions.len() as u64);
    for transaction in &record.transactions {
        let out = &mut output.bytes;
        put_sized(out, transaction.source.0.as_bytes());
        varint::put(out, transaction.id.0);
        put_sized(out, &transaction.position.0);
        varint::put_signed(out, transaction.commit_time.0);
        varint::put(out, transaction.changes.len() as u64);
        for change in &transaction.changes {
            rows.put_delta(output, change)?;
        }
    }
    varint::put(&mut output.bytes, record.deltas.len() as u64);
    record
        .deltas
        .iter()
        .try_for_each(|delta| rows.put_delta(output, delta))
}

/// Puts rows, mostly of the same few relations.
struct PutRows<'a> {
    schema_versions: &'a [(RelationId, u32)],
    /// That of the rows before.
    codec: Option<RowCodec>,
}

impl PutRows<'_> {
    fn put_delta(&mut self, output: &mut Output<'_>, delta: &Delta) -> Result<()> {
        let versions = self.schema_versions;
        let Some((_, version)) = versions.iter().find(|(id, _)| *id == delta.relation) else {
            let id = delta.relation.0;
            return Err(Error::internal(format!("no schema version for relation {id}")));
        };
        let out = &mut output.bytes;
        varint::put(out, delta.relation.0.into());
        varint::put(out, (*version).into());
        varint::put(out, delta.batch.len() as u64);
        put_weights(out, delta.batch.weights());
        let (rows, codec) = (delta.batch.rows(), self.codec_of(&delta.batch.schema())?);
        for start in (0..rows.num_rows()).step_by(ROWS_AT_ONCE) {
            let some = rows.slice(start, ROWS_AT_ONCE.min(rows.num_rows() - start));
            let encoded = codec.encode(&some)?;
            encoded.iter().for_each(|row| put_sized(&mut output.bytes, row));
            output.pass()?;
        }
        Ok(())
    }

    fn codec_of(&mut self, schema: &SchemaRef) -> Result<&RowCodec> {
        let is_same = |codec: &RowCodec| Arc::ptr_eq(codec.schema(), schema);
        if !self.codec.as_ref().is_some_and(is_same) {
            self.codec = None;
        }
        match &mut self.codec {
            Some(codec) => Ok(codec),
            none => Ok(none.insert(RowCodec::for_schema(schema)?)),
        }
    }
}

fn put_weights(out: &mut Vec<u8>, weights: &[i64]) {
    if weights.iter().all(|weight| *weight == 1) {
        out.push(0);
    } else if weights.iter().all(|weight| *weight == -1) {
        out.push(1);
    } else {
        out.push(2);
        weights.iter().for_each(|weight| varint::put_signed(out, *weight));
    }
}

fn put_writes(output: &mut Output<'_>, writes: &[Arc<SortedWrites>]) -> Result<()> {
    let count: usize = writes.iter().map(|layer| layer.len()).sum();
    varint::put(&mut output.bytes, count as u64);
    for (key, value) in writes.iter().flat_map(|layer| layer.iter()) {
        let out = &mut output.bytes;
        put_sized(out, key);
        match value {
            None => out.push(0),
            Some(value) => {
                varint::put(out, value.len() as u64 + 1);
                out.extend(value);
            }
        }
        output.pass()?;
    }
    Ok(())
}

fn put_files(out: &mut Vec<u8>, files: &[WrittenRun]) {
    varint::put(out, files.len() as u64);
    for file in files {
        varint::put(out, file.id);
        varint::put(out, file.file_bytes);
        varint::put(out, u64::from(file.footer_crc));
    }
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.extend(bytes);
}

fn take_transaction(input: &mut &[u8]) -> Result<LoggedTransaction> {
    let source = std::str::from_utf8(take_sized(input)?)
        .map_err(|error| Error::corrupt("the name of a logged source is not UTF-8").because(error))?;
    Ok(LoggedTransaction {
        source: SourceId::new(source),
        id: TransactionId(varint::take(input)?),
        position: Position(take_sized(input)?.to_vec()),
        commit_time: Timestamp(varint::take_signed(input)?),
        changes: take_many(input, take_delta)?,
    })
}

fn take_file(input: &mut &[u8]) -> Result<WrittenRun> {
    Ok(WrittenRun {
        id: varint::take(input)?,
        file_bytes: varint::take(input)?,
        footer_crc: take_small(input)?,
    })
}

fn take_small(input: &mut &[u8]) -> Result<u32> {
    u32::try_from(varint::take(input)?)
        .map_err(|error| Error::corrupt("a logged number is too large").because(error))
}

fn take_delta(input: &mut &[u8]) -> Result<LoggedDelta> {
    let relation = RelationId(take_small(input)?);
    let schema_version = take_small(input)?;
    let count = varint::take(input)?;
    let weights = take_weights(input, count)?;
    let mut rows = Rows::default();
    for _ in 0..count {
        rows.push(take_sized(input)?);
    }
    Ok(LoggedDelta {
        relation,
        schema_version,
        rows,
        weights,
    })
}

fn take_weights(input: &mut &[u8], count: u64) -> Result<Vec<i64>> {
    // A row takes at least its length's byte: a count beyond that is damage, not a reason to allocate.
    if count > input.len() as u64 {
        return Err(Error::corrupt("a log record is cut short"));
    }
    match take_fixed(input)? {
        [0] => Ok(vec![1; count as usize]),
        [1] => Ok(vec![-1; count as usize]),
        [2] => (0..count).map(|_| varint::take_signed(input)).collect(),
        _ => Err(Error::corrupt("a log record holds unknown weights")),
    }
}

fn take_many<T>(input: &mut &[u8], one: fn(&mut &[u8]) -> Result<T>) -> Result<Vec<T>> {
    (0..varint::take(input)?).map(|_| one(input)).collect()
}

fn take_sized<'a>(input: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = varint::take(input)?;
    take_bytes(input, usize::try_from(length).unwrap_or(usize::MAX))
}

fn take_fixed<const N: usize>(input: &mut &[u8]) -> Result<[u8; N]> {
    Ok(take_bytes(input, N)?.try_into().expect("it has exactly N bytes"))
}

fn take_bytes<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = input
        .split_at_checked(length)
        .ok_or_else(|| Error::corrupt("a log record is cut short"))?;
    *input = rest;
    Ok(taken)
}
