//! Names for columns that a query leaves unnamed, as Postgres gives them: `count`, `max`, `case`, `?column?`.
//!
//! Done on the parsed query, before planning, for every SELECT in it: a name given later would not be known to an outer
//! query. A name used twice in one SELECT gets a number (`count`, `count_2`), because DataFusion needs them distinct.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Expr, Function, Ident, ObjectNamePart, OrderBy, OrderByKind, Query, Select,
    SelectItem, SetExpr, Subscript, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

const NAMELESS: &str = "?column?";

/// Names what is nameless in `query`.
pub(crate) fn name_outputs(query: &mut Query) {
    let _ = query.visit(&mut Naming);
}

struct Naming;

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(select) = leftmost(&mut query.body) else {
            return ControlFlow::Continue(());
        };
        let named = name_items(select);
        if select.distinct.is_some() {
            order_by_names(query, &named);
        }
        ControlFlow::Continue(())
    }
}

/// The SELECT that names the columns of `body`.
fn leftmost(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => leftmost(left),
        _ => None,
    }
}

/// Sorts by the column instead of computing it again: with DISTINCT, only columns that are selected can be sorted by.
fn order_by_names(query: &mut Query, named: &[(Expr, Ident)]) {
    let Some(OrderBy {
        kind: OrderByKind::Expressions(order),
        ..
    }) = &mut query.order_by
    else {
        return;
    };
    for item in order {
        if let Some((_, name)) = named.iter().find(|(expr, _)| *expr == item.expr) {
            item.expr = Expr::Identifier(name.clone());
        }
    }
}

/// Names the nameless; gives back what was named how.
fn name_items(select: &mut Select) -> Vec<(Expr, Ident)> {
    let mut named = Vec::new();
    let tables: Vec<String> = select.from.iter().flat_map(tables_in).collect();
    let mut taken: Vec<String> = select
        .projection
        .iter()
        .filter_map(|item| given_name(item, &tables))
        .collect();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        if column_name(expr, &tables).is_some() {
            continue;
        }
        let name = name_of(expr).unwrap_or_else(|| NAMELESS.to_owned());
        let alias = distinct(name, &taken);
        taken.push(alias.clone());
        let alias = Ident::with_quote('"', alias);
        named.push((expr.clone(), alias.clone()));
        *item = SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias,
        };
    }
    named
}

fn distinct(name: String, taken: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|candidate| !taken.contains(candidate))
        .unwrap_or(name)
}

fn given_name(item: &SelectItem, tables: &[String]) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(written(alias)),
        SelectItem::UnnamedExpr(expr) => column_name(expr, tables),
        _ => None,
    }
}

/// The name of a plain column, which the planner finds by itself. `struct_column.field` looks like `table.column`, but
/// would be called `struct_column[field]`; so it is one only if `tables` has its first part.
fn column_name(expr: &Expr, tables: &[String]) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(written(name)),
        Expr::CompoundIdentifier(names) => {
            let (column, table) = names.split_last()?;
            let table = table.iter().map(written).collect::<Vec<_>>().join(".");
            tables.contains(&table).then(|| written(column))
        }
        _ => None,
    }
}

/// What columns may be qualified with: aliases and names of tables, names also with their schema.
fn tables_in(from: &TableWithJoins) -> Vec<String> {
    let joined = from.joins.iter().map(|join| &join.relation);
    std::iter::once(&from.relation)
        .chain(joined)
        .flat_map(names_of_factor)
        .collect()
}

fn names_of_factor(factor: &TableFactor) -> Vec<String> {
    match factor {
        TableFactor::Table {
            name, alias: None, ..
        } => {
            let parts: Vec<_> = name
                .0
                .iter()
                .filter_map(|part| part.as_ident())
                .map(written)
                .collect();
            (0..parts.len()).map(|from| parts[from..].join(".")).collect()
        }
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::UNNEST {
            alias: Some(alias), ..
        }
        | TableFactor::Function {
            alias: Some(alias), ..
        } => vec![written(&alias.name)],
        TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } => tables_in(table_with_joins),
        TableFactor::NestedJoin {
            alias: Some(alias), ..
        } => vec![written(&alias.name)],
        _ => Vec::new(),
    }
}

/// What an identifier names: in lower case unless quoted.
pub(crate) fn written(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn name_of(expr: &Expr) -> Option<String> {
    let fixed = match expr {
        Expr::Identifier(name) => return Some(written(name)),
        Expr::CompoundIdentifier(names) => return names.last().map(written),
        Expr::CompoundFieldAccess { root, access_chain } => return field_name(root, access_chain),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => return name_of(inner),
        Expr::Function(function) => return function_name(function),
        Expr::Cast { expr, data_type, .. } => return name_of(expr).or_else(|| cast_name(data_type)),
        Expr::Subquery(query) => return subquery_name(query),
        Expr::Case { else_result, .. } => {
            let column = else_result
                .as_deref()
                .filter(|expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
            return column.and_then(name_of).or_else(|| Some("case".to_owned()));
        }
        Expr::Extract { .. } => "extract",
        Expr::Substring { .. } => "substring",
        Expr::Position { .. } => "position",
        Expr::Trim { .. } => "btrim",
        Expr::Overlay { .. } => "overlay",
        Expr::Ceil { .. } => "ceil",
        Expr::Floor { .. } => "floor",
        Expr::Exists { .. } => "exists",
        Expr::Array(_) => "array",
        Expr::Interval(_) => "interval",
        Expr::AtTimeZone { .. } => "timezone",
        _ => return None,
    };
    Some(fixed.to_owned())
}

fn function_name(function: &Function) -> Option<String> {
    match function.name.0.last()? {
        ObjectNamePart::Identifier(name) => Some(written(name)),
        ObjectNamePart::Function(_) => None,
    }
}

fn cast_name(data_type: &DataType) -> Option<String> {
    let name = data_type.to_string().to_lowercase();
    let word: String = name
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

/// The innermost field that is accessed by name.
fn field_name(root: &Expr, chain: &[AccessExpr]) -> Option<String> {
    for access in chain.iter().rev() {
        match access {
            AccessExpr::Dot(Expr::Identifier(name)) => return Some(written(name)),
            AccessExpr::Subscript(Subscript::Index {
                index: Expr::Value(value),
            }) => {
                if let Value::SingleQuotedString(name) = &value.value {
                    return Some(name.clone());
                }
            }
            _ => {}
        }
    }
    name_of(root)
}

fn subquery_name(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    match select.projection.as_slice() {
        [SelectItem::ExprWithAlias { alias, .. }] => Some(written(alias)),
        [SelectItem::UnnamedExpr(expr)] => name_of(expr),
        _ => None,
    }
}
