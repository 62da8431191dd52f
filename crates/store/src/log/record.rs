//! The bytes of a record.
//!
//! ```text
//! frame   = payload length u32 · CRC-32 of length and payload u32 · payload           fixed numbers: little-endian
//! payload = version u8 · row codec u8 · epoch u64 · synced u64 · commit time i64 · feed length u32 · feed · writes
//! feed    = count (source · id · position · time · count delta) · count delta         other numbers: varint
//! delta   = relation · schema version · count · weights · row…                       bytes: length, then bytes
//! weights = 0 (each +1) | 1 (each −1) | 2 weight…
//! writes  = count (key · 0 | key · value length + 1 · value)
//! ```
//!
//! `synced` is the last epoch known to be on disk when the record was made: it tells damage from what a crash leaves.

use super::{LoggedDelta, LoggedEpoch, LoggedTransaction};
use crate::writes::{SortedWrites, WritesBuilder};
use crate::{EpochRecord, varint};
use viewfeed_change::row::{self, RowCodec, Rows};
use viewfeed_change::{
    Delta, Epoch, Error, ErrorKind, Position, RelationId, Result, SourceId, Timestamp, TransactionId,
};

/// Length and checksum.
pub(super) const FRAME_BYTES: usize = 8;
/// The payload up to the feed.
pub(super) const HEAD_BYTES: usize = 30;
/// No epoch may be larger: it is written and read as one piece.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// The form written; older ones must stay readable.
const VERSION: u8 = 1;

/// What the start of a payload says.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) epoch: Epoch,
    pub(super) synced: Epoch,
    pub(super) commit_time: Timestamp,
    feed_bytes: usize,
}

/// A whole record, frame included.
pub(crate) fn encode(
    epoch: Epoch,
    synced: Epoch,
    record: &EpochRecord,
    writes: &SortedWrites,
) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(FRAME_BYTES + HEAD_BYTES + writes.encoded_bytes());
    out.extend([0; FRAME_BYTES]);
    out.extend([VERSION, row::VERSION]);
    out.extend(epoch.0.to_le_bytes());
    out.extend(synced.0.to_le_bytes());
    out.extend(record.commit_time.0.to_le_bytes());
    out.extend([0; 4]);
    let feed_start = out.len();
    put_feed(&mut out, record)?;
    let feed_bytes = out.len() - feed_start;
    put_writes(&mut out, writes);
    if out.len() > RECORD_BYTES_MAX {
        let message = format!(
            "one epoch would take {} bytes, more than {RECORD_BYTES_MAX}",
            out.len()
        );
        return Err(
            Error::new(ErrorKind::Exhausted, "EPOCH_TOO_LARGE", message).hint("change fewer rows at a time")
        );
    }
    out[feed_start - 4..feed_start].copy_from_slice(&(feed_bytes as u32).to_le_bytes());
    let length = ((out.len() - FRAME_BYTES) as u32).to_le_bytes();
    let checksum = checksum(length, &out[FRAME_BYTES..]);
    out[..4].copy_from_slice(&length);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(out)
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
    let [version, codec] = take_fixed(&mut input)?;
    if version != VERSION || codec != row::VERSION {
        return Err(
            Error::corrupt(format!("unknown form {version}.{codec} of a log record"))
                .hint("this data folder was written by a newer version: use that one"),
        );
    }
    Ok(Head {
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
        transactions,
        deltas,
    })
}

/// What recovery applies.
pub(super) fn decode_writes(payload: &[u8]) -> Result<SortedWrites> {
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
    Ok(writes.finish())
}

fn put_feed(out: &mut Vec<u8>, record: &EpochRecord) -> Result<()> {
    varint::put(out, record.transactions.len() as u64);
    for transaction in &record.transactions {
        put_sized(out, transaction.source.0.as_bytes());
        varint::put(out, transaction.id.0);
        put_sized(out, &transaction.position.0);
        varint::put_signed(out, transaction.commit_time.0);
        varint::put(out, transaction.changes.len() as u64);
        for change in &transaction.changes {
            put_delta(out, change, record)?;
        }
    }
    varint::put(out, record.deltas.len() as u64);
    record
        .deltas
        .iter()
        .try_for_each(|delta| put_delta(out, delta, record))
}

fn put_delta(out: &mut Vec<u8>, delta: &Delta, record: &EpochRecord) -> Result<()> {
    let versions = &record.schema_versions;
    let Some((_, version)) = versions.iter().find(|(id, _)| *id == delta.relation) else {
        let id = delta.relation.0;
        return Err(Error::internal(format!("no schema version for relation {id}")));
    };
    varint::put(out, delta.relation.0.into());
    varint::put(out, (*version).into());
    varint::put(out, delta.batch.len() as u64);
    put_weights(out, delta.batch.weights());
    let rows = RowCodec::for_schema(&delta.batch.schema())?.encode(delta.batch.rows())?;
    rows.iter().for_each(|row| put_sized(out, row));
    Ok(())
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

fn put_writes(out: &mut Vec<u8>, writes: &SortedWrites) {
    varint::put(out, writes.len() as u64);
    for (key, value) in writes.iter() {
        put_sized(out, key);
        match value {
            None => out.push(0),
            Some(value) => {
                varint::put(out, value.len() as u64 + 1);
                out.extend(value);
            }
        }
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

fn take_delta(input: &mut &[u8]) -> Result<LoggedDelta> {
    let small = |number: u64| {
        u32::try_from(number).map_err(|error| Error::corrupt("a logged number is too large").because(error))
    };
    let relation = RelationId(small(varint::take(input)?)?);
    let schema_version = small(varint::take(input)?)?;
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
