//! The port: from an address to a running server.

use crate::Gateway;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use viewfeed_catalog::Modules;
use viewfeed_change::Result;
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

    /// Serves until `stop` resolves, then stops accepting and returns when the open calls are done (the program has drained the
    /// feed) or `grace` is over.
    pub async fn run(
        self,
        _feed: Feed,
        _modules: Arc<ArcSwap<Modules>>,
        _gateway: Gateway,
        _stop: impl Future<Output = ()> + Send + 'static,
        _grace: Duration,
    ) -> Result<()> {
        todo!()
    }
}
