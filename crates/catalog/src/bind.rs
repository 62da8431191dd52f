//! Declarations meet relations: every rpc gets what it needs to be called. A declaration that does not fit refuses the
//! module; a guess that does not fit leaves its rpc unbound.

mod filter;
mod mutate;
mod query;
mod subscribe;

use crate::binding::{Binding, Select};
use crate::codec::Mismatch;
use crate::declare::{Declared, Origin, What};
use crate::diagnostic::{Diagnostic, Severity, has_error, tidy};
use crate::module::{Module, Rpc};
use crate::scope::{Scope, rpc_path};
use crate::{CompiledModule, report};
use prost_reflect::MessageDescriptor;
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, Relations};

/// Binds every rpc of a module.
pub(crate) fn bind(
    module: &CompiledModule,
    relations: &Relations,
    plans: &dyn Fn(&Select) -> viewfeed_change::Result<()>,
) -> Result<Module, Vec<Diagnostic>> {
    let mut diagnostics = module.diagnostics.clone();
    let (mut rpcs, mut origins) = (Vec::new(), BTreeMap::new());
    for declared in &module.declared {
        let mut binder = Binder {
            scope: &module.scope,
            relations,
            plans,
            declared,
            diagnostics: Vec::new(),
        };
        let binding = binder.bind();
        diagnostics.append(&mut binder.diagnostics);
        let path = rpc_path(&declared.method);
        origins.insert(path.clone(), report::origin(declared));
        rpcs.push(Arc::new(Rpc {
            path,
            module: module.name.clone(),
            method: declared.method.clone(),
            binding,
        }));
    }
    tidy(&mut diagnostics);
    if has_error(&diagnostics) {
        return Err(diagnostics);
    }
    Ok(Module {
        name: module.name.clone(),
        schema: module.schema.clone(),
        pool: module.pool.clone(),
        rpcs,
        fingerprint: module.fingerprint,
        diagnostics,
        tables: module.tables.clone(),
        origins,
    })
}

/// Binds one rpc.
struct Binder<'a> {
    scope: &'a Scope,
    relations: &'a Relations,
    plans: &'a dyn Fn(&Select) -> viewfeed_change::Result<()>,
    declared: &'a Declared,
    diagnostics: Vec<Diagnostic>,
}

/// Why a declaration cannot be bound.
struct Misfit(Vec<Diagnostic>);

impl From<Diagnostic> for Misfit {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl Binder<'_> {
    fn bind(&mut self) -> Binding {
        let bound = match &self.declared.what {
            What::Query(query) => self.query(query).map(Binding::Query),
            What::Subscribe(subscribe) => self.subscribe(subscribe).map(Binding::Subscribe),
            What::Mutate(mutate) => self.mutate(mutate).map(Binding::Mutate),
            What::Nothing(reason) => return Binding::Unbound(reason.clone()),
        };
        let Misfit(why) = match bound {
            Ok(binding) => return binding,
            Err(misfit) => misfit,
        };
        let reason = why
            .first()
            .map(|diagnostic| diagnostic.message.clone())
            .unwrap_or_default();
        let is_guess = self.declared.origin == Origin::Convention;
        self.diagnostics
            .extend(why.into_iter().map(|diagnostic| Diagnostic {
                severity: if is_guess {
                    Severity::Warning
                } else {
                    diagnostic.severity
                },
                message: match is_guess {
                    true => format!(
                        "{} does nothing: {}",
                        rpc_path(&self.declared.method),
                        diagnostic.message
                    ),
                    false => diagnostic.message,
                },
                ..diagnostic
            }));
        Binding::Unbound(reason)
    }

    fn relation(&self, name: &str) -> Result<Arc<Relation>, Misfit> {
        let found = self.relations.resolve(name, &self.scope.schema);
        found.cloned().map_err(|_| {
            let message = format!("there is no table or view {name}");
            let advice =
                "create it in migrations/, or make a message the table with option (viewfeed.v1.table)";
            self.error(message, advice)
        })
    }

    /// An error at the place of the declaration.
    fn error(&self, message: impl Into<String>, advice: impl Into<String>) -> Misfit {
        self.declared.place.error(message, advice).into()
    }

    /// The errors of fields that do not fit their columns, with the place of each field.
    fn mismatches(&self, relation: &str, mismatches: Vec<Mismatch>) -> Misfit {
        let explain = |mismatch: Mismatch| {
            let message = format!(
                "{}, in {relation} for {}",
                mismatch.message,
                rpc_path(&self.declared.method)
            );
            self.scope
                .field_place(&mismatch.field)
                .error(message, mismatch.advice)
        };
        Misfit(mismatches.into_iter().map(explain).collect())
    }

    fn failed(&self, error: &Error) -> Misfit {
        self.error(
            error.message().to_owned(),
            error.advice().unwrap_or_default().to_owned(),
        )
    }

    /// Tells which fields of a request nobody reads.
    fn tell_unused(&mut self, request: &MessageDescriptor, used: &[String]) {
        for field in request.fields() {
            if !crate::structure::is_control(&field) && !used.iter().any(|name| name == field.name()) {
                let message = format!(
                    "{} does not use field {}",
                    rpc_path(&self.declared.method),
                    field.name()
                );
                let advice = "rows are filtered only by the fields of the filter that `viewfeed check` shows";
                self.diagnostics
                    .push(self.scope.field_place(&field).note(message, advice));
            }
        }
    }
}
