//! Rounds within a step: what the first round staged is what the next one starts from, while for everybody else it stays
//! staged. A recursion goes on in this way until nothing changes any more.

use super::{Staged, Txn};
use crate::layers::Layers;

/// What a transaction had written when rounds began.
pub(super) struct Outside {
    sealed: Layers,
    staged: Staged,
    savepoints: Vec<u64>,
    /// All of it, with what was outside it in turn.
    visible: Layers,
}

impl Txn {
    /// Makes everything staged visible to [`Txn::before`], and from then on what is sealed, until the rounds end: then it
    /// is as if all of that had been staged only. Rounds may begin within rounds. Cheap, but for sorting what was written
    /// since somebody looked.
    pub fn begin_rounds(&mut self) {
        let mut staged = std::mem::take(self.staged.get_mut());
        let visible = self.all_sealed().with(staged.folded());
        self.outside.push(Outside {
            sealed: std::mem::take(&mut self.sealed),
            staged,
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
        let inside = std::mem::take(&mut self.sealed);
        self.restore(outside);
        self.staged.get_mut().folded().append(inside);
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
            savepoints,
            visible: _,
        } = outside;
        self.sealed = sealed;
        *self.staged.get_mut() = staged;
        self.savepoints = savepoints;
    }

    /// Sealed writes, and everything that was written before rounds began.
    pub(super) fn all_sealed(&self) -> Layers {
        match (self.outside.last(), &self.spilling) {
            // What is visible outside holds what is being written to a file.
            (Some(outside), _) => outside.visible.with(&self.sealed),
            (None, Some((_, layers))) => layers.with(&self.sealed),
            (None, None) => self.sealed.clone(),
        }
    }

    /// What was last written to `key` before rounds began.
    pub(super) fn written_outside(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.outside.last().and_then(|outside| outside.visible.get(key))
    }
}
