//! The sources that run: started with the program, and by the statements that make, change and drop them.
//!
//! Owns which task belongs to which source. What a source does is its own business, what is stored the loop's.

use crate::pipeline::{Committed, Job, SourceJob};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use uuid::Uuid;
use viewfeed_change::{Clock, Error, ErrorKind, Result};
use viewfeed_source::postgres::stored::{Phase, StoredTable};
use viewfeed_source::postgres::{
    self, Applied, Connector, CopyEstimate, CopyOptions, Finding, Loop, Lsn, RunningSource, Settings,
    Severity, Source, SourceState, SourceStatus, Work, stored,
};
use viewfeed_store::Store;

/// How long a client waits for a position.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long CREATE SOURCE waits for the first connection.
const STREAMING_WAIT_MAX: Duration = Duration::from_secs(30);
/// Where large transactions are kept until they are whole, in the data folder.
const SPOOL: &str = "spool";

/// Every source. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    jobs: mpsc::Sender<Job>,
    clock: Arc<dyn Clock>,
    spool: PathBuf,
    /// Held by the statement that makes, changes or drops a source: one at a time, however long its server takes.
    changing: Mutex<()>,
    /// Held for moments only: who looks at sources does not wait for who changes them.
    running: Mutex<BTreeMap<String, RunningSource>>,
}

/// A source as it is shown.
pub(crate) struct ShownSource {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    /// Its tables.
    pub(crate) tables: Vec<StoredTable>,
    /// None if it does not run: the server is stopping.
    pub(crate) status: Option<SourceStatus>,
}

impl ShownSource {
    /// What it is doing, in one word.
    pub(crate) fn state(&self) -> &'static str {
        match self.status.as_ref().map(|status| status.state) {
            Some(SourceState::Connecting) => "connecting",
            Some(SourceState::Streaming) => "streaming",
            Some(SourceState::Waiting) => "waiting",
            Some(SourceState::Stopped) | None => "stopped",
        }
    }

    /// How far the copy is that it is making.
    pub(crate) fn copy(&self) -> Option<CopyEstimate> {
        let copy = self.status.as_ref()?.copy.as_ref()?;
        Some(copy.estimate())
    }

    /// What is wrong with it or with its tables, in one line; empty if nothing is.
    pub(crate) fn detail(&self) -> String {
        let problem = self.status.as_ref().and_then(|status| status.problem.as_ref());
        if let Some(problem) = problem {
            return problem.to_string();
        }
        let is_broken = |table: &&StoredTable| matches!(table.phase, Phase::Broken { .. });
        let broken: Vec<&str> = self
            .tables
            .iter()
            .filter(is_broken)
            .map(|table| table.shape.name.as_str())
            .collect();
        match broken.is_empty() {
            true => String::new(),
            false => format!("cannot follow {}: see viewfeed.source_tables", broken.join(", ")),
        }
    }
}

