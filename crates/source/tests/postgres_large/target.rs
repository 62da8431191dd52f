//! A loop that applies large transactions piece by piece, and does on the way what a test says.

use super::PATIENCE;
use crate::postgres_world::{SOURCE, nothing_told};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::{oneshot, watch};
use viewfeed_change::{Error, ErrorKind, Relations, Result};
use viewfeed_source::postgres::{Applied, Ingest, Ingested, Loop, Pieces, Settings, Work};
use viewfeed_store::{Store, Txn};

/// Pieces that wait, and the one that waits for room.
pub(super) const AHEAD_MAX: usize = 3;

/// What became of a large transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pieces: usize,
    /// The most pieces that were ahead of the one that was applied.
    pub(super) ahead: usize,
    /// The reason of the error it ended with.
    pub(super) error: Option<&'static str>,
}

/// Applies work, piece by piece.
pub(super) struct Target {
    pub(super) store: Store,
    pub(super) settings: Settings,
    pub(super) state: Mutex<State>,
    pub(super) copies: watch::Sender<Copies>,
}

/// Whether copies may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    Free,
    Held,
    /// One waits.
    Waiting,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) relations: Arc<Relations>,
    pub(super) seen: Vec<Seen>,
    pub(super) script: Script,
}

/// What is to happen to the next large transaction.
#[derive(Default)]
pub(super) struct Script {
    /// The loop is slow: the decoder gets as far ahead as it may.
    pub(super) is_slow: bool,
    /// The loop fails at the piece with this number.
    pub(super) fails_at: Option<usize>,
    /// The loop says that it has a piece, and goes on when it is told to.
    pub(super) hold: Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>,
}

impl Target {
    fn apply_now(&self, work: Work) -> Result<Applied> {
        let state = &mut *self.state.lock().unwrap();
        let is_large = matches!(work, Work::Large(_));
        assert!(!is_large || (work.is_exclusive() && work.rows() > 1));
        let mut seen = Seen {
            pieces: 0,
            ahead: 0,
            error: None,
        };
        let mut script = match is_large {
            true => std::mem::take(&mut state.script),
            false => Script::default(),
        };
        let applied = self.pieces(work.pieces(), &mut state.relations, &mut script, &mut seen);
        if is_large {
            seen.error = applied.as_ref().err().map(Error::reason);
            state.seen.push(seen);
        }
        applied
    }

    fn pieces(
        &self,
        mut pieces: Pieces,
        relations: &mut Arc<Relations>,
        script: &mut Script,
        seen: &mut Seen,
    ) -> Result<Applied> {
        let (mut txn, mut changed) = (self.store.begin()?, relations.clone());
        let mut ingested = Ingested::default();
        while let Some(piece) = pieces.next() {
            seen.pieces += 1;
            let mut ingest = self.ingest(&mut txn, &mut changed);
            ingested = ingest.apply(piece?)?;
            txn.seal();
            script.play(&pieces, seen.pieces)?;
            seen.ahead = seen.ahead.max(pieces.waiting());
        }
        let applied = self.ingest(&mut txn, &mut changed).applied(&ingested)?;
        self.store.commit(txn, &nothing_told())?;
        *relations = changed;
        Ok(applied)
    }

    fn ingest<'a>(&'a self, txn: &'a mut Txn, relations: &'a mut Arc<Relations>) -> Ingest<'a> {
        Ingest {
            txn,
            relations,
            source: SOURCE,
            settings: &self.settings,
        }
    }
}

impl Script {
    fn play(&mut self, pieces: &Pieces, number: usize) -> Result<()> {
        while self.is_slow && number == 1 && pieces.waiting() < AHEAD_MAX {
            std::thread::yield_now();
        }
        if let Some((entered, released)) = self.hold.take() {
            entered.send(()).unwrap();
            released.recv_timeout(PATIENCE).unwrap();
        }
        if self.fails_at == Some(number) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "INTERRUPTED",
                "the script says so",
            ));
        }
        Ok(())
    }
}

/// The same, for the source and for us.
pub(super) struct Shared(pub(super) Arc<Target>);

impl Loop for Shared {
    async fn apply(&self, work: Work) -> Result<Applied> {
        if matches!(work, Work::BeginCopy { .. }) {
            let copies = &self.0.copies;
            copies.send_if_modified(|copies| {
                let is_held = *copies == Copies::Held;
                *copies = if is_held { Copies::Waiting } else { *copies };
                is_held
            });
            let is_free = |copies: &Copies| *copies == Copies::Free;
            copies.subscribe().wait_for(is_free).await.unwrap();
        }
        let target = self.0.clone();
        let applied = tokio::task::spawn_blocking(move || target.apply_now(work));
        applied.await.unwrap()
    }
}
