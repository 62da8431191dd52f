//! A view that was filled beside another one takes its place: in one epoch, and what is read of it changes only by the
//! difference.

use super::record::{self, Record};
use super::{Engine, LiveView, Schedule, StepOutput, errors};
use crate::dataflow::{Dataflow, states};
use std::sync::Arc;
use viewfeed_change::{Batch, Delta, Error, Relation, Relations, Result};
use viewfeed_store::{Txn, arrange, keys, view_errors};

impl Engine {
    /// Lets `new`, which has the identity of `old`, take over the states of `beside`, which is complete, has the columns
    /// and key of `new`, and is forgotten. The views over `old` are stepped with the difference if its columns and
    /// key stay; if not, there must be none. Gives the changes of all of them, `new` first (none, if the columns change).
    /// `relations` are those with `new` and without `beside`. Needs a sealed `txn`; on failure it must be discarded.
    pub fn replace_view(
        &mut self,
        old: &Relation,
        beside: &Relation,
        new: &Arc<Relation>,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<StepOutput> {
        let is_same_kind = old.columns == new.columns && old.key == new.key;
        let before = txn.before();
        let change = match is_same_kind {
            true => arrange::difference(&before, old, beside)?,
            // Whoever reads it has to begin anew.
            false => Batch::empty(new.schema()),
        };
        drop(before);
        let readers: Vec<_> = relations.readers(new.id).cloned().collect();
        if !is_same_kind && !readers.is_empty() {
            return Err(Error::internal(
                "a view that others read was replaced by one with other columns",
            ));
        }
        let delta = Delta {
            relation: new.id,
            batch: change,
        };
        // The readers see the arrangements of the old one, in which the difference is not yet.
        let mut output = self.step_all(std::slice::from_ref(&delta), relations, txn);
        txn.seal();
        self.drop_view(old, relations, txn)?;
        self.take_over(beside, new, relations, txn)?;
        for reader in readers {
            self.attach_again(&reader, relations, txn)?;
        }
        txn.seal();
        self.schedule = Schedule::of(&self.views);
        if !delta.batch.is_empty() {
            output.deltas.insert(0, delta);
        }
        Ok(output)
    }

    /// Gives the states of `beside` the names of those of `new`.
    fn take_over(
        &mut self,
        beside: &Relation,
        new: &Arc<Relation>,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<()> {
        let planned = self.replan(new, relations)?;
        let names = states(beside.id, &planned.node).into_iter();
        for (from, to) in names.zip(states(new.id, &planned.node)) {
            keys::rename(txn, &from, &to)?;
        }
        arrange::rename_all(txn, beside, new)?;
        view_errors::rename(txn, beside.id, new.id)?;
        for view in [beside, new.as_ref()] {
            self.error_deltas.extend(errors::publish(view, relations, txn)?);
        }
        // The states have another name by now: nothing is left to release.
        txn.delete(record::key(beside.id));
        self.views.remove(&beside.id);
        Record::of(new.id, &planned.node).write(new.id, txn)?;
        let dataflow = Dataflow::build(&self.planner, new.id, &planned.node, txn)?;
        self.views
            .insert(new.id, LiveView::new(new, dataflow, &planned.node, relations));
        self.failed.remove(&new.id);
        Ok(())
    }

    /// Makes the operators of a view anew that reads another one whose arrangements are others now.
    fn attach_again(
        &mut self,
        view: &Arc<Relation>,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<()> {
        if !self.views.contains_key(&view.id) {
            return Ok(());
        }
        let planned = self.replan(view, relations)?;
        let is_same = Record::read(view.id, txn)?
            .is_some_and(|record| record.is_of_plan(&Record::of(view.id, &planned.node)));
        if !is_same {
            return Err(Error::internal(
                "a replaced view changed the plan of one that reads it",
            ));
        }
        let dataflow = match self.fills(view.id) {
            true => Dataflow::build_filling(&self.planner, view.id, &planned.node, txn)?,
            false => Dataflow::build(&self.planner, view.id, &planned.node, txn)?,
        };
        self.views
            .insert(view.id, LiveView::new(view, dataflow, &planned.node, relations));
        Ok(())
    }
}
