//! What names in a query mean: relations as of one catalog, functions of the session.

use crate::{Purpose, RelationTable};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{DFSchema, DataFusionError, TableReference, plan_datafusion_err};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, RelationName, Relations};

/// How alike two names are (1 = equal) for one to be proposed for the other.
const ALIKE_MIN: f64 = 0.5;

/// The names of one planning.
pub(crate) struct Names<'a> {
    pub(crate) session: &'a SessionState,
    pub(crate) relations: &'a Relations,
    pub(crate) search_schema: &'a str,
    pub(crate) purpose: Purpose,
}

impl Names<'_> {
    /// The relation called `name`: in its schema, else in the search schema, else in `public`.
    pub(crate) fn resolve(&self, name: &TableReference) -> std::result::Result<&Arc<Relation>, Error> {
        let exact = |schema: &str, name: &str| self.relations.named(&RelationName::new(schema, name));
        let found = match name {
            TableReference::Bare { table } => {
                exact(self.search_schema, table).or_else(|| exact(RelationName::PUBLIC, table))
            }
            TableReference::Partial { schema, table } => exact(schema, table),
            TableReference::Full { .. } => {
                return Err(
                    Error::invalid("SQL_PLAN", format!("there is no database to look up {name} in"))
                        .hint("relations are named name or schema.name"),
                );
            }
        };
        found.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &TableReference) -> Error {
        let error = Error::not_found("UNKNOWN_RELATION", format!("relation \"{name}\" does not exist"));
        let likeness = |relation: &Arc<Relation>| {
            let full = normalized_levenshtein(&relation.name.to_string(), &name.to_string());
            full.max(normalized_levenshtein(&relation.name.name, name.table()))
        };
        let best = self
            .relations
            .iter()
            .map(|relation| (likeness(relation), relation))
            .filter(|(likeness, _)| *likeness >= ALIKE_MIN)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((_, relation)) => error.hint(format!("did you mean \"{}\"?", relation.name)),
            None => {
                error.hint("SHOW RELATIONS lists what exists; a module's relations are named schema.name")
            }
        }
    }
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let relation = self
            .resolve(&name)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Arc::new(RelationTable::new(relation.clone(), self.purpose)))
    }

    fn get_table_function_source(&self, name: &str, arguments: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let function = self
            .session
            .table_functions()
            .get(name)
            .ok_or_else(|| plan_datafusion_err!("there is no table function called '{name}'"))?;
        let simplifier = ExprSimplifier::new(SimplifyContext::default());
        let schema = DFSchema::empty();
        let constant = |argument| simplifier.simplify(simplifier.coerce(argument, &schema)?);
        let arguments = arguments.into_iter().map(constant).collect::<Result<Vec<_>>>()?;
        let rows =
            function.create_table_provider_with_args(TableFunctionArgs::new(&arguments, self.session))?;
        Ok(provider_as_source(rows))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.session.expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(crate::column_type::CastTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.session.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.session.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.session.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.session.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.session.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.session.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.session.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.session.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.session.window_functions().keys().cloned().collect()
    }
}
