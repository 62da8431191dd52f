//! What one epoch changed in one relation for everybody with the same filter: made once, shared by their queues, and
//! turned into frames once per envelope.

use crate::envelope::{Shape, Shaped};
use parking_lot::Mutex;
use std::sync::Arc;
use viewfeed_change::{Batch, Epoch, Result, Timestamp};

/// A slice keeps the whole delta in memory: so many rows of it count as one waiting row.
const KEPT_ROWS_PER_ROW: usize = 16;

/// The rows of a delta that pass one filter.
pub(crate) struct Slice {
    pub(crate) epoch: Epoch,
    pub(crate) commit_time: Timestamp,
    delta: Arc<Batch>,
    /// Which rows of `delta`; None: all.
    indices: Option<Vec<u32>>,
    told: Mutex<Vec<(Shape, Arc<Shaped>)>>,
}

impl Slice {
    pub(crate) fn new(
        epoch: Epoch,
        commit_time: Timestamp,
        delta: Arc<Batch>,
        indices: Option<Vec<u32>>,
    ) -> Self {
        Self {
            epoch,
            commit_time,
            delta,
            indices,
            told: Mutex::default(),
        }
    }

    /// How many entries.
    pub(crate) fn len(&self) -> usize {
        self.indices.as_ref().map_or(self.delta.len(), Vec::len)
    }

    /// What it costs to keep, in rows.
    pub(crate) fn cost(&self) -> usize {
        self.len() + self.delta.len() / KEPT_ROWS_PER_ROW
    }

    /// The entries.
    pub(crate) fn changes(&self) -> Result<Batch> {
        match &self.indices {
            Some(indices) => self.delta.take(indices),
            None => Ok((*self.delta).clone()),
        }
    }

    /// The frames' rows in `shape`; computed by whoever asks first.
    pub(crate) fn tell(&self, shape: &Shape, part_rows_max: usize) -> Result<Arc<Shaped>> {
        let mut told = self.told.lock();
        if let Some((_, shaped)) = told.iter().find(|(known, _)| known == shape) {
            return Ok(shaped.clone());
        }
        let shaped = Arc::new(shape.tell(&self.changes()?, part_rows_max)?);
        told.push((shape.clone(), shaped.clone()));
        Ok(shaped)
    }
}
