//! The server from start to end: opens the parts in order, joins them, and takes them down in the opposite order.

use crate::clock::SystemClock;
use crate::config::Config;
use crate::gateway;
use crate::modules::ModuleWatcher;
use crate::pipeline::{self, Failures, Pipeline};
use crate::session::Sessions;
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
/// Commands of the server that may wait for the gateway.
const COMMANDS_MAX: usize = 1024;
/// Rows of a client stream that is one transaction.
const STREAM_ROWS_MAX: usize = 100_000;

/// Serves until `stop` resolves. `ready` is called with the address once the server answers.
pub(crate) async fn serve(
    config: Config,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let started = Instant::now();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // The port first: a second server on it should not touch the data.
    let server = Server::bind(ServerOptions {
        listen: config.listen,
        message_bytes_max: config.message_bytes_max,
        heartbeat: HEARTBEAT,
        stream_rows_max: STREAM_ROWS_MAX,
        sql_type,
    })
    .await?;
    let store = open_store(&config).await?;
    let feed = open_feed(&store, clock.as_ref())?;
    let planner = Planner::new()?;
    let (modules, _) = watch::channel(Arc::new(Modules::default()));
    let failures = Failures::default();
    let (jobs, queue) = pipeline::queue();
    let loop_thread = start_loop(
        {
            let (store, planner, feed) = (store.clone(), planner.clone(), feed.clone());
            let (modules, clock, failures) = (modules.clone(), clock.clone(), failures.clone());
            move || Pipeline::open(store, planner, feed, modules, clock, failures)
        },
        queue,
    )
    .await?;

    let mut watcher = ModuleWatcher::start(&config.modules, jobs.clone(), modules.clone(), clock.clone())?;
    watcher.sync().await?;
    let watching = tokio::spawn(watcher.run());
    let sessions = Sessions {
        store: store.clone(),
        embedded: Embedded::new(planner.clone()),
        planner,
        feed: feed.clone(),
        jobs: jobs.clone(),
        clock,
        modules: modules.subscribe(),
    };
    let status = Arc::new(StatusSource {
        store: store.clone(),
        feed: feed.clone(),
        modules: modules.clone(),
        failures,
        data_dir: config.data.clone(),
        modules_dir: config.modules.clone(),
        started,
    });
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let answering = tokio::spawn(gateway::run(received, sessions, status));

    ready(server.address());
    let stopping = {
        let feed = feed.clone();
        async move {
            stop.await;
            feed.drain();
        }
    };
    let served = server
        .run(feed, modules.subscribe(), commands, stopping, GRACE)
        .await;
    watching.abort();
    drop(jobs);
    // The gateway ends with the server's senders, the loop with the gateway's and the watcher's.
    let _ = tokio::time::timeout(GRACE, answering).await;
    let joined = tokio::task::spawn_blocking(move || loop_thread.join()).await;
    match joined {
        Ok(Ok(())) => served,
        _ => Err(Error::internal("the loop stopped with a panic")),
    }
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
    let incarnation = pipeline::incarnation(store, clock.now())?;
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
