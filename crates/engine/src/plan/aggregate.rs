//! GROUP BY: what is grouped and computed becomes plain columns first, so the operator only sees columns.

use super::expression::{text, texts, unsupported};
use super::grouping::Grouping;
use super::lower::{Attempt, distinct, origin};
use super::{Facts, Kind, Lowering, Node, nullable_schema, plain_schema};
use crate::operator::aggregate::{
    AggregateCall, AggregateFunction, AggregateSpec, Argument, Fraction, OrderKey, supports,
};
use crate::operator::filter_project::Stage;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunctionParams, NullTreatment, Sort};
use datafusion::logical_expr::{Aggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use std::sync::Arc;
use viewfeed_change::Result;

/// A call, with everything it computes still as expressions.
struct Call<'a> {
    function: AggregateFunction,
    arguments: &'a [Expr],
    is_distinct: bool,
    order: &'a [Sort],
    skips_null: bool,
    filter: Option<&'a Expr>,
    delimiter: String,
}

impl Lowering<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate) -> Result<Attempt> {
        if aggregate.group_expr.is_empty() && aggregate.aggr_expr.is_empty() {
            return Ok(Err("an aggregate of nothing".to_owned()));
        }
        let grouping = match Grouping::of(aggregate) {
            Ok(grouping) => grouping,
            Err(reason) => return Ok(Err(reason)),
        };
        let calls = match aggregate
            .aggr_expr
            .iter()
            .map(call)
            .collect::<std::result::Result<Vec<_>, _>>()
        {
            Ok(calls) => calls,
            Err(reason) => return Ok(Err(reason)),
        };
        let columns = columns(&grouping, &calls);
        if let Some(reason) = columns.iter().find_map(unsupported) {
            return Ok(Err(reason));
        }
        let input = self.lower(&aggregate.input)?;
        Ok(self.aggregate_over(aggregate, &grouping, &calls, &columns, input))
    }

    fn aggregate_over(
        &self,
        aggregate: &Aggregate,
        grouping: &Grouping<'_>,
        calls: &[Call<'_>],
        columns: &[Expr],
        input: Node,
    ) -> Attempt {
        let mut input = self.columns_of(aggregate, columns, input)?;
        if calls.is_empty() && grouping.sets.is_none() {
            return Ok(distinct(input));
        }
        let width = grouping.width();
        if let Some(sets) = &grouping.sets {
            let id = Field::clone(aggregate.schema.field(width - 1));
            input = input.expanded(sets.clone(), width - 1, &id);
        }
        let spec = spec(aggregate, grouping, calls, &input.schema)?;
        let mut facts = Facts::unknown(spec.output_schema.fields().len());
        facts.key = Some((0..width).collect());
        facts.meaning[..width].clone_from_slice(&input.facts.meaning[..width]);
        let names: Vec<String> = calls.iter().zip(&aggregate.aggr_expr).map(shown).collect();
        let text = format!("group[{}] {}", grouping.text, names.join(", "));
        Ok(Node {
            schema: spec.output_schema.clone(),
            facts,
            kind: Kind::Aggregate(spec, text),
            inputs: vec![input],
        })
    }

    /// `input` as the columns the operator works on: those grouped by, then what the calls compute.
    fn columns_of(&self, aggregate: &Aggregate, columns: &[Expr], input: Node) -> Attempt {
        let schema = aggregate.input.schema();
        let origins: Vec<Option<usize>> = columns.iter().map(|expr| origin(expr, schema)).collect();
        if let Some(chosen) = origins.iter().copied().collect::<Option<Vec<usize>>>() {
            return Ok(input.select(chosen));
        }
        let compiled = self.compile_all(columns, schema)?;
        let input = input.cast_to(schema);
        let mut fields = Vec::with_capacity(columns.len());
        for (expr, compiled) in columns.iter().zip(&compiled) {
            let data_type = compiled
                .data_type(schema.as_arrow())
                .map_err(|error| error.to_string())?;
            fields.push(Field::new(expr.schema_name().to_string(), data_type, true));
        }
        let facts = input.facts.select(&origins);
        let text = format!("project[{}]", texts(columns));
        Ok(input.staged(
            Stage::Compute(compiled, nullable_schema(fields.iter())),
            text,
            facts,
        ))
    }
}

