//! The forms of joins: whether pairs come out, and which rows of a side do by whether they have a partner.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use viewfeed_change::{Batch, Result};

/// What comes out of a join. Sides are 0, the left one, and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinForm {
    /// Pairs.
    Inner,
    /// Pairs, and the rows of the left side (of the right side) that have no partner, with NULLs for the other side.
    Outer { left: bool, right: bool },
    /// The rows of a side that have a partner: IN, EXISTS, INTERSECT.
    Semi(usize),
    /// The rows of a side that have none: NOT EXISTS, EXCEPT.
    Anti(usize),
    /// The left rows whose key is not on the right side, as NOT IN has it: see [`super::nulls`].
    NullAwareAnti,
    /// The rows of a side, with whether they have a partner as last column.
    Mark(usize),
}

/// Which rows of a side come out, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Those without a partner, with NULLs for the other side.
    Padded,
    /// Those with a partner.
    Matched,
    /// Those without a partner.
    Unmatched,
    /// All, with whether they have a partner.
    Marked,
}

impl JoinForm {
    /// Whether pairs come out.
    pub(crate) fn has_pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Outer { .. })
    }

    /// What comes out of a side by itself.
    pub(crate) fn keep(self, side: usize) -> Option<Keep> {
        let of = |kept: usize, keep| (kept == side).then_some(keep);
        match self {
            Self::Inner => None,
            Self::Outer { left, right } => [left, right][side].then_some(Keep::Padded),
            Self::Semi(kept) => of(kept, Keep::Matched),
            Self::Anti(kept) => of(kept, Keep::Unmatched),
            Self::NullAwareAnti => of(0, Keep::Unmatched),
            Self::Mark(kept) => of(kept, Keep::Marked),
        }
    }

    /// Whether the rows of a side must be found by key. Those of a side that is only looked for are counted instead.
    pub(crate) fn arranges(self, side: usize, has_residual: bool) -> bool {
        self.has_pairs() || has_residual || self.keep(side).is_some()
    }
}

/// Rows of a kept side with weights, and whether each has a partner.
pub(super) struct Shown {
    pub(super) batch: Batch,
    pub(super) matched: Vec<bool>,
}

impl Shown {
    /// The rows of `batch` of which it changed whether they have a partner: as they were taken away, as they are added.
    pub(super) fn turned(batch: &Batch, was: &[bool], is: &[bool]) -> Result<Vec<Self>> {
        let differ = |row: &u32| was[*row as usize] != is[*row as usize];
        let rows: Vec<u32> = (0..batch.len() as u32).filter(differ).collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let batch = batch.take(&rows)?;
        let of = |matched: &[bool]| rows.iter().map(|row| matched[*row as usize]).collect();
        let old = Self {
            batch: batch.clone().negate(),
            matched: of(was),
        };
        let matched = of(is);
        Ok(vec![old, Self { batch, matched }])
    }
}

impl Keep {
    /// What comes out for rows of `side`, as rows of `output`; None: nothing.
    pub(super) fn shape(self, shown: Shown, side: usize, output: &SchemaRef) -> Result<Option<Batch>> {
        let Shown { batch, matched } = shown;
        let wanted = match self {
            Self::Marked => None,
            Self::Matched => Some(true),
            Self::Padded | Self::Unmatched => Some(false),
        };
        let chosen = |row: &u32| wanted.is_none_or(|wanted| matched[*row as usize] == wanted);
        let rows: Vec<u32> = (0..batch.len() as u32).filter(chosen).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = if rows.len() == batch.len() {
            batch
        } else {
            batch.take(&rows)?
        };
        let (rows, weights) = batch.into_parts();
        let mut columns = rows.columns().to_vec();
        match self {
            Self::Padded => columns = padded(columns, side, output, weights.len()),
            Self::Marked => columns.push(Arc::new(BooleanArray::from(matched))),
            Self::Matched | Self::Unmatched => {}
        }
        Batch::new(RecordBatch::try_new(output.clone(), columns)?, weights).map(Some)
    }
}

/// The columns of a side with NULLs in the place of those of the other.
fn padded(columns: Vec<ArrayRef>, side: usize, output: &SchemaRef, count: usize) -> Vec<ArrayRef> {
    let missing = output.fields().len() - columns.len();
    let start = if side == 0 { columns.len() } else { 0 };
    let fields = output.fields()[start..start + missing].iter();
    let nulls: Vec<ArrayRef> = fields
        .map(|field| new_null_array(field.data_type(), count))
        .collect();
    match side {
        0 => columns.into_iter().chain(nulls).collect(),
        _ => nulls.into_iter().chain(columns).collect(),
    }
}
