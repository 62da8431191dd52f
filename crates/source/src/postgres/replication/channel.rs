//! Commands and their answers as text over a connection that nothing else uses: the simple query protocol.

use crate::postgres::connection::Stream;
use crate::postgres::failure;
use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Header, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use viewfeed_change::Result;

/// The longest answer to a command.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// `CopyBothResponse`, which postgres-protocol does not know.
const COPY_BOTH: u8 = b'W';

/// A row as text; None is NULL.
pub(super) type TextRow = Vec<Option<String>>;

pub(super) struct Channel {
    stream: Stream,
    input: BytesMut,
}

enum Answer {
    Message(Message),
    CopyBegins,
}

impl Channel {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
        }
    }

    /// The stream, and what was read from it already.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.input)
    }

    /// Runs `command` and gives the rows of its answer. After an error of the server the channel can be used on; after a future
    /// of this that was dropped half-way it cannot.
    pub(super) async fn query(&mut self, doing: &str, command: &str) -> Result<Vec<TextRow>> {
        self.send(doing, command).await?;
        let (mut rows, mut failed) = (Vec::new(), None);
        loop {
            match self.answer(doing).await? {
                Answer::Message(Message::DataRow(row)) => rows.push(text_row(doing, &row)?),
                Answer::Message(Message::ErrorResponse(body)) => {
                    failed = Some(failure::of_response(doing, &body));
                }
                Answer::Message(Message::ReadyForQuery(_)) => break,
                // How rows are described and commands end; notices.
                Answer::Message(_) => {}
                Answer::CopyBegins => return Err(failure::unavailable(doing, "an unexpected stream begins")),
            }
        }
        failed.map_or(Ok(rows), Err)
    }

    /// Runs `command`, whose answer goes on both ways without end.
    pub(super) async fn begin_copy(&mut self, doing: &str, command: &str) -> Result<()> {
        self.send(doing, command).await?;
        loop {
            match self.answer(doing).await? {
                Answer::CopyBegins => return Ok(()),
                Answer::Message(Message::ErrorResponse(body)) => {
                    return Err(failure::of_response(doing, &body));
                }
                Answer::Message(Message::ReadyForQuery(_)) => {
                    return Err(failure::unavailable(doing, "the server began no stream"));
                }
                Answer::Message(_) => {}
            }
        }
    }

    async fn send(&mut self, doing: &str, command: &str) -> Result<()> {
        let mut output = BytesMut::new();
        let sent = match frontend::query(command, &mut output) {
            Ok(()) => self.stream.write_all(&output).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => self.stream.flush().await,
            Err(error) => Err(error),
        }
        .map_err(|error| failure::of_io(doing, &error))
    }

    async fn answer(&mut self, doing: &str) -> Result<Answer> {
        loop {
            if let Some(answer) = self.read_answer(doing)? {
                return Ok(answer);
            }
            let read = self.stream.read_buf(&mut self.input).await;
            if read.map_err(|error| failure::of_io(doing, &error))? == 0 {
                return Err(failure::unavailable(doing, "the server closed the connection"));
            }
        }
    }

    fn read_answer(&mut self, doing: &str) -> Result<Option<Answer>> {
        let malformed = |error: std::io::Error| failure::unavailable(doing, &error.to_string());
        let Some(header) = Header::parse(&self.input).map_err(malformed)? else {
            return Ok(None);
        };
        let length = header.len() as usize + 1;
        if length > ANSWER_BYTES_MAX {
            return Err(failure::unavailable(
                doing,
                "an answer of the server is longer than any should be",
            ));
        }
        if header.tag() == COPY_BOTH {
            if self.input.len() < length {
                return Ok(None);
            }
            self.input.advance(length);
            return Ok(Some(Answer::CopyBegins));
        }
        let message = Message::parse(&mut self.input).map_err(malformed)?;
        Ok(message.map(Answer::Message))
    }
}

fn text_row(doing: &str, row: &DataRowBody) -> Result<TextRow> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    row.ranges()
        .map(|range| Ok(range.and_then(|range| row.buffer().get(range)).map(text)))
        .collect()
        .map_err(|error| failure::unavailable(doing, &error.to_string()))
}
