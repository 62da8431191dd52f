//! The frames of a subscription: what each carries, and which of them a client may resume after.

use super::{Opening, Phase, Subscription, Why};
use crate::frame::{Frame, FrameKind, reason};
use crate::resume::Backlog;
use crate::snapshot::Piece;
use crate::token::Token;
use viewfeed_change::Epoch;

impl Subscription {
    pub(super) fn tell_hello(&mut self, epoch: Epoch) {
        let version = self.delivered.unwrap_or(epoch);
        let mut frame = self.frame(FrameKind::Hello, version);
        frame.token = self.delivered.map(|version| self.token(version));
        self.pending.push_back(frame);
    }

    /// Rows of a result; RESET before the first of them, if there is one to tell.
    pub(super) fn tell_piece(&mut self, opening: Opening, version: Epoch, piece: Piece) {
        if let Some(reason) = opening.reset {
            let reset = self.frame(FrameKind::Reset, version);
            self.pending.push_back(Frame {
                more: true,
                reason,
                ..reset
            });
        }
        let frame = self.frame(opening.kind, version);
        self.pending.push_back(Frame {
            token: piece.last.then(|| self.token(version)),
            more: !piece.last,
            caught_up: piece.last && opening.caught_up,
            row_count: piece.row_count,
            rows: piece.rows,
            ..frame
        });
    }

    /// The net change of some epochs, in as many frames as it needs. If it ends within an epoch (`is_within`), more of that follow.
    pub(super) fn tell_backlog(&mut self, backlog: &Backlog, why: Why, is_within: bool) {
        if !is_within {
            self.delivered = Some(backlog.through);
        }
        let growth = backlog.shaped.growth;
        self.row_count = self.row_count.and_then(|rows| rows.checked_add_signed(growth));
        let caught_up = backlog.complete && why != Why::Many;
        let parts = &backlog.shaped.parts;
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len() && !is_within;
            let frame = self.delta_frame(backlog, last, caught_up);
            self.pending.push_back(Frame {
                shared: backlog.is_shared.then_some(part.id),
                rows: part.rows.clone(),
                ..frame
            });
        }
        if !parts.is_empty() || is_within {
            self.has_open_frames = is_within && (self.has_open_frames || !parts.is_empty());
        } else if std::mem::take(&mut self.has_open_frames) {
            let frame = self.delta_frame(backlog, true, caught_up);
            self.pending.push_back(frame);
        } else if caught_up {
            self.tell_caught_up();
        }
    }

    /// A frame of changes, without them.
    fn delta_frame(&self, backlog: &Backlog, last: bool, caught_up: bool) -> Frame {
        Frame {
            token: last.then(|| self.token(backlog.through)),
            more: !last,
            caught_up: last && caught_up,
            commit_time: backlog.commit_time,
            row_count: self.row_count.filter(|_| last),
            ..self.frame(FrameKind::Delta, backlog.through)
        }
    }

    /// That there was nothing to catch up with.
    pub(super) fn tell_caught_up(&mut self) {
        let frame = self.progress_frame();
        self.pending.push_back(Frame {
            caught_up: true,
            ..frame
        });
    }

    /// The heartbeat is due.
    pub(super) fn tell_progress(&mut self) {
        // Before the look into the queue: what is published up to here is in there.
        let published = self.place.shared.now().epoch;
        let reached = self.up_to.map_or(published, |up_to| up_to.min(published));
        match self.phase {
            Phase::Live if self.place.queue.is_idle() => self.delivered = self.delivered.max(Some(reached)),
            // There is something better to tell.
            Phase::Live | Phase::Done => return,
            _ => {}
        }
        let frame = self.progress_frame();
        self.pending.push_back(frame);
    }

    /// `up_to` is reached: nothing up to there is missing.
    pub(super) fn tell_reached(&mut self) {
        self.delivered = self.delivered.max(self.up_to);
        self.tell_bye(reason::UP_TO_VERSION);
    }

    pub(super) fn tell_bye(&mut self, reason: &'static str) {
        let frame = self.frame(FrameKind::Bye, self.delivered.unwrap_or(Epoch::ZERO));
        self.pending.push_back(Frame {
            token: self.delivered.map(|version| self.token(version)),
            reason,
            ..frame
        });
        self.phase = Phase::Done;
    }

    /// Nothing changed up to what was delivered; in the midst of a snapshot or an epoch, only a sign of life.
    fn progress_frame(&self) -> Frame {
        let frame = self.frame(FrameKind::Progress, self.delivered.unwrap_or(Epoch::ZERO));
        let delivered = self.delivered.filter(|_| !self.has_open_frames);
        Frame {
            token: delivered.map(|version| self.token(version)),
            more: delivered.is_none(),
            row_count: self.row_count.filter(|_| !self.has_open_frames),
            ..frame
        }
    }

    fn frame(&self, kind: FrameKind, version: Epoch) -> Frame {
        Frame::bare(kind, version, self.place.selection.relation.schema_version)
    }

    fn token(&self, version: Epoch) -> Vec<u8> {
        let selection = &self.place.selection;
        Token {
            relation: selection.relation.id,
            schema_version: selection.relation.schema_version,
            version,
            request: selection.hash,
        }
        .encode_in(self.place.shared.options.incarnation)
    }
}
