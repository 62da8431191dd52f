//! What may change between two versions of a module while its tables keep their rows: columns may come, nothing else.

use crate::codec::sql_name;
use crate::diagnostic::{Diagnostic, Place};
use crate::infer::{InferredTable, is_field, same_type};
use crate::scope::Scope;
use viewfeed_change::{Column, Relation};

/// Columns to add to `existing` so that it fits `wanted`.
pub(crate) fn evolve(
    scope: &Scope,
    inferred: Option<&InferredTable>,
    existing: &Relation,
    wanted: &Relation,
) -> Result<Vec<Column>, Vec<Diagnostic>> {
    let comparison = Comparison {
        scope,
        inferred,
        existing,
        wanted,
    };
    let mut refused = Vec::new();
    if existing.as_table().is_none() {
        let message = format!("{} exists already, as a view", existing.name);
        let advice = "drop the view, or give the message another name with option (viewfeed.v1.table).name";
        return Err(vec![comparison.message_place().error(message, advice)]);
    }
    let mut added = Vec::new();
    for column in &wanted.columns {
        match existing.columns.iter().find(|old| old.id == column.id) {
            Some(old) => refused.extend(comparison.changed(old, column)),
            None => match existing.column(&column.name) {
                Some(place) => refused.push(comparison.renumbered(&existing.columns[place], column)),
                None if column.hidden => {}
                None => added.push(column.clone()),
            },
        }
    }
    refused.extend(comparison.removed());
    refused.extend(comparison.other_key());
    refused.extend(comparison.other_indexes());
    if refused.is_empty() {
        Ok(added)
    } else {
        Err(refused)
    }
}

struct Comparison<'a> {
    scope: &'a Scope,
    inferred: Option<&'a InferredTable>,
    existing: &'a Relation,
    wanted: &'a Relation,
}

impl Comparison<'_> {
    fn message_place(&self) -> Place {
        match self.inferred {
            Some(inferred) => self.scope.message_place(&inferred.message),
            None => Place::file("module.toml"),
        }
    }

    fn field_place(&self, column: &Column) -> Place {
        let field = self
            .inferred
            .and_then(|inferred| inferred.message.get_field(column.id));
        field.map_or_else(|| self.message_place(), |field| self.scope.field_place(&field))
    }

    /// What is different about a column with the same field number.
    fn changed(&self, old: &Column, new: &Column) -> Option<Diagnostic> {
        let (place, table) = (self.field_place(new), &self.existing.name);
        if old.name != new.name {
            let message = format!(
                "field {} of {table} was {} and is now {}",
                new.id, old.name, new.name
            );
            let advice = format!(
                "a rename would break views and JSON clients: keep {}, or add a new field with a new number",
                old.name
            );
            return Some(place.error(message, advice));
        }
        if !same_type(old, new) {
            let (was, is) = (sql_name(&old.data_type), sql_name(&new.data_type));
            let message = format!("column {} of {table} was {was} and is now {is}", new.name);
            let advice = "a type does not change while there are rows: add a new field, and fill it with an UPDATE in a migration";
            return Some(place.error(message, advice));
        }
        if old.nullable != new.nullable {
            let (was, is) = if old.nullable {
                ("could", "cannot")
            } else {
                ("could not", "can")
            };
            let message = format!("column {} of {table} {was} be NULL and now {is}", new.name);
            return Some(place.error(
                message,
                "put `optional`, oneof or key back as it was, or add a new field",
            ));
        }
        if old.default != new.default {
            let message = format!(
                "the default or preset of column {} of {table} is another",
                new.name
            );
            return Some(place.error(message, "put it back, or add a new field with the new one"));
        }
        None
    }

    fn renumbered(&self, old: &Column, new: &Column) -> Diagnostic {
        let message = if is_field(old) {
            format!(
                "field {} of {} had number {} and now has {}",
                new.name, self.existing.name, old.id, new.id
            )
        } else {
            format!(
                "table {} has a column {} already, added by SQL",
                self.existing.name, new.name
            )
        };
        self.field_place(new).error(
            message,
            "a number is the identity of a field: put it back, or choose another name",
        )
    }

    fn removed(&self) -> Vec<Diagnostic> {
        let is_gone = |old: &&Column| {
            let stays = self
                .wanted
                .columns
                .iter()
                .any(|new| new.id == old.id || new.name == old.name);
            is_field(old) && !stays
        };
        let explain = |old: &Column| {
            let message = format!(
                "field {} ({}) of {} is gone",
                old.id, old.name, self.existing.name
            );
            let advice =
                "put it back (it may be marked deprecated), or drop the table if its rows are not needed";
            self.message_place().error(message, advice)
        };
        self.existing
            .columns
            .iter()
            .filter(is_gone)
            .map(explain)
            .collect()
    }

    fn other_key(&self) -> Option<Diagnostic> {
        let names = |relation: &Relation| -> Vec<String> {
            relation
                .key
                .iter()
                .map(|place| relation.columns[*place].name.clone())
                .collect()
        };
        let (was, is) = (names(self.existing), names(self.wanted));
        (was != is).then(|| {
            let message =
                format!("the key of {} was ({}) and is now ({})", self.existing.name, was.join(", "), is.join(", "));
            let advice = "a key does not change while there are rows: put it back, or make a new message and copy the rows";
            self.message_place().error(message, advice)
        })
    }

    fn other_indexes(&self) -> Option<Diagnostic> {
        let (was, is) = (self.existing.as_table()?, self.wanted.as_table()?);
        let missing = is.indexes.iter().find(|index| {
            !was.indexes
                .iter()
                .any(|old| old.columns == index.columns && old.unique == index.unique)
        })?;
        let message = format!("index {} of {} is new", missing.name, self.existing.name);
        Some(self.message_place().error(
            message,
            "create it with CREATE INDEX in a migration; the option works for new tables",
        ))
    }
}
