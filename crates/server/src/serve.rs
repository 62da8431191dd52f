//! The port: from an address to a running server, and its graceful end.

use crate::Origins;
use crate::context::{Context, drained};
use crate::dynamic::EncodedFrames;
use crate::{Gateway, web};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use viewfeed_catalog::Modules;
use viewfeed_change::{Column, Error, ErrorKind, Result};
use viewfeed_feed::Feed;

/// A ping after so long without traffic, and the connection is dead without an answer after so long again: a phone that
/// lost its network must not hold a feed for hours.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Calls at one time on one connection; a browser or a proxy may hold many feeds on one.
const STREAMS_PER_CONNECTION_MAX: u32 = 10_000;
/// Pause after a failed accept (out of file descriptors), which would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits and settings.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The largest request message.
    pub message_bytes_max: usize,
    /// The heartbeat when a request does not ask for one.
    pub heartbeat: Duration,
    /// Rows a client stream may send in one atomic transaction.
    pub stream_rows_max: usize,
    /// Which web pages may call.
    pub origins: Origins,
    /// The SQL type of a column, for people; the program knows it from its SQL dialect.
    pub sql_type: fn(&Column) -> String,
}

/// A server that listens.
pub struct Server {
    options: ServerOptions,
    listener: TcpListener,
}

impl Server {
    /// Binds the address. Fails as `Unavailable`/`ADDRESS_IN_USE` with advice.
    pub async fn bind(mut options: ServerOptions) -> Result<Self> {
        let asked = options.listen;
        let failed = |error| cannot_listen(asked, error);
        let listener = TcpListener::bind(asked).await.map_err(failed)?;
        options.listen = listener.local_addr().map_err(failed)?;
        Ok(Self { options, listener })
    }

    /// Where it listens (the port is known even if 0 was asked for).
    pub fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// Serves what `modules` holds at the time of each call, and tells running streams when it changes. Serves until `stop`
    /// resolves, then stops accepting and returns when the open calls are done (the program has drained the feed) or
    /// `grace` is over.
    pub async fn run(
        self,
        feed: Feed,
        modules: watch::Receiver<Arc<Modules>>,
        gateway: Gateway,
        stop: impl Future<Output = ()> + Send + 'static,
        grace: Duration,
    ) -> Result<()> {
        tracing::info!(address = %self.address(), "listening");
        let (drain, draining) = watch::channel(false);
        let context = Context {
            encoded: EncodedFrames::default(),
            options: self.options,
            feed,
            modules,
            gateway,
            draining: draining.clone(),
        };
        let router = web::router(Arc::new(context));
        let mut connections = JoinSet::new();
        accept(self.listener, &router, &mut connections, &draining, stop).await;
        // Without a receiver nobody is left to be told.
        let _ = drain.send(true);
        tracing::info!(connections = connections.len(), "stopped accepting");
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finished).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "cutting connections after the grace period"
            );
            connections.shutdown().await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Accepts connections until `stop`; the listener closes on return.
async fn accept(
    listener: TcpListener,
    router: &Router,
    connections: &mut JoinSet<()>,
    draining: &watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), draining.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Serves one connection, HTTP/1.1 or HTTP/2, to its end; asks the peer to leave when the server drains.
async fn connection(stream: TcpStream, router: Router, mut draining: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "setting TCP_NODELAY failed");
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = drained(&mut draining) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(error, "a connection broke");
    }
}

fn cannot_listen(address: SocketAddr, error: std::io::Error) -> Error {
    let (reason, text) = match error.kind() {
        std::io::ErrorKind::AddrInUse => ("ADDRESS_IN_USE", "is in use"),
        std::io::ErrorKind::PermissionDenied => ("ADDRESS_FORBIDDEN", "may not be listened on"),
        _ => ("ADDRESS_UNAVAILABLE", "cannot be listened on"),
    };
    Error::new(ErrorKind::Unavailable, reason, format!("the address {address} {text}"))
        .hint("stop the program that listens there (perhaps another viewfeed), or choose another address with --listen")
        .because(error)
}
