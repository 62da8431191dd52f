//! Which tables there are: published ones come, look different, or go.

use super::{Ingest, Ingested, Meanwhile};
use crate::postgres::stored::{self, Phase, Progress, SlotIdentity, StoredTable};
use crate::postgres::{Membership, Published, TableShape};
use std::sync::Arc;
use viewfeed_change::{Error, Relation, RelationId, RelationKind, RelationName, Result, SourceId, Table};
use viewfeed_store::arrange;

impl Ingest<'_> {
    /// The slot is this one. Behind another one than before, nobody knows what was missed.
    pub(super) fn slot(&mut self, slot: SlotIdentity) -> Result<Ingested> {
        let progress = self.progress()?;
        if progress.slot.as_ref() == Some(&slot) {
            return Ok(Ingested::default());
        }
        let position = slot.began;
        stored::put_progress(
            self.txn,
            self.source,
            &Progress {
                slot: Some(slot),
                position,
            },
        )?;
        for mut table in self.tables()? {
            self.want(
                &mut table,
                "the replication slot was made anew",
                Meanwhile::Stands,
            )?;
        }
        Ok(Ingested::default())
    }

    /// Brings our tables in line with those that are published.
    pub(super) fn declare(&mut self, published: Vec<Published>) -> Result<Ingested> {
        let mut ingested = Ingested::default();
        let mut gone = self.tables()?;
        for Published { shape, membership } in published {
            let by_oid = gone.iter().position(|table| table.shape.oid == shape.oid);
            let by_name = |table: &StoredTable| {
                (&table.shape.schema, &table.shape.name) == (&shape.schema, &shape.name)
            };
            match by_oid.or_else(|| gone.iter().position(by_name)) {
                Some(place) => {
                    let table = gone.swap_remove(place);
                    self.declare_again(table, shape, membership)?;
                }
                None => self.declare_new(shape, membership)?,
            }
        }
        for mut table in gone {
            let why = "it is not published any more, or was dropped at the server";
            self.break_table(&mut table, why, &mut ingested)?;
        }
        Ok(ingested)
    }

    /// A table that is known already, perhaps made anew under its name.
    fn declare_again(
        &mut self,
        mut table: StoredTable,
        shape: TableShape,
        membership: Option<Membership>,
    ) -> Result<()> {
        if table.shape.oid != shape.oid {
            self.kept(table.shape.oid).release(self.txn)?;
            stored::delete_table(self.txn, self.source, table.shape.oid);
            table.shape.oid = shape.oid;
            self.want(
                &mut table,
                "it was dropped and made anew at the server",
                Meanwhile::Stands,
            )?;
        }
        let is_gone = matches!(&table.phase, Phase::Broken { why } if why.starts_with("it is not published"));
        if is_gone {
            self.want(&mut table, "it is published again", Meanwhile::Stands)?;
        }
        if matches!(table.phase, Phase::Copying { .. }) {
            // Its snapshot went with the connection.
            self.interrupt(&mut table, "its copy was interrupted")?;
        }
        if table.membership.is_some() && table.membership != membership {
            self.want(
                &mut table,
                "it left the publication and came again, or other rows or columns of it are published",
                Meanwhile::Stands,
            )?;
        }
        if table.membership != membership {
            table.membership = membership;
            self.put(&table)?;
        }
        self.reshape(table, shape, Meanwhile::Flows)
    }

    /// The table looks like this from now on.
    pub(super) fn reshape(
        &mut self,
        mut table: StoredTable,
        shape: TableShape,
        meanwhile: Meanwhile,
    ) -> Result<()> {
        if table.shape.is_rewritten(&shape) {
            let why = "a change of its columns at the server has written its rows anew";
            self.want(&mut table, why, Meanwhile::Stands)?;
        } else if table.shape.has_other_rows(&shape) {
            self.want(&mut table, "its columns changed at the server", meanwhile)?;
        }
        if table.shape != shape {
            table.shape = shape;
            self.put(&table)?;
        }
        Ok(())
    }

    fn declare_new(&mut self, shape: TableShape, membership: Option<Membership>) -> Result<()> {
        let name = RelationName::new(&self.settings.schema, &shape.name);
        if self.relations.named(&name).is_some() {
            let message = format!(
                "table \"{}.{}\" of source \"{}\" would be called \"{name}\" here, which exists already",
                shape.schema, shape.name, self.source
            );
            return Err(
                Error::new(viewfeed_change::ErrorKind::Exists, "RELATION_EXISTS", message)
                    .hint("give the source another schema, or leave the table out of `tables`"),
            );
        }
        let relations = Arc::make_mut(self.relations);
        let id = relations.allocate();
        let relation = relations.put(relation_of(&shape, id, name, self.source))?;
        arrange::mark_filling(self.txn, &relation, arrange::Filling::default())?;
        self.put(&StoredTable {
            relation: id,
            shape,
            phase: Phase::Wanted {
                again: None,
                begun: None,
            },
            flows: None,
            membership,
            attempt: 1,
        })
    }

    /// The table cannot be followed any more.
    pub(super) fn break_table(
        &mut self,
        table: &mut StoredTable,
        why: &str,
        ingested: &mut Ingested,
    ) -> Result<()> {
        if matches!(&table.phase, Phase::Broken { why: known } if known == why) {
            return Ok(());
        }
        self.release_beside(table)?;
        self.kept(table.shape.oid).release(self.txn)?;
        table.phase = Phase::Broken { why: why.to_owned() };
        table.flows = None;
        table.attempt += 1;
        self.put(table)?;
        // Rather no answer than one of yesterday.
        let relation = self.relation(table)?;
        arrange::mark_filling(self.txn, &relation, arrange::Filling::default())?;
        let message = format!(
            "table \"{}.{}\" of source \"{}\" cannot be followed: {why}",
            table.shape.schema, table.shape.name, self.source
        );
        let error = Error::new(
            viewfeed_change::ErrorKind::Precondition,
            "SOURCE_TABLE_BROKEN",
            message,
        )
        .hint("when the reason is gone: ALTER SOURCE … RESYNC TABLE …");
        ingested.broken.push((table.relation, error));
        Ok(())
    }

    /// Tables are to be copied again.
    pub(super) fn again(&mut self, name: Option<&str>, why: &str) -> Result<Ingested> {
        let mut found = false;
        for mut table in self.tables()? {
            if name.is_none_or(|name| table.shape.name == name) {
                found = true;
                self.want(&mut table, why, Meanwhile::Flows)?;
            }
        }
        match found {
            true => Ok(Ingested::default()),
            false => {
                let message = format!("source \"{}\" has no such table", self.source);
                Err(Error::not_found("UNKNOWN_TABLE", message)
                    .hint("SELECT * FROM viewfeed.source_tables lists them"))
            }
        }
    }
}

/// The relation of a table that looks like `shape`.
pub(super) fn relation_of(shape: &TableShape, id: RelationId, name: RelationName, source: &str) -> Relation {
    Relation {
        id,
        name,
        columns: shape.relation_columns(),
        key: shape.key_places(),
        kind: RelationKind::Table(Table {
            source: SourceId::new(source),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version: 1,
    }
}
