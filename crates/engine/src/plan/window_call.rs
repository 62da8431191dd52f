//! A call of a window function: which rows it looks at, and whether there is an operator for that.

use crate::operator::aggregate::{AggregateCall, AggregateFunction, Argument, is_sum, supports};
use crate::operator::window::{Extreme, Frame, NearCall, Nulls, RunningCall, RunningFunction, SumCall};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction as AggregateExpr, NullTreatment, WindowFunctionParams,
};
use datafusion::logical_expr::{
    Expr, ExprSchemable, SortExpr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
    when,
};
use datafusion::physical_expr::expressions::Column;
use std::sync::Arc;
use viewfeed_change::row::plain_type;

/// A call that can be kept incrementally.
pub(super) struct Call<'a> {
    pub(super) order: Order<'a>,
    /// What it needs of a row.
    pub(super) arguments: Vec<Expr>,
    /// How it is kept; columns are places among the arguments.
    pub(super) planned: Planned,
}

/// What rows are partitioned and ordered by.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Order<'a> {
    pub(super) partition: &'a [Expr],
    pub(super) order: &'a [SortExpr],
}

/// How a call is kept.
pub(super) enum Planned {
    /// As this aggregate of its partition.
    Whole(Box<Expr>),
    Near(NearCall),
    Running(RunningCall),
}

/// Which rows a frame has.
enum Extent {
    Whole,
    /// From the first row to the row, or the last of its peers.
    Running {
        by_peers: bool,
    },
    /// From the first row to places after the row.
    RunningOn,
    Near(Frame),
}

/// A function with what follows from where it stands.
struct Function<'a> {
    name: &'a str,
    params: &'a WindowFunctionParams,
    /// The types of its arguments.
    types: Vec<DataType>,
    output_type: DataType,
}

impl<'a> Call<'a> {
    /// The call in `expr` over `schema`, or why it is not incremental.
    pub(super) fn of(expr: &'a Expr, schema: &DFSchema) -> Result<Self, String> {
        let function = match expr {
            Expr::Alias(alias) => return Self::of(&alias.expr, schema),
            Expr::WindowFunction(function) => function,
            _ => return Err("an expression over window functions".to_owned()),
        };
        let params = &function.params;
        let type_of = |expr: &Expr| match expr.get_type(schema) {
            Ok(data_type) => Ok(plain_type(&data_type)),
            Err(error) => Err(error.to_string()),
        };
        let arguments = arguments(function.fun.name(), params)?;
        let function = Function {
            name: function.fun.name(),
            params,
            types: arguments.iter().map(type_of).collect::<Result<_, _>>()?,
            output_type: type_of(expr)?,
        };
        let planned = function.planned(expr, schema)?;
        Ok(Self {
            order: Order {
                partition: &params.partition_by,
                order: &params.order_by,
            },
            arguments,
            planned,
        })
    }

    /// What it must have in common with calls that share its operator.
    pub(super) fn shared_order(&self) -> Order<'a> {
        match self.planned {
            Planned::Whole(_) => Order {
                order: &[],
                ..self.order
            },
            _ => self.order,
        }
    }
}

impl Planned {
    pub(super) fn is_near(&self) -> bool {
        matches!(self, Self::Near(_))
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// The same with its arguments at these columns.
    pub(super) fn with_arguments(&self, columns: &[usize]) -> Self {
        let sum = |call: &SumCall| SumCall {
            arguments: columns.to_vec(),
            ..call.clone()
        };
        let first = columns.first().copied().unwrap_or_default();
        match self {
            Self::Whole(aggregate) => Self::Whole(aggregate.clone()),
            Self::Near(call) => Self::Near(match call {
                NearCall::Shift(_, by, default) => NearCall::Shift(first, *by, default.clone()),
                NearCall::Nth(_, n, nulls, frame) => NearCall::Nth(first, *n, *nulls, *frame),
                NearCall::Extreme(_, extreme, frame) => NearCall::Extreme(first, *extreme, *frame),
                NearCall::Sum(call, frame) => NearCall::Sum(sum(call), *frame),
            }),
            Self::Running(call) => Self::Running(RunningCall {
                function: match &call.function {
                    RunningFunction::First(_, nulls) => RunningFunction::First(first, *nulls),
                    RunningFunction::Last(_, nulls) => RunningFunction::Last(first, *nulls),
                    RunningFunction::Extreme(_, extreme) => RunningFunction::Extreme(first, *extreme),
                    RunningFunction::Sum(call) => RunningFunction::Sum(sum(call)),
                    other => other.clone(),
                },
                by_peers: call.by_peers,
            }),
        }
    }
}

impl Function<'_> {
    fn planned(&self, expr: &Expr, schema: &DFSchema) -> Result<Planned, String> {
        match self.name {
            "row_number" => Ok(running(RunningFunction::RowNumber, false)),
            "rank" => Ok(running(RunningFunction::Rank, true)),
            "dense_rank" => Ok(running(RunningFunction::DenseRank, true)),
            "lag" | "lead" => self.shift(),
            "first_value" | "last_value" | "nth_value" => self.picked(),
            _ => self.aggregate(expr, schema),
        }
    }

