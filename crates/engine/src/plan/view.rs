//! A view's SQL to its plan and output columns.

use super::{Lowering, Node, with_delta_joins};
use crate::Rung;
use arrow::datatypes::Field;
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, plain_type};
use viewfeed_change::{Column, Error, ErrorKind, Relation, Relations, Result, View};
use viewfeed_query::Planner;

/// A view's plan.
pub(crate) struct PlannedView {
    sql: String,
    search_schema: String,
    /// The relations it names, also those whose rows turn out not to matter, by id.
    pub(crate) named: Vec<Arc<Relation>>,
    /// How its rows are kept.
    pub(crate) node: Node,
    /// Its output columns.
    pub(crate) columns: Vec<Column>,
    /// The columns that make a row unique; empty if unknown.
    pub(crate) key: Vec<usize>,
}

/// Plans `sql` as a new view, whose nodes stand on no better rung than `best` if they have a choice.
pub(crate) fn plan_view(
    planner: &Planner,
    best: Rung,
    sql: &str,
    search_schema: &str,
    relations: &Arc<Relations>,
) -> Result<PlannedView> {
    let (plan, named) = planner.plan_view(sql, relations, search_schema)?;
    let node = with_delta_joins(Lowering::new(planner, best).lower(&plan)?);
    let columns = columns(&plan, &node)?;
    // a key without columns (at most one row) is the same as none to who stores the rows
    let key = node.facts.key.clone().unwrap_or_default();
    Ok(PlannedView {
        sql: sql.to_owned(),
        search_schema: search_schema.to_owned(),
        named,
        node,
        columns,
        key,
    })
}

impl PlannedView {
    /// Whether this is how `view`, the definition of `relation`, would be planned among `relations`: what it names is what it
    /// was then, and `relation` does not stand before it by its own name.
    pub(crate) fn serves(&self, relation: &Relation, view: &View, relations: &Relations) -> bool {
        let is_same = |named: &Arc<Relation>| {
            let now = relations.get(named.id);
            now.is_some_and(|now| Arc::ptr_eq(now, named)) && named.name.name != relation.name.name
        };
        self.sql == view.sql
            && self.search_schema == view.search_schema
            && same_columns(&self.columns, &relation.columns)
            && self.named.iter().all(is_same)
    }
}

/// Plans an existing view again. `SELECT *` may have got more columns since it was created: it keeps those it had.
pub(crate) fn replan_view(
    planner: &Planner,
    best: Rung,
    relation: &Relation,
    view: &View,
    relations: &Arc<Relations>,
) -> Result<PlannedView> {
    let planned = plan_view(planner, best, &view.sql, &view.search_schema, relations)?;
    if same_columns(&planned.columns, &relation.columns) {
        return Ok(planned);
    }
    let quoted = |column: &Column| format!("\"{}\"", column.name.replace('"', "\"\""));
    let names: Vec<String> = relation.columns.iter().map(quoted).collect();
    let sql = format!("SELECT {} FROM ({}) AS v", names.join(", "), view.sql);
    plan_view(planner, best, &sql, &view.search_schema, relations)
        .ok()
        .filter(|planned| same_columns(&planned.columns, &relation.columns))
        .ok_or_else(|| {
            let message = format!(
                "the columns of view \"{}\" are not what they were when it was created",
                relation.name
            );
            Error::new(ErrorKind::Precondition, "VIEW_CHANGED", message)
                .hint("a relation it reads was changed: create the view anew")
        })
}

fn same_columns(ours: &[Column], theirs: &[Column]) -> bool {
    let same = |(a, b): (&Column, &Column)| a.name == b.name && a.data_type == b.data_type;
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(same)
}

/// The output columns: those of DataFusion's plan, of plain types. The planner has made sure their names differ.
fn columns(plan: &LogicalPlan, node: &Node) -> Result<Vec<Column>> {
    let fields = plan.schema().fields();
    if fields.is_empty() {
        return Err(Error::invalid("NO_COLUMNS", "a view needs at least one column"));
    }
    let column = |(i, field): (usize, &Arc<Field>)| {
        let data_type = plain_type(field.data_type());
        Column {
            logical: node.facts.meaning.get(i).cloned().unwrap_or_default(),
            ..Column::new(i as u32 + 1, field.name(), data_type, field.is_nullable())
        }
    };
    let columns: Vec<Column> = fields.iter().enumerate().map(column).collect();
    RowCodec::for_schema(&node.schema)?;
    Ok(columns)
}
