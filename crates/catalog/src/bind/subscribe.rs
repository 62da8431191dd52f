//! Live queries: the relation, its key, and how the response is filled.

use super::{Binder, Misfit};
use crate::binding::{EnvelopeFields, Subscribe};
use crate::codec::RowEncoder;
use crate::declare::{DeclaredSubscribe, Origin};
use crate::scope::rpc_path;
use crate::structure;
use arrow::datatypes::Schema;
use prost_reflect::MessageDescriptor;
use std::sync::Arc;
use viewfeed_change::Relation;
use viewfeed_wire::v1::Envelope;

impl Binder<'_> {
    pub(super) fn subscribe(&mut self, declared: &DeclaredSubscribe) -> Result<Subscribe, Misfit> {
        let method = &self.declared.method;
        let (request, response) = (method.input(), method.output());
        let name = declared
            .relation
            .clone()
            .unwrap_or_else(|| self.scope.relation_name(&declared.row));
        let relation = self.relation(&name)?;
        let schema = relation.schema();
        let encoder = RowEncoder::plan(&schema, &declared.row)
            .map_err(|mismatches| self.mismatches(&relation.name.to_string(), mismatches))?;
        let key = self.key(declared, &relation)?;
        let frame = structure::frame_field(&response);
        let mut fields = structure::row_fields(&response).into_iter();
        let rows = fields.next().filter(|_| frame.is_some());
        let keys = fields.next().filter(|_| frame.is_some());
        let key_encoder = match &keys {
            Some((_, message)) if !key.is_empty() => Some(self.key_encoder(&relation, &key, message)?),
            Some((field, _)) => {
                let message = format!(
                    "field {} holds deleted keys, but {} has no key",
                    field.full_name(),
                    relation.name
                );
                let advice = "say which columns make a row unique: subscribe: { key: \"id\" }";
                return Err(self.scope.field_place(field).error(message, advice).into());
            }
            None => None,
        };
        let bare = frame.is_none();
        let envelope = self.envelope(declared.envelope, bare, &key, key_encoder.is_some())?;
        self.tell_bare(bare);
        let filter_fields = self.filter(&declared.filter, &declared.row, &schema, true)?;
        let used: Vec<String> = filter_fields
            .iter()
            .map(|one| one.field.name().to_owned())
            .collect();
        self.tell_unused(&request, &used);
        Ok(Subscribe {
            filter: filter_fields.iter().map(|one| one.path.clone()).collect(),
            relation,
            key,
            envelope,
            bare,
            encoder,
            key_encoder,
            filter_fields,
            feed_field: structure::feed_field(&request),
            envelope_fields: EnvelopeFields {
                frame: frame.map_or(0, |field| field.number()),
                rows: rows.map_or(0, |(field, _)| field.number()),
                deletes: keys.map_or(0, |(field, _)| field.number()),
            },
        })
    }

    fn key(&self, declared: &DeclaredSubscribe, relation: &Relation) -> Result<Vec<usize>, Misfit> {
        if declared.key.is_empty() {
            return Ok(relation.key.clone());
        }
        let place = |name: &String| {
            relation.column(name).ok_or_else(|| {
                let names: Vec<&str> = relation
                    .columns
                    .iter()
                    .map(|column| column.name.as_str())
                    .collect();
                let message = format!("the key names {name}, which is no column of {}", relation.name);
                self.error(message, format!("its columns are {}", names.join(", ")))
            })
        };
        declared.key.iter().map(place).collect()
    }

    fn key_encoder(
        &self,
        relation: &Relation,
        key: &[usize],
        message: &MessageDescriptor,
    ) -> Result<RowEncoder, Misfit> {
        let schema = relation.schema();
        let columns: Vec<_> = key.iter().map(|place| schema.field(*place).clone()).collect();
        for place in key {
            let column = &relation.columns[*place];
            if message.get_field_by_name(&column.name).is_none() {
                let text = format!(
                    "{} tells deleted rows but lacks the key column {}",
                    message.full_name(),
                    column.name
                );
                let advice = "a client could not find the row: add a field for every column of the key";
                return Err(self.scope.message_place(message).error(text, advice).into());
            }
        }
        RowEncoder::plan(&Arc::new(Schema::new(columns)), message)
            .map_err(|mismatches| self.mismatches(&format!("the key of {}", relation.name), mismatches))
    }

    /// The envelope: as declared, else the best that the relation and the response allow.
    fn envelope(
        &self,
        declared: Envelope,
        bare: bool,
        key: &[usize],
        has_deletes: bool,
    ) -> Result<Envelope, Misfit> {
        let can_upsert = !key.is_empty() && (bare || has_deletes);
        match declared {
            Envelope::Upsert if key.is_empty() => {
                let advice = "say which columns make a row unique: subscribe: { key: \"id\" }";
                Err(self.error("UPSERT needs a key, and the relation has none", advice))
            }
            Envelope::Upsert if !can_upsert => {
                let advice = "add a repeated field of a message with the key's fields: repeated MessageKey deletes = 3";
                Err(self.error("UPSERT needs a field for deleted keys", advice))
            }
            Envelope::Unspecified if can_upsert => Ok(Envelope::Upsert),
            Envelope::Unspecified => Ok(Envelope::Diff),
            Envelope::State if bare => {
                let advice = "embed viewfeed.v1.Frame in the response";
                Err(self.error("STATE needs a Frame to tell where one result ends", advice))
            }
            declared => Ok(declared),
        }
    }

    fn tell_bare(&mut self, bare: bool) {
        if !bare {
            return;
        }
        let path = rpc_path(&self.declared.method);
        let message = format!("{path} streams bare rows: no deletes, no resume after a break");
        let advice = "embed viewfeed.v1.Frame in the response for the whole feed";
        let place = &self.declared.place;
        self.diagnostics.push(match self.declared.origin {
            Origin::Convention => place.note(message, advice),
            Origin::Option | Origin::Sidecar => place.warning(message, advice),
        });
    }
}
