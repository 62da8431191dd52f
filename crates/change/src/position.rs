//! How far a source has been read. What the bytes mean is known only to the source.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The name of a source, for example `embedded`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceId(pub Arc<str>);

impl SourceId {
    /// The source with this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source's own offset (an LSN, a sequence number): opaque, compared only by its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position(pub Vec<u8>);
