//! What every call can reach. Owns nothing itself: the feed, the modules and the program are handed in.

use crate::dynamic::EncodedFrames;
use crate::serve::ServerOptions;
use crate::{Command, Gateway};
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use viewfeed_catalog::Modules;
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_feed::Feed;

/// The server's surroundings.
pub(crate) struct Context {
    pub(crate) options: ServerOptions,
    pub(crate) feed: Feed,
    pub(crate) modules: watch::Receiver<Arc<Modules>>,
    pub(crate) gateway: Gateway,
    pub(crate) encoded: EncodedFrames,
    /// Becomes true once, when the server stops accepting.
    pub(crate) draining: watch::Receiver<bool>,
}

impl Context {
    /// The modules as they are now.
    pub(crate) fn modules_now(&self) -> Arc<Modules> {
        self.modules.borrow().clone()
    }

    /// Whether the server is going away.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Hands a command to the program; waits while its queue is full.
    pub(crate) async fn send(&self, command: Command) -> Result<()> {
        self.gateway.send(command).await.map_err(|_| stopping())
    }

    /// Hands a command with a reply to the program and waits for the answer.
    pub(crate) async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(make(reply)).await?;
        answer.await.map_err(|_| unanswered())
    }
}

/// Returns when the server stops accepting.
pub(crate) async fn drained(draining: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone already.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// The server is going away.
pub(crate) fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "DRAIN", "the server is stopping")
        .hint("connect again; the same request may succeed after a restart")
}

/// The program let go of a request without an answer.
pub(crate) fn unanswered() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "UNANSWERED",
        "the server stopped before it could answer; a write may or may not have been done",
    )
    .hint("connect again and read before you repeat a write")
}
