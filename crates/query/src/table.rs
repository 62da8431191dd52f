//! A relation as DataFusion sees it: a name and columns when planned, rows of one epoch when executed.

use std::sync::Arc;
use viewfeed_change::Relation;

/// A relation in a plan. Planned once, executed against any number of readers (see `bind`).
#[derive(Debug)]
pub struct RelationTable {
    /// Which.
    pub relation: Arc<Relation>,
}
