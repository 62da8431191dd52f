//! What is known of a table where the stream is, and by which columns its rows are read.

use crate::postgres::TableShape;
use crate::postgres::pgoutput::{OldRow, Tuple};
use crate::postgres::stored::{Phase, StoredTable};
use std::sync::Arc;

/// What is known of a table in the stream.
#[derive(Clone)]
pub(super) struct Known {
    /// What the server said last that it looks like.
    pub(super) shape: Arc<TableShape>,
    /// What its rows are like where the stream is.
    pub(super) reading: Reading,
    /// What they surely were like before.
    pub(super) earlier: Option<Arc<TableShape>>,
}

/// How rows are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// They are what the server said.
    Whole,
    /// The table was changed again before the server was asked. They have so many columns, and begin with the earlier ones.
    Earlier { columns: usize },
    /// It was changed again, and not only got columns.
    Not,
}

impl Known {
    /// A table that looks like this now; `stored` are ours.
    pub(super) fn new(shape: TableShape, stored: &[StoredTable]) -> Self {
        let stored = stored.iter().find(|table| table.shape.oid == shape.oid);
        let earlier = stored.and_then(|table| match table.phase {
            Phase::Live { .. } => Some(table.shape.clone()),
            _ => table.flows.clone(),
        });
        Self {
            shape: Arc::new(shape),
            reading: Reading::Whole,
            earlier: earlier.map(Arc::new),
        }
    }

    /// The columns of rows that an operation comes with; None if they cannot be read.
    pub(super) fn shape_of(
        &self,
        old: Option<&OldRow<'_>>,
        new: Option<&Tuple<'_>>,
    ) -> Option<&Arc<TableShape>> {
        let (shape, width) = match self.reading {
            Reading::Whole => (&self.shape, self.shape.columns.len()),
            Reading::Earlier { columns } => (self.earlier.as_ref()?, columns),
            Reading::Not => return None,
        };
        let mut tuples = new.into_iter().chain(old.map(tuple_of));
        tuples.all(|tuple| tuple.len() == width).then_some(shape)
    }
}

fn tuple_of<'a, 'b>(old: &'b OldRow<'a>) -> &'b Tuple<'a> {
    match old {
        OldRow::Key(tuple) | OldRow::Full(tuple) => tuple,
    }
}
