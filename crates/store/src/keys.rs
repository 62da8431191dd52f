//! Every kind of key in the database, and what its value is. Tags are stored: never change or reuse one.
//!
//! | tag | key | value |
//! |---|---|---|
//! | `c` | `c` ‖ name | catalog entry: JSON, owned by who names it (`c/relation/7`, `c/module/chat`) |
//! | `i` | `i` ‖ name | the u32 given to a named state by [`allocate`] |
//! | `a` | `a` ‖ state id ‖ key ‖ rest of the row | weight of the row (see [`crate::arrange`]) |
//! | `o` | `o` ‖ state id ‖ group | an operator's state for a group; form owned by the operator |
//! | `q` | `q` ‖ name | the last value of a sequence, i64 big-endian |
//! | `m` | `m` ‖ name | the store's own bookkeeping |
//! | `g` | `g` ‖ state id | a dropped state whose entries are still to be removed |
//! | `p` | `p` ‖ state id | how far an arrangement has got that does not hold everything yet (see [`crate::arrange`]) |

use crate::{Reader, Txn};
use std::ops::ControlFlow;
use viewfeed_change::{Error, ErrorKind, Result};

/// Names a piece of state for ever; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u32);

/// The key of a catalog entry.
pub fn catalog(name: &str) -> Vec<u8> {
    tagged(b'c', name.as_bytes())
}

/// The key of a sequence.
pub fn sequence(name: &str) -> Vec<u8> {
    tagged(b'q', name.as_bytes())
}

/// Where the entries of an arrangement start.
pub fn arrangement_prefix(state: StateId) -> Vec<u8> {
    tagged(b'a', &state.0.to_be_bytes())
}

/// Where the entries of an operator start.
pub fn operator_prefix(state: StateId) -> Vec<u8> {
    tagged(b'o', &state.0.to_be_bytes())
}

/// The id of the state called `name`, if it has one at the reader's epoch.
pub fn find(reader: &Reader, name: &str) -> Result<Option<StateId>> {
    let value = reader.get(&named(name))?;
    value.map(|value| state_id(&value)).transpose()
}

/// The id of the state called `name`, given out now if it had none; true if so.
pub fn allocate(txn: &mut Txn, name: &str) -> Result<(StateId, bool)> {
    if let Some(value) = txn.get(&named(name))? {
        return Ok((state_id(&value)?, false));
    }
    let state = match txn.get(&next_state())? {
        Some(value) => state_id(&value)?,
        None => StateId(1),
    };
    let next = state.0.checked_add(1).ok_or_else(|| {
        Error::new(ErrorKind::Exhausted, "STATE_IDS_EXHAUSTED", "no state id is left")
            .hint("copy the tables into a new data folder")
    })?;
    txn.put(next_state(), next.to_be_bytes().to_vec());
    txn.put(named(name), state.0.to_be_bytes().to_vec());
    Ok((state, true))
}

/// Forgets the state called `name`; its entries are removed later in the background. Nothing if there is none.
pub fn release(txn: &mut Txn, name: &str) -> Result<()> {
    if let Some(value) = txn.get(&named(name))? {
        let state = state_id(&value)?;
        txn.put(garbage(state), Vec::new());
        txn.delete(named(name));
        if txn.get(&progress(state))?.is_some() {
            txn.delete(progress(state));
        }
    }
    Ok(())
}

/// Gives the state called `from` the name `to`; a state that had that name is released.
pub fn rename(txn: &mut Txn, from: &str, to: &str) -> Result<()> {
    release(txn, to)?;
    if let Some(value) = txn.get(&named(from))? {
        txn.delete(named(from));
        txn.put(named(to), value);
    }
    Ok(())
}

/// Adds 1 to the sequence called `name` (starting from 1) `count` times; gives the first of the new values.
pub fn advance(txn: &mut Txn, name: &str, count: u64) -> Result<i64> {
    let key = sequence(name);
    let last = match txn.get(&key)? {
        Some(value) => i64::from_be_bytes(fixed(&value)?),
        None => 0,
    };
    let next = i64::try_from(count)
        .ok()
        .and_then(|count| last.checked_add(count));
    let next = next.ok_or_else(|| {
        let message = format!("sequence \"{name}\" has no value left");
        Error::new(ErrorKind::Exhausted, "SEQUENCE_EXHAUSTED", message)
            .hint("give the values of the column yourself")
    })?;
    txn.put(key, next.to_be_bytes().to_vec());
    // `last + 1` only overflows where `count` is 0 and no new value exists.
    Ok(last.saturating_add(1))
}

/// How much a state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Entries: distinct rows of an arrangement, groups or values of an operator.
    pub entries: u64,
    /// Bytes of their keys and values, before any compression.
    pub bytes: u64,
}

/// How much the state called `name` holds; None if there is none. Reads all of it.
pub fn size_of(reader: &Reader, name: &str) -> Result<Option<StateSize>> {
    let Some(state) = find(reader, name)? else {
        return Ok(None);
    };
    let mut size = StateSize::default();
    for prefix in [arrangement_prefix(state), operator_prefix(state)] {
        reader.scan(&prefix, &prefix, &mut |key, value| {
            size.entries += 1;
            size.bytes += (key.len() + value.len()) as u64;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(Some(size))
}

/// Every state whose name starts with `prefix`, in the order of names.
pub(crate) fn states(reader: &Reader, prefix: &str) -> Result<Vec<(String, StateId)>> {
    let mut found = Vec::new();
    reader.scan(&named(prefix), &[], &mut |key, value| {
        let name = std::str::from_utf8(&key[1..])
            .map_err(|error| Error::corrupt("the name of a state is not UTF-8").because(error))?;
        found.push((name.to_owned(), state_id(value)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The last epoch the Kv holds in full, u64 big-endian.
pub(crate) fn checkpoint_epoch() -> Vec<u8> {
    tagged(b'm', b"checkpoint")
}

/// The list of run files, see [`crate::RunsKv`]. It is beside the state, not in it: no reader sees it.
pub(crate) fn manifest() -> Vec<u8> {
    tagged(b'm', b"runs")
}

/// Where it says how far a state has got that does not hold everything yet.
pub(crate) fn progress(state: StateId) -> Vec<u8> {
    tagged(b'p', &state.0.to_be_bytes())
}

/// Whether `key` is of the bulk of the state: rows of arrangements and states of operators.
pub(crate) fn is_bulk(key: &[u8]) -> bool {
    matches!(key.first(), Some(b'a' | b'o'))
}

/// Marks a dropped state.
pub(crate) fn garbage(state: StateId) -> Vec<u8> {
    tagged(b'g', &state.0.to_be_bytes())
}

/// Where the marks of dropped states start.
pub(crate) const GARBAGE_PREFIX: &[u8] = b"g";

/// The state a key of [`garbage`] names.
pub(crate) fn garbage_state(key: &[u8]) -> Result<StateId> {
    state_id(key.get(1..).unwrap_or_default())
}

/// The first key after every key that starts with `prefix`; None if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// A number of fixed width as it is stored.
pub(crate) fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N]> {
    value
        .try_into()
        .map_err(|_| Error::corrupt("a stored number has the wrong length"))
}

/// Where the id of the state called `name` is.
pub(crate) fn named(name: &str) -> Vec<u8> {
    tagged(b'i', name.as_bytes())
}

fn next_state() -> Vec<u8> {
    tagged(b'm', b"next_state")
}

fn state_id(value: &[u8]) -> Result<StateId> {
    Ok(StateId(u32::from_be_bytes(fixed(value)?)))
}

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag);
    key.extend(rest);
    key
}
