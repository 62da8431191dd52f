//! The engine's logical time.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One step of the whole engine; shown to clients as `version`.
///
/// Epochs are totally ordered and have no gaps: epoch `n + 1` is committed after epoch `n`. Epoch 0 is the empty
/// database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of an empty database.
    pub const ZERO: Self = Self(0);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
