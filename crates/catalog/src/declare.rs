//! What each rpc is declared to do: by a sidecar, else by an option, else by convention. All three end in the same words,
//! so that binding knows only one.

mod convention;
mod explicit;
mod from_sidecar;

use crate::binding::Mutation;
use crate::diagnostic::{Diagnostic, Place};
use crate::options;
use crate::scope::{Scope, rpc_path};
use crate::sidecar::SidecarBinding;
use crate::sql::OrderItem;
use prost_reflect::{FieldDescriptor, MessageDescriptor, MethodDescriptor};
use std::collections::BTreeMap;
use viewfeed_wire::v1;

/// Where a binding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Sidecar,
    Option,
    Convention,
}

/// An rpc and what it is declared to do.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) method: MethodDescriptor,
    pub(crate) origin: Origin,
    /// Where that is said.
    pub(crate) place: Place,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Query(DeclaredQuery),
    Subscribe(DeclaredSubscribe),
    Mutate(DeclaredMutate),
    /// No rule applied: why.
    Nothing(String),
}

/// A read.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredQuery {
    /// The response's field of rows; None: the response is the row.
    pub(crate) rows: Option<FieldDescriptor>,
    /// The message of a row.
    pub(crate) row: MessageDescriptor,
    pub(crate) from: From,
    pub(crate) order_by: Vec<OrderItem>,
    /// 0: the default.
    pub(crate) default_page_size: usize,
    /// 0: the default.
    pub(crate) max_page_size: usize,
    pub(crate) filter: FilterRule,
}

/// Where rows come from.
#[derive(Clone, Debug)]
pub(crate) enum From {
    Relation(String),
    /// SQL with `$1` …, and the request's fields these stand for.
    Sql(String, Vec<FieldDescriptor>),
}

/// Which fields of a request filter.
#[derive(Clone, Debug)]
pub(crate) enum FilterRule {
    /// These.
    Listed(Vec<FilterItem>),
    /// Every field that is named as a column.
    Named,
    /// The key field, by convention.
    Key,
}

/// `column = field`.
#[derive(Clone, Debug)]
pub(crate) struct FilterItem {
    /// A column, or `column.field` of a struct column.
    pub(crate) column: String,
    pub(crate) field: FieldDescriptor,
}

/// A live query.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredSubscribe {
    /// The message of a row.
    pub(crate) row: MessageDescriptor,
    /// None: the relation named after the row's message.
    pub(crate) relation: Option<String>,
    /// Empty: the relation's key.
    pub(crate) key: Vec<String>,
    pub(crate) envelope: v1::Envelope,
    pub(crate) filter: FilterRule,
}

/// A write.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredMutate {
    /// The message of a row, or of some of its columns.
    pub(crate) row: MessageDescriptor,
    /// The request's field that holds the row or rows; None: the request is the row.
    pub(crate) row_field: Option<FieldDescriptor>,
    /// None: the table named after the row's message.
    pub(crate) table: Option<String>,
    pub(crate) mutation: Mutation,
    pub(crate) atomic_stream: bool,
}

/// Declares every rpc of the module. What is wrong or guessed is added to `diagnostics`.
pub(crate) fn declare(
    scope: &Scope,
    sidecars: Vec<SidecarBinding>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Declared> {
    let mut by_path = BTreeMap::new();
    for binding in sidecars {
        let path = format!("/{}", binding.rpc);
        let place = binding.place.clone();
        if let Some(SidecarBinding { place: first, .. }) = by_path.insert(path.clone(), binding) {
            let message = format!("{path} is bound twice, first at {first}");
            diagnostics.push(place.error(message, "keep one of the two bindings"));
        }
    }
    let (mut declared, mut open) = (Vec::new(), Vec::new());
    for method in scope.methods() {
        let place = scope.method_place(&method);
        let found = match (by_path.remove(&rpc_path(&method)), options::rpc(&method)) {
            (Some(binding), _) => from_sidecar::from_sidecar(scope, &method, &binding)
                .map(|what| (Origin::Sidecar, binding.place.clone(), what))
                .map_err(|(message, advice)| binding.place.error(message, advice)),
            (None, Some(kind)) => explicit::from_option(scope, &method, kind)
                .map(|what| (Origin::Option, place.clone(), what))
                .map_err(|(message, advice)| place.error(message, advice)),
            (None, None) => {
                open.push(method);
                continue;
            }
        };
        match found {
            Ok((origin, place, what)) => declared.push(Declared {
                method,
                origin,
                place,
                what,
            }),
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    for (path, binding) in by_path {
        let rpcs: Vec<String> = scope.methods().iter().map(rpc_path).collect();
        let advice = format!("the module's rpcs are {}", rpcs.join(", "));
        diagnostics.push(binding.place.error(format!("there is no rpc {path}"), advice));
    }
    convention::declare(scope, open, &mut declared, diagnostics);
    let order: Vec<String> = scope.methods().iter().map(rpc_path).collect();
    declared.sort_by_key(|one| order.iter().position(|path| *path == rpc_path(&one.method)));
    declared
}

/// The operation that an rpc's name says.
pub(crate) fn mutation_by_name(method: &str) -> Mutation {
    let verbs = [
        ("Update", Mutation::Update),
        ("Edit", Mutation::Update),
        ("Upsert", Mutation::Upsert),
        ("Delete", Mutation::Delete),
        ("Remove", Mutation::Delete),
    ];
    let found = verbs.into_iter().find(|(verb, _)| starts_with_word(method, verb));
    found.map_or(Mutation::Insert, |(_, mutation)| mutation)
}

/// Whether a CamelCase name begins with this word: `GetUser` with `Get`, but not `Getaway`.
pub(crate) fn starts_with_word(name: &str, word: &str) -> bool {
    name.strip_prefix(word)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_lowercase()))
}
