//! What views leave out: how many rows a view has no value for, because an expression failed on them, by where and why.
//!
//! ```text
//! operator prefix ‖ 00 ‖ node ‖ 00 ‖ message        → rows, i64 big-endian
//! operator prefix ‖ 01 ‖ part of a node             → the message
//! ```
//! The state of a view is called `view/<id>/errors` and made by its first error. It lives here, not in the engine, because
//! whoever reads a strict view (a query, a feed) must see whether it has any. Counts are sums of weights: the row that
//! failed when it came fails in the same way when it goes, so no row has to be remembered. A part of a node that is computed
//! as a whole (a group, a partition) counts as one row, and is remembered to know whether it failed before.

use crate::keys::{self, StateId};
use crate::{Reader, Txn};
use std::ops::ControlFlow;
use viewfeed_change::{Error, ErrorKind, OnError, Relation, RelationId, Result};

/// The longest text of a node or a message that is stored, in characters; what is longer ends in `…`.
const TEXT_CHARS_MAX: usize = 200;

/// Rows that a view leaves out for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewError {
    /// The node of the view's plan that has no value for them, as `EXPLAIN VIEW` shows it.
    pub node: String,
    /// Why. Never holds a value of a row.
    pub message: String,
    /// How many, each as often as it is there.
    pub rows: i64,
}

/// What `view` leaves out as of `reader`, by node and message.
pub fn of(reader: &Reader, view: RelationId) -> Result<Vec<ViewError>> {
    let mut found = Vec::new();
    let Some(state) = keys::find(reader, &name(view))? else {
        return Ok(found);
    };
    let prefix = [keys::operator_prefix(state), vec![COUNT]].concat();
    reader.scan(&prefix, &prefix, &mut |key, value| {
        let text = std::str::from_utf8(&key[prefix.len()..]).map_err(|_| damaged())?;
        let (node, message) = text.split_once('\0').ok_or_else(damaged)?;
        found.push(ViewError {
            node: node.to_owned(),
            message: message.to_owned(),
            rows: i64::from_be_bytes(keys::fixed(value)?),
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// Fails if `relation` is a strict view that leaves out rows as of `reader`: nobody may take it for true.
pub fn refuse(reader: &Reader, relation: &Relation) -> Result<()> {
    let is_strict = relation
        .as_view()
        .is_some_and(|view| view.on_error == OnError::Strict);
    if !is_strict {
        return Ok(());
    }
    let errors = of(reader, relation.id)?;
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let rows: i64 = errors.iter().map(|error| error.rows).sum();
    let (name, message) = (&relation.name, &first.message);
    let text = format!("view \"{name}\" is strict and leaves out rows ({rows}), for example: {message}");
    Err(Error::new(ErrorKind::Precondition, "VIEW_ERRORS", text).hint(format!(
        "SELECT * FROM viewfeed.view_errors WHERE view = '{name}' shows all; correct the rows or the query"
    )))
}

/// Adds `rows` (fewer, if negative) to what `node` of `view` leaves out because of `message`.
pub fn add(txn: &mut Txn, view: RelationId, node: &str, message: &str, rows: i64) -> Result<()> {
    let (state, _) = keys::allocate(txn, &name(view))?;
    let key = count_key(state, node, message);
    let old = txn.get(&key)?;
    let old = old.map_or(Ok(0), |value| keys::fixed(&value).map(i64::from_be_bytes))?;
    match old.saturating_add(rows) {
        ..0 => Err(Error::corrupt(
            "a row that failed was taken away more often than it was added",
        )),
        0 => {
            txn.delete(key);
            Ok(())
        }
        count => {
            txn.put(key, count.to_be_bytes().to_vec());
            Ok(())
        }
    }
}

/// Notes that `part`, which names a part of a node once in the view, fails because of `message`, or (None) that it does
/// not; it counts as one row of `node`.
pub fn mark(txn: &mut Txn, view: RelationId, node: &str, part: &[u8], message: Option<&str>) -> Result<()> {
    let (state, _) = keys::allocate(txn, &name(view))?;
    let key = [keys::operator_prefix(state).as_slice(), &[PART], part].concat();
    let old = txn.get(&key)?;
    if let Some(old) = &old {
        let old = std::str::from_utf8(old).map_err(|_| damaged())?;
        add(txn, view, node, old, -1)?;
    }
    match message.map(bounded) {
        Some(message) => {
            add(txn, view, node, &message, 1)?;
            txn.put(key, message.into_bytes());
        }
        None if old.is_some() => txn.delete(key),
        None => {}
    }
    Ok(())
}

/// Whether `view` ever had an error since it was filled; one look.
pub fn had_any(txn: &Txn, view: RelationId) -> Result<bool> {
    Ok(txn.get(&keys::named(&name(view)))?.is_some())
}

/// Forgets what `view` leaves out.
pub fn release(txn: &mut Txn, view: RelationId) -> Result<()> {
    keys::release(txn, &name(view))
}

/// What `from` leaves out becomes what `to` leaves out.
pub fn rename(txn: &mut Txn, from: RelationId, to: RelationId) -> Result<()> {
    keys::rename(txn, &name(from), &name(to))
}

const COUNT: u8 = 0;
const PART: u8 = 1;

fn name(view: RelationId) -> String {
    format!("view/{}/errors", view.0)
}

fn count_key(state: StateId, node: &str, message: &str) -> Vec<u8> {
    let text = format!("{}\0{}", bounded(node), bounded(message));
    [&keys::operator_prefix(state)[..], &[COUNT], text.as_bytes()].concat()
}

/// `text` without the byte that parts texts, and not too long.
fn bounded(text: &str) -> String {
    let clean = text.replace('\0', " ");
    match clean.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

fn damaged() -> Error {
    Error::corrupt("the stored errors of a view are damaged")
}
