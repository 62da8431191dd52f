//! One piece of filling a view: its operators are made, the next rows of an input are read, or it is completed.

use super::{Piece, Stage};
use crate::dataflow::{Dataflow, position, position_key, reading_order};
use crate::engine::record::{Filling, Reading, Record};
use crate::engine::{Engine, LiveView, Schedule, errors};
use crate::plan::PlannedView;
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{Batch, Error, Relation, RelationId, Relations, Result};
use viewfeed_store::Txn;
use viewfeed_store::arrange::{self, Position};

/// Rows of an input that are counted to know how many it has about.
const COUNTED_ROWS_MAX: usize = 2048;

impl Engine {
    /// Makes the operators of `view`, and its content over empty inputs, once the arrangements it needs are there.
    pub(super) fn begin_reading(
        &mut self,
        view: &Arc<Relation>,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<()> {
        let planned = self.replan(view, relations)?;
        let dataflow = Dataflow::build_filling(&self.planner, view.id, &planned.node, txn)?;
        txn.seal();
        let missing = dataflow.missing().to_vec();
        self.note_order(view, &planned, &dataflow, relations, txn)?;
        if !missing.is_empty() {
            self.enter(view.id, Stage::Arranging(missing));
            return Ok(());
        }
        let mut first = Vec::new();
        dataflow.hydrate(self.now, txn, &mut |_, batch| {
            first.push(batch);
            Ok(())
        })?;
        let live = LiveView::new(view, dataflow, &planned.node, relations);
        let first = Batch::concat(&planned.node.schema, &first)?;
        live.stage(first, txn)?;
        self.views.insert(view.id, live);
        self.schedule = Schedule::of(&self.views);
        self.enter(view.id, Stage::Reading);
        Ok(())
    }

    /// Stores in which order the inputs are read, and about how many rows they have.
    fn note_order(
        &self,
        view: &Arc<Relation>,
        planned: &PlannedView,
        dataflow: &Dataflow,
        relations: &Relations,
        txn: &mut Txn,
    ) -> Result<()> {
        let mut rows = BTreeMap::new();
        let before = txn.before();
        for id in dataflow.inputs() {
            let gone = || Error::internal("an input is gone");
            let primary = arrange::primary(&before, relations.get(*id).ok_or_else(gone)?)?;
            rows.insert(
                *id,
                arrange::rows_about(primary.as_ref(), &before, COUNTED_ROWS_MAX)?,
            );
        }
        let reading = |relation: RelationId| Reading {
            relation,
            rows: 0,
            rows_estimated: rows.get(&relation).copied().unwrap_or_default(),
        };
        let missing = dataflow.missing().iter();
        let filling = Filling {
            inputs: reading_order(&planned.node, &rows)
                .into_iter()
                .map(reading)
                .collect(),
            is_begun: dataflow.missing().is_empty(),
            is_put_off: false,
            arrangements: missing
                .map(|(relation, key)| (relation.id, key.clone()))
                .collect(),
        };
        arrange::mark_filling(txn, view, filling.progress())?;
        let mut record = Record::of(view.id, &planned.node);
        record.filling = Some(filling);
        record.write(view.id, txn)
    }

    /// Reads the next rows of the input that is being read, or completes the view.
    pub(super) fn read_piece(
        &mut self,
        view: &Arc<Relation>,
        rows_max: usize,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<Piece> {
        let gone = || Error::internal("the record of a view that is being filled is gone");
        let mut record = Record::read(view.id, txn)?.ok_or_else(gone)?;
        let filling = record.filling.as_mut().ok_or_else(gone)?;
        let (before, live) = (txn.before(), self.views.get(&view.id).ok_or_else(gone)?);
        for reading in &mut filling.inputs {
            let place = position_key(view.id, reading.relation);
            let from = position(&before, &place)?;
            if from == Position::End {
                continue;
            }
            let relation = relations.get(reading.relation).ok_or_else(gone)?;
            let primary = arrange::primary(&before, relation)?;
            let (batch, to) = arrange::next(primary.as_ref(), &before, &from, rows_max)?;
            txn.put(place, to.to_bytes());
            let rows = batch.as_ref().map_or(0, Batch::len);
            if let Some(batch) = batch {
                let inserts = BTreeMap::from([(relation.id, batch)]);
                if let Some(change) = live.dataflow.step(&inserts, self.now, txn)? {
                    live.stage(change, txn)?;
                }
            }
            reading.rows += rows as u64;
            if to == Position::End {
                reading.rows_estimated = reading.rows;
            }
            arrange::mark_filling(txn, view, filling.progress())?;
            record.write(view.id, txn)?;
            return Ok(Piece::of(rows));
        }
        if let Some(change) = live.dataflow.finish(self.now, txn)? {
            live.stage(change, txn)?;
        }
        txn.seal();
        self.complete(view, &record, relations, txn)?;
        Ok(Piece {
            rows: 0,
            is_last: true,
        })
    }

    /// Makes `view`, whose record is `record`, one like the others.
    fn complete(
        &mut self,
        view: &Arc<Relation>,
        record: &Record,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<()> {
        let planned = self.replan(view, relations)?;
        for reading in record.filling.iter().flat_map(|filling| &filling.inputs) {
            txn.delete(position_key(view.id, reading.relation));
        }
        Record::of(view.id, &planned.node).write(view.id, txn)?;
        arrange::mark_filled(txn, view)?;
        self.error_deltas.extend(errors::publish(view, relations, txn)?);
        let dataflow = Dataflow::build(&self.planner, view.id, &planned.node, txn)?;
        let live = LiveView::new(view, dataflow, &planned.node, relations);
        self.views.insert(view.id, live);
        self.filling.remove(&view.id);
        self.schedule = Schedule::of(&self.views);
        Ok(())
    }
}

impl LiveView {
    /// What a view that is being filled sees of changes: those of rows it has read.
    pub(in crate::engine) fn passed(
        &self,
        changes: &BTreeMap<RelationId, Batch>,
        relations: &Relations,
        txn: &Txn,
    ) -> Result<BTreeMap<RelationId, Batch>> {
        let before = txn.before();
        let mut seen = BTreeMap::new();
        for id in self.dataflow.inputs() {
            let (Some(change), Some(relation)) = (changes.get(id), relations.get(*id)) else {
                continue;
            };
            let position = position(&before, &position_key(self.relation.id, *id))?;
            let primary = arrange::unfinished(&before, relation)?;
            let passed = arrange::passed(primary.as_ref(), change, &position)?;
            if !passed.is_empty() {
                seen.insert(*id, passed);
            }
        }
        Ok(seen)
    }
}
