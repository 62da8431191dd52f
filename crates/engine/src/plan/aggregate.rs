//! GROUP BY: what is grouped and computed becomes plain columns first, so the operator only sees columns.

use super::expression::{text, texts, unsupported};
use super::lower::{Attempt, distinct, origin};
use super::{Facts, Kind, Lowering, Node, nullable_schema, plain_schema};
use crate::operator::aggregate::{AggregateCall, AggregateFunction, AggregateSpec, supports};
use crate::operator::filter_project::Stage;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::logical_expr::{Aggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use std::sync::Arc;
use viewfeed_change::Result;

/// A call, with its argument and filter still as expressions.
struct Call<'a> {
    function: AggregateFunction,
    argument: Option<&'a Expr>,
    filter: Option<&'a Expr>,
}

impl Lowering<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate) -> Result<Attempt> {
        if aggregate
            .group_expr
            .iter()
            .any(|expr| matches!(expr, Expr::GroupingSet(_)))
        {
            return Ok(Err("grouping sets".to_owned()));
        }
        if aggregate.group_expr.is_empty() && aggregate.aggr_expr.is_empty() {
            return Ok(Err("an aggregate of nothing".to_owned()));
        }
        let calls = match aggregate
            .aggr_expr
            .iter()
            .map(call)
            .collect::<std::result::Result<Vec<_>, _>>()
        {
            Ok(calls) => calls,
            Err(reason) => return Ok(Err(reason)),
        };
        let columns = columns(aggregate, &calls);
        if let Some(reason) = columns.iter().find_map(unsupported) {
            return Ok(Err(reason));
        }
        let input = self.lower(&aggregate.input)?;
        Ok(self.aggregate_over(aggregate, &calls, &columns, input))
    }

    fn aggregate_over(
        &self,
        aggregate: &Aggregate,
        calls: &[Call<'_>],
        columns: &[Expr],
        input: Node,
    ) -> Attempt {
        let input = self.columns_of(aggregate, columns, input)?;
        if calls.is_empty() {
            return Ok(distinct(input));
        }
        let spec = spec(aggregate, calls, &input.schema)?;
        let width = aggregate.group_expr.len();
        let mut facts = Facts::unknown(spec.output_schema.fields().len());
        facts.key = Some((0..width).collect());
        facts.meaning[..width].clone_from_slice(&input.facts.meaning[..width]);
        let names: Vec<String> = calls.iter().zip(&aggregate.aggr_expr).map(shown).collect();
        let text = format!("group[{}] {}", texts(&aggregate.group_expr), names.join(", "));
        Ok(Node {
            schema: spec.output_schema.clone(),
            facts,
            kind: Kind::Aggregate(spec, text),
            inputs: vec![input],
        })
    }

    /// `input` as the columns the operator works on: those grouped by, then arguments and filters.
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

/// The call in an aggregate's expression, or why it is not incremental.
fn call(expr: &Expr) -> std::result::Result<Call<'_>, String> {
    let call = match expr {
        Expr::Alias(alias) => return self::call(&alias.expr),
        Expr::AggregateFunction(call) => call,
        _ => return Err("an expression over aggregates".to_owned()),
    };
    let (name, params) = (call.func.name(), &call.params);
    if params.distinct {
        return Err(format!("{name}(DISTINCT …)"));
    }
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(format!("{name}() that depends on order or treats NULL specially"));
    }
    let [argument] = params.args.as_slice() else {
        return Err(format!("{name}() of {} arguments", params.args.len()));
    };
    let every_row = matches!(argument, Expr::Literal(value, _) if !value.is_null());
    let function = match name {
        "count" if every_row => AggregateFunction::CountRows,
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "avg" => AggregateFunction::Avg,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        _ => return Err(format!("no incremental form of {name}() yet")),
    };
    Ok(Call {
        function,
        argument: (function != AggregateFunction::CountRows).then_some(argument),
        filter: params.filter.as_deref(),
    })
}

/// A call as people write it: DataFusion says `count(1)` for `count(*)`.
fn shown((call, expr): (&Call<'_>, &Expr)) -> String {
    match (call.function, call.filter) {
        (AggregateFunction::CountRows, None) => "count(*)".to_owned(),
        _ => text(expr),
    }
}

/// Everything the operator needs of an input row.
fn columns(aggregate: &Aggregate, calls: &[Call<'_>]) -> Vec<Expr> {
    let of_calls = calls
        .iter()
        .flat_map(|call| call.argument.into_iter().chain(call.filter));
    aggregate.group_expr.iter().chain(of_calls).cloned().collect()
}

fn spec(
    aggregate: &Aggregate,
    calls: &[Call<'_>],
    input: &SchemaRef,
) -> std::result::Result<AggregateSpec, String> {
    let column = |i: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(input.field(i).name(), i)) };
    let output_schema = plain_schema(aggregate.schema.fields().iter().map(|field| field.as_ref()));
    let width = aggregate.group_expr.len();
    let mut next = width;
    let mut take = |wanted: bool| {
        next += usize::from(wanted);
        wanted.then(|| next - 1)
    };
    let mut lowered = Vec::with_capacity(calls.len());
    for (i, call) in calls.iter().enumerate() {
        let argument = take(call.argument.is_some());
        let input_type = argument.map_or(DataType::Null, |i| input.field(i).data_type().clone());
        let output_type = output_schema.field(width + i).data_type().clone();
        if !supports(call.function, &input_type, &output_type) {
            return Err(format!("no incremental {:?} of {input_type} yet", call.function));
        }
        lowered.push(AggregateCall {
            function: call.function,
            argument: argument.map(column),
            filter: take(call.filter.is_some()).map(column),
            input_type,
            output_type,
        });
    }
    Ok(AggregateSpec {
        group: (0..width).map(column).collect(),
        calls: lowered,
        output_schema,
    })
}
