//! `OVER (w ROWS …)` and `WINDOW v AS (w ORDER BY …)`: windows that start from a named one. DataFusion 55.2 overlooks the
//! name; here they get what the named one says.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, VisitMut, VisitorMut, WindowSpec,
    WindowType,
};
use std::ops::ControlFlow;
use viewfeed_change::Error;

/// Spells out the windows of `select` that start from a named one.
pub(crate) fn spell_out(select: &mut Select) -> ControlFlow<Error> {
    for place in 0..select.named_window.len() {
        let (before, rest) = select.named_window.split_at_mut(place);
        if let Some(NamedWindowDefinition(_, NamedWindowExpr::WindowSpec(spec))) = rest.first_mut() {
            complete(spec, before)?;
        }
    }
    let mut spelling = Spelling {
        named: &select.named_window,
        depth: 0,
    };
    for item in &mut select.projection {
        item.visit(&mut spelling)?;
    }
    match &mut select.qualify {
        Some(condition) => condition.visit(&mut spelling),
        None => ControlFlow::Continue(()),
    }
}

/// Completes windows, but not those of subqueries, which have names of their own.
struct Spelling<'a> {
    named: &'a [NamedWindowDefinition],
    depth: usize,
}

impl VisitorMut for Spelling<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Function(call) if self.depth == 0 => match &mut call.over {
                Some(WindowType::WindowSpec(spec)) => complete(spec, self.named),
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// `spec` with the partition and order of the window it names.
fn complete(spec: &mut WindowSpec, named: &[NamedWindowDefinition]) -> ControlFlow<Error> {
    let Some(name) = spec.window_name.take() else {
        return ControlFlow::Continue(());
    };
    let base = named
        .iter()
        .find_map(|NamedWindowDefinition(known, window)| match window {
            NamedWindowExpr::WindowSpec(base) if normal(known) == normal(&name) => Some(base),
            _ => None,
        });
    let Some(base) = base else {
        let error = Error::invalid("SQL_PLAN", format!("there is no window called {name}"));
        return ControlFlow::Break(
            error.hint("name it before it is used: WINDOW w AS (PARTITION BY … ORDER BY …)"),
        );
    };
    if !spec.partition_by.is_empty() || (!spec.order_by.is_empty() && !base.order_by.is_empty()) {
        let error = Error::invalid(
            "SQL_PLAN",
            format!("the window {name} cannot be partitioned or ordered anew"),
        );
        return ControlFlow::Break(error.hint("write the whole window instead of its name"));
    }
    spec.partition_by = base.partition_by.clone();
    if spec.order_by.is_empty() {
        spec.order_by = base.order_by.clone();
    }
    ControlFlow::Continue(())
}

/// A name as SQL compares it.
fn normal(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}
