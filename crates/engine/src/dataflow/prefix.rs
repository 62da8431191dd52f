//! A relation as a view that is being filled sees it: its rows up to the position the filling has got to. Nothing of
//! the position is held here: it is read where the rows are read, so that both are as of the same moment.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::Rows;
use viewfeed_change::{Batch, ColumnPath, Error, Relation, RelationId, Result};
use viewfeed_store::arrange::{self, Arrangement, Matches, NewWeights, Position};
use viewfeed_store::{Reader, Txn, keys};

/// An arrangement of a relation without the rows beyond a position.
pub(super) struct Prefix {
    whole: Arc<dyn Arrangement>,
    /// The relation's primary arrangement, whose order positions are in.
    primary: Arc<dyn Arrangement>,
    schema: SchemaRef,
    /// Where the position is stored.
    position: Vec<u8>,
}

/// Where it is stored how far `view` has read `input`.
pub(crate) fn position_key(view: RelationId, input: RelationId) -> Vec<u8> {
    keys::catalog(&format!("/view-fill/{}/{}", view.0, input.0))
}

/// How far a view has read an input, as stored under `key`.
pub(crate) fn position(reader: &Reader, key: &[u8]) -> Result<Position> {
    let stored = reader.get(key)?;
    stored.map_or(Ok(Position::Start), |bytes| Position::from_bytes(&bytes))
}

impl Prefix {
    /// `whole` as `view` has read it, whose `primary` is of the same relation.
    pub(super) fn new(
        view: RelationId,
        relation: &Relation,
        whole: Arc<dyn Arrangement>,
        primary: Arc<dyn Arrangement>,
    ) -> Self {
        Self {
            whole,
            primary,
            schema: relation.schema(),
            position: position_key(view, relation.id),
        }
    }

    fn is_primary(&self) -> bool {
        self.whole.key() == self.primary.key()
    }

    /// Hands over what `position` has passed of a batch of a scan.
    fn cut(
        &self,
        batch: &Batch,
        position: &Position,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let passed = arrange::passed(self.primary.as_ref(), batch, position)?;
        let is_last = self.is_primary() && passed.len() < batch.len();
        if !passed.is_empty() && each(passed)?.is_break() || is_last {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Arrangement for Prefix {
    fn key(&self) -> &[ColumnPath] {
        self.whole.key()
    }

    fn entries(&self, rows: &RecordBatch) -> Result<Rows> {
        self.whole.entries(rows)
    }

    fn stage(&self, _: &mut Txn, _: &Batch) -> Result<()> {
        Err(read_only())
    }

    fn stage_telling(&self, _: &mut Txn, _: &Batch) -> Result<NewWeights> {
        Err(read_only())
    }

    fn lookup(&self, reader: &Reader, keys: &Rows) -> Result<Matches> {
        let position = position(reader, &self.position)?;
        if position == Position::Start {
            return Ok(Matches {
                batch: Batch::empty(self.schema.clone()),
                probe: Vec::new(),
            });
        }
        let found = self.whole.lookup(reader, keys)?;
        if position == Position::End {
            return Ok(found);
        }
        let entries = self.primary.entries(found.batch.rows())?;
        let places = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| position.has_passed(entry));
        let places: Vec<u32> = places.map(|(place, _)| place as u32).collect();
        Ok(Matches {
            batch: found.batch.take(&places)?,
            probe: places.iter().map(|place| found.probe[*place as usize]).collect(),
        })
    }

    fn scan(
        &self,
        reader: &Reader,
        prefix: &[u8],
        rows_max: usize,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match position(reader, &self.position)? {
            Position::Start => Ok(()),
            Position::End => self.whole.scan(reader, prefix, rows_max, each),
            position => self.whole.scan(reader, prefix, rows_max, &mut |batch| {
                self.cut(&batch, &position, each)
            }),
        }
    }

    fn scan_range(
        &self,
        reader: &Reader,
        from: &[u8],
        last: Option<&[u8]>,
        rows_max: usize,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match position(reader, &self.position)? {
            Position::Start => Ok(()),
            Position::End => self.whole.scan_range(reader, from, last, rows_max, each),
            position => self.whole.scan_range(reader, from, last, rows_max, &mut |batch| {
                self.cut(&batch, &position, each)
            }),
        }
    }

    fn count(&self, reader: &Reader, prefix: &[u8], limit: u64) -> Result<u64> {
        let mut count = 0;
        let rows_max = usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, 1024);
        if limit == 0 {
            return Ok(0);
        }
        self.scan(reader, prefix, rows_max, &mut |batch| {
            count += batch.len() as u64;
            Ok(match count < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        Ok(count.min(limit))
    }
}

fn read_only() -> Error {
    Error::internal("a view wrote into the rows of a relation it reads")
}