/// Whether a call of an aggregate has an incremental form.
pub(super) fn is_incremental(expr: &Expr) -> bool {
    call(expr).is_ok()
}

/// The call in an aggregate's expression, or why it is not incremental.
fn call(expr: &Expr) -> std::result::Result<Call<'_>, String> {
    let call = match expr {
        Expr::Alias(alias) => return self::call(&alias.expr),
        Expr::AggregateFunction(call) => call,
        _ => return Err("an expression over aggregates".to_owned()),
    };
    let (name, params) = (call.func.name(), &call.params);
    let every_row = |arg: &Expr| matches!(arg, Expr::Literal(value, _) if !value.is_null());
    let function = match name {
        "count" if !params.distinct && params.args.iter().all(every_row) => AggregateFunction::CountRows,
        "percentile_cont" => percentile(params)?,
        _ => AggregateFunction::named(name).ok_or_else(|| format!("no incremental form of {name}() yet"))?,
    };
    let (arguments, delimiter) = match (function, params.args.as_slice()) {
        (AggregateFunction::CountRows, _) => (&[][..], String::new()),
        (AggregateFunction::StringAgg, [value, delimiter]) => {
            (std::slice::from_ref(value), literal_text(delimiter)?)
        }
        (AggregateFunction::Percentile(_), arguments) => (&arguments[..1], String::new()),
        (_, arguments) => (arguments, String::new()),
    };
    let is_distinct = params.distinct && function != AggregateFunction::CountRows;
    if !function.takes(arguments.len()) || (is_distinct && arguments.len() > 1) {
        let distinct = if is_distinct { "DISTINCT " } else { "" };
        return Err(format!("{name}({distinct}…) of {} arguments", arguments.len()));
    }
    Ok(Call {
        function,
        arguments,
        is_distinct,
        order: order(name, function, params)?,
        skips_null: skips_null(name, function, params)?,
        filter: params.filter.as_deref(),
        delimiter,
    })
}

/// Which percentile: from the end, if in descending order.
fn percentile(params: &AggregateFunctionParams) -> std::result::Result<AggregateFunction, String> {
    let fraction = match params.args.as_slice() {
        [_, Expr::Literal(ScalarValue::Float64(Some(fraction)), _)] if (0.0..=1.0).contains(fraction) => {
            fraction
        }
        _ => return Err("percentile_cont() of a fraction that is no number from 0 to 1".to_owned()),
    };
    let is_descending = params.order_by.first().is_some_and(|by| !by.asc);
    let fraction = if is_descending { 1.0 - fraction } else { *fraction };
    Ok(AggregateFunction::Percentile(Fraction::new(fraction)))
}

/// The order of a call that depends on one.
fn order<'a>(
    name: &str,
    function: AggregateFunction,
    params: &'a AggregateFunctionParams,
) -> std::result::Result<&'a [Sort], String> {
    let by_itself = |key: &Sort| params.args.first() == Some(&key.expr);
    match params.order_by.as_slice() {
        _ if !function.is_ordered() => Ok(&[]),
        order if params.distinct && !order.iter().all(by_itself) => {
            Err(format!("{name}(DISTINCT …) ordered by something else"))
        }
        order => Ok(order),
    }
}

fn skips_null(
    name: &str,
    function: AggregateFunction,
    params: &AggregateFunctionParams,
) -> std::result::Result<bool, String> {
    match params.null_treatment {
        None => Ok(!function.respects_null()),
        Some(NullTreatment::IgnoreNulls) => Ok(true),
        Some(NullTreatment::RespectNulls) if function.respects_null() => Ok(false),
        Some(NullTreatment::RespectNulls) => Err(format!("{name}() RESPECT NULLS")),
    }
}

