//! The only loop: where sources, engine, store and feed meet. It calls; deciding is done in the files below it.
//!
//! ```text
//! gather what waits ─► apply it to a transaction ─► step the views ─► commit ─► publish ─► answer
//! ```
//!
//! One epoch per turn. While a commit waits for the disk, jobs queue up; the next turn takes all of them, so that
//! one fsync serves many transactions (group commit).

mod epoch;
mod failures;
mod filling;
mod job;
mod module;
mod recover;
mod rehearsal;
mod replace;
mod served;
mod source;
mod statement;
mod transaction;
mod view;

pub(crate) use epoch::StatementAnswer;
pub(crate) use failures::Failures;
pub(crate) use job::{Committed, Job, Jobs, Shadow, SourceJob, Write, queue};
pub(crate) use recover::{catalog, prepare};
pub(crate) use rehearsal::Rehearsal;
pub(crate) use statement::only_writes_rows;

use epoch::{OpenEpoch, changed_in};
use filling::Filling;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use viewfeed_catalog::Modules;
use viewfeed_change::{Clock, Epoch, Error, Relation, RelationId, Relations, Result};
use viewfeed_engine::{Engine, StepInput, view_errors_relation};
use viewfeed_feed::{Feed, Published, reason};
use viewfeed_query::Planner;
use viewfeed_source::embedded::Embedded;
use viewfeed_store::{Store, view_errors};

/// Everything the loop calls. Lives on a thread of its own, because a step computes and a commit waits for the disk.
pub(crate) struct Pipeline {
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) embedded: Embedded,
    pub(crate) planner: Planner,
    pub(crate) feed: Feed,
    pub(crate) modules: watch::Sender<Arc<Modules>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) failures: Failures,
    /// Whether the loop must be told every second that time has passed.
    pub(crate) follows_clock: watch::Sender<bool>,
    pub(crate) relations: Arc<Relations>,
    pub(crate) filling: Filling,
    /// When each relation was last changed, since the program started: what optimistic sessions are checked against.
    pub(crate) last_changed: BTreeMap<RelationId, Epoch>,
}

impl Pipeline {
    /// Opens the engine over what the store holds.
    pub(crate) fn open(
        store: Store,
        planner: Planner,
        feed: Feed,
        modules: watch::Sender<Arc<Modules>>,
        clock: Arc<dyn Clock>,
        failures: Failures,
        follows_clock: watch::Sender<bool>,
    ) -> Result<Self> {
        let relations = feed.relations();
        let mut txn = store.begin()?;
        let now = clock.now();
        let mut engine = Engine::open(planner.clone(), &relations, now, &mut txn)?;
        let started = Instant::now();
        engine.measure_with(move || started.elapsed());
        let mut pipeline = Self {
            store,
            engine,
            embedded: Embedded::new(planner.clone()),
            planner,
            feed,
            modules,
            clock,
            failures,
            follows_clock,
            relations,
            filling: Filling::default(),
            last_changed: BTreeMap::new(),
        };
        // Views whose state had to be filled anew are stored before anybody reads them.
        let mut epoch = OpenEpoch::new(txn, pipeline.relations.clone(), now);
        epoch.view_deltas = pipeline.engine.take_opening_deltas();
        if epoch.is_changed() {
            pipeline.commit_changes(epoch)?;
        }
        pipeline.failures.refresh(&pipeline.engine, &pipeline.relations);
        pipeline.watch_clock();
        Ok(pipeline)
    }

    /// Runs until every sender of jobs is gone.
    pub(crate) fn run(mut self, mut jobs: Jobs) {
        while let Some(gathered) = jobs.gather(self.engine.is_filling()) {
            if let Err(error) = self.turn(gathered, &|| jobs.is_waiting()) {
                tracing::error!(%error, "an epoch could not be opened");
            }
        }
        if let Err(error) = self.store.checkpoint() {
            tracing::warn!(%error, "the last checkpoint failed; the next start replays the log");
        }
    }

    /// One epoch. `is_waited_for` says whether more jobs wait for the next one.
    fn turn(&mut self, jobs: Vec<Job>, is_waited_for: &dyn Fn() -> bool) -> Result<()> {
        let mut epoch = OpenEpoch::new(self.store.begin()?, self.relations.clone(), self.clock.now());
        self.engine.set_time(epoch.now);
        for job in jobs {
            self.apply(job, &mut epoch);
        }
        if epoch.is_broken {
            drop(epoch);
            self.reload();
            return Ok(());
        }
        self.step(&mut epoch);
        if let Err(error) = self.fill(&mut epoch, is_waited_for) {
            self.give_up(epoch, &error);
            return Ok(());
        }
        self.commit(epoch);
        self.watch_clock();
        Ok(())
    }

