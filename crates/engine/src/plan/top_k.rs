//! LIMIT and OFFSET, DISTINCT ON: the rows at certain places of an order. What is ordered and grouped by becomes plain
//! columns first, so the operator only sees columns.
//!
//! A limit takes the order of the sort below it, also through projections and other limits, as DataFusion does. A limit
//! without any order takes the rows in the order of their encoding, which is stable but means nothing; ties are
//! broken likewise.

use super::expression::{Unsupported, text, texts, unsupported};
use super::lower::{Attempt, origin};
use super::recompute::hands_on_order;
use super::{Kind, Lowering, Node, TopKPlan};
use crate::operator::top_k::{Places, TopKSpec};
use arrow::compute::SortOptions;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{DistinctOn, Expr, FetchType, Limit, LogicalPlan, SkipType, Sort, SortExpr};
use viewfeed_change::Result;

/// Which rows of a plan are kept.
pub(super) struct Kept<'a> {
    /// Within each of which groups.
    pub(super) group: &'a [Expr],
    /// In which order.
    pub(super) order: &'a [SortExpr],
    /// At which places of it.
    pub(super) places: Places,
    /// Whether 0.0 and −0.0 are one group.
    pub(super) zeros_equal: bool,
}

impl Lowering<'_> {
    pub(super) fn limit(&self, limit: &Limit) -> Result<Attempt> {
        match places_of(limit) {
            Some(places) => self.at_places(&limit.input, places),
            None => Ok(Err("a limit that is not a number".to_owned())),
        }
    }

    /// A sort of which only the first rows are wanted.
    pub(super) fn sort(&self, sort: &Sort) -> Result<Attempt> {
        match sort.fetch {
            Some(count) => self.at_places(&LogicalPlan::Sort(sort.clone()), first(count)),
            None => self.lower(&sort.input).map(Ok),
        }
    }

    /// The rows of `plan` at `places` of the order they come in.
    fn at_places(&self, plan: &LogicalPlan, places: Places) -> Result<Attempt> {
        match plan {
            LogicalPlan::Sort(sort) => {
                let all = sort.fetch.map_or(ALL, first);
                self.kept(
                    &sort.input,
                    &Kept {
                        group: &[],
                        order: &sort.expr,
                        places: all.narrowed(places),
                        zeros_equal: false,
                    },
                )
            }
            LogicalPlan::Limit(limit) => match places_of(limit) {
                Some(outer) => self.at_places(&limit.input, outer.narrowed(places)),
                None => Ok(Err("a limit that is not a number".to_owned())),
            },
            LogicalPlan::SubqueryAlias(alias) => self.at_places(&alias.input, places),
            LogicalPlan::Projection(projection) if hands_on_order(plan) => {
                let schema = projection.input.schema();
                if let Err(reason) = self.compile_all(&projection.expr, schema) {
                    return Ok(Err(reason));
                }
                let below = self.at_places(&projection.input, places)?;
                Ok(below.and_then(|node| self.project(node, &projection.expr, schema, &projection.schema)))
            }
            LogicalPlan::Filter(_) if hands_on_order(plan) => {
                Ok(Err("a condition between an order and its limit".to_owned()))
            }
            other => self.kept(
                other,
                &Kept {
                    group: &[],
                    order: &[],
                    places,
                    zeros_equal: false,
                },
            ),
        }
    }

    /// The first row of each group, without an order any one.
    pub(super) fn distinct_on(&self, distinct: &DistinctOn) -> Result<Attempt> {
        let schema = distinct.input.schema();
        if let Err(reason) = self.compile_all(&distinct.select_expr, schema) {
            return Ok(Err(reason));
        }
        let kept = self.kept(
            &distinct.input,
            &Kept {
                group: &distinct.on_expr,
                order: distinct.sort_expr.as_deref().unwrap_or_default(),
                places: first(1),
                zeros_equal: true,
            },
        )?;
        Ok(kept.and_then(|node| self.project(node, &distinct.select_expr, schema, &distinct.schema)))
    }

    /// The rows of `input` that are `kept`.
    pub(super) fn kept(&self, input: &LogicalPlan, kept: &Kept<'_>) -> Result<Attempt> {
        let mut exprs = kept.group.iter().chain(kept.order.iter().map(|by| &by.expr));
        if let Some(reason) = exprs.find_map(unsupported) {
            return Ok(Err(reason));
        }
        let node = self.lower(input)?;
        Ok(self.kept_of(node, input.schema(), kept))
    }

    fn kept_of(&self, input: Node, schema: &DFSchema, kept: &Kept<'_>) -> Attempt {
        let exprs: Vec<&Expr> = kept
            .group
            .iter()
            .chain(kept.order.iter().map(|by| &by.expr))
            .collect();
        let width = schema.fields().len();
        let (input, columns) = self.as_columns(input, &exprs, schema)?;
        let (group, order) = columns.split_at(kept.group.len());
        let options = kept.order.iter().map(|by| SortOptions {
            descending: !by.asc,
            nulls_first: by.nulls_first,
        });
        let mut facts = input.facts.clone();
        if kept.places.count() == Some(1) && facts.key.is_none() {
            facts.key = Some(group.to_vec());
        }
        let plan = TopKPlan {
            spec: TopKSpec {
                group: group.to_vec(),
                zeros_equal: kept.zeros_equal,
                order: order.iter().copied().zip(options).collect(),
                places: kept.places,
            },
            text: shown(kept),
        };
        let with_computed = input.schema.fields().len() > width.max(1);
        let node = Node {
            schema: input.schema.clone(),
            facts,
            kind: Kind::TopK(plan),
            inputs: vec![input],
        };
        Ok(match with_computed {
            true => node.select((0..width).collect()),
            false => node,
        })
    }

    /// `node` with the values of `exprs` among its columns, and where: those that are no columns yet are added.
    pub(super) fn as_columns(
        &self,
        node: Node,
        exprs: &[&Expr],
        schema: &DFSchema,
    ) -> std::result::Result<(Node, Vec<usize>), Unsupported> {
        let width = schema.fields().len();
        let mut computed: Vec<Expr> = Vec::new();
        let mut columns = Vec::with_capacity(exprs.len());
        for expr in exprs {
            columns.push(match origin(expr, schema) {
                Some(column) => column,
                None => match computed.iter().position(|known| known == *expr) {
                    Some(place) => width + place,
                    None => {
                        computed.push((*expr).clone());
                        width + computed.len() - 1
                    }
                },
            });
        }
        match computed.is_empty() {
            true => Ok((node, columns)),
            false => Ok((self.with_computed(node, &computed, schema)?, columns)),
        }
    }
}

