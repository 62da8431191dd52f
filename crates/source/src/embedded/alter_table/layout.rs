//! A table laid out anew: every stored row rewritten into new arrangements.

use super::super::stage::stage_all;
use super::super::{Context, create_table};
use arrow::array::RecordBatch;
use std::sync::Arc;
use viewfeed_change::{Batch, ColumnPath, Delta, Error, ErrorKind, Relation, Result};
use viewfeed_store::arrange;

/// Puts `new` in the place of `old`, with `rows` as its content. `moved` says where a column of `old` is in `new`; the
/// arrangements by columns that are gone are not made again.
pub(super) fn lay_out(
    old: &Relation,
    new: Relation,
    rows: RecordBatch,
    moved: &dyn Fn(usize) -> Option<usize>,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    let move_path = |path: &ColumnPath| {
        let (first, rest) = path.0.split_first()?;
        Some(ColumnPath(
            std::iter::once(moved(*first)?)
                .chain(rest.iter().copied())
                .collect(),
        ))
    };
    let arranged = arrange::all(&context.txn.now(), old)?;
    let keys: Vec<Vec<ColumnPath>> = arranged
        .iter()
        .filter_map(|arrangement| arrangement.key().iter().map(move_path).collect())
        .collect();
    arrange::release_all(context.txn, old)?;
    let new = Arc::make_mut(context.relations).put(new)?;
    arrange::ensure(context.txn, &new, &new.key_paths())?;
    let batch = Batch::inserts(rows);
    let batch = if new.key.is_empty() {
        batch.consolidate()?
    } else {
        batch
    };
    stage_all(&new, &batch, context.txn)?;
    restate_changes(old, &batch, context)?;
    // Made after the rows are in the primary one: they fill themselves from it.
    keys.iter()
        .try_for_each(|key| arrange::ensure(context.txn, &new, key).map(drop))?;
    create_table::arrange(&new, context)?;
    Ok(new)
}

/// Changes of this transaction from before it altered the table are rows of the old layout. If the table is as new as
/// the transaction, all of them together are its rows; else there is nothing they could be said in.
fn restate_changes(old: &Relation, rows: &Batch, context: &mut Context<'_>) -> Result<()> {
    if !context.changes.iter().any(|delta| delta.relation == old.id) {
        return Ok(());
    }
    if arrange::find(&context.txn.before(), old, &old.key_paths())?.is_some() {
        let message = format!(
            "table \"{}\" was changed before it was altered in the same transaction",
            old.name
        );
        return Err(Error::new(ErrorKind::Precondition, "ALTER_AFTER_CHANGE", message)
            .hint("alter the table first, or in a transaction of its own"));
    }
    context.changes.retain(|delta| delta.relation != old.id);
    if !rows.is_empty() {
        context.changes.push(Delta {
            relation: old.id,
            batch: rows.clone(),
        });
    }
    Ok(())
}
