//! A large transaction: looked over once, then decoded piece by piece while the loop applies it.
//!
//! ```text
//! look     all messages are passed over: are the tables as we know them, does the server say so too?   if not: the plain way
//! decode   a thread makes pieces, the loop pulls them: is there more than rows in one?                   if so: the plain way
//! ```
//! The plain way is the collector's: all of it is decoded before any of it is applied, since what a table looks like holds for
//! the whole transaction. Nothing else is gathered or applied meanwhile, so what is known of the tables stays what it is.
//!
//! The look ends when nobody waits for it any more. The thread that decodes belongs to whoever has the work, which is the loop:
//! it ends with the last piece, or when the loop lets go of the rest. If the stream is interrupted meanwhile, the loop finishes
//! the transaction, as it does with any other work that it has; the next connection waits for that in the loop's queue.

use super::{Source, StreamOptions};
use crate::postgres::assembly::Committed;
use crate::postgres::collect::Decoder;
use crate::postgres::connection::SqlSession;
use crate::postgres::pgoutput::{Message, Oid};
use crate::postgres::shape::table_versions;
use crate::postgres::work::{PIECE_OPERATIONS_MAX, PieceSender, decoded_while_applied};
use crate::postgres::{Applied, Loop, SourceTransaction, TableEvent, TableShape, Work};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::oneshot;
use viewfeed_change::{Error, ErrorKind, Result};

/// The reason of the error that says that a transaction must go the plain way. Nothing of it is applied then.
const NOT_PLAIN: &str = "TRANSACTION_CHANGES_TABLES";

/// What the thread that decodes is called.
const THREAD: &str = "viewfeed-decoder";

/// What became of a large transaction.
pub(super) enum Outcome {
    Applied {
        applied: Applied,
        /// The tables it described.
        described: BTreeSet<Oid>,
        /// Those of them whose rows are in other files since, and nothing else about them is another.
        renewed: Vec<TableShape>,
    },
    /// Nothing of it was applied; it is at its beginning again.
    NotPlain(Committed),
}

/// A transaction that was looked over.
struct Looked {
    committed: Committed,
    decoder: Decoder,
    /// The tables it describes; None if one of them is not as we know it.
    described: Option<BTreeSet<Oid>>,
}

/// Applies a transaction. `decoder` knows of the tables what is known where it begins.
pub(super) async fn apply<L: Loop>(
    source: Arc<Source<L>>,
    sql: Arc<SqlSession>,
    options: StreamOptions,
    decoder: Decoder,
    committed: Committed,
) -> Result<Outcome> {
    let Looked {
        mut committed,
        decoder,
        described,
    } = look(decoder, committed).await?;
    committed.messages.rewind()?;
    let Some(described) = described else {
        return Ok(Outcome::NotPlain(committed));
    };
    let versions = table_versions(sql.client(), described.iter().copied()).await?;
    let Some(renewed) = decoder.renewed(&versions) else {
        return Ok(Outcome::NotPlain(committed));
    };
    let (pieces, large) = decoded_while_applied(committed.end, committed.messages.bytes());
    let last = renewed.iter().cloned().map(TableEvent::Shape).collect();
    let decoding = Decoding {
        decoder,
        pieces,
        piece_bytes: options.piece_bytes,
        last,
    };
    let given_back = decoding.start(committed)?;
    match source.target.apply(Work::Large(large)).await {
        Ok(applied) => Ok(Outcome::Applied {
            applied,
            described,
            renewed,
        }),
        Err(error) if error.reason() == NOT_PLAIN => {
            let mut committed = given_back.await.map_err(|_| stopped())?;
            committed.messages.rewind()?;
            Ok(Outcome::NotPlain(committed))
        }
        Err(error) => Err(error),
    }
}

/// Passes over all messages, where that holds nobody up.
async fn look(decoder: Decoder, mut committed: Committed) -> Result<Looked> {
    let (reply, looked) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let described = described(&mut committed, &decoder, || reply.is_closed());
        let looked = described.map(|described| Looked {
            committed,
            decoder,
            described,
        });
        // Nobody may want to know any more.
        let _ = reply.send(looked);
    });
    looked.await.map_err(|_| stopped())?
}

/// The tables that are described; None if one of them is not as we know it, or nobody wants to know.
fn described(
    committed: &mut Committed,
    decoder: &Decoder,
    is_unwanted: impl Fn() -> bool,
) -> Result<Option<BTreeSet<Oid>>> {
    let mut described = BTreeSet::new();
    while let Some(message) = committed.messages.next()? {
        let Message::Relation(relation) = message else {
            if is_unwanted() {
                return Ok(None);
            }
            continue;
        };
        if !decoder.fits(&relation) {
            return Ok(None);
        }
        described.insert(relation.oid);
    }
    Ok(Some(described))
}

/// What makes the pieces.
struct Decoding {
    decoder: Decoder,
    pieces: PieceSender,
    piece_bytes: u64,
    /// What comes behind the last row: how tables look that are in other files since. That changes nothing about any row.
    last: Vec<TableEvent>,
}

impl Decoding {
    /// On a thread of its own: the loop waits for it, and must not wait for whoever else has the runtime's. Resolves to the transaction.
    fn start(self, committed: Committed) -> Result<oneshot::Receiver<Committed>> {
        let (reply, given_back) = oneshot::channel();
        let run = move || {
            // Mostly nobody wants it back.
            let _ = reply.send(self.run(committed));
        };
        std::thread::Builder::new().name(THREAD.to_owned()).spawn(run)?;
        Ok(given_back)
    }

    /// Sends all pieces, or what is in the way. Gives the transaction back, wherever it stands.
    fn run(mut self, mut committed: Committed) -> Committed {
        if let Err(error) = self.send(&mut committed) {
            // Nobody may want it any more.
            let _ = self.pieces.send(Err(error));
        }
        committed
    }

    fn send(&mut self, committed: &mut Committed) -> Result<()> {
        self.decoder.begin(committed);
        let mut began = 0;
        while let Some(message) = committed.messages.next()? {
            match message {
                Message::Relation(relation) if !self.decoder.fits(&relation) => return Err(not_plain()),
                message => self.decoder.message(&message)?,
            }
            let passed = committed.messages.passed();
            if self.decoder.rows() < PIECE_OPERATIONS_MAX && passed - began < self.piece_bytes {
                continue;
            }
            began = passed;
            let piece = plain(self.decoder.take_piece())?;
            // All of it may have been rolled back.
            if !piece.events.is_empty() && self.pieces.send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
        let mut last = plain(self.decoder.take().pop())?;
        last.events.append(&mut self.last);
        // If it is not wanted, that is all the same now.
        let _ = self.pieces.send(Ok(last));
        Ok(())
    }
}

/// A piece in which tables stay what they are.
fn plain(piece: Option<SourceTransaction>) -> Result<SourceTransaction> {
    let piece = piece.expect("a transaction was begun");
    match piece.changes_tables() {
        true => Err(not_plain()),
        false => Ok(piece),
    }
}

fn not_plain() -> Error {
    Error::new(
        ErrorKind::Precondition,
        NOT_PLAIN,
        "a large transaction changes more than rows: it is decoded anew, before any of it is applied",
    )
}

fn stopped() -> Error {
    Error::internal("decoding a large transaction stopped unexpectedly")
}
