//! `*` does not show hidden columns: `SELECT *` and `SELECT t.*` leave out the keys the server made up.
//!
//! Done on the parsed query, before planning: `*` becomes `a.* EXCEPT (_id), b.*`. They are still read by name.

use crate::names::Names;
use crate::naming::written;
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};
use std::ops::ControlFlow;

/// Takes the hidden columns of relations out of every `*` in `query`.
pub(crate) fn leave_out(query: &mut Query, names: &Names<'_>) {
    if names
        .relations
        .iter()
        .any(|relation| relation.columns.iter().any(|column| column.hidden))
    {
        let _ = query.visit(&mut Hiding {
            names,
            with: Vec::new(),
        });
    }
}

struct Hiding<'a> {
    names: &'a Names<'a>,
    /// The names that WITH gives, of each query around the present one.
    with: Vec<Vec<String>>,
}

/// A table in FROM: what its columns are qualified with, which of them are hidden, and which a USING shows once, on the
/// left side of the join.
struct Source {
    qualifier: ObjectName,
    hidden: Vec<Ident>,
    merged: Vec<Ident>,
}

impl VisitorMut for Hiding<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with
            .push(tables.map(|table| written(&table.alias.name)).collect());
        self.visit_selects(&mut query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.with.pop();
        ControlFlow::Continue(())
    }
}

impl Hiding<'_> {
    fn visit_selects(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.rewrite(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.visit_selects(left);
                self.visit_selects(right);
            }
            _ => {}
        }
    }

    fn rewrite(&self, select: &mut Select) {
        let mut sources = Vec::new();
        let all_named = select.from.iter().all(|from| self.sources(from, &mut sources));
        if sources.iter().all(|source| source.hidden.is_empty()) {
            return;
        }
        let items = std::mem::take(&mut select.projection);
        let rewritten = items.into_iter().flat_map(|item| match item {
            SelectItem::Wildcard(options) if is_plain(&options) && all_named => {
                sources.iter().map(part_of_star).collect()
            }
            SelectItem::Wildcard(options) if is_plain(&options) => vec![star_without(&sources)],
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                if is_plain(&options) =>
            {
                let known = sources.iter().find(|source| same(&source.qualifier, &name));
                known.map_or_else(|| vec![qualified(name, options)], |source| vec![star_of(source)])
            }
            other => vec![other],
        });
        select.projection = rewritten.collect();
    }

    /// Adds the tables of `from`; false if `*` over them is not the same as `a.*, b.*, …`.
    fn sources(&self, from: &TableWithJoins, found: &mut Vec<Source>) -> bool {
        let mut all = self.source(&from.relation, found);
        for join in &from.joins {
            let first = found.len();
            all &= self.source(&join.relation, found);
            match (merged_by(join), &mut found[first..]) {
                (Some(columns), [right]) => right.merged = columns,
                (Some(columns), _) => all &= columns.is_empty(),
                (None, _) => all = false,
            }
        }
        all
    }

    fn source(&self, factor: &TableFactor, found: &mut Vec<Source>) -> bool {
        let (qualifier, hidden) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let qualifier = alias
                    .as_ref()
                    .map_or(name.clone(), |alias| alias.name.clone().into());
                (qualifier, self.hidden_columns(name))
            }
            TableFactor::Derived {
                alias: Some(alias), ..
            } => (alias.name.clone().into(), Vec::new()),
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => return self.sources(table_with_joins, found),
            _ => return false,
        };
        found.push(Source {
            qualifier,
            hidden,
            merged: Vec::new(),
        });
        true
    }

    fn hidden_columns(&self, name: &ObjectName) -> Vec<Ident> {
        let parts: Vec<_> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .map(written)
            .collect();
        let reference = match parts.as_slice() {
            [table] if self.with.iter().flatten().any(|name| name == table) => return Vec::new(),
            [table] => TableReference::bare(table.as_str()),
            [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
            _ => return Vec::new(),
        };
        let Ok(relation) = self.names.resolve(&reference) else {
            return Vec::new();
        };
        let hidden = relation.columns.iter().filter(|column| column.hidden);
        hidden
            .map(|column| Ident::with_quote('"', &column.name))
            .collect()
    }
}

fn same(a: &ObjectName, b: &ObjectName) -> bool {
    let parts = |name: &ObjectName| {
        name.0
            .iter()
            .filter_map(|part| part.as_ident())
            .map(written)
            .collect::<Vec<_>>()
    };
    let (a, b) = (parts(a), parts(b));
    a == b || a.ends_with(&b)
}

/// The columns of the right side that `*` does not show because the left side has them; None if that is not so simple.
fn merged_by(join: &Join) -> Option<Vec<Ident>> {
    let (constraint, keeps_left) = match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => (constraint, true),
        JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => (constraint, false),
        _ => return None,
    };
    match constraint {
        JoinConstraint::On(_) | JoinConstraint::None => Some(Vec::new()),
        JoinConstraint::Using(columns) if keeps_left => columns
            .iter()
            .map(|column| column.0.last().and_then(|part| part.as_ident()).cloned())
            .collect(),
        _ => None,
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_exclude.is_none() && options.opt_except.is_none() && options.opt_replace.is_none()
}

fn star_of(source: &Source) -> SelectItem {
    qualified(source.qualifier.clone(), without(source.hidden.clone()))
}

/// What `*` shows of `source`.
fn part_of_star(source: &Source) -> SelectItem {
    let left_out = source.hidden.iter().chain(&source.merged).cloned().collect();
    qualified(source.qualifier.clone(), without(left_out))
}

fn qualified(name: ObjectName, options: WildcardAdditionalOptions) -> SelectItem {
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
}

/// `* EXCEPT (…)`, for joins in which columns are merged.
fn star_without(sources: &[Source]) -> SelectItem {
    let mut hidden: Vec<Ident> = sources.iter().flat_map(|source| source.hidden.clone()).collect();
    hidden.sort();
    hidden.dedup();
    SelectItem::Wildcard(without(hidden))
}

fn without(hidden: Vec<Ident>) -> WildcardAdditionalOptions {
    let mut hidden = hidden.into_iter();
    WildcardAdditionalOptions {
        opt_except: hidden.next().map(|first_element| ExceptSelectItem {
            first_element,
            additional_elements: hidden.collect(),
        }),
        ..WildcardAdditionalOptions::default()
    }
}
