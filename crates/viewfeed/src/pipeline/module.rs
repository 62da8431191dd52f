//! A module coming or changing: its tables, its migrations, its bindings, in one epoch or not at all.

use super::Pipeline;
use super::epoch::OpenEpoch;
use super::recover::{from_json, to_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::oneshot;
use viewfeed_catalog::{Binding, CompiledModule, Diagnostic, Migration, Module, ModuleState, Severity};
use viewfeed_change::{Error, RelationName, Result};
use viewfeed_query::parse;
use viewfeed_source::embedded::{Context, Embedded};
use viewfeed_store::{arrange, keys};

/// A migration that has been applied.
#[derive(Serialize, Deserialize)]
struct Applied {
    name: String,
    checksum: String,
}

type Outcome<T> = Result<T, Vec<Diagnostic>>;

impl Pipeline {
    /// Applies a module and answers when the epoch is committed. On failure the epoch is dropped.
    pub(super) fn module(
        &mut self,
        compiled: CompiledModule,
        reply: oneshot::Sender<Outcome<Arc<Module>>>,
        epoch: &mut OpenEpoch,
    ) {
        match self.apply_module(&compiled, epoch) {
            Ok(module) => {
                let name = compiled.name;
                epoch.answers.push(Box::new(move |committed| {
                    let failed = |error: Error| vec![refusal(&name, None, &error)];
                    let _ = reply.send(committed.map(|_| module).map_err(failed));
                }));
            }
            Err(diagnostics) => {
                epoch.is_broken = true;
                let _ = reply.send(Err(diagnostics));
            }
        }
    }

    fn apply_module(&mut self, compiled: &CompiledModule, epoch: &mut OpenEpoch) -> Outcome<Arc<Module>> {
        let here = |error: Error| vec![refusal(&compiled.name, None, &error)];
        self.module_tables(compiled, epoch)?;
        self.module_migrations(compiled, epoch)?;
        self.flush(epoch);
        let module =
            Arc::new(compiled.bind(&epoch.relations, &|select| self.plans(select, &epoch.relations))?);
        for rpc in &module.rpcs {
            let Binding::Subscribe(subscribe) = &rpc.binding else {
                continue;
            };
            if !subscribe.filter.is_empty() {
                arrange::ensure(&mut epoch.txn, &subscribe.relation, &subscribe.filter).map_err(here)?;
            }
        }
        let state = ModuleState {
            live: Some(module.clone()),
            refused: Vec::new(),
            changed_at: epoch.now,
        };
        self.modules.borrow().with(&compiled.name, Some(state))?;
        Ok(module)
    }

    fn module_tables(&mut self, compiled: &CompiledModule, epoch: &mut OpenEpoch) -> Outcome<()> {
        for wanted in &compiled.tables {
            let refused = |error: Error| vec![refusal(&wanted.name.to_string(), None, &error)];
            let existing = epoch.relations.named(&wanted.name).cloned();
            let before = epoch.relations.clone();
            match existing {
                None => {
                    let table = wanted.clone();
                    self.in_context(&compiled.schema, epoch, |embedded, context| {
                        embedded.create_table(table, context)
                    })
                    .map_err(refused)?;
                }
                Some(existing) => {
                    let added = compiled.evolve(&existing, wanted)?;
                    if added.is_empty() {
                        continue;
                    }
                    self.in_context(&compiled.schema, epoch, |embedded, context| {
                        embedded.add_columns(existing.id, added, context)
                    })
                    .map_err(refused)?;
                }
            }
            self.follow_tables(&before, epoch).map_err(refused)?;
        }
        Ok(())
    }

    fn in_context<T>(
        &self,
        search_schema: &str,
        epoch: &mut OpenEpoch,
        work: impl FnOnce(&Embedded, &mut Context<'_>) -> Result<T>,
    ) -> Result<T> {
        let (mut changes, mut touched) = (Vec::new(), BTreeSet::new());
        let mut context = Context {
            txn: &mut epoch.txn,
            relations: &mut epoch.relations,
            search_schema,
            now: epoch.now,
            changes: &mut changes,
            touched: &mut touched,
        };
        work(&self.embedded, &mut context)
    }

    fn module_migrations(&mut self, compiled: &CompiledModule, epoch: &mut OpenEpoch) -> Outcome<()> {
        let key = keys::catalog(&format!("migrations/{}", compiled.name));
        let here = |error: Error| vec![refusal("migrations", None, &error)];
        let stored = epoch.txn.get(&key).map_err(here)?;
        let mut applied: Vec<Applied> = stored
            .as_deref()
            .map(from_json)
            .transpose()
            .map_err(here)?
            .unwrap_or_default();
        check_applied(&compiled.migrations, &applied)?;
        let new = &compiled.migrations[applied.len()..];
        if new.is_empty() {
            return Ok(());
        }
        for migration in new {
            self.migrate(migration, &compiled.schema, epoch)?;
            applied.push(Applied {
                name: migration.name.clone(),
                checksum: hex(&migration.checksum),
            });
        }
        epoch.txn.put(key, to_json(&applied).map_err(here)?);
        Ok(())
    }

    fn migrate(&mut self, migration: &Migration, schema: &str, epoch: &mut OpenEpoch) -> Outcome<()> {
        let file = format!("migrations/{}", migration.name);
        let schema = if schema.is_empty() {
            RelationName::PUBLIC
        } else {
            schema
        };
        let statements = parse(&migration.sql).map_err(|error| vec![refusal(&file, None, &error)])?;
        for statement in &statements {
            self.exclusive_script(std::slice::from_ref(statement), schema, epoch)
                .map_err(|error| vec![refusal(&file, Some(statement.line), &error)])?;
        }
        Ok(())
    }
}

/// Fails unless `applied` is how `migrations` begin.
fn check_applied(migrations: &[Migration], applied: &[Applied]) -> Outcome<()> {
    let mut wrong = Vec::new();
    for (place, done) in applied.iter().enumerate() {
        let file = format!("migrations/{}", done.name);
        match migrations.get(place) {
            Some(now) if now.name == done.name && hex(&now.checksum) == done.checksum => {}
            Some(now) if now.name == done.name => wrong.push(complaint(
                file,
                "this migration was changed after it had been applied",
                "put it back as it was and write the change as a new migration with a higher number",
            )),
            _ => wrong.push(complaint(
                file,
                "this migration was applied but is gone, or another one was put before it",
                "put it back; new migrations need a higher number than all applied ones",
            )),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn complaint(file: String, message: &str, advice: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file,
        line: None,
        message: message.into(),
        advice: advice.into(),
    }
}

/// An error as the refusal of a module.
pub(crate) fn refusal(file: &str, line: Option<usize>, error: &Error) -> Diagnostic {
    let advice = error.advice().unwrap_or_default().to_owned();
    let full = error.to_string();
    let message = full
        .strip_suffix(&format!(" ({advice})"))
        .unwrap_or(&full)
        .to_owned();
    Diagnostic {
        severity: Severity::Error,
        file: file.to_owned(),
        line,
        message,
        advice,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
