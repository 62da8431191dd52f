//! From a token, or from the last delivery, to now: where a feed starts, and its backlog out of the epoch log.

use crate::envelope::Shaped;
use crate::frame::reason;
use crate::request::Selection;
use crate::{Envelope, FeedOptions, OnGap, Token};
use std::sync::Arc;
use viewfeed_change::{Batch, Epoch, Error, ErrorKind, Relations, Result, Timestamp};
use viewfeed_store::{LogReader, LoggedEpoch, Store};

/// Where a feed starts.
pub(crate) enum Start {
    /// With a snapshot; after a RESET with this reason.
    Snapshot(Option<&'static str>),
    /// With what changed after this epoch.
    After(Epoch),
}

/// Where a feed with `token` starts. Fails as `Invalid` if the token is damaged or of another request, as
/// `OutOfRange` if history is missing and `on_gap` says so.
pub(crate) fn start(
    token: &[u8],
    selection: &Selection,
    on_gap: OnGap,
    relations: &Relations,
    store: &Store,
    options: &FeedOptions,
) -> Result<Start> {
    let (token, incarnation) = Token::decode_in(token)?;
    let gap = |reason| match on_gap {
        OnGap::Reset => Ok(Start::Snapshot(Some(reason))),
        OnGap::Error => Err(gap_error(reason, store)),
    };
    if token.request != selection.hash {
        return Err(mismatch());
    }
    if incarnation != options.incarnation || token.version > store.epoch() {
        return gap(reason::HISTORY_LOST);
    }
    if token.relation != selection.relation.id {
        // Ids are never reused: what the token was made for is gone, and the same request now means another relation.
        if relations.get(token.relation).is_none() {
            return gap(reason::RELATION_REPLACED);
        }
        return Err(mismatch());
    }
    if token.schema_version != selection.relation.schema_version {
        return gap(reason::SCHEMA_CHANGED);
    }
    // STATE starts with the whole result anyway.
    if token.version < store.oldest() && selection.shape.envelope != Envelope::State {
        return gap(reason::HISTORY_EXPIRED);
    }
    Ok(Start::After(token.version))
}

fn mismatch() -> Error {
    Error::invalid("TOKEN_MISMATCH", "the resume token was made for another request")
        .hint("send it with the same rpc, parameters, envelope and user, or send none")
}

/// What a feed that must not be reset fails with.
pub(crate) fn gap_error(reason: &'static str, store: &Store) -> Error {
    let out_of_range = |reason, message| Error::new(ErrorKind::OutOfRange, reason, message);
    if reason == reason::HISTORY_EXPIRED {
        let message = "the resume token is older than the retained history";
        return out_of_range("RESUME_TOKEN_COMPACTED", message).hint(format!(
            "the oldest version is {}; start without a token, or with on_gap RESET",
            store.oldest()
        ));
    }
    out_of_range(reason, "history does not lead from the resume token to now")
        .hint("start without a token, or with on_gap RESET")
}

/// The net change of some epochs, and perhaps of some parts of the next one.
pub(crate) struct Backlog {
    pub(crate) shaped: Arc<Shaped>,
    /// Whether others tell the same object.
    pub(crate) is_shared: bool,
    /// The last of the epochs.
    pub(crate) through: Epoch,
    /// When that was committed.
    pub(crate) commit_time: Option<Timestamp>,
    /// Whether that is as far as was asked for.
    pub(crate) complete: bool,
    /// If it ends within that epoch: the rest.
    pub(crate) rest: Option<Rest>,
}

/// The log from somewhere on.
pub(crate) struct Rest {
    log: LogReader,
    /// Up to where it is wanted.
    to: Epoch,
    /// Whether parts of the next epoch are read already: then it is told to its end, and no further.
    is_within: bool,
}

impl Rest {
    /// The epochs after `from`, up to `to`. None if the log no longer goes back to `from`.
    pub(crate) fn after(store: &Store, from: Epoch, to: Epoch) -> Result<Option<Self>> {
        match store.read_log(from) {
            Ok(log) => Ok(Some(Self {
                log,
                to,
                is_within: false,
            })),
            Err(error) if error.kind() == ErrorKind::OutOfRange => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The net change, or that of the first of the epochs, or parts of one, that change more than `coalesced_rows_max` rows. None if
    /// the log has been dropped meanwhile. Blocks.
    pub(crate) fn read(mut self, selection: &Selection, options: &FeedOptions) -> Result<Option<Backlog>> {
        let (changes, last) = match self.sum(selection, options.coalesced_rows_max) {
            Ok(summed) => summed,
            Err(error) if error.kind() == ErrorKind::OutOfRange => return Ok(None),
            Err(error) => return Err(error),
        };
        self.is_within = !last.is_last;
        Ok(Some(Backlog {
            shaped: Arc::new(selection.shape.tell(&changes, options.frame_rows_max)?),
            is_shared: false,
            through: last.epoch,
            commit_time: Some(last.commit_time),
            complete: last.is_last && last.epoch == self.to,
            rest: (!last.is_last).then_some(self),
        }))
    }

    /// Holds at most twice `rows_max` rows, and one part of an epoch. Gives what was read last.
    fn sum(&mut self, selection: &Selection, rows_max: usize) -> Result<(Batch, LoggedEpoch)> {
        let schema = selection.relation.schema();
        let (mut batches, mut rows) = (Vec::new(), 0);
        for logged in &mut self.log {
            let logged = logged?;
            let changes = changes_in(&logged, selection)?;
            rows += changes.iter().map(Batch::len).sum::<usize>();
            batches.extend(changes);
            if rows > rows_max.saturating_mul(2) {
                batches = vec![Batch::concat(&schema, &batches)?.consolidate()?];
                rows = batches.iter().map(Batch::len).sum();
            }
            let is_end = logged.is_last && (self.is_within || logged.epoch >= self.to);
            if is_end || rows > rows_max.saturating_mul(2) {
                return Ok((Batch::concat(&schema, &batches)?, logged));
            }
        }
        Err(Error::internal(format!(
            "the epoch log ends before epoch {}, which is committed",
            self.to
        )))
    }
}

/// What one epoch changed among the selected rows.
fn changes_in(logged: &LoggedEpoch, selection: &Selection) -> Result<Vec<Batch>> {
    let of_tables = logged
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.changes);
    let mut batches = Vec::new();
    for delta in of_tables.chain(&logged.deltas) {
        if delta.relation != selection.relation.id {
            continue;
        }
        if delta.schema_version != selection.relation.schema_version {
            return Err(Error::internal("rows of another schema version in the backlog"));
        }
        let rows = selection.decode(delta.rows.iter())?;
        let changes = selection.keep(Batch::new(rows, delta.weights.clone())?)?;
        if !changes.is_empty() {
            batches.push(changes);
        }
    }
    Ok(batches)
}
