//! The task that reads a replication stream and answers the server.
//!
//! It reads in large pieces and hands them on whole, cut only between frames. While the consumer has enough it stops reading, but
//! goes on telling the server how far we are: the server gives up who is silent, not who is slow.

use super::frame::{self, Frame};
use super::stream::READING;
use crate::postgres::Lsn;
use crate::postgres::connection::Stream;
use crate::postgres::failure;
use bytes::{Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use viewfeed_change::{Error, Result};

/// What may wait for the consumer. One chunk more is in the hands of the task, and one message may be as long as Postgres makes it.
pub(super) const QUEUE_BYTES_MAX: usize = 16 << 20;
/// What is read at once, if there is as much.
const READ_BYTES: usize = 256 << 10;
/// With less room than this another buffer is taken.
const READ_BYTES_MIN: usize = 32 << 10;
/// Reports of the consumer go to the server no more often.
const REPORT_MS: u64 = 20;
/// How long a status may take to be written.
const WRITE_MS_MAX: u64 = 30_000;
/// How long ending the stream may take.
const CLOSE_MS_MAX: u64 = 5_000;

/// When to do what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Between two statuses, at most.
    pub(super) status: Duration,
    /// How long the server may be silent, though asked.
    pub(super) silence_max: Duration,
}

/// Whole frames, with the room they take in the queue.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

pub(super) struct Pump {
    stream: Stream,
    input: BytesMut,
    times: Times,
    chunks: mpsc::UnboundedSender<Result<Chunk>>,
    durable: watch::Receiver<Lsn>,
    room: Arc<Semaphore>,
    /// Frames that wait for room. Nothing is read meanwhile.
    waiting: Bytes,
    received: Lsn,
    /// When the server was last heard, or could not have been.
    heard: Instant,
    told: Instant,
    /// When the next status is due.
    due: Instant,
    wants_reply: bool,
    /// Why the stream is over, once what came before is handed on.
    end: Option<Error>,
}

enum Step {
    Read(io::Result<usize>),
    Room(OwnedSemaphorePermit),
    Report,
    Status,
    /// The consumer is gone.
    Close,
}

impl Pump {
    pub(super) fn new(
        stream: Stream,
        input: BytesMut,
        times: Times,
        chunks: mpsc::UnboundedSender<Result<Chunk>>,
        durable: watch::Receiver<Lsn>,
        room: Arc<Semaphore>,
    ) -> Self {
        let now = Instant::now();
        let received = *durable.borrow();
        Self {
            stream,
            input,
            times,
            chunks,
            durable,
            room,
            waiting: Bytes::new(),
            received,
            heard: now,
            told: now,
            due: now,
            wants_reply: false,
            end: None,
        }
    }

    /// Until the stream or its consumer ends.
    pub(super) async fn run(mut self) {
        match self.pump().await {
            Ok(()) => {
                // In vain if the connection is broken; then it is ended too.
                let _ = timeout(Duration::from_millis(CLOSE_MS_MAX), self.close()).await;
            }
            Err(error) => {
                // Nobody may want to know.
                let _ = self.chunks.send(Err(error));
            }
        }
    }

    /// Ends without an error when the consumer is gone.
    async fn pump(&mut self) -> Result<()> {
        // The server may have sent something along with its answer to the command.
        self.cut()?;
        loop {
            if self.wants_reply {
                self.tell(false).await?;
            }
            if self.waiting.is_empty()
                && let Some(end) = self.end.take()
            {
                return Err(end);
            }
            match self.step().await {
                Step::Read(Ok(0)) => {
                    return Err(failure::unavailable(READING, "the server closed the connection"));
                }
                Step::Read(Ok(_)) => {
                    self.heard = Instant::now();
                    self.cut()?;
                }
                Step::Read(Err(error)) => return Err(failure::of_io(READING, &error)),
                Step::Room(room) => self.hand_on(room),
                Step::Report => {
                    let soon = self.told + Duration::from_millis(REPORT_MS);
                    self.due = self.due.min(soon);
                }
                Step::Status => self.status().await?,
                Step::Close => return Ok(()),
            }
        }
    }

    async fn step(&mut self) -> Step {
        let is_full = !self.waiting.is_empty();
        let bytes = self.waiting.len().min(QUEUE_BYTES_MAX) as u32;
        let room = Arc::clone(&self.room);
        tokio::select! {
            // What is due is done first, however much there is to read.
            biased;
            changed = self.durable.changed() => if changed.is_ok() { Step::Report } else { Step::Close },
            () = sleep_until(self.due) => Step::Status,
            room = room.acquire_many_owned(bytes), if is_full => {
                Step::Room(room.expect("nobody closes the queue"))
            }
            read = read_some(&mut self.stream, &mut self.input), if !is_full => Step::Read(read),
        }
    }

