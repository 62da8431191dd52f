//! Which views have failed, for everybody to see.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{RelationId, Relations};
use viewfeed_engine::Engine;

/// Failed views and why. Written by the loop, read by the status. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<BTreeMap<RelationId, String>>>);

impl Failures {
    /// Why the view failed, if it did.
    pub(crate) fn of(&self, view: RelationId) -> Option<String> {
        self.0.lock().get(&view).cloned()
    }

    /// Takes over what the engine knows.
    pub(super) fn refresh(&self, engine: &Engine, relations: &Relations) {
        let failed = |id| engine.failure(id).map(|error| (id, error.to_string()));
        *self.0.lock() = relations
            .iter()
            .filter_map(|relation| failed(relation.id))
            .collect();
    }
}
