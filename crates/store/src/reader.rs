//! A consistent view of the state at one epoch, from any thread.

use std::ops::ControlFlow;
use viewfeed_change::{Epoch, Result};

/// The state as of one epoch, or as of a point within a transaction. Cheap to clone; stays the same while the
/// store moves on. Holding one keeps old versions in memory: do not keep it longer than a query runs.
#[derive(Clone)]
pub struct Reader;

impl Reader {
    /// The last committed epoch it shows.
    pub fn epoch(&self) -> Epoch {
        todo!()
    }

    /// The value of `key`.
    pub fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>> {
        todo!()
    }

    /// Every pair whose key starts with `prefix` and is `>= from`, in key order, until `each` breaks.
    pub fn scan(
        &self,
        _prefix: &[u8],
        _from: &[u8],
        _each: &mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        todo!()
    }
}
