//! Rounds within a step: what the first round staged is what the next one starts from, while for everybody else it stays
//! staged. A recursion goes on in this way until nothing changes any more.

use super::{Mark, Overwritten, Txn};
use crate::overlay::Writes;
use crate::sealed::Sealed;
use std::sync::Arc;

/// What a transaction had written when rounds began.
pub(super) struct Outside {
    sealed: Sealed,
    staged: Arc<Writes>,
    undo: Vec<Overwritten>,
    savepoints: Vec<Mark>,
    /// All of it, with what was outside it in turn.
    visible: Sealed,
}

impl Txn {
    /// Makes everything staged visible to [`Txn::before`], and from then on what is sealed, until the rounds end: then it
    /// is as if all of that had been staged only. Rounds may begin within rounds. Cheap, whatever is staged.
    pub fn begin_rounds(&mut self) {
        let mut visible = self.all_sealed();
        visible.lay(self.staged.clone());
        self.outside.push(Outside {
            sealed: std::mem::take(&mut self.sealed),
            staged: std::mem::take(&mut self.staged),
            undo: std::mem::take(&mut self.undo),
            savepoints: std::mem::take(&mut self.savepoints),
            visible,
        });
    }

    /// Ends the innermost rounds: what was written in them is staged. Without any, does nothing.
    pub fn end_rounds(&mut self) {
        let Some(outside) = self.outside.pop() else {
            return;
        };
        self.seal();
        let inside = std::mem::take(&mut self.sealed).into_writes();
        self.restore(outside);
        for (key, value) in inside {
            self.write(key, value);
        }
    }

    pub(super) fn end_all_rounds(&mut self) {
        while !self.outside.is_empty() {
            self.end_rounds();
        }
    }

    /// Leaves the innermost rounds without what was written in them. Gives whether there were any.
    pub(super) fn discard_rounds(&mut self) -> bool {
        let Some(outside) = self.outside.pop() else {
            return false;
        };
        self.restore(outside);
        true
    }

    fn restore(&mut self, outside: Outside) {
        let Outside {
            sealed,
            staged,
            undo,
            savepoints,
            visible,
        } = outside;
        // it holds the same layers, which are written to in place if nobody else does
        drop(visible);
        (self.sealed, self.staged) = (sealed, staged);
        (self.undo, self.savepoints) = (undo, savepoints);
    }

    /// What [`Txn::before`] sees over the committed state.
    pub(super) fn all_sealed(&self) -> Sealed {
        match self.outside.last() {
            Some(outside) => outside.visible.under(&self.sealed),
            None => self.sealed.clone(),
        }
    }

    /// What was last written to `key` before the rounds began.
    pub(super) fn written_outside(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.outside.last()?.visible.get(key)
    }
}
