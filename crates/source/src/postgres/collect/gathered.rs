//! Rows of one table become columns, over many transactions, and are cut into these again.

use crate::postgres::pgoutput::{OldRow, Tuple};
use crate::postgres::value::RowBuilder;
use crate::postgres::{RowChange, RowChanges, TableShape};
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::Result;

/// Rows of one table, over transactions.
pub(super) struct Gathered {
    pub(super) shape: Arc<TableShape>,
    operations: Vec<RowChange>,
    new: RowBuilder,
    old: RowBuilder,
    unchanged: BTreeMap<u32, Vec<u16>>,
    /// Where the parts of transactions end: the transaction, its event, operations.
    parts: Vec<(usize, usize, usize)>,
}

impl Gathered {
    pub(super) fn new(shape: &Arc<TableShape>) -> Self {
        Self {
            shape: shape.clone(),
            operations: Vec::new(),
            new: RowBuilder::new(shape),
            old: RowBuilder::new(shape),
            unchanged: BTreeMap::new(),
            parts: Vec::new(),
        }
    }

    /// Adds an operation with the rows it comes with.
    pub(super) fn push(
        &mut self,
        change: RowChange,
        old: Option<&OldRow<'_>>,
        new: Option<&Tuple<'_>>,
    ) -> Result<()> {
        // More come than are read, if some are not known yet.
        let columns = self.shape.columns.len();
        match old {
            Some(OldRow::Key(tuple)) => self.old.append_key(&tuple.first(columns))?,
            Some(OldRow::Full(tuple)) => {
                self.old.append(&tuple.first(columns))?;
            }
            None => {}
        }
        if let Some(tuple) = new {
            let row = self.new.len() as u32;
            let unchanged = self.new.append(&tuple.first(columns))?;
            if !unchanged.is_empty() {
                self.unchanged.insert(row, unchanged);
            }
        }
        self.operations.push(change);
        Ok(())
    }

    /// How many operations there are.
    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    /// What has come since the last part is one: of this transaction, to stand before its event with this number.
    pub(super) fn end_part(&mut self, transaction: usize, event: usize) {
        let from = self.parts.last().map_or(0, |(_, _, end)| *end);
        if self.operations.len() > from {
            self.parts.push((transaction, event, self.operations.len()));
        }
    }

    /// By transaction and event: its part.
    pub(super) fn cut(mut self) -> Vec<(usize, usize, RowChanges)> {
        let whole = RowChanges {
            operations: self.operations,
            new: self.new.finish(),
            old: self.old.finish(),
            unchanged: self.unchanged,
        };
        let ends = self.parts.iter().map(|(_, _, end)| *end);
        let pieces = whole.cut(ends);
        let places = self.parts.iter().map(|(number, at, _)| (*number, *at));
        places
            .zip(pieces)
            .map(|((number, at), piece)| (number, at, piece))
            .collect()
    }
}