    /// Cuts off what is whole of the input, and looks at it.
    fn cut(&mut self) -> Result<()> {
        let mut whole = 0;
        while let Some(length) = frame::length(&self.input[whole..])? {
            let Some(bytes) = self.input.get(whole..whole + length) else {
                break;
            };
            match frame::read(bytes)? {
                Frame::Wal { start, end } => self.received = self.received.max(start).max(end),
                Frame::Keepalive { end, wants_reply } => {
                    self.received = self.received.max(end);
                    self.wants_reply |= wants_reply;
                }
                Frame::Aside => {}
                Frame::Failure => {
                    self.end = Some(failure_in(bytes));
                    break;
                }
                Frame::End | Frame::Ready => {
                    self.end = Some(failure::unavailable(READING, "the server ended the stream"));
                    break;
                }
            }
            whole += length;
        }
        self.waiting = self.input.split_to(whole).freeze();
        Ok(())
    }

    fn hand_on(&mut self, room: OwnedSemaphorePermit) {
        // As long as we did not read, silence meant nothing.
        self.heard = Instant::now();
        let chunk = Chunk {
            bytes: std::mem::take(&mut self.waiting),
            _room: room,
        };
        // If the consumer is gone the next step says so.
        let _ = self.chunks.send(Ok(chunk));
    }

    /// A status is due: asks for an answer if there was nothing to hear since the last.
    async fn status(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.heard = Instant::now();
        }
        let silence = self.heard.elapsed();
        if silence >= self.times.silence_max {
            let why = format!("the server was silent for {} seconds", silence.as_secs());
            return Err(failure::unavailable(READING, &why));
        }
        let asks = silence >= self.times.status.min(self.times.silence_max / 2);
        self.tell(asks).await
    }

    async fn tell(&mut self, asks: bool) -> Result<()> {
        let durable = *self.durable.borrow_and_update();
        let frame = frame::status(self.received, durable, asks, SystemTime::now());
        let written = timeout(
            Duration::from_millis(WRITE_MS_MAX),
            write(&mut self.stream, &frame),
        )
        .await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failure::of_io(READING, &error)),
            Err(_) => {
                return Err(failure::unavailable(
                    READING,
                    "the server does not take our answers",
                ));
            }
        }
        self.wants_reply = false;
        self.told = Instant::now();
        let pause = self.times.status.min(self.times.silence_max / 2);
        self.due = self.told + pause;
        Ok(())
    }

    /// Says what is durable and that this is the end; waits for the server's word, so that the slot is free.
    async fn close(&mut self) -> Result<()> {
        self.tell(false).await?;
        let mut end = BytesMut::new();
        frontend::copy_done(&mut end);
        let failed = |error: io::Error| failure::of_io(READING, &error);
        write(&mut self.stream, &end).await.map_err(failed)?;
        loop {
            while let Some(length) = frame::length(&self.input)?
                && length <= self.input.len()
            {
                let bytes = self.input.split_to(length);
                if matches!(frame::read(&bytes)?, Frame::Ready | Frame::Failure) {
                    end.clear();
                    frontend::terminate(&mut end);
                    write(&mut self.stream, &end).await.map_err(failed)?;
                    return self.stream.shutdown().await.map_err(failed);
                }
            }
            if read_some(&mut self.stream, &mut self.input)
                .await
                .map_err(failed)?
                == 0
            {
                return Ok(());
            }
        }
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Reads what there is. Nothing is lost if it is dropped.
async fn read_some(stream: &mut Stream, input: &mut BytesMut) -> io::Result<usize> {
    let free = input.capacity() - input.len();
    // A long frame gets room as it comes: its length is only what somebody says.
    let missing = match frame::length(input) {
        Ok(Some(length)) => length.saturating_sub(input.len()),
        _ => 0,
    };
    if free < READ_BYTES_MIN.max(missing.min(input.len())) {
        input.reserve(READ_BYTES.max(missing.min(input.len())));
    }
    stream.read_buf(input).await
}

fn failure_in(frame: &[u8]) -> Error {
    match Message::parse(&mut BytesMut::from(frame)) {
        Ok(Some(Message::ErrorResponse(body))) => failure::of_response(READING, &body),
        _ => failure::unavailable(READING, "the server failed"),
    }
}
