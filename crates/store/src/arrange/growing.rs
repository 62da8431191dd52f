//! Arrangements that do not hold everything yet: those of a big relation by another key, which are made piece by piece
//! while the relation changes, and the primary ones of views that are being filled and of tables that are being copied.
//!
//! ```text
//! p ‖ state id → by another key: the position up to which the relation's rows are in it
//!                primary: rows read so far ‖ rows to be read, about (each u64, big-endian)
//! ```
//! Nobody reads what is marked so: an arrangement by another key is not found, a primary one is refused.

use super::position::between;
use super::{
    Arrangement, KvArrangement, Matches, NewWeights, Position, find, next, of_relation, relation_state,
};
use crate::keys::{self, StateId};
use crate::{Reader, Txn};
use arrow::array::RecordBatch;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::Rows;
use viewfeed_change::{Batch, ColumnPath, Error, ErrorKind, Relation, Result};

/// An arrangement by another key that holds the relation's rows up to a position: what can be staged into.
pub(super) struct Growing {
    whole: KvArrangement,
    state: StateId,
    /// Of the relation.
    primary: Arc<dyn Arrangement>,
}

/// How far the filling of a view is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Rows of its inputs it has read.
    pub rows: u64,
    /// Rows it will have read at the end, about.
    pub rows_estimated: u64,
}

impl Filling {
    /// 0 to 99: what is complete is not filling any more.
    pub fn percent(&self) -> u64 {
        let percent = u128::from(self.rows) * 100 / u128::from(self.rows_estimated.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX).min(99)
    }

    pub(super) fn refusal(&self, relation: &Relation) -> Error {
        if relation.as_view().is_none() {
            let message = format!("table \"{}\" is not complete", relation.name);
            return Error::new(ErrorKind::Unavailable, "TABLE_INCOMPLETE", message).hint(
                "SELECT * FROM viewfeed.source_tables shows how far its source is, and what is wrong with it",
            );
        }
        let message = format!(
            "view \"{}\" is still being filled: {} %",
            relation.name,
            self.percent()
        );
        Error::new(ErrorKind::Unavailable, "VIEW_FILLING", message)
            .hint("try again later; SHOW VIEWS shows how far it is")
    }
}

/// How far the filling of `relation` is as of `reader`: of a view, or of a table that is copied from elsewhere. None if it is
/// complete.
pub fn filling(reader: &Reader, relation: &Relation) -> Result<Option<Filling>> {
    let Some(state) = keys::find(reader, &relation_state(relation, &relation.key_paths()))? else {
        return Ok(None);
    };
    let Some(stored) = reader.get(&keys::progress(state))? else {
        return Ok(None);
    };
    let number = |bytes: Option<&[u8]>| keys::fixed(bytes.unwrap_or_default()).map(u64::from_be_bytes);
    Ok(Some(Filling {
        rows: number(stored.get(..8))?,
        rows_estimated: number(stored.get(8..))?,
    }))
}

/// Fails as `Unavailable` (`VIEW_FILLING`, `TABLE_INCOMPLETE`) if `relation` is not complete as of `reader`.
pub fn refuse_filling(reader: &Reader, relation: &Relation) -> Result<()> {
    match filling(reader, relation)? {
        Some(filling) => Err(filling.refusal(relation)),
        None => Ok(()),
    }
}

/// Marks a relation, whose primary arrangement is made if it is missing, as being filled: nobody can read it.
pub fn mark_filling(txn: &mut Txn, view: &Relation, filling: Filling) -> Result<()> {
    let (state, _) = keys::allocate(txn, &relation_state(view, &view.key_paths()))?;
    let value = [filling.rows.to_be_bytes(), filling.rows_estimated.to_be_bytes()].concat();
    txn.put(keys::progress(state), value);
    Ok(())
}

/// Marks `view` as complete.
pub fn mark_filled(txn: &mut Txn, view: &Relation) -> Result<()> {
    if let Some(state) = keys::find(&txn.now(), &relation_state(view, &view.key_paths()))? {
        txn.delete(keys::progress(state));
    }
    Ok(())
}

/// The primary arrangement of `relation`, also if it does not hold everything.
pub fn unfinished(reader: &Reader, relation: &Relation) -> Result<Arc<dyn Arrangement>> {
    let key = relation.key_paths();
    match keys::find(reader, &relation_state(relation, &key))? {
        Some(state) => of_relation(state, relation, &key),
        None => Err(super::no_primary(relation)),
    }
}

/// Makes the arrangement of `relation` by `key`, without rows, unless it exists; true if it must be grown.
pub fn begin(txn: &mut Txn, relation: &Relation, key: &[ColumnPath]) -> Result<bool> {
    if key == relation.key_paths() || find(&txn.now(), relation, key)?.is_some() {
        return Ok(false);
    }
    let (state, is_new) = keys::allocate(txn, &relation_state(relation, key))?;
    if is_new {
        txn.put(keys::progress(state), Position::Start.to_bytes());
    }
    Ok(true)
}

