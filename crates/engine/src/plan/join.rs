//! Inner equi-joins, n-way as trees of two. A side that is a relation (its columns at most reordered or left out) is
//! joined whole, so that it shares the relation's own arrangement by the key; columns are left out above the join.

use super::expression::{texts, unsupported};
use super::lower::{Attempt, origin};
use super::{Facts, JoinPlan, Kind, Lowering, Node, nullable_schema};
use crate::operator::filter_project::Stage;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join};
use std::sync::Arc;
use viewfeed_change::Result;

/// One side of a join before it is joined.
struct Side {
    node: Node,
    /// Where the columns of DataFusion's plan are among the node's.
    columns: Vec<usize>,
    /// Where the key is among the node's columns.
    key: Vec<usize>,
}

impl Lowering<'_> {
    pub(super) fn join(&self, join: &Join) -> Result<Attempt> {
        if join.join_type != JoinType::Inner || join.null_aware {
            return Ok(Err(format!("{} join", kind_name(join.join_type))));
        }
        let keys = join.on.iter().flat_map(|(left, right)| [left, right]);
        if let Some(reason) = keys.chain(&join.filter).find_map(unsupported) {
            return Ok(Err(reason));
        }
        let (left, right) = (self.lower(&join.left)?, self.lower(&join.right)?);
        Ok(self.join_sides(join, left, right))
    }

    fn join_sides(&self, join: &Join, left: Node, right: Node) -> Attempt {
        let (left_keys, right_keys): (Vec<&Expr>, Vec<&Expr>) = join.on.iter().map(|(l, r)| (l, r)).unzip();
        let mut left = self.side(left, join.left.schema(), &left_keys)?;
        let mut right = self.side(right, join.right.schema(), &right_keys)?;
        let type_at =
            |side: &Side, i: usize| -> DataType { side.node.schema.field(side.key[i]).data_type().clone() };
        if (0..left.key.len()).any(|i| type_at(&left, i) != type_at(&right, i)) {
            return Err("a join of columns of different types".to_owned());
        }
        order_pairs(&mut left, &mut right);
        let width = left.node.schema.fields().len();
        let right_columns = right.columns.iter().map(|column| column + width);
        let columns: Vec<usize> = left.columns.iter().copied().chain(right_columns).collect();
        let joined = joined(join, left, right).select(columns);
        match &join.filter {
            Some(filter) => self.filter(joined, filter, &join.schema),
            None => Ok(joined),
        }
    }

    fn side(
        &self,
        node: Node,
        schema: &DFSchema,
        keys: &[&Expr],
    ) -> std::result::Result<Side, super::expression::Unsupported> {
        let width = schema.fields().len();
        let places: Vec<Option<usize>> = keys.iter().map(|key| origin(key, schema)).collect();
        if let Some(key) = places.iter().copied().collect::<Option<Vec<usize>>>() {
            let columns = (0..width).collect();
            return Ok(Side { node, columns, key }.unpruned());
        }
        let computed: Vec<Expr> = keys
            .iter()
            .zip(&places)
            .filter(|(_, place)| place.is_none())
            .map(|(key, _)| (*key).clone())
            .collect();
        let node = self.with_computed(node, &computed, schema)?;
        let mut next = width..;
        let key = places
            .iter()
            .map(|place| place.or_else(|| next.next()).unwrap_or(width));
        Ok(Side {
            key: key.collect(),
            columns: (0..width).collect(),
            node,
        })
    }

    /// `node` with the values of `exprs` as further columns.
    fn with_computed(&self, node: Node, exprs: &[Expr], schema: &DFSchema) -> Attempt {
        let columns = schema.columns().into_iter().map(Expr::Column);
        let compiled = self.compile_all(&columns.chain(exprs.iter().cloned()).collect::<Vec<_>>(), schema)?;
        let node = node.cast_to(schema);
        let mut fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        for (i, expr) in compiled[fields.len()..].iter().enumerate() {
            let data_type = expr
                .data_type(schema.as_arrow())
                .map_err(|error| error.to_string())?;
            fields.push(Field::new(format!("key{i}"), data_type, true));
        }
        let width = schema.fields().len();
        let origins: Vec<Option<usize>> = (0..fields.len()).map(|i| (i < width).then_some(i)).collect();
        let facts = node.facts.select(&origins);
        let text = format!("add[{}]", texts(exprs));
        Ok(node.staged(
            Stage::Compute(compiled, nullable_schema(fields.iter())),
            text,
            facts,
        ))
    }
}

impl Side {
    /// The relation itself in place of a choice of its columns, so that its arrangement can be shared.
    fn unpruned(self) -> Self {
        let Kind::FilterProject(stages) = &self.node.kind else {
            return self;
        };
        let [(Stage::Columns(chosen, _), _)] = stages.as_slice() else {
            return self;
        };
        if self.node.inputs[0].as_source().is_none() {
            return self;
        }
        let original = |columns: &[usize]| columns.iter().map(|column| chosen[*column]).collect();
        Self {
            columns: original(&self.columns),
            key: original(&self.key),
            node: self.node.inputs[0].clone(),
        }
    }

    /// The order of the pairs that makes the key this side's relation's own key, if it is that.
    fn order_of_own_key(&self) -> Option<Vec<usize>> {
        let own = &self.node.as_source()?.key;
        if own.len() != self.key.len() {
            return None;
        }
        own.iter()
            .map(|column| self.key.iter().position(|key| key == column))
            .collect()
    }
}

/// Puts the pairs of key columns in the order under which an arrangement most likely exists already.
fn order_pairs(left: &mut Side, right: &mut Side) {
    let by_left = || {
        let mut order: Vec<usize> = (0..left.key.len()).collect();
        order.sort_by_key(|i| (left.key[*i], right.key[*i]));
        order
    };
    let order = right
        .order_of_own_key()
        .or_else(|| left.order_of_own_key())
        .unwrap_or_else(by_left);
    for side in [left, right] {
        side.key = order.iter().map(|i| side.key[*i]).collect();
    }
}

fn joined(join: &Join, left: Side, right: Side) -> Node {
    let fields = left.node.schema.fields().iter().chain(right.node.schema.fields());
    let fields: Vec<Field> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    let pairs: Vec<(usize, usize)> = left.key.iter().copied().zip(right.key.iter().copied()).collect();
    let conditions: Vec<String> = join
        .on
        .iter()
        .map(|(l, r)| format!("{} = {}", super::expression::text(l), super::expression::text(r)))
        .collect();
    Node {
        schema: Arc::new(Schema::new(fields)),
        facts: Facts::join(&left.node.facts, &right.node.facts, &pairs),
        kind: Kind::Join(JoinPlan {
            left_key: left.key,
            right_key: right.key,
            null_equal: join.null_equality == NullEquality::NullEqualsNull,
            text: conditions.join(", "),
        }),
        inputs: vec![left.node, right.node],
    }
}

fn kind_name(kind: JoinType) -> &'static str {
    match kind {
        JoinType::Inner => "null-aware",
        JoinType::Left => "left outer",
        JoinType::Right => "right outer",
        JoinType::Full => "full outer",
        JoinType::LeftSemi | JoinType::RightSemi => "semi (IN, EXISTS, INTERSECT)",
        JoinType::LeftAnti | JoinType::RightAnti => "anti (NOT IN, NOT EXISTS, EXCEPT)",
        JoinType::LeftMark | JoinType::RightMark => "mark (IN or EXISTS within a condition)",
    }
}
