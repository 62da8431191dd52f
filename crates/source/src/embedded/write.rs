//! Rows that come without SQL, from messages: inserted, changed or deleted by key.

use super::insert::{Proposed, refuse_hidden};
use super::rules::Rules;
use super::stage::{self, Edit};
use super::unique::Unique;
use super::{Context, Embedded, Operation, coerce, constraint, name, values};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::{Field, Schema};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use viewfeed_change::{Error, Relation, Result};

/// Writes `rows`; gives how many were written. Rows with the same key take effect one after another.
pub(super) fn write(
    embedded: &Embedded,
    table: &Relation,
    operation: Operation,
    rows: &RecordBatch,
    context: &mut Context<'_>,
) -> Result<u64> {
    let relation = context.relations.get(table.id).cloned().ok_or_else(|| {
        Error::not_found(
            "UNKNOWN_RELATION",
            format!("table \"{}\" does not exist any more", table.name),
        )
    })?;
    name::writable(&relation)?;
    let rules = embedded.rules(&relation)?;
    let given = Given::of(rows, operation, &relation)?;
    let by_key = match operation {
        Operation::Insert => false,
        // Without a key the row is new: its key is filled by the table.
        Operation::Upsert => given.has_key(&relation),
        Operation::Update | Operation::Delete => given.require_key(&relation)?,
    };
    if !by_key {
        let new = given.proposed(None)?.admit(&rules, context)?;
        stage::apply(
            &rules,
            &Edit {
                old: None,
                new: Some(new),
            },
            context,
        )?;
        return Ok(rows.num_rows() as u64);
    }
    let primary = rules.uniques.first().ok_or_else(|| no_key(&relation))?;
    for round in rounds(&primary.first_places(&given.rows)?) {
        let edit = given.take(&round)?.edit(operation, primary, &rules, context)?;
        stage::apply(&rules, &edit, context)?;
    }
    Ok(rows.num_rows() as u64)
}

/// What is given of each row: columns of the table's types, NULL where `present` says that nothing is given.
struct Given {
    rows: RecordBatch,
    present: Vec<bool>,
}

impl Given {
    fn of(rows: &RecordBatch, operation: Operation, relation: &Relation) -> Result<Self> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; relation.columns.len()];
        for (field, array) in rows.schema().fields().iter().zip(rows.columns()) {
            let place = name::column(field.name(), relation)?;
            if matches!(operation, Operation::Insert | Operation::Upsert) {
                refuse_hidden(place, relation)?;
            }
            columns[place] = Some(coerce::coerce(array, &relation.columns[place])?);
        }
        let present = columns.iter().map(Option::is_some).collect();
        let fields: Vec<Field> = relation
            .columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), true))
            .collect();
        let or_null = |(array, column): (Option<ArrayRef>, _)| {
            array.unwrap_or_else(|| values::nulls(column, rows.num_rows()))
        };
        let columns = columns.into_iter().zip(&relation.columns).map(or_null).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
        Ok(Self { rows, present })
    }

    fn has_key(&self, relation: &Relation) -> bool {
        !relation.key.is_empty() && relation.key.iter().all(|place| self.present[*place])
    }

    fn require_key(&self, relation: &Relation) -> Result<bool> {
        if relation.key.is_empty() {
            return Err(no_key(relation));
        }
        match relation.key.iter().find(|place| !self.present[**place]) {
            None => Ok(true),
            Some(place) => {
                let column = &relation.columns[*place].name;
                let message = format!(
                    "key column \"{column}\" of table \"{}\" is not given",
                    relation.name
                );
                Err(Error::invalid("KEY_MISSING", message))
            }
        }
    }

    fn take(&self, places: &[u32]) -> Result<Self> {
        let rows = take_record_batch(&self.rows, &UInt32Array::from(places.to_vec()))?;
        Ok(Self {
            rows,
            present: self.present.clone(),
        })
    }

    /// The rows at `places` (or all) as rows to insert.
    fn proposed(&self, places: Option<&UInt32Array>) -> Result<Proposed> {
        let column = |(array, present): (&ArrayRef, &bool)| match (present, places) {
            (false, _) => Ok(None),
            (true, None) => Ok(Some(array.clone())),
            (true, Some(places)) => Ok(Some(take(array, places, None)?)),
        };
        let columns = self
            .rows
            .columns()
            .iter()
            .zip(&self.present)
            .map(column)
            .collect::<Result<_>>()?;
        let count = places.map_or(self.rows.num_rows(), arrow::array::Array::len);
        Ok(Proposed { columns, count })
    }

    /// What an operation does with rows of which no two have the same key.
    fn edit(
        &self,
        operation: Operation,
        primary: &Unique,
        rules: &Rules,
        context: &mut Context<'_>,
    ) -> Result<Edit> {
        let relation = &rules.relation;
        let existing = primary.existing(&self.rows, relation, &context.txn.now())?;
        let missing = self.rows.num_rows() - existing.places.len();
        if missing > 0 && operation != Operation::Upsert {
            let message = format!(
                "{missing} of {} rows do not exist in table \"{}\"",
                self.rows.num_rows(),
                relation.name
            );
            return Err(Error::not_found("ROW_NOT_FOUND", message));
        }
        if operation == Operation::Delete {
            return Ok(Edit {
                old: Some(existing.rows),
                new: None,
            });
        }
        let places = UInt32Array::from(existing.places.clone());
        let replaced = |(place, stored): (usize, &ArrayRef)| match self.present[place] {
            true => Ok(take(self.rows.column(place), &places, None)?),
            false => Ok(stored.clone()),
        };
        let columns = existing
            .rows
            .columns()
            .iter()
            .enumerate()
            .map(replaced)
            .collect::<Result<_>>()?;
        let updated = constraint::admit(rules, columns, places.len(), context.now)?;
        let taken: BTreeSet<u32> = existing.places.iter().copied().collect();
        let free: Vec<u32> = (0..self.rows.num_rows() as u32)
            .filter(|row| !taken.contains(row))
            .collect();
        let inserted = self
            .proposed(Some(&UInt32Array::from(free)))?
            .admit(rules, context)?;
        let new = concat_batches(&rules.schema, [&inserted, &updated])?;
        Ok(Edit {
            old: Some(existing.rows),
            new: Some(new),
        })
    }
}

fn no_key(relation: &Relation) -> Error {
    let message = format!("table \"{}\" has no primary key to find rows by", relation.name);
    Error::invalid("NO_KEY", message).hint("use SQL, or create the table with a primary key")
}

/// Places in rounds of which each holds a key once: the second row with a key is in the second round, and so on.
fn rounds(firsts: &[u32]) -> Vec<Vec<u32>> {
    let mut rounds: Vec<Vec<u32>> = Vec::new();
    let mut times: HashMap<u32, usize> = HashMap::new();
    for (row, first) in firsts.iter().enumerate() {
        let time = times.entry(*first).or_insert(0);
        if rounds.len() == *time {
            rounds.push(Vec::new());
        }
        rounds[*time].push(row as u32);
        *time += 1;
    }
    rounds
}