    fn shift(&self) -> Result<Planned, String> {
        if self.nulls() == Nulls::Ignored {
            return Err(format!(
                "{}() IGNORE NULLS looks as far as there are NULLs",
                self.name
            ));
        }
        let by = match self.params.args.get(1) {
            None => 1,
            Some(by) => integer(by).ok_or_else(|| format!("{}() by what is no number", self.name))?,
        };
        let by = if self.name == "lag" {
            by.checked_neg()
        } else {
            Some(by)
        };
        let by = by.ok_or_else(|| format!("{}() further than there can be rows", self.name))?;
        let default = match self.params.args.get(2) {
            None => ScalarValue::Null,
            Some(default) => literal(default)
                .cloned()
                .ok_or_else(|| format!("{}() with a computed default", self.name))?,
        };
        match self.types.first() {
            Some(DataType::Null) | None => Err(format!("{}() of NULL", self.name)),
            Some(data_type) => {
                let default = default.cast_to(data_type).map_err(|error| error.to_string())?;
                Ok(Planned::Near(NearCall::Shift(0, by, default)))
            }
        }
    }

    /// The value at a place of the frame.
    fn picked(&self) -> Result<Planned, String> {
        let (nulls, extent) = (self.nulls(), self.extent()?);
        let n = match (self.name, self.params.args.get(1)) {
            ("first_value", _) => 1,
            ("last_value", _) => -1,
            (_, n) => n.and_then(integer).unwrap_or_default(),
        };
        match extent {
            Extent::Near(frame) if n != 0 => Ok(Planned::Near(NearCall::Nth(0, n, nulls, frame))),
            Extent::Running { .. } | Extent::RunningOn | Extent::Whole
                if n == 1 && nulls == Nulls::Respected =>
            {
                Ok(running(RunningFunction::First(0, nulls), false))
            }
            Extent::Running { by_peers } if n == 1 => Ok(running(RunningFunction::First(0, nulls), by_peers)),
            Extent::Running { by_peers } if n == -1 => Ok(running(RunningFunction::Last(0, nulls), by_peers)),
            _ => Err(format!("{}() of such a frame", self.name)),
        }
    }

    fn aggregate(&self, expr: &Expr, schema: &DFSchema) -> Result<Planned, String> {
        let none = || format!("no incremental form of {}() over rows in order", self.name);
        if self.params.distinct {
            return Err(format!("{}(DISTINCT …) over a window", self.name));
        }
        let function = match self.name {
            "count" if self.types.is_empty() => AggregateFunction::CountRows,
            name => AggregateFunction::named(name).ok_or_else(none)?,
        };
        let (extent, call) = (self.extent()?, self.call(function));
        let extreme = match function {
            _ if !supports(&call) || !function.takes(self.types.len()) => return Err(none()),
            AggregateFunction::Min => Some(Extreme::Smallest),
            AggregateFunction::Max => Some(Extreme::Largest),
            _ if is_sum(&call) => None,
            _ => return Err(none()),
        };
        let sum = SumCall {
            function,
            arguments: (0..self.types.len()).collect(),
            output_type: self.output_type.clone(),
        };
        match (extent, extreme) {
            (Extent::Whole, _) => self.whole(expr, schema),
            (Extent::Near(frame), Some(extreme)) => Ok(Planned::Near(NearCall::Extreme(0, extreme, frame))),
            (Extent::Near(frame), None) => Ok(Planned::Near(NearCall::Sum(sum, frame))),
            (Extent::Running { by_peers }, Some(extreme)) => {
                Ok(running(RunningFunction::Extreme(0, extreme), by_peers))
            }
            (Extent::Running { by_peers }, None) => Ok(running(RunningFunction::Sum(sum), by_peers)),
            (Extent::RunningOn, _) => Err("a frame from UNBOUNDED PRECEDING beyond the row".to_owned()),
        }
    }

    fn call(&self, function: AggregateFunction) -> AggregateCall {
        let arguments = self.types.iter().map(|data_type| Argument {
            value: Arc::new(Column::new("", 0)),
            data_type: data_type.clone(),
        });
        AggregateCall::new(function, arguments.collect(), self.output_type.clone())
    }

