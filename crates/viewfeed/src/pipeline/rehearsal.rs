//! The loop without a server, over a database that is thrown away: what `viewfeed check` runs modules in.

use super::{Failures, Pipeline, catalog, job::Job};
use crate::clock::SystemClock;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use viewfeed_catalog::{CompiledModule, Diagnostic, Module, ModuleState, Modules};
use viewfeed_change::{Clock, Error, Result};
use viewfeed_feed::{Feed, FeedOptions};
use viewfeed_query::Planner;
use viewfeed_store::{Durability, Options, Store};

/// A pipeline that is driven by hand.
pub(crate) struct Rehearsal {
    pipeline: Pipeline,
    modules: watch::Sender<Arc<Modules>>,
    // Removed when this is dropped, after the pipeline.
    _data: tempfile::TempDir,
}

impl Rehearsal {
    /// An empty database.
    pub(crate) fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let clock = Arc::new(SystemClock);
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 1000 },
            ..Options::default()
        };
        let store = Store::open(data.path(), options)?;
        let feed = Feed::new(
            store.clone(),
            Arc::new(catalog(&store.reader())?),
            FeedOptions::default(),
        );
        let (modules, _) = watch::channel(Arc::new(Modules::default()));
        let pipeline = Pipeline::open(
            store,
            Planner::new()?,
            feed,
            modules.clone(),
            clock,
            Failures::default(),
            watch::channel(false).0,
        )?;
        Ok(Self {
            pipeline,
            modules,
            _data: data,
        })
    }

    /// Applies a module; later ones see its relations.
    pub(crate) fn module(&mut self, compiled: CompiledModule) -> Result<Arc<Module>, Vec<Diagnostic>> {
        let name = compiled.name.clone();
        let broken = |error: Error| vec![super::module::refusal(&name, None, &error)];
        let (reply, mut answer) = oneshot::channel();
        self.pipeline
            .turn(
                vec![Job::Module {
                    compiled: Box::new(compiled),
                    reply,
                }],
                &|| false,
            )
            .map_err(broken)?;
        let module = answer
            .try_recv()
            .map_err(|_| broken(Error::internal("the loop gave no answer")))??;
        let state = ModuleState {
            live: Some(module.clone()),
            refused: Vec::new(),
            changed_at: SystemClock.now(),
        };
        let old = self.modules.borrow().clone();
        self.modules.send_replace(Arc::new(old.with(&name, Some(state))?));
        Ok(module)
    }
}
