//! The port: from an address to a running server.

use crate::Gateway;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use viewfeed_catalog::Modules;
use viewfeed_change::{Column, Result};
use viewfeed_feed::Feed;

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
    /// The SQL type of a column, for people; the program knows it from its SQL dialect.
    pub sql_type: fn(&Column) -> String,
}

/// A server that listens.
pub struct Server;

impl Server {
    /// Binds the address. Fails as `Unavailable`/`ADDRESS_IN_USE` with advice.
    pub async fn bind(_options: ServerOptions) -> Result<Self> {
        todo!()
    }

    /// Where it listens (the port is known even if 0 was asked for).
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Serves what `modules` holds at the time of each call, and tells running streams when it changes; serves until `stop` resolves, then stops accepting and returns when the open calls are done (the program has drained the
    /// feed) or `grace` is over.
    pub async fn run(
        self,
        _feed: Feed,
        _modules: watch::Receiver<Arc<Modules>>,
        _gateway: Gateway,
        _stop: impl Future<Output = ()> + Send + 'static,
        _grace: Duration,
    ) -> Result<()> {
        todo!()
    }
}
