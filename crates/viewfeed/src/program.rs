//! The server from start to end: opens the parts in order, joins them, and takes them down in the opposite order.

use crate::clock::SystemClock;
use crate::config::Config;
use crate::gateway;
use crate::modules::ModuleWatcher;
use crate::pipeline::{self, Failures, Job, Pipeline};
use crate::session::Sessions;
use crate::sources::Sources;
use crate::status::StatusSource;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use viewfeed_catalog::Modules;
use viewfeed_change::{Clock, Error, Result};
use viewfeed_feed::{Feed, FeedOptions};
use viewfeed_query::{Planner, sql_type};
use viewfeed_server::{Server, ServerOptions};
use viewfeed_source::embedded::Embedded;
use viewfeed_store::Store;

/// How long open calls may take to end after the feeds have said BYE.
const GRACE: Duration = Duration::from_secs(5);
/// How often a quiet feed says PROGRESS.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How far views over `now()` stand behind the clock.
const TICK: Duration = Duration::from_secs(1);
/// Commands of the server that may wait for the gateway.
const COMMANDS_MAX: usize = 1024;
/// Memory of all ad-hoc queries together, for sorts, joins and aggregates.
const QUERY_BYTES_MAX: usize = 2 << 30;
/// Rows of a client stream that is one transaction.
const STREAM_ROWS_MAX: usize = 100_000;

/// The parts below the port, opened and joined.
struct Opened {
    store: Store,
    feed: Feed,
    planner: Planner,
    modules: watch::Sender<Arc<Modules>>,
    failures: Failures,
    follows_clock: watch::Sender<bool>,
    clock: Arc<dyn Clock>,
    jobs: mpsc::Sender<Job>,
    loop_thread: thread::JoinHandle<()>,
}

/// Serves until `stop` resolves. `ready` is called with the address once the server answers.
pub(crate) async fn serve(
    config: Config,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let started = Instant::now();
    // The port first: a second server on it should not touch the data.
    let server = Server::bind(ServerOptions {
        listen: config.listen,
        message_bytes_max: config.message_bytes_max,
        heartbeat: HEARTBEAT,
        stream_rows_max: STREAM_ROWS_MAX,
        origins: config.origins.clone(),
        sql_type,
    })
    .await?;
    let opened = open(&config).await?;
    let mut watcher = ModuleWatcher::start(
        &config.modules,
        opened.jobs.clone(),
        opened.modules.clone(),
        opened.clock.clone(),
    )?;
    watcher.sync().await?;
    let watching = tokio::spawn(watcher.run());
    let ticking = tokio::spawn(tick(opened.follows_clock.subscribe(), opened.jobs.clone()));
    let sources = Sources::new(
        opened.store.clone(),
        opened.jobs.clone(),
        opened.clock.clone(),
        &config.data,
    );
    sources.start(config.sources.clone()).await?;
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let status = status_source(&config, &opened, started);
    let answering = tokio::spawn(gateway::run(received, sessions(&opened, &sources)?, status));

    ready(server.address());
    let draining = opened.feed.clone();
    let stopping = async move {
        stop.await;
        draining.drain();
    };
    let served = server
        .run(opened.feed, opened.modules.subscribe(), commands, stopping, GRACE)
        .await;
    watching.abort();
    ticking.abort();
    sources.stop().await;
    drop(sources);
    drop(opened.jobs);
    // The gateway ends with the server's senders, the loop with the gateway's and the watcher's.
    let asking = answering.abort_handle();
    let _ = tokio::time::timeout(GRACE, answering).await;
    // Who still waits, for a big view to be complete, keeps the loop from ending.
    asking.abort();
    match tokio::task::spawn_blocking(move || opened.loop_thread.join()).await {
        Ok(Ok(())) => served,
        _ => Err(Error::internal("the loop stopped with a panic")),
    }
}

async fn open(config: &Config) -> Result<Opened> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_store(config).await?;
    let feed = open_feed(&store, clock.as_ref())?;
    let planner = Planner::new()?;
    let (modules, _) = watch::channel(Arc::new(Modules::default()));
    let failures = Failures::default();
    let (follows_clock, _) = watch::channel(false);
    let (jobs, queue) = pipeline::queue();
    let open_pipeline = {
        let (store, planner, feed) = (store.clone(), planner.clone(), feed.clone());
        let (modules, clock, failures) = (modules.clone(), clock.clone(), failures.clone());
        let follows_clock = follows_clock.clone();
        move || Pipeline::open(store, planner, feed, modules, clock, failures, follows_clock)
    };
    let loop_thread = start_loop(open_pipeline, queue).await?;
    Ok(Opened {
        store,
        feed,
        planner,
        modules,
        failures,
        follows_clock,
        clock,
        jobs,
        loop_thread,
    })
}

/// Tells the loop that time passes, as long as a view follows the clock.
async fn tick(mut follows_clock: watch::Receiver<bool>, jobs: mpsc::Sender<Job>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while follows_clock.wait_for(|follows| *follows).await.is_ok() {
        ticks.tick().await;
        if jobs.send(Job::Tick).await.is_err() {
            return;
        }
    }
}

/// Reads beside the loop have a limit of memory of their own; the loop's have none, because it must go on.
fn sessions(opened: &Opened, sources: &Sources) -> Result<Sessions> {
    Ok(Sessions {
        store: opened.store.clone(),
        embedded: Embedded::new(opened.planner.clone()),
        planner: Planner::with_memory_max(QUERY_BYTES_MAX)?,
        feed: opened.feed.clone(),
        jobs: opened.jobs.clone(),
        clock: opened.clock.clone(),
        modules: opened.modules.subscribe(),
        failures: opened.failures.clone(),
        sources: sources.clone(),
    })
}

fn status_source(config: &Config, opened: &Opened, started: Instant) -> Arc<StatusSource> {
    Arc::new(StatusSource {
        store: opened.store.clone(),
        feed: opened.feed.clone(),
        modules: opened.modules.clone(),
        failures: opened.failures.clone(),
        data_dir: config.data.clone(),
        modules_dir: config.modules.clone(),
        started,
    })
}

async fn open_store(config: &Config) -> Result<Store> {
    let (data, options) = (config.data.clone(), config.store.clone());
    let opened = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&data)?;
        Store::open(&data, options)
    });
    opened
        .await
        .map_err(|error| Error::internal("opening the store stopped").because(error))?
}

fn open_feed(store: &Store, clock: &dyn Clock) -> Result<Feed> {
    let incarnation = pipeline::prepare(store, clock.now())?;
    let relations = Arc::new(pipeline::catalog(&store.reader())?);
    Ok(Feed::new(
        store.clone(),
        relations,
        FeedOptions {
            incarnation,
            ..FeedOptions::default()
        },
    ))
}

/// Starts the loop's thread and waits until it has opened.
async fn start_loop(
    open: impl FnOnce() -> Result<Pipeline> + Send + 'static,
    queue: pipeline::Jobs,
) -> Result<thread::JoinHandle<()>> {
    let (opened, is_open) = oneshot::channel();
    let run = move || match open() {
        Ok(pipeline) => {
            let _ = opened.send(Ok(()));
            pipeline.run(queue);
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    };
    let handle = thread::Builder::new()
        .name("viewfeed-pipeline".into())
        .spawn(run)?;
    is_open
        .await
        .map_err(|_| Error::internal("the loop stopped while it was opened"))??;
    Ok(handle)
}
