//! Functions that a program written around viewfeed brings along.

use datafusion::common::DataFusionError;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{Error, Result};

/// Functions written in Rust that SQL may call by their names and aliases.
///
/// A view may call those whose volatility is `Immutable`: the same arguments must give the same result, on every machine and
/// after every restart, because what was added by a result is taken away by computing it again. `Stable` ones count as
/// depending on the time. A view's state is found again by the names of the functions it calls: give a function that
/// computes something else another name.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    /// Of one row. Views keep them incrementally.
    pub scalars: Vec<Arc<ScalarUDF>>,
    /// Of a group of rows. Views compute them again for the groups a change touches.
    pub aggregates: Vec<Arc<AggregateUDF>>,
    /// Of a row among the rows of its partition. Views compute them again for the partitions a change touches.
    pub windows: Vec<Arc<WindowUDF>>,
}

/// Adds `functions` to `state`. Fails as `Invalid`/`FUNCTION_EXISTS` if one has the name of another: what is known about
/// functions is known by name.
pub(crate) fn add(functions: Functions, state: &mut SessionState) -> Result<()> {
    let mut taken: BTreeSet<String> = state.udfs().into_iter().collect();
    taken.extend(state.udafs());
    taken.extend(state.udwfs());
    let mut take = |name: &str, aliases: &[String]| {
        let names = std::iter::once(name).chain(aliases.iter().map(String::as_str));
        for name in names {
            if !taken.insert(name.to_owned()) {
                let message = format!("there is a function called {name}() already");
                return Err(Error::invalid("FUNCTION_EXISTS", message).hint("give yours another name"));
            }
        }
        Ok(())
    };
    for function in functions.scalars {
        take(function.name(), function.aliases())?;
        state.register_udf(function).map_err(failed)?;
    }
    for function in functions.aggregates {
        take(function.name(), function.aliases())?;
        state.register_udaf(function).map_err(failed)?;
    }
    for function in functions.windows {
        take(function.name(), function.aliases())?;
        state.register_udwf(function).map_err(failed)?;
    }
    Ok(())
}

fn failed(error: DataFusionError) -> Error {
    Error::invalid("FUNCTION", "a function cannot be registered").because(error)
}
