//! Primary keys and UNIQUE: which rows have a key already. Keys with a NULL in them are never equal.

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use std::collections::HashSet;
use viewfeed_change::row::{RowCodec, Rows, array_at};
use viewfeed_change::{Batch, ColumnPath, Error, ErrorKind, Relation, Result};
use viewfeed_store::{Reader, arrange};

/// Columns of which no two rows may have the same values.
pub(super) struct Unique {
    /// The constraint's name.
    pub(super) name: String,
    /// The columns, in the order of the arrangement that is searched.
    pub(super) columns: Vec<ColumnPath>,
    codec: RowCodec,
}

/// Rows that have a key already.
pub(super) struct Existing {
    /// The stored rows.
    pub(super) rows: RecordBatch,
    /// The place of the proposed row that each has the key of. Ascending.
    pub(super) places: Vec<u32>,
}

/// The keys of those rows that have no NULL in them.
struct Keys {
    places: Vec<u32>,
    bytes: Rows,
}

impl Unique {
    /// The primary key of `relation`, if it has one, then its unique indexes.
    pub(super) fn of(relation: &Relation) -> Result<Vec<Self>> {
        let primary = (!relation.key.is_empty()).then(|| (primary_name(relation), relation.key_paths()));
        let indexes = relation.as_table().map_or(&[][..], |table| &table.indexes);
        let indexes = indexes
            .iter()
            .filter(|index| index.unique)
            .map(|index| (index.name.clone(), index.columns.clone()));
        let schema = relation.schema();
        let make = |(name, columns): (String, Vec<ColumnPath>)| -> Result<_> {
            Ok(Self {
                name,
                codec: RowCodec::for_paths(&schema, &columns)?,
                columns,
            })
        };
        primary.into_iter().chain(indexes).map(make).collect()
    }

    /// The stored rows that have the key of one of `rows`.
    pub(super) fn existing(
        &self,
        rows: &RecordBatch,
        relation: &Relation,
        reader: &Reader,
    ) -> Result<Existing> {
        let keys = self.keys(rows)?;
        self.stored(&keys, relation, reader)
    }

    /// Fails if two of the rows there would be after `old` is taken away and `new` is added have the same key.
    pub(super) fn check(
        &self,
        old: Option<&RecordBatch>,
        new: &RecordBatch,
        relation: &Relation,
        reader: &Reader,
    ) -> Result<()> {
        let keys = self.keys(new)?;
        let mut seen = HashSet::with_capacity(keys.bytes.len());
        if !keys.bytes.iter().all(|key| seen.insert(key)) {
            return Err(self.duplicate(relation));
        }
        let unknown = match old {
            None => keys,
            Some(old) => {
                let old = self.keys(old)?;
                let old: HashSet<&[u8]> = old.bytes.iter().collect();
                let is_unknown = |(_, key): &(&u32, &[u8])| !old.contains(key);
                let places: Vec<u32> = keys
                    .places
                    .iter()
                    .zip(keys.bytes.iter())
                    .filter(is_unknown)
                    .map(|(place, _)| *place)
                    .collect();
                self.keys_at(new, places)?
            }
        };
        match self.stored(&unknown, relation, reader)?.places.is_empty() {
            true => Ok(()),
            false => Err(self.duplicate(relation)),
        }
    }

    /// For each of `rows`, the place of the first row with the same key; its own for a key with a NULL.
    pub(super) fn first_places(&self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let keys = self.keys(rows)?;
        let mut firsts: Vec<u32> = (0..rows.num_rows() as u32).collect();
        let mut seen = std::collections::HashMap::with_capacity(keys.bytes.len());
        for (place, key) in keys.places.iter().zip(keys.bytes.iter()) {
            firsts[*place as usize] = *seen.entry(key).or_insert(*place);
        }
        Ok(firsts)
    }

    /// The failure of a statement that would make two rows with the same key.
    pub(super) fn duplicate(&self, relation: &Relation) -> Error {
        let message = format!(
            "a row with the same key exists in table \"{}\" (constraint \"{}\")",
            relation.name, self.name
        );
        Error::new(ErrorKind::Exists, "DUPLICATE_KEY", message).hint("give another key, or use ON CONFLICT")
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Keys> {
        let nulls = self
            .columns
            .iter()
            .map(|path| Ok(array_at(rows, path)?.logical_nulls()))
            .collect::<Result<Vec<_>>>()?;
        let has_null = |row: usize| nulls.iter().flatten().any(|nulls| nulls.is_null(row));
        let places = (0..rows.num_rows())
            .filter(|row| !has_null(*row))
            .map(|row| row as u32)
            .collect();
        self.keys_at(rows, places)
    }

    fn keys_at(&self, rows: &RecordBatch, places: Vec<u32>) -> Result<Keys> {
        let bytes = if places.len() == rows.num_rows() {
            self.codec.encode(rows)?
        } else {
            self.codec
                .encode(&take_record_batch(rows, &UInt32Array::from(places.clone()))?)?
        };
        Ok(Keys { places, bytes })
    }

    fn stored(&self, keys: &Keys, relation: &Relation, reader: &Reader) -> Result<Existing> {
        if keys.places.is_empty() {
            return Ok(Existing {
                rows: RecordBatch::new_empty(relation.schema()),
                places: Vec::new(),
            });
        }
        let arrangement = arrange::find(reader, relation, &self.columns)?
            .ok_or_else(|| Error::internal(format!("constraint \"{}\" has no arrangement", self.name)))?;
        let matches = arrangement.lookup(reader, &keys.bytes)?;
        let present = present(&matches.batch);
        let batch = matches.batch.take(&present)?;
        let places = present
            .iter()
            .map(|row| keys.places[matches.probe[*row as usize] as usize])
            .collect();
        Ok(Existing {
            rows: batch.into_parts().0,
            places,
        })
    }
}

/// The places of the rows that are there.
fn present(batch: &Batch) -> Vec<u32> {
    (0..batch.len() as u32)
        .filter(|row| batch.weights()[*row as usize] > 0)
        .collect()
}

/// The name of the primary key, as Postgres gives it.
pub(super) fn primary_name(relation: &Relation) -> String {
    format!("{}_pkey", relation.name.name)
}
