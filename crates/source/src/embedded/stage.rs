//! The one way rows change: unique keys are checked, every arrangement of the table is staged, the change is recorded.

use super::Context;
use super::rules::Rules;
use arrow::array::RecordBatch;
use viewfeed_change::{Batch, Delta, Relation, RelationId, Result};
use viewfeed_store::{Txn, arrange};

/// What a statement does to a table, in rows of the table that were [admitted](super::constraint::admit) or stored.
#[derive(Default)]
pub(super) struct Edit {
    /// The rows taken away.
    pub(super) old: Option<RecordBatch>,
    /// The rows added.
    pub(super) new: Option<RecordBatch>,
}

/// Stages an edit. Keys are compared after the whole of it, so keys may be passed around between rows.
pub(super) fn apply(rules: &Rules, edit: &Edit, context: &mut Context<'_>) -> Result<()> {
    let relation = &rules.relation;
    context.touched.insert(relation.id);
    if let Some(new) = edit.new.as_ref().filter(|new| new.num_rows() > 0) {
        let reader = context.txn.now();
        for unique in &rules.uniques {
            unique.check(edit.old.as_ref(), new, relation, &reader)?;
        }
    }
    let batch = delta(rules, edit)?;
    stage_all(relation, &batch, context.txn)?;
    record(relation.id, batch, context);
    Ok(())
}

/// The change as weighted rows. Rows that were taken away and added alike cancel out.
fn delta(rules: &Rules, edit: &Edit) -> Result<Batch> {
    let parts: Vec<Batch> = [
        edit.old.clone().map(Batch::deletes),
        edit.new.clone().map(Batch::inserts),
    ]
    .into_iter()
    .flatten()
    .filter(|batch| !batch.is_empty())
    .collect();
    match <[Batch; 1]>::try_from(parts) {
        // With a key no two rows are equal: there is nothing to add up.
        Ok([one]) if !rules.relation.key.is_empty() => Ok(one),
        Ok([one]) => one.consolidate(),
        Err(parts) => Batch::concat(&rules.schema, &parts)?.consolidate(),
    }
}

/// Stages a change into every arrangement of `relation`.
pub(super) fn stage_all(relation: &Relation, batch: &Batch, txn: &mut Txn) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    arrange::stage_all(txn, relation, batch)
}

fn record(relation: RelationId, batch: Batch, context: &mut Context<'_>) {
    if !batch.is_empty() {
        context.changes.push(Delta { relation, batch });
    }
}
