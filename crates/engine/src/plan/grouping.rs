//! What an aggregate groups by: columns, or several sets of them, numbered as DataFusion numbers them.

use super::expression::{Unsupported, texts};
use crate::operator::expand::GroupingSet;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::powerset;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet as Sets};
use std::collections::HashMap;

/// What is grouped by.
pub(super) struct Grouping<'a> {
    /// Every column of any set.
    pub(super) columns: Vec<&'a Expr>,
    /// The sets; None: one group per value of all columns.
    pub(super) sets: Option<Vec<GroupingSet>>,
    /// How it is shown.
    pub(super) text: String,
}

impl<'a> Grouping<'a> {
    /// Of `aggregate`; fails on more sets than can be numbered.
    pub(super) fn of(aggregate: &'a Aggregate) -> Result<Self, Unsupported> {
        let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else {
            if aggregate.group_expr.iter().any(is_set) {
                return Err("grouping sets within others".to_owned());
            }
            return Ok(Self {
                columns: aggregate.group_expr.iter().collect(),
                sets: None,
                text: texts(&aggregate.group_expr),
            });
        };
        let columns = sets.distinct_expr();
        let kept = kept_columns(sets)?;
        let shown = kept.iter().map(|set| format!("({})", texts(set.iter().copied())));
        let text = format!("sets {}", shown.collect::<Vec<_>>().join(", "));
        let leaves_out = |set: &Vec<&Expr>| columns.iter().map(|column| !set.contains(column)).collect();
        let sets = numbered(kept.iter().map(leaves_out).collect(), columns.len(), aggregate)?;
        Ok(Self {
            columns,
            sets: Some(sets),
            text,
        })
    }

    /// How many columns of the aggregate's output say which group a row is.
    pub(super) fn width(&self) -> usize {
        self.columns.len() + usize::from(self.sets.is_some())
    }
}

fn is_set(expr: &Expr) -> bool {
    matches!(expr, Expr::GroupingSet(_))
}

/// The columns of each set.
fn kept_columns(sets: &Sets) -> Result<Vec<Vec<&Expr>>, Unsupported> {
    Ok(match sets {
        Sets::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
        Sets::Rollup(columns) => (0..=columns.len())
            .map(|kept| columns[..kept].iter().collect())
            .collect(),
        Sets::Cube(columns) => powerset(columns).map_err(|error| error.to_string())?,
    })
}

/// Numbers sets by DataFusion's rule (`Aggregate::INTERNAL_GROUPING_ID`): a bit per column, the last one lowest, set if
/// it is left out; above them how many equal sets came before.
fn numbered(
    sets: Vec<Vec<bool>>,
    width: usize,
    aggregate: &Aggregate,
) -> Result<Vec<GroupingSet>, Unsupported> {
    let data_type = aggregate.schema.field(width).data_type();
    let mut seen: HashMap<Vec<bool>, u64> = HashMap::new();
    let mut result = Vec::with_capacity(sets.len());
    for leaves_out in sets {
        let before = seen.entry(leaves_out.clone()).or_default();
        let bits = leaves_out
            .iter()
            .fold(0, |bits, is_left_out| bits << 1 | u64::from(*is_left_out));
        let id = before.checked_shl(width as u32).unwrap_or(0) | bits;
        *before += 1;
        let id = ScalarValue::UInt64(Some(id)).cast_to(data_type);
        result.push(GroupingSet {
            leaves_out,
            id: id.map_err(|error| error.to_string())?,
        });
    }
    Ok(result)
}