    /// Drops an epoch for a fault that is none of its jobs'.
    fn give_up(&mut self, mut epoch: OpenEpoch, error: &Error) {
        tracing::error!(%error, "an epoch was dropped");
        let begun = std::mem::take(&mut epoch.begun)
            .into_iter()
            .map(|(_, answer)| answer);
        let answers: Vec<_> = std::mem::take(&mut epoch.answers)
            .into_iter()
            .chain(begun)
            .collect();
        drop(epoch);
        self.reload();
        answers.into_iter().for_each(|answer| answer(Err(error.clone())));
    }

    /// Brings the views up to the table changes applied so far.
    fn step(&mut self, epoch: &mut OpenEpoch) {
        if epoch.pending.is_empty() && !epoch.has_ticked {
            return;
        }
        let input = StepInput {
            deltas: std::mem::take(&mut epoch.pending),
            now: epoch.now,
        };
        let output = self.engine.step(&input, &epoch.relations, &mut epoch.txn);
        if !output.failed.is_empty() {
            self.failures.refresh(&self.engine, &epoch.relations);
        }
        for (view, error) in output.failed {
            tracing::error!(view = view.0, %error, "the view failed and keeps its last state");
            epoch.filled.push((view, Some(error)));
        }
        epoch.view_deltas.extend(output.deltas);
    }

    /// Moves what an epoch has so far out of memory, if that is much. On failure the epoch must be dropped.
    fn write_if_full(&mut self, epoch: &mut OpenEpoch) -> Result<()> {
        if epoch.memory_bytes() <= self.store.part_bytes() {
            return Ok(());
        }
        let record = epoch.record()?;
        self.store.write_part(&mut epoch.txn, &record)?;
        self.feed.stage(epoch.txn.epoch(), &record);
        epoch.note_written(&record);
        Ok(())
    }

    /// Makes the epoch durable and visible, then answers. An epoch that changed nothing is not committed.
    fn commit(&mut self, mut epoch: OpenEpoch) {
        let answers = std::mem::take(&mut epoch.answers);
        let (begun, filled) = (
            std::mem::take(&mut epoch.begun),
            std::mem::take(&mut epoch.filled),
        );
        let changed_relations = !Arc::ptr_eq(&epoch.relations, &self.relations);
        let committed = if changed_relations || epoch.is_changed() {
            self.commit_changes(epoch)
        } else {
            Ok(Committed {
                version: self.store.epoch(),
                commit_time: epoch.now,
            })
        };
        match &committed {
            Ok(committed) => self.filling.settle(begun, filled, *committed),
            Err(error) => {
                tracing::error!(%error, "an epoch was not committed");
                // Views may have come, gone, failed or got on in the epoch that is discarded.
                self.reload();
                begun
                    .into_iter()
                    .for_each(|(_, answer)| answer(Err(error.clone())));
            }
        }
        answers.into_iter().for_each(|answer| answer(committed.clone()));
    }

    fn commit_changes(&mut self, mut epoch: OpenEpoch) -> Result<Committed> {
        epoch.view_deltas.extend(self.engine.take_error_deltas());
        recover::store_relations(&mut epoch.txn, &self.relations, &epoch.relations)?;
        let record = epoch.record()?;
        let written = epoch.take_written();
        let is_large = written.is_some();
        let started = Instant::now();
        let version = self.store.commit(epoch.txn, &record)?;
        self.filling.took(started.elapsed());
        self.relations = epoch.relations;
        let changed: BTreeSet<RelationId> =
            written.into_iter().flatten().chain(changed_in(&record)).collect();
        self.end_feeds_of_strict_views(&changed);
        self.last_changed
            .extend(changed.into_iter().map(|relation| (relation, version)));
        self.feed.publish(Published {
            epoch: version,
            commit_time: record.commit_time,
            relations: self.relations.clone(),
            transactions: record.transactions,
            deltas: record.deltas,
            is_large,
        });
        Ok(Committed {
            version,
            commit_time: record.commit_time,
        })
    }

    /// Ends the feeds of strict views that leave out rows since this epoch, before they are told of it.
    fn end_feeds_of_strict_views(&self, changed: &BTreeSet<RelationId>) {
        if !changed.contains(&view_errors_relation().id) {
            return;
        }
        let reader = self.store.reader();
        let is_refused = |relation: &Relation| view_errors::refuse(&reader, relation).is_err();
        let refused = self.relations.iter().filter(|relation| is_refused(relation));
        let refused: BTreeSet<RelationId> = refused.map(|relation| relation.id).collect();
        self.feed
            .close(reason::VIEW_ERRORS, |relation| refused.contains(&relation.id));
    }

    /// Says whether time must be told.
    fn watch_clock(&self) {
        let follows = self.engine.follows_clock();
        self.follows_clock
            .send_if_modified(|told| std::mem::replace(told, follows) != follows);
    }

    /// Forgets what a discarded transaction did to the engine, and what feeds were given of it.
    fn reload(&mut self) {
        self.feed.forget_staged();
        let reloaded = self
            .store
            .begin()
            .and_then(|mut txn| self.engine.reload(&self.relations, &mut txn));
        if let Err(error) = reloaded {
            tracing::error!(%error, "the engine could not go back to the state before a failed change");
        }
    }
}