    /// As an aggregate of the partition.
    fn whole(&self, expr: &Expr, schema: &DFSchema) -> Result<Planned, String> {
        let is_float = |expr: &Expr| {
            expr.get_type(schema)
                .map_or(true, |data_type| has_float(&data_type))
        };
        if self.params.partition_by.iter().any(is_float) {
            return Err("whole partitions by a float: GROUP BY takes 0.0 and −0.0 for one".to_owned());
        }
        let Expr::WindowFunction(function) = expr.clone().unalias() else {
            return Err("an expression over window functions".to_owned());
        };
        let WindowFunctionDefinition::AggregateUDF(udaf) = function.fun.clone() else {
            return Err(format!("{}() over whole partitions", self.name));
        };
        let params = function.params;
        Ok(Planned::Whole(Box::new(Expr::AggregateFunction(
            AggregateExpr::new_udf(
                udaf,
                params.args,
                params.distinct,
                params.filter,
                Vec::new(),
                params.null_treatment,
            ),
        ))))
    }

    fn nulls(&self) -> Nulls {
        match self.params.null_treatment {
            Some(NullTreatment::IgnoreNulls) => Nulls::Ignored,
            _ => Nulls::Respected,
        }
    }

    fn extent(&self) -> Result<Extent, String> {
        use WindowFrameUnits::{Groups, Range, Rows};
        let WindowFrame {
            units,
            start_bound,
            end_bound,
            ..
        } = &self.params.window_frame;
        let is_literal = |by: &SortExpr| matches!(by.expr, Expr::Literal(..));
        let is_unordered = self.params.order_by.iter().all(is_literal);
        let (start, end) = (Bound::of(start_bound)?, Bound::of(end_bound)?);
        Ok(match (units, start, end) {
            (_, Bound::First, Bound::Last) => Extent::Whole,
            (Range | Groups, Bound::First | Bound::At(0), Bound::Last | Bound::At(0)) if is_unordered => {
                Extent::Whole
            }
            (Rows, Bound::First, Bound::At(0)) => Extent::Running { by_peers: false },
            (Range | Groups, Bound::First, Bound::At(0))
                if matches!(end_bound, WindowFrameBound::CurrentRow) =>
            {
                Extent::Running { by_peers: true }
            }
            (Rows, Bound::First, Bound::At(1..)) => Extent::RunningOn,
            (Rows, Bound::At(start), Bound::At(end)) if start <= end => Extent::Near(Frame { start, end }),
            _ => {
                let frame = &self.params.window_frame;
                return Err(format!("{}() over {frame}", self.name));
            }
        })
    }
}

/// Where a frame starts or ends, in places from the row.
#[derive(Clone, Copy)]
enum Bound {
    First,
    At(i64),
    Last,
}

impl Bound {
    fn of(bound: &WindowFrameBound) -> Result<Self, String> {
        let (offset, unbounded, sign) = match bound {
            WindowFrameBound::CurrentRow => return Ok(Self::At(0)),
            WindowFrameBound::Preceding(offset) => (offset, Self::First, -1),
            WindowFrameBound::Following(offset) => (offset, Self::Last, 1),
        };
        if offset.is_null() {
            return Ok(unbounded);
        }
        let places = offset.cast_to(&DataType::Int64).ok();
        match places {
            Some(ScalarValue::Int64(Some(places @ 0..))) => Ok(Self::At(sign * places)),
            _ => Err("a frame that is not of so many rows".to_owned()),
        }
    }
}

fn running(function: RunningFunction, by_peers: bool) -> Planned {
    Planned::Running(RunningCall { function, by_peers })
}

/// What a call computes of a row. A row that FILTER leaves out counts like one with NULL.
fn arguments(name: &str, params: &WindowFunctionParams) -> Result<Vec<Expr>, String> {
    let is_every_row = |arg: &Expr| matches!(arg, Expr::Literal(value, _) if !value.is_null());
    let arguments = match name {
        "row_number" | "rank" | "dense_rank" => &[][..],
        "lag" | "lead" | "first_value" | "last_value" | "nth_value" => {
            &params.args[..params.args.len().min(1)]
        }
        "count" if params.filter.is_none() && params.args.iter().all(is_every_row) => &[][..],
        _ => &params.args[..],
    };
    let Some(filter) = &params.filter else {
        return Ok(arguments.to_vec());
    };
    let counted = |argument: &Expr| when(filter.as_ref().clone(), argument.clone()).end();
    let counted = arguments.iter().map(counted).collect::<Result<_, _>>();
    counted.map_err(|error| error.to_string())
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn integer(expr: &Expr) -> Option<i64> {
    match literal(expr)?.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(number) => number,
        _ => None,
    }
}

fn has_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field) | DataType::Map(field, _) => has_float(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_float(field.data_type())),
        other => other.is_floating(),
    }
}
