//! Statements to logical plans, plans to rows.

mod prepared;
mod run;
mod scalar;

pub use prepared::Prepared;

use crate::forget_keys::forget_keys;
use crate::functions::{self, Functions};
use crate::names::Names;
use crate::session::{self, OptimizerRun};
use crate::{accept, check, failure, hidden, in_null, naming, parse, rules, set_comparison, set_operations};
use datafusion::arrow::array::ArrayRef;
use datafusion::common::{DFSchema, ParamValues, ScalarValue};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::Optimizer;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, Relations, Result};

/// What a plan is for; decides the optimizer's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be executed once.
    Batch,
    /// To be lowered to incremental operators: DISTINCT stays DISTINCT, `now()` stays a call, no limit or sort pushdown into scans.
    View,
}

/// Plans and runs SELECTs. Cheap to clone, usable from any thread. Blocking: call it from a thread that may wait.
///
/// Execution drives a single-threaded runtime of its own on the calling thread, made per call; so it must not be called
/// on a thread that is driving an async runtime (use `spawn_blocking` there). Planning, explaining and scalar
/// expressions may be called anywhere.
#[derive(Clone)]
pub struct Planner {
    session: Arc<SessionState>,
    task: Arc<TaskContext>,
    view_optimizer: Arc<Optimizer>,
    finisher: Arc<Optimizer>,
}

impl Planner {
    /// A planner with DataFusion's functions and ours, without a memory limit.
    pub fn new() -> Result<Self> {
        Self::build(None)
    }

    /// A planner whose queries, all that run at the same time together, hold at most `bytes` in sorts, joins and
    /// aggregates; one that needs more fails as `Exhausted`/`MEMORY_LIMIT`. Nothing is spilled to disk.
    pub fn with_memory_max(bytes: usize) -> Result<Self> {
        Self::build(Some(bytes))
    }

    fn build(memory_max: Option<usize>) -> Result<Self> {
        let made = session::session(memory_max);
        let session =
            made.map_err(|error| Error::internal("setting up the planner failed").because(error))?;
        Ok(Self {
            task: session.task_ctx(),
            session: Arc::new(session),
            view_optimizer: Arc::new(rules::of_views()),
            finisher: Arc::new(rules::finisher()),
        })
    }

    /// The same planner with functions of the program's own. Fails as `Invalid`/`FUNCTION_EXISTS` if one has the name of
    /// another one.
    pub fn with_functions(self, functions: Functions) -> Result<Self> {
        let mut session = Arc::unwrap_or_clone(self.session);
        functions::add(functions, &mut session)?;
        Ok(Self {
            task: session.task_ctx(),
            session: Arc::new(session),
            ..self
        })
    }

    /// The analysed and optimised plan of a query. Unqualified names are looked up in `search_schema`, then `public`.
    ///
    /// Columns without a name get the one Postgres gives them. `now()` stays a call in every plan; it gets its value
    /// when the plan is executed. A view may not call volatile functions, have parameters or two columns of one name.
    /// Fails as `Invalid`/`SQL_PLAN` or `NotFound`/`UNKNOWN_RELATION`.
    pub fn plan(
        &self,
        query: &ast::Query,
        relations: &Arc<Relations>,
        search_schema: &str,
        purpose: Purpose,
    ) -> Result<LogicalPlan> {
        self.plan_query(query.clone(), &[], relations, search_schema, purpose)
    }

    /// The plan of SQL text that is one SELECT.
    pub fn plan_sql(
        &self,
        sql: &str,
        relations: &Arc<Relations>,
        search_schema: &str,
        purpose: Purpose,
    ) -> Result<LogicalPlan> {
        self.plan_query(parse::parse_query(sql)?, &[], relations, search_schema, purpose)
    }

    /// The plan of SQL text that is one SELECT with parameters `$1`, `$2`, …: arrays of one element each, whose types
    /// the parameters have.
    pub fn plan_with_params(
        &self,
        sql: &str,
        params: &[ArrayRef],
        relations: &Arc<Relations>,
        search_schema: &str,
        purpose: Purpose,
    ) -> Result<LogicalPlan> {
        let value = |array: &ArrayRef| match array.len() {
            1 => ScalarValue::try_from_array(array, 0).map_err(failure::planning),
            other => Err(Error::internal(format!("a parameter of {other} values"))),
        };
        let values = params.iter().map(value).collect::<Result<Vec<_>>>()?;
        self.plan_query(
            parse::parse_query(sql)?,
            &values,
            relations,
            search_schema,
            purpose,
        )
    }

