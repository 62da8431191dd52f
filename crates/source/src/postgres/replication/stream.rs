//! The stream of changes as its consumer sees it.

use super::frame::{self, Frame};
use super::pump::{Chunk, Pump, QUEUE_BYTES_MAX, Times};
use crate::postgres::Lsn;
use crate::postgres::connection::Stream;
use crate::postgres::failure;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use viewfeed_change::{Error, Result};

/// What errors say we were doing.
pub(super) const READING: &str = "reading the replication stream";

/// What comes from the server.
#[derive(Clone, PartialEq, Eq)]
pub enum Received {
    /// One message of the output plugin.
    Wal {
        /// Where in the log it comes from.
        start: Lsn,
        /// How far the server had read.
        end: Lsn,
        /// The message.
        data: Bytes,
    },
    /// There is nothing for us before `end` that was not sent. Whoever has all of what was sent durable has everything up to there,
    /// unless it comes between the beginning and the commit of a transaction. Reporting it lets the server free its log.
    Keepalive {
        /// How far the server had read.
        end: Lsn,
    },
}

impl fmt::Debug for Received {
    /// Without the data: these are rows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wal { start, end, data } => write!(f, "Wal({start}..{end}, {} bytes)", data.len()),
            Self::Keepalive { end } => write!(f, "Keepalive({end})"),
        }
    }
}

/// A replication stream. A task of its own reads ahead by a bounded number of bytes, and answers the server whether we read
/// or not. Ended in order when dropped, or by [`ReplicationStream::close`], which waits for it.
pub struct ReplicationStream {
    chunks: mpsc::UnboundedReceiver<Result<Chunk>>,
    chunk: Option<Chunk>,
    durable: watch::Sender<Lsn>,
    /// Why there is no more.
    ended: Option<Error>,
    pump: JoinHandle<()>,
}

impl ReplicationStream {
    pub(super) fn new(stream: Stream, input: BytesMut, from: Lsn, times: Times) -> Self {
        let (sender, chunks) = mpsc::unbounded_channel();
        let (durable, reports) = watch::channel(from);
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let pump = Pump::new(stream, input, times, sender, reports, room);
        Self {
            chunks,
            chunk: None,
            durable,
            ended: None,
            pump: tokio::spawn(pump.run()),
        }
    }

    /// What comes next, in the order of the server. Waits for it; a future that is dropped takes nothing with it. After an
    /// error there is nothing more.
    pub async fn next(&mut self) -> Result<Received> {
        loop {
            if let Some(received) = self.next_of_chunk()? {
                return Ok(received);
            }
            if let Some(ended) = &self.ended {
                return Err(ended.clone());
            }
            let chunk = self.chunks.recv().await;
            self.take(chunk.unwrap_or_else(|| Err(stopped())));
        }
    }

    /// What is there already, without waiting.
    pub fn next_now(&mut self) -> Result<Option<Received>> {
        loop {
            if let Some(received) = self.next_of_chunk()? {
                return Ok(Some(received));
            }
            if let Some(ended) = &self.ended {
                return Err(ended.clone());
            }
            match self.chunks.try_recv() {
                Ok(chunk) => self.take(chunk),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => self.take(Err(stopped())),
            }
        }
    }

    /// Everything up to `durable` is: the server may forget it. What was reported once stays so.
    pub fn report(&self, durable: Lsn) {
        self.durable.send_if_modified(|reported| {
            let is_later = durable > *reported;
            *reported = durable.max(*reported);
            is_later
        });
    }

    /// Tells the server how far we are and that this is the end, and waits until it says so too, for a limited time. The slot is
    /// free then.
    pub async fn close(self) {
        let Self {
            chunks,
            durable,
            pump,
            ..
        } = self;
        drop(chunks);
        drop(durable);
        // It ends by itself, and in time.
        let _ = pump.await;
    }

    fn take(&mut self, chunk: Result<Chunk>) {
        match chunk {
            Ok(chunk) => self.chunk = Some(chunk),
            Err(error) => self.ended = Some(error),
        }
    }

    fn next_of_chunk(&mut self) -> Result<Option<Received>> {
        while let Some(chunk) = &mut self.chunk {
            let Some(length) = frame::length(&chunk.bytes)? else {
                self.chunk = None;
                break;
            };
            let bytes = chunk.bytes.split_to(length);
            match frame::read(&bytes)? {
                Frame::Wal { start, end } => {
                    let data = bytes.slice(frame::DATA_AT..);
                    return Ok(Some(Received::Wal { start, end, data }));
                }
                Frame::Keepalive { end, .. } => return Ok(Some(Received::Keepalive { end })),
                // A chunk has no others.
                Frame::Aside | Frame::Failure | Frame::End | Frame::Ready => {}
            }
        }
        Ok(None)
    }
}

fn stopped() -> Error {
    failure::unavailable(READING, "its task was stopped")
}