const ALL: Places = Places {
    start: 0,
    end: u64::MAX,
};

fn first(count: usize) -> Places {
    Places {
        start: 0,
        end: count as u64,
    }
}

fn places_of(limit: &Limit) -> Option<Places> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
        (limit.get_skip_type().ok()?, limit.get_fetch_type().ok()?)
    else {
        return None;
    };
    let start = skip as u64;
    let end = fetch.map_or(u64::MAX, |count| start.saturating_add(count as u64));
    Some(Places { start, end })
}

/// `group[p] order[o desc] k=10 offset=5`.
fn shown(kept: &Kept<'_>) -> String {
    let mut parts = Vec::new();
    if !kept.group.is_empty() {
        parts.push(format!("group[{}]", texts(kept.group)));
    }
    let by = |by: &SortExpr| {
        let direction = if by.asc { "" } else { " desc" };
        let nulls = match (by.asc, by.nulls_first) {
            (true, true) => " nulls first",
            (false, false) => " nulls last",
            _ => "",
        };
        format!("{}{direction}{nulls}", text(&by.expr))
    };
    if !kept.order.is_empty() {
        let order: Vec<String> = kept.order.iter().map(by).collect();
        parts.push(format!("order[{}]", order.join(", ")));
    }
    parts.extend(kept.places.count().map(|count| format!("k={count}")));
    parts.extend((kept.places.start > 0).then(|| format!("offset={}", kept.places.start)));
    parts.join(" ")
}
