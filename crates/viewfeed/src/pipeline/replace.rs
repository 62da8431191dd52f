//! `CREATE OR REPLACE` of a view over much: the new one is filled beside the old one, under another name, and takes its
//! place when it is complete. Until then the old one is kept true and served.

use super::Pipeline;
use super::epoch::OpenEpoch;
use super::filling::cancelled;
use super::recover::{from_json, to_json};
use super::view::Wanted;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, Relation, RelationId, RelationName, Relations, Result};
use viewfeed_store::{arrange, keys};

/// What the name of a view that is to replace another one ends with. Nobody else can give such a name without quotes.
const SUFFIX: &str = " (replacement)";

/// Where it is stored which view `view` is to replace.
pub(super) fn replaced_key(view: RelationId) -> Vec<u8> {
    keys::catalog(&format!("replaces/{}", view.0))
}

/// Whether `relation` is to replace another one.
pub(super) fn is_replacement(relation: &Relation) -> bool {
    relation.name.name.ends_with(SUFFIX) && relation.as_view().is_some()
}

fn name_beside(name: &RelationName) -> RelationName {
    RelationName::new(&name.schema, format!("{}{SUFFIX}", name.name))
}

impl Pipeline {
    /// Gives the view `old` the definition of `new`, which is not planned yet.
    pub(super) fn replace(
        &mut self,
        old: &Arc<Relation>,
        new: Relation,
        wanted: &Wanted,
        epoch: &mut OpenEpoch,
    ) -> Result<()> {
        self.drop_beside(old, epoch)?;
        let planned = self.planned(&new, &epoch.relations)?;
        if self.fits_beside(old, &planned, wanted.rows_at_once(), epoch)? {
            return self.begin_beside(old, planned, wanted.wait, epoch);
        }
        let before = epoch.relations.clone();
        self.rebuild(Some(new), old.id, &BTreeSet::new(), epoch)?;
        if wanted.wait && self.engine.fills(old.id) {
            epoch.awaited.push(old.id);
        }
        self.refuse_if_unanswerable(&before, &epoch.relations)
    }

    /// Whether `new` should be filled beside `old`, and can take its place without others being built anew.
    fn fits_beside(
        &self,
        old: &Relation,
        new: &Relation,
        rows_max: Option<usize>,
        epoch: &OpenEpoch,
    ) -> Result<bool> {
        let relations = &epoch.relations;
        let is_same_kind = new.columns == old.columns && new.key == old.key;
        let has_readers = relations.readers(old.id).next().is_some();
        let is_complete = arrange::filling(&epoch.txn.now(), old)?.is_none();
        let reads_itself = reads(new, old.id, relations);
        let fits = is_same_kind || new.columns != old.columns && !has_readers;
        Ok(is_complete
            && fits
            && !reads_itself
            && self.engine.takes_long(new, rows_max, relations, &epoch.txn)?)
    }

    fn begin_beside(
        &mut self,
        old: &Arc<Relation>,
        new: Relation,
        wait: bool,
        epoch: &mut OpenEpoch,
    ) -> Result<()> {
        // Now rather than when it is complete.
        let mut after = epoch.relations.as_ref().clone();
        after.put(successor(old, &new))?;
        self.refuse_if_unanswerable(&epoch.relations, &Arc::new(after))?;
        let relations = Arc::make_mut(&mut epoch.relations);
        let id = relations.allocate();
        let beside = relations.put(Relation {
            id,
            name: name_beside(&old.name),
            ..new
        })?;
        self.engine
            .begin_view(&beside, &epoch.relations, &mut epoch.txn)?;
        if beside.columns == old.columns {
            // Who looks into the old one by another key will want to look into the new one.
            for arranged in arrange::all(&epoch.txn.now(), old)? {
                arrange::ensure(&mut epoch.txn, &beside, arranged.key())?;
            }
        }
        epoch.txn.put(replaced_key(beside.id), to_json(&old.id)?);
        epoch.awaited.extend(wait.then_some(beside.id));
        Ok(())
    }

    /// Gives up the view that was to replace `view`, if there is one.
    pub(super) fn drop_beside(&mut self, view: &Relation, epoch: &mut OpenEpoch) -> Result<()> {
        let beside = epoch.relations.named(&name_beside(&view.name)).cloned();
        match beside {
            Some(beside) if epoch.txn.get(&replaced_key(beside.id))?.is_some() => {
                self.forget(&beside, cancelled(), epoch)
            }
            _ => Ok(()),
        }
    }

    /// After `beside` was completed, or failed for `error`: puts it into the place of the view it is to replace, if there
    /// is one, or gives it up. On failure the epoch must be dropped.
    pub(super) fn end_beside(
        &mut self,
        beside: RelationId,
        error: Option<Error>,
        epoch: &mut OpenEpoch,
    ) -> Result<Option<Error>> {
        let Some(stored) = epoch.txn.get(&replaced_key(beside))? else {
            return Ok(error);
        };
        let old: RelationId = from_json(&stored)?;
        let (Some(beside), Some(old)) = (
            epoch.relations.get(beside).cloned(),
            epoch.relations.get(old).cloned(),
        ) else {
            return Ok(error);
        };
        let new = successor(&old, &beside);
        let mut after = epoch.relations.clone();
        let changing = Arc::make_mut(&mut after);
        changing.remove(beside.id);
        let new = changing.put(new)?;
        let has_readers = after.readers(old.id).next().is_some();
        let is_other_kind = new.columns != old.columns || new.key != old.key;
        let refused = match error {
            None if has_readers && is_other_kind => Some(read_meanwhile(&old)),
            None => self.refuse_if_unanswerable(&epoch.relations, &after).err(),
            error => error,
        };
        if let Some(error) = refused {
            self.forget(&beside, error.clone(), epoch)?;
            return Ok(Some(error));
        }
        epoch.txn.delete(replaced_key(beside.id));
        let output = self
            .engine
            .replace_view(&old, &beside, &new, &after, &mut epoch.txn)?;
        epoch.relations = after;
        epoch.view_deltas.extend(output.deltas);
        Ok(None)
    }
}

/// `old` with what `new` says.
fn successor(old: &Relation, new: &Relation) -> Relation {
    Relation {
        id: old.id,
        name: old.name.clone(),
        schema_version: old.schema_version + u32::from(new.columns != old.columns),
        ..new.clone()
    }
}

/// Whether `view` reads `wanted`, directly or not.
fn reads(view: &Relation, wanted: RelationId, relations: &Relations) -> bool {
    let inputs = view.as_view().map(|view| view.inputs.as_slice());
    inputs.unwrap_or_default().iter().any(|id| {
        *id == wanted
            || relations
                .get(*id)
                .is_some_and(|input| reads(input, wanted, relations))
    })
}

fn read_meanwhile(old: &Relation) -> Error {
    let message = format!(
        "a view over \"{}\" was created while its replacement, which has other columns, was being filled",
        old.name
    );
    Error::new(ErrorKind::Conflict, "DEPENDENT_VIEWS", message)
        .hint("replace it again: the views over it are then built anew with it")
}