impl Sources {
    /// None runs yet.
    pub(crate) fn new(
        store: Store,
        jobs: mpsc::Sender<Job>,
        clock: Arc<dyn Clock>,
        data: &std::path::Path,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                jobs,
                clock,
                spool: data.join(SPOOL),
                changing: Mutex::default(),
                running: Mutex::default(),
            }),
        }
    }

    /// Starts the sources that are stored, and those of the settings file, which are stored first.
    pub(crate) async fn start(&self, configured: Vec<(String, Settings)>) -> Result<()> {
        for (name, settings) in configured {
            if stored::settings(&self.inner.store.reader(), &name)?.as_ref() != Some(&settings) {
                self.put(&name, settings).await?;
            }
        }
        let mut running = self.inner.running.lock().await;
        for (name, settings) in stored::sources(&self.inner.store.reader())? {
            let source = self.inner.run(&name, settings);
            running.insert(name, source);
        }
        Ok(())
    }

    /// Ends all of them.
    pub(crate) async fn stop(&self) {
        let running = std::mem::take(&mut *self.inner.running.lock().await);
        for source in running.into_values() {
            source.stop().await;
        }
    }

    /// Makes a source, after its server was found to be ready for it. Gives what the user should know.
    pub(crate) async fn create(&self, name: &str, settings: Settings) -> Result<(Committed, Vec<String>)> {
        let _changing = self.inner.changing.lock().await;
        if stored::settings(&self.inner.store.reader(), name)?.is_some() {
            let message = format!("source \"{name}\" exists already");
            return Err(Error::new(ErrorKind::Exists, "SOURCE_EXISTS", message)
                .hint("drop it first, change it with ALTER SOURCE, or use IF NOT EXISTS"));
        }
        let mut notices = check(name, &settings).await?;
        let committed = self.put(name, settings.clone()).await?;
        notices.extend(self.run(name, settings).await);
        Ok((committed, notices))
    }

    /// Changes the settings of a source, which begins anew with them where it was.
    pub(crate) async fn set(
        &self,
        name: &str,
        options: &[(String, String)],
    ) -> Result<(Committed, Vec<String>)> {
        let _changing = self.inner.changing.lock().await;
        let settings = self.settings(name)?.with_options(name, options)?;
        let mut notices = check(name, &settings).await?;
        self.stop_one(name).await;
        let committed = self.put(name, settings.clone()).await;
        let settings = self.settings(name).unwrap_or(settings);
        notices.extend(self.run(name, settings).await);
        Ok((committed?, notices))
    }

    /// Copies a table again, or all of them.
    pub(crate) async fn again(&self, name: &str, table: Option<String>) -> Result<()> {
        let again = {
            let running = self.inner.running.lock().await;
            running.get(name).ok_or_else(|| unknown(name))?.again(table)
        };
        again.await
    }

    /// Waits until everything that was committed at the server before `until` is visible here. Without that, everything until now,
    /// and until no table is being copied any more.
    pub(crate) async fn wait(&self, name: &str, until: Option<&str>) -> Result<()> {
        let until: Option<Lsn> = until.map(str::parse).transpose()?;
        let is_enough = match until {
            Some(_) => SourceStatus::has_reached,
            None => SourceStatus::is_complete,
        };
        let (asked, mut status) = {
            let running = self.inner.running.lock().await;
            let source = running.get(name).ok_or_else(|| unknown(name))?;
            (source.reach(until), source.watch())
        };
        let reached = async {
            let until = asked.await?;
            let reached = status.wait_for(|status| is_enough(status, until)).await;
            reached.map(drop).map_err(|_| unknown(name))
        };
        match tokio::time::timeout(WAIT_MAX, reached).await {
            Ok(reached) => reached,
            Err(_) => {
                let message = format!(
                    "source \"{name}\" did not get there within {} s",
                    WAIT_MAX.as_secs()
                );
                Err(
                    Error::new(ErrorKind::Unavailable, "POSITION_NOT_REACHED", message)
                        .hint("SHOW SOURCES shows how far it is, and what holds it"),
                )
            }
        }
    }

    /// Drops a source with its tables, its slot, and its publication if the source made it.
    pub(crate) async fn drop_source(&self, name: &str) -> Result<(Committed, Vec<String>)> {
        let _changing = self.inner.changing.lock().await;
        let settings = self.settings(name)?;
        self.stop_one(name).await;
        match self.ask(name, SourceJob::Drop).await {
            Ok((_, committed)) => {
                let left = clean_up(name, &settings).await.err();
                let notice = |error: Error| {
                    format!(
                        "the slot \"{}\" or the publication could not be dropped at the server, which will keep its log for it: {error}",
                        settings.slot
                    )
                };
                Ok((committed, left.map(notice).into_iter().collect()))
            }
            Err(error) => {
                self.run(name, settings).await;
                Err(error)
            }
        }
    }

    /// Starts a source, and waits until it has its tables; gives what is in the way, if it has not.
    async fn run(&self, name: &str, settings: Settings) -> Option<String> {
        let source = self.inner.run(name, settings);
        let status = source.watch();
        self.inner.running.lock().await.insert(name.to_owned(), source);
        until_streaming(status).await
    }

    async fn stop_one(&self, name: &str) {
        let source = self.inner.running.lock().await.remove(name);
        if let Some(source) = source {
            source.stop().await;
        }
    }

    /// The stored settings of a source.
    pub(crate) fn settings(&self, name: &str) -> Result<Settings> {
        stored::settings(&self.inner.store.reader(), name)?.ok_or_else(|| unknown(name))
    }

    /// Every source, to be shown.
    pub(crate) async fn shown(&self) -> Result<Vec<ShownSource>> {
        let running = self.inner.running.lock().await;
        let reader = self.inner.store.reader();
        let mut shown = Vec::new();
        for (name, settings) in stored::sources(&reader)? {
            shown.push(ShownSource {
                status: running.get(&name).map(RunningSource::status),
                tables: stored::tables(&reader, &name)?,
                name,
                settings,
            });
        }
        Ok(shown)
    }

    async fn put(&self, name: &str, settings: Settings) -> Result<Committed> {
        let (_, committed) = self.ask(name, SourceJob::Put(Box::new(settings))).await?;
        Ok(committed)
    }

    async fn ask(&self, name: &str, job: SourceJob) -> Result<(Applied, Committed)> {
        ask(&self.inner.jobs, name, job).await
    }
}