fn literal_text(expr: &Expr) -> std::result::Result<String, String> {
    let text = match expr {
        Expr::Literal(value, _) if value.is_null() => Some(""),
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    };
    let text = text.ok_or_else(|| "string_agg() with a delimiter that is computed".to_owned())?;
    Ok(text.to_owned())
}

/// A call as people write it: DataFusion says `count(1)` for `count(*)`.
fn shown((call, expr): (&Call<'_>, &Expr)) -> String {
    match (call.function, call.filter) {
        (AggregateFunction::CountRows, None) => "count(*)".to_owned(),
        _ => text(expr),
    }
}

/// Everything the operator needs of an input row.
fn columns(grouping: &Grouping<'_>, calls: &[Call<'_>]) -> Vec<Expr> {
    let of_call = |call: &Call<'_>| -> Vec<Expr> {
        let order = call.order.iter().map(|key| &key.expr);
        let all = call.arguments.iter().chain(order).chain(call.filter);
        all.cloned().collect()
    };
    let grouped = grouping.columns.iter().copied().cloned();
    grouped.chain(calls.iter().flat_map(of_call)).collect()
}

fn spec(
    aggregate: &Aggregate,
    grouping: &Grouping<'_>,
    calls: &[Call<'_>],
    input: &SchemaRef,
) -> std::result::Result<AggregateSpec, String> {
    let column = |i: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(input.field(i).name(), i)) };
    let output_schema = plain_schema(aggregate.schema.fields().iter().map(|field| field.as_ref()));
    let width = grouping.width();
    let mut next = width..;
    let mut take = || {
        let i = next.next().expect("a range without an end goes on");
        Argument {
            value: column(i),
            data_type: input.field(i).data_type().clone(),
        }
    };
    let mut lowered = Vec::with_capacity(calls.len());
    for (i, call) in calls.iter().enumerate() {
        let arguments = call.arguments.iter().map(|_| take()).collect();
        let output_type = output_schema.field(width + i).data_type().clone();
        let order = call.order.iter().map(|key| OrderKey {
            by: take(),
            is_descending: !key.asc,
            nulls_first: key.nulls_first,
        });
        let order = order.collect();
        let call = AggregateCall {
            is_distinct: call.is_distinct,
            order,
            skips_null: call.skips_null,
            filter: call.filter.map(|_| take().value),
            delimiter: call.delimiter.clone(),
            ..AggregateCall::new(call.function, arguments, output_type)
        };
        if !supports(&call) {
            return Err(format!("no incremental {} yet", text(&aggregate.aggr_expr[i])));
        }
        lowered.push(call);
    }
    Ok(AggregateSpec {
        always: always(grouping, &output_schema)?,
        group: (0..width).map(column).collect(),
        calls: lowered,
        output_schema,
    })
}

/// The groups that are there without any row: that of no columns, and those of grouping sets without columns.
fn always(grouping: &Grouping<'_>, output: &SchemaRef) -> std::result::Result<Vec<Vec<ScalarValue>>, String> {
    let Some(sets) = &grouping.sets else {
        let is_one = grouping.columns.is_empty();
        return Ok(is_one.then(Vec::new).into_iter().collect());
    };
    let nulls = output.fields().iter().take(grouping.columns.len());
    let nulls = nulls.map(|field| ScalarValue::try_from(field.data_type()));
    let nulls = nulls.collect::<std::result::Result<Vec<_>, _>>();
    let nulls = nulls.map_err(|error| error.to_string())?;
    let empty = sets.iter().filter(|set| set.leaves_out.iter().all(|is| *is));
    Ok(empty
        .map(|set| [nulls.clone(), vec![set.id.clone()]].concat())
        .collect())
}
