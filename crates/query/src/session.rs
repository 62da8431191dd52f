//! The settings of DataFusion, made once and shared by everything that plans or runs.

use crate::column_type::CastTypes;
use crate::functions;
use crate::hide_orders;
use crate::recursion;
use crate::rules;
use chrono::{DateTime, Utc};
use datafusion::common::alias::AliasGenerator;
use datafusion::common::config::{ConfigOptions, Dialect};
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::optimizer::OptimizerConfig;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use std::sync::Arc;

/// Rows of a batch, at most.
pub(crate) const BATCH_ROWS_MAX: usize = 8192;

/// A session without catalogs or files. `memory_max` limits what sorts, joins and aggregates hold, in bytes, over all
/// queries that run at the same time; nothing is spilled to disk.
pub(crate) fn session(memory_max: Option<usize>) -> Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS_MAX)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.parse_float_as_decimal = false;
    options.execution.time_zone = Some("UTC".to_owned());
    let pool: Arc<dyn MemoryPool> = match memory_max {
        Some(bytes) => Arc::new(GreedyMemoryPool::new(bytes)),
        None => Arc::new(UnboundedMemoryPool::default()),
    };
    let environment = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(environment)
        .with_default_features()
        .with_type_planner(Arc::new(CastTypes))
        .with_optimizer_rules(rules::of_queries())
        .with_physical_optimizer_rules(physical_rules())
        .build();
    functions::register(&mut state)?;
    Ok(state)
}

/// DataFusion's own, without the pushdown of filters into physical operators: 55.2 matches the columns of a filter above
/// a join by name, so that above an outer join of a table with itself it filters the wrong side. Logical filters have
/// been pushed down before; what is lost is only the dynamic filters of joins and top-k over files, which we do not have.
/// And with a limit for recursions, last, so that no other rule meets it; orders that only seem known are hidden first, before
/// others rely on them.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    rules.insert(0, Arc::new(hide_orders::HideOrders));
    rules.push(Arc::new(recursion::LimitRecursion));
    rules
}

/// What an optimiser run sees. `now` = None keeps `now()` a call. Names made up by the optimiser start anew with each
/// run, so that the same SQL always gives the same plan.
pub(crate) struct OptimizerRun<'a> {
    session: &'a SessionState,
    aliases: Arc<AliasGenerator>,
    now: Option<DateTime<Utc>>,
}

impl<'a> OptimizerRun<'a> {
    pub(crate) fn new(session: &'a SessionState, now: Option<DateTime<Utc>>) -> Self {
        Self {
            session,
            aliases: Arc::new(AliasGenerator::new()),
            now,
        }
    }
}

impl OptimizerConfig for OptimizerRun<'_> {
    fn query_execution_start_time(&self) -> Option<DateTime<Utc>> {
        self.now
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        &self.aliases
    }

    fn options(&self) -> Arc<ConfigOptions> {
        self.session.config_options().clone()
    }

    fn function_registry(&self) -> Option<&dyn FunctionRegistry> {
        Some(self.session)
    }
}
