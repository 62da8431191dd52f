//! SQL functions beyond DataFusion's: `gen_random_uuid`, `uuid_v7`, `mod`, and Postgres' names for some that DataFusion
//! calls otherwise; those a program brings along. Bounds those that could take all memory.

mod bounded;
mod modulo;
mod own;
mod uuid;

pub use own::Functions;
pub(crate) use own::add;

use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;

/// Postgres' name of an aggregate, DataFusion's name of the same.
const AGGREGATE_NAMES: [(&str, &str); 2] = [("variance", "var_samp"), ("every", "bool_and")];

/// Adds them to `state`.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    for function in uuid::functions() {
        state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    }
    state.register_udf(Arc::new(ScalarUDF::from(modulo::Modulo::new())))?;
    for name in bounded::NAMES {
        let function = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(bounded::Bounded::new(function))))?;
    }
    for (name, original) in AGGREGATE_NAMES {
        let aggregate = state.aggregate_functions().get(original).cloned();
        let aggregate =
            aggregate.ok_or_else(|| DataFusionError::Internal(format!("no aggregate called {original}")))?;
        state.register_udaf(Arc::new(aggregate.as_ref().clone().with_aliases([name])))?;
    }
    Ok(())
}