    /// The relations that `query` names, in the order of their ids.
    pub fn inputs(plan: &LogicalPlan) -> Result<Vec<Arc<Relation>>> {
        use datafusion::common::tree_node::TreeNodeRecursion;
        let mut found = std::collections::BTreeMap::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(relation) = crate::relation_of(scan)
            {
                found.insert(relation.id, relation);
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(failure::planning)?;
        Ok(found.into_values().collect())
    }

    /// The plan of a view's SQL, and the relations it names, in the order of their ids: also those whose rows turn out not to
    /// matter.
    pub fn plan_view(
        &self,
        sql: &str,
        relations: &Arc<Relations>,
        search_schema: &str,
    ) -> Result<(LogicalPlan, Vec<Arc<Relation>>)> {
        let (query, purpose) = (parse::parse_query(sql)?, Purpose::View);
        let plan = self.plan_as_written(query, &[], relations, search_schema, purpose)?;
        let named = Self::inputs(&plan)?;
        Ok((self.optimize(plan, purpose)?, named))
    }

    fn plan_query(
        &self,
        query: ast::Query,
        params: &[ScalarValue],
        relations: &Arc<Relations>,
        search_schema: &str,
        purpose: Purpose,
    ) -> Result<LogicalPlan> {
        let plan = self.plan_as_written(query, params, relations, search_schema, purpose)?;
        self.optimize(plan, purpose)
    }

    fn plan_as_written(
        &self,
        mut query: ast::Query,
        params: &[ScalarValue],
        relations: &Arc<Relations>,
        search_schema: &str,
        purpose: Purpose,
    ) -> Result<LogicalPlan> {
        let names = Names {
            session: &self.session,
            relations,
            search_schema,
            purpose,
        };
        hidden::leave_out(&mut query, &names);
        naming::name_outputs(&mut query);
        accept::accept(&mut query)?;
        let types = params.iter().map(|value| {
            let field = datafusion::arrow::datatypes::Field::new("", value.data_type(), true);
            Some(Arc::new(field))
        });
        let mut context = PlannerContext::new().with_prepare_param_data_types(types.collect());
        let statement = ast::Statement::Query(Box::new(query));
        let plan = SqlToRel::new(&names)
            .sql_statement_to_plan_with_context(statement, &mut context)
            .map_err(failure::planning)?;
        let plan = set_operations::counted(plan)?;
        match params {
            [] => Ok(plan),
            values => plan
                .replace_params_with_values(&ParamValues::from(values.to_vec()))
                .map_err(failure::planning),
        }
    }

    fn optimize(&self, plan: LogicalPlan, purpose: Purpose) -> Result<LogicalPlan> {
        let analyzed = self
            .session
            .analyzer()
            .execute_and_check(plan, self.session.config_options(), |_, _| {})
            .and_then(set_comparison::name_columns)
            .and_then(in_null::spell_out)
            .and_then(forget_keys)
            .map_err(failure::planning)?;
        let optimizer = match purpose {
            Purpose::Batch => self.session.optimizer(),
            Purpose::View => {
                check::check_view(&analyzed)?;
                &self.view_optimizer
            }
        };
        let run = OptimizerRun::new(&self.session, None);
        let optimized = optimizer
            .optimize(analyzed, &run, |_, _| {})
            .map_err(failure::planning)?;
        check::check_runnable(&optimized)?;
        Ok(optimized)
    }

    /// The logical form of a parsed scalar expression over the columns of `schema` (which may be qualified), coerced.
    pub fn expression(&self, expr: &ast::Expr, schema: &DFSchema) -> Result<Expr> {
        let relations = Relations::default();
        let names = Names {
            session: &self.session,
            relations: &relations,
            search_schema: viewfeed_change::RelationName::PUBLIC,
            purpose: Purpose::Batch,
        };
        let expr = SqlToRel::new(&names)
            .sql_to_expr(expr.clone(), schema, &mut PlannerContext::new())
            .map_err(failure::planning)?;
        self.coerce(expr, schema)
    }
}