/// Adds the next rows of `relation`, as of `txn.before()`, to its arrangement by `key`, at most `rows_max`; gives how many
/// were added, and whether it holds everything now. Needs a sealed `txn`.
pub fn grow(
    txn: &mut Txn,
    relation: &Relation,
    key: &[ColumnPath],
    rows_max: usize,
) -> Result<(usize, bool)> {
    let before = txn.before();
    let Some(state) = keys::find(&before, &relation_state(relation, key))? else {
        return Err(Error::internal("an arrangement that was not begun cannot grow"));
    };
    let Some(stored) = before.get(&keys::progress(state))? else {
        return Ok((0, true));
    };
    let primary = unfinished(&before, relation)?;
    let (batch, position) = next(
        primary.as_ref(),
        &before,
        &Position::from_bytes(&stored)?,
        rows_max,
    )?;
    let rows = batch.as_ref().map_or(0, Batch::len);
    if let Some(batch) = batch {
        of_relation(state, relation, key)?.stage(txn, &batch)?;
    }
    match position {
        Position::End => txn.delete(keys::progress(state)),
        position => txn.put(keys::progress(state), position.to_bytes()),
    }
    Ok((rows, txn.get(&keys::progress(state))?.is_none()))
}

/// Stages `delta`, which was staged into the arrangements of `relation` as of `base`, into what has been added to them
/// since: by `grow`, or because they are new.
pub fn catch_up(txn: &mut Txn, base: &Reader, relation: &Relation, delta: &Batch) -> Result<()> {
    for arrangement in super::all(&txn.now(), relation)? {
        let name = relation_state(relation, arrangement.key());
        let is_same = keys::find(base, &name)? == keys::find(&txn.now(), &name)?;
        let then = match is_same {
            true => position(base, &name)?,
            false => Position::Start,
        };
        if then != Position::End {
            let primary = unfinished(&txn.now(), relation)?;
            let now = position(&txn.now(), &name)?;
            let missing = between(primary.as_ref(), delta, &then, &now)?;
            arrangement.stage(txn, &missing)?;
        }
    }
    Ok(())
}

/// The names of all arrangements of `from` become those of `to`, which has the same columns and key and whose own are
/// released.
pub fn rename_all(txn: &mut Txn, from: &Relation, to: &Relation) -> Result<()> {
    super::release_all(txn, to)?;
    for arrangement in super::all(&txn.now(), from)? {
        let key = arrangement.key();
        keys::rename(txn, &relation_state(from, key), &relation_state(to, key))?;
    }
    Ok(())
}

/// Up to where the arrangement with this name holds the rows of its relation.
fn position(reader: &Reader, name: &str) -> Result<Position> {
    let Some(state) = keys::find(reader, name)? else {
        return Ok(Position::Start);
    };
    match reader.get(&keys::progress(state))? {
        Some(stored) => Position::from_bytes(&stored),
        None => Ok(Position::End),
    }
}

impl Growing {
    pub(super) fn new(whole: KvArrangement, state: StateId, primary: Arc<dyn Arrangement>) -> Self {
        Self {
            whole,
            state,
            primary,
        }
    }
}

fn incomplete() -> Error {
    Error::internal("an arrangement that does not hold everything was read")
}

impl Arrangement for Growing {
    fn key(&self) -> &[ColumnPath] {
        self.whole.key()
    }

    fn entries(&self, rows: &RecordBatch) -> Result<Rows> {
        self.whole.entries(rows)
    }

    fn stage(&self, txn: &mut Txn, delta: &Batch) -> Result<()> {
        match txn.get(&keys::progress(self.state))? {
            None => self.whole.stage(txn, delta),
            Some(stored) => {
                let position = Position::from_bytes(&stored)?;
                let held = between(self.primary.as_ref(), delta, &Position::Start, &position)?;
                self.whole.stage(txn, &held)
            }
        }
    }

    fn stage_telling(&self, _: &mut Txn, _: &Batch) -> Result<NewWeights> {
        Err(incomplete())
    }

    fn lookup(&self, _: &Reader, _: &Rows) -> Result<Matches> {
        Err(incomplete())
    }

    fn scan(
        &self,
        _: &Reader,
        _: &[u8],
        _: usize,
        _: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        Err(incomplete())
    }

    fn scan_range(
        &self,
        _: &Reader,
        _: &[u8],
        _: Option<&[u8]>,
        _: usize,
        _: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        Err(incomplete())
    }

    fn count(&self, _: &Reader, _: &[u8], _: u64) -> Result<u64> {
        Err(incomplete())
    }
}
