//! Joins of every form, n-way as trees of two. A side that is a relation (its columns at most reordered or left out) is
//! joined whole, so that it shares the relation's own arrangement by the key; columns are left out above the join.

use super::expression::{Unsupported, text, texts, unsupported};
use super::lower::{Attempt, origin};
use super::{BandPlan, Facts, JoinPlan, Kind, Lowering, Node, nullable_schema};
use crate::operator::filter_project::Stage;
use crate::operator::join::{JoinForm, Residual};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality, ScalarValue};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Expr, ExprSchemable, Join, cast, lit, when};
use std::sync::Arc;
use viewfeed_change::row::plain_type;
use viewfeed_change::{LogicalType, Result};

/// One side of a join before it is joined.
pub(super) struct Side {
    node: Node,
    /// Where the columns of DataFusion's plan are among the node's.
    columns: Vec<usize>,
    /// Where the key is among the node's columns.
    key: Vec<usize>,
}

/// The condition besides the key: what it reads of both sides' columns, and its text.
type Condition = (Residual, String);

impl Lowering<'_> {
    pub(super) fn join(&self, join: &Join) -> Result<Attempt> {
        if let Some(attempt) = self.join_by_clock(join)? {
            return Ok(attempt);
        }
        let form = match form(join) {
            Ok(form) => form,
            Err(reason) => return Ok(Err(reason)),
        };
        let keys = join.on.iter().flat_map(|(left, right)| [left, right]);
        if let Some(reason) = keys.chain(&join.filter).find_map(unsupported) {
            return Ok(Err(reason));
        }
        let condition = match self.condition(join) {
            Ok(condition) => condition,
            Err(reason) => return Ok(Err(reason)),
        };
        let (left, right) = (self.lower(&join.left)?, self.lower(&join.right)?);
        Ok(self.join_sides(join, form, condition, left, right))
    }

    /// The join of two nodes, which are what `join` says they are.
    pub(super) fn join_sides(
        &self,
        join: &Join,
        form: JoinForm,
        condition: Option<Condition>,
        left: Node,
        right: Node,
    ) -> Attempt {
        let (mut left, mut right, band) = match join.on.is_empty() {
            true => self.band_sides(join, (left, right))?,
            false => {
                let (left_keys, right_keys) = keys(join)?;
                let left = self.side(left, join.left.schema(), &left_keys)?;
                (left, self.side(right, join.right.schema(), &right_keys)?, None)
            }
        };
        let type_at =
            |side: &Side, i: usize| -> DataType { side.node.schema.field(side.key[i]).data_type().clone() };
        if (0..left.key.len()).any(|i| type_at(&left, i) != type_at(&right, i)) {
            return Err("a join of columns of different types".to_owned());
        }
        order_pairs(&mut left, &mut right);
        let width = left.node.schema.fields().len();
        let right_columns = right.columns.iter().map(|column| column + width);
        let both: Vec<usize> = left.columns.iter().copied().chain(right_columns).collect();
        let condition = condition.map(|(mut residual, text)| {
            residual
                .columns
                .iter_mut()
                .for_each(|column| *column = both[*column]);
            (residual, text)
        });
        let columns = match form {
            JoinForm::Inner | JoinForm::Outer { .. } => both,
            JoinForm::Semi(0) | JoinForm::Anti(0) | JoinForm::NullAwareAnti => left.columns.clone(),
            JoinForm::Semi(_) | JoinForm::Anti(_) => right.columns.clone(),
            JoinForm::Mark(0) => left.marked(),
            JoinForm::Mark(_) => right.marked(),
        };
        Ok(joined(join, form, (condition, band), left, right).select(columns))
    }

    /// The condition besides the key, compiled for the columns it reads.
    pub(super) fn condition(&self, join: &Join) -> std::result::Result<Option<Condition>, Unsupported> {
        let is_true = |filter: &&Expr| **filter != lit(true);
        let Some(filter) = join.filter.as_ref().filter(is_true) else {
            return Ok(None);
        };
        let failed = |error: datafusion::error::DataFusionError| error.to_string();
        let both = join.left.schema().join(join.right.schema()).map_err(failed)?;
        let mut columns = Vec::new();
        for column in filter.column_refs() {
            columns.push(both.index_of_column(column).map_err(failed)?);
        }
        columns.sort_unstable();
        columns.dedup();
        let fields = columns.iter().map(|column| both.qualified_field(*column));
        let fields = fields.map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
        let read = DFSchema::new_with_metadata(fields.collect(), Default::default()).map_err(failed)?;
        let residual = Residual {
            predicate: self.compile(filter, &read)?,
            types: nullable_schema(read.fields().iter().map(|field| field.as_ref())),
            columns,
        };
        Ok(Some((residual, text(filter))))
    }

    pub(super) fn side(
        &self,
        node: Node,
        schema: &DFSchema,
        keys: &[Expr],
    ) -> std::result::Result<Side, Unsupported> {
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
            .map(|(key, _)| key.clone())
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
    pub(super) fn with_computed(&self, node: Node, exprs: &[Expr], schema: &DFSchema) -> Attempt {
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

    /// The only column of its key, which then has none.
    pub(super) fn take_key(&mut self) -> usize {
        self.key.remove(0)
    }

    /// Its columns and the mark that comes after them.
    fn marked(&self) -> Vec<usize> {
        let mark = self.node.schema.fields().len();
        self.columns.iter().copied().chain([mark]).collect()
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

fn joined(
    join: &Join,
    form: JoinForm,
    (condition, band): (Option<Condition>, Option<BandPlan>),
    left: Side,
    right: Side,
) -> Node {
    let pairs: Vec<(usize, usize)> = left.key.iter().copied().zip(right.key.iter().copied()).collect();
    let facts = facts(form, &left.node.facts, &right.node.facts, &pairs);
    let (residual, filter) = condition.unzip();
    let kind = Kind::Join(JoinPlan {
        left_key: left.key,
        right_key: right.key,
        null_equal: join.null_equality == NullEquality::NullEqualsNull,
        form,
        residual,
        band,
        text: shown(join, filter),
    });
    let fields = |node: &Node| node.schema.fields().iter().cloned().collect::<Vec<_>>();
    let mut columns = match form {
        JoinForm::Inner | JoinForm::Outer { .. } => [fields(&left.node), fields(&right.node)].concat(),
        JoinForm::Semi(1) | JoinForm::Anti(1) | JoinForm::Mark(1) => fields(&right.node),
        _ => fields(&left.node),
    };
    if matches!(form, JoinForm::Mark(_)) {
        columns.push(Arc::new(Field::new("mark", DataType::Boolean, true)));
    }
    let nullable = columns
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true));
    Node {
        schema: Arc::new(Schema::new(nullable.collect::<Vec<_>>())),
        facts,
        kind,
        inputs: vec![left.node, right.node],
    }
}

fn facts(form: JoinForm, left: &Facts, right: &Facts, pairs: &[(usize, usize)]) -> Facts {
    let kept = |side: usize| if side == 0 { left.clone() } else { right.clone() };
    match form {
        JoinForm::Inner => Facts::join(left, right, pairs),
        JoinForm::Outer {
            left: kept_left,
            right: kept_right,
        } => Facts::outer_join(left, right, pairs, (kept_left, kept_right)),
        JoinForm::NullAwareAnti => kept(0),
        JoinForm::Semi(side) | JoinForm::Anti(side) => kept(side),
        JoinForm::Mark(side) => {
            let mut facts = kept(side);
            facts.meaning.push(LogicalType::Plain);
            facts
        }
    }
}

/// What comes out of `join`, or why that is not kept incrementally. DataFusion runs NOT IN as such by one key only, and
/// takes one without any for NOT EXISTS.
fn form(join: &Join) -> std::result::Result<JoinForm, Unsupported> {
    let outer = |left, right| JoinForm::Outer { left, right };
    Ok(match (join.join_type, join.null_aware, join.on.len()) {
        (JoinType::LeftAnti, true, 1) => JoinForm::NullAwareAnti,
        (_, true, 1..) => return Err("NOT IN by several columns".to_owned()),
        (JoinType::Inner, ..) => JoinForm::Inner,
        (JoinType::Left, ..) => outer(true, false),
        (JoinType::Right, ..) => outer(false, true),
        (JoinType::Full, ..) => outer(true, true),
        (JoinType::LeftSemi, ..) => JoinForm::Semi(0),
        (JoinType::RightSemi, ..) => JoinForm::Semi(1),
        (JoinType::LeftAnti, ..) => JoinForm::Anti(0),
        (JoinType::RightAnti, ..) => JoinForm::Anti(1),
        (JoinType::LeftMark, ..) => JoinForm::Mark(0),
        (JoinType::RightMark, ..) => JoinForm::Mark(1),
    })
}

/// The keys of both sides, in types in which equal values have equal bytes.
fn keys(join: &Join) -> std::result::Result<(Vec<Expr>, Vec<Expr>), Unsupported> {
    let of = |key: &Expr, schema: &DFSchema| key.get_type(schema).map_err(|error| error.to_string());
    let mut keys = (Vec::new(), Vec::new());
    for (left, right) in &join.on {
        let types = (of(left, join.left.schema())?, of(right, join.right.schema())?);
        let (mut left, mut right, mut found) = (left.clone(), right.clone(), plain_type(&types.0));
        if found != plain_type(&types.1) {
            let common = comparison_coercion(&types.0, &types.1);
            found = common.ok_or("a join of columns of types that cannot be compared")?;
            (left, right) = (cast(left, found.clone()), cast(right, found.clone()));
        }
        keys.0.push(one_zero(left, &found));
        keys.1.push(one_zero(right, &found));
    }
    Ok(keys)
}

/// A key of which 0.0 and −0.0 are one value, as in DataFusion's joins.
pub(super) fn one_zero(key: Expr, data_type: &DataType) -> Expr {
    let zero = match data_type {
        DataType::Float16 | DataType::Float32 => ScalarValue::Float32(Some(0.0)),
        DataType::Float64 => ScalarValue::Float64(Some(0.0)),
        _ => return key,
    };
    let is_zero = key.clone().eq(lit(zero.clone()));
    when(is_zero, lit(zero)).otherwise(key.clone()).unwrap_or(key)
}

/// How a join is written.
fn shown(join: &Join, filter: Option<String>) -> String {
    let name = match join.join_type {
        JoinType::Inner if join.on.is_empty() && filter.is_none() => "CrossJoin".to_owned(),
        JoinType::Inner => "Join".to_owned(),
        form => format!("{form}Join"),
    };
    let pairs: Vec<String> = join
        .on
        .iter()
        .map(|(left, right)| format!("{} = {}", text(left), text(right)))
        .collect();
    let on = match pairs.as_slice() {
        [] => String::new(),
        pairs => format!(" on[{}]", pairs.join(", ")),
    };
    let filter = filter.map_or(String::new(), |filter| format!(" filter[{filter}]"));
    let null_aware = if join.null_aware { " null-aware" } else { "" };
    format!("{name}{null_aware}{on}{filter}")
}