impl Inner {
    fn run(&self, name: &str, settings: Settings) -> RunningSource {
        let source = Source {
            name: name.to_owned(),
            settings,
            target: ToLoop {
                source: name.to_owned(),
                jobs: self.jobs.clone(),
            },
            store: self.store.clone(),
            spool: self.spool.join(name),
            copying: CopyOptions::default(),
            clock: self.clock.clone(),
            chance,
        };
        source.start()
    }
}

/// The loop, as a source sees it.
struct ToLoop {
    source: String,
    jobs: mpsc::Sender<Job>,
}

impl Loop for ToLoop {
    async fn apply(&self, work: Work) -> Result<Applied> {
        let (applied, _) = ask(&self.jobs, &self.source, SourceJob::Work(work)).await?;
        Ok(applied)
    }
}

async fn ask(jobs: &mpsc::Sender<Job>, source: &str, job: SourceJob) -> Result<(Applied, Committed)> {
    let (reply, answer) = oneshot::channel();
    let source = source.to_owned();
    let sent = jobs.send(Job::Source { source, job, reply }).await;
    sent.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}

/// Fails if the server is not ready for the source; gives what else the user should know.
async fn check(name: &str, settings: &Settings) -> Result<Vec<String>> {
    let session = Connector::new(settings)?.sql("viewfeed").await?;
    let findings = postgres::check(session.client(), name, settings).await?;
    let of = |severity| {
        findings
            .iter()
            .filter(move |finding| finding.severity == severity)
    };
    let errors: Vec<String> = of(Severity::Error).map(said).collect();
    match errors.is_empty() {
        true => Ok(of(Severity::Warning).map(said).collect()),
        false => {
            let message = format!(
                "the server is not ready for source \"{name}\":\n{}",
                errors.join("\n")
            );
            Err(Error::new(ErrorKind::Precondition, "SOURCE_NOT_READY", message)
                .hint("viewfeed doctor shows everything that it looks at"))
        }
    }
}

/// Waits until a new source has its tables, so that views can be made over them; else gives what is in the way.
async fn until_streaming(mut status: watch::Receiver<SourceStatus>) -> Option<String> {
    let settled = status.wait_for(|status| status.connections > 0 || status.problem.is_some());
    match tokio::time::timeout(STREAMING_WAIT_MAX, settled).await {
        Ok(Ok(status)) => {
            let problem = status.problem.as_ref()?;
            Some(format!("the source was made, and tries again: {problem}"))
        }
        Ok(Err(_)) => Some("the source was stopped".to_owned()),
        Err(_) => Some("the source was made, and is still connecting; SHOW SOURCES shows it".to_owned()),
    }
}

/// A finding in a line or two.
fn said(finding: &Finding) -> String {
    match &finding.run {
        Some(run) => format!("{}: {}; run: {run}", finding.what, finding.why),
        None => format!("{}: {}", finding.what, finding.why),
    }
}

/// Removes what a dropped source left at its server.
async fn clean_up(name: &str, settings: &Settings) -> Result<()> {
    let session = Connector::new(settings)?.sql("viewfeed").await?;
    postgres::drop_slot(session.client(), settings).await?;
    postgres::drop_publication(session.client(), name, settings).await?;
    Ok(())
}

/// A number from 0 to 1, another one each time.
fn chance() -> f64 {
    (Uuid::new_v4().as_u64_pair().0 >> 11) as f64 / (1u64 << 53) as f64
}

fn unknown(name: &str) -> Error {
    Error::not_found("UNKNOWN_SOURCE", format!("source \"{name}\" does not exist"))
        .hint("SHOW SOURCES lists those that do")
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "STOPPING", "the server is stopping").hint("retry when it is up again")
}
