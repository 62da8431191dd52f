//! ON CONFLICT: which proposed rows meet a row that is there already, and what becomes of both.

use super::assignment::{self, Assignment};
use super::expression::{Scope, excluded_name};
use super::rules::Rules;
use super::stage::Edit;
use super::unique::{Unique, primary_name};
use super::{Context, name};
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{ColumnPath, Error, Relation, Result};

/// What to do with `proposed` rows under `on`. The new rows of the edit are the inserted ones, then the updated ones.
pub(super) fn resolve(
    on: &ast::OnConflict,
    proposed: RecordBatch,
    alias: Option<String>,
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<Edit> {
    let arbiters = arbiters(on.conflict_target.as_ref(), rules)?;
    match &on.action {
        ast::OnConflictAction::DoNothing => {
            let new = without_conflicts(proposed, &arbiters, rules, context)?;
            Ok(Edit {
                old: None,
                new: Some(new),
            })
        }
        ast::OnConflictAction::DoUpdate(update) => match arbiters.as_slice() {
            [arbiter] if on.conflict_target.is_some() => {
                upsert(update, &proposed, arbiter, alias, rules, context)
            }
            _ => Err(Error::invalid(
                "CONFLICT_TARGET_MISSING",
                "ON CONFLICT DO UPDATE needs the columns of a key",
            )
            .hint("write ON CONFLICT (key columns) DO UPDATE SET …")),
        },
    }
}

/// The unique keys on which a conflict counts.
fn arbiters<'a>(target: Option<&ast::ConflictTarget>, rules: &'a Rules) -> Result<Vec<&'a Unique>> {
    let relation = &rules.relation;
    let found = match target {
        None => return Ok(rules.uniques.iter().collect()),
        Some(ast::ConflictTarget::OnConstraint(constraint)) => {
            let wanted = name::last(constraint)?;
            rules.uniques.iter().find(|unique| unique.name == wanted)
        }
        Some(ast::ConflictTarget::Columns(columns)) => {
            let place = |ident| {
                Ok(ColumnPath::from(name::column(
                    &name::identifier(ident),
                    relation,
                )?))
            };
            let wanted: BTreeSet<ColumnPath> = columns.iter().map(place).collect::<Result<_>>()?;
            rules
                .uniques
                .iter()
                .find(|unique| unique.columns.iter().cloned().collect::<BTreeSet<_>>() == wanted)
        }
    };
    found
        .map(|unique| vec![unique])
        .ok_or_else(|| no_such_key(relation))
}

fn no_such_key(relation: &Relation) -> Error {
    let message = format!("the ON CONFLICT target is no key of table \"{}\"", relation.name);
    let hint = match relation.key.is_empty() {
        true => "name the columns of a UNIQUE constraint; the table has no primary key".to_owned(),
        false => format!(
            "name the columns of constraint {} or of a UNIQUE constraint",
            primary_name(relation)
        ),
    };
    Error::invalid("UNKNOWN_CONFLICT_TARGET", message).hint(hint)
}

/// The rows that conflict neither with a stored row nor with one before them.
fn without_conflicts(
    proposed: RecordBatch,
    arbiters: &[&Unique],
    rules: &Rules,
    context: &Context<'_>,
) -> Result<RecordBatch> {
    let reader = context.txn.now();
    let mut rows = proposed;
    for arbiter in arbiters {
        let mut keep = vec![true; rows.num_rows()];
        for place in arbiter.existing(&rows, &rules.relation, &reader)?.places {
            keep[place as usize] = false;
        }
        rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
    }
    // Rows that conflict with each other: only after all stored conflicts are out, because a row that is left out blocks
    // no other.
    first_of_each(rows, arbiters)
}

/// The rows that share no key with a kept row before them.
fn first_of_each(rows: RecordBatch, arbiters: &[&Unique]) -> Result<RecordBatch> {
    let firsts = arbiters
        .iter()
        .map(|arbiter| arbiter.first_places(&rows))
        .collect::<Result<Vec<_>>>()?;
    let mut taken: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); arbiters.len()];
    let mut keep = vec![true; rows.num_rows()];
    for (row, keep) in keep.iter_mut().enumerate() {
        *keep = firsts
            .iter()
            .zip(&taken)
            .all(|(firsts, taken)| !taken.contains(&firsts[row]));
        if *keep {
            taken
                .iter_mut()
                .zip(&firsts)
                .for_each(|(taken, firsts)| taken.extend([firsts[row]]));
        }
    }
    Ok(filter_record_batch(&rows, &BooleanArray::from(keep))?)
}

/// Inserts the rows whose key is new and updates the stored rows of the others.
fn upsert(
    update: &ast::DoUpdate,
    proposed: &RecordBatch,
    arbiter: &Unique,
    alias: Option<String>,
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<Edit> {
    let relation = &rules.relation;
    let firsts = arbiter.first_places(proposed)?;
    if firsts.iter().enumerate().any(|(row, first)| row as u32 != *first) {
        return Err(Error::invalid(
            "CARDINALITY_VIOLATION",
            "ON CONFLICT DO UPDATE would change a row twice",
        )
        .hint("give each key once in a statement"));
    }
    let existing = arbiter.existing(proposed, relation, &context.txn.now())?;
    let taken: BTreeSet<u32> = existing.places.iter().copied().collect();
    let free: Vec<u32> = (0..proposed.num_rows() as u32)
        .filter(|row| !taken.contains(row))
        .collect();
    let inserted = take_record_batch(proposed, &UInt32Array::from(free))?;

    let excluded = take_record_batch(proposed, &UInt32Array::from(existing.places.clone()))?;
    let list = Assignment::read(&update.assignments, relation, context.now)?;
    let scope = Scope {
        relation,
        alias,
        excluded: true,
    };
    let mut both = beside(&existing.rows, &excluded)?;
    let mut old = existing.rows;
    if let Some(condition) = &update.selection {
        let keep = BooleanArray::from(rules.fulfil(&scope.localise(condition)?, &both, context.now)?);
        both = filter_record_batch(&both, &keep)?;
        old = filter_record_batch(&old, &keep)?;
    }
    let computed = assignment::evaluate(&list, &both, &scope, rules, context.now)?;
    let updated = assignment::assign(&list, &old, &computed, rules, context)?;
    let new = concat_batches(&rules.schema, [&inserted, &updated])?;
    Ok(Edit {
        old: Some(old),
        new: Some(new),
    })
}

/// Stored rows beside the rows proposed in their place.
fn beside(stored: &RecordBatch, excluded: &RecordBatch) -> Result<RecordBatch> {
    let stored_schema = stored.schema();
    let excluded_schema = excluded.schema();
    let renamed = excluded_schema.fields().iter().map(|field| {
        let name = excluded_name(field.name());
        Arc::new(Field::clone(field).with_name(name))
    });
    let fields: Vec<Arc<Field>> = stored_schema.fields().iter().cloned().chain(renamed).collect();
    let columns = stored
        .columns()
        .iter()
        .chain(excluded.columns())
        .cloned()
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
