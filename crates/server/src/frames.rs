//! The feed protocol between rows and wire: what a client may ask of a feed, and frames as messages.

use crate::message;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::time::Duration;
use viewfeed_change::{Epoch, Relation, Result, Timestamp};
use viewfeed_feed::{Envelope, Filter, Frame, FrameKind, OnGap, Request, Rows};
use viewfeed_wire::v1;

/// The shortest heartbeat a client may ask for.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// Who subscribes to what, beside what the client asked for.
pub(crate) struct Subscribed<'a> {
    /// The table or view.
    pub(crate) relation: &'a Relation,
    /// The columns that make a row unique; empty: the relation's key.
    pub(crate) key: Vec<usize>,
    /// Which of its rows.
    pub(crate) filter: Option<Filter>,
    /// When the client does not choose.
    pub(crate) envelope: v1::Envelope,
    /// When the client does not choose.
    pub(crate) heartbeat: Duration,
    /// The path of the rpc.
    pub(crate) path: &'a str,
}

impl Subscribed<'_> {
    /// What is asked of the feed.
    pub(crate) fn request(self, asked: &v1::FeedRequest) -> Result<Request> {
        let has_key = !self.key.is_empty() || !self.relation.key.is_empty();
        let envelope = match (asked.envelope(), self.envelope) {
            (v1::Envelope::Unspecified, default) => default,
            (asked, _) => asked,
        };
        Ok(Request {
            relation: self.relation.id,
            filter: self.filter,
            key: self.key,
            envelope: match envelope {
                v1::Envelope::Upsert => Envelope::Upsert,
                v1::Envelope::Diff => Envelope::Diff,
                v1::Envelope::State => Envelope::State,
                v1::Envelope::Unspecified if has_key => Envelope::Upsert,
                v1::Envelope::Unspecified => Envelope::Diff,
            },
            token: (!asked.resume_token.is_empty()).then(|| asked.resume_token.to_vec()),
            skip_snapshot: asked.skip_snapshot,
            up_to: (asked.up_to_version != 0).then_some(Epoch(asked.up_to_version)),
            on_gap: match asked.on_gap() {
                v1::OnGap::Error => OnGap::Error,
                v1::OnGap::Unspecified | v1::OnGap::Reset => OnGap::Reset,
            },
            heartbeat: heartbeat(asked, self.heartbeat),
            bound_to: stable_hash(self.path),
        })
    }
}

fn heartbeat(asked: &v1::FeedRequest, default: Duration) -> Duration {
    let Some(asked) = asked.heartbeat else {
        return default;
    };
    // A negative duration does not convert: it is shorter than the minimum.
    Duration::try_from(asked)
        .unwrap_or(HEARTBEAT_MIN)
        .max(HEARTBEAT_MIN)
}

/// The same in every process and version: it is part of tokens.
pub(crate) fn stable_hash(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    u64::from_be_bytes(*digest.first_chunk().expect("a SHA-256 digest has 32 bytes"))
}

/// The frame without its rows, which are encoded beside it.
pub(crate) fn to_wire(frame: &Frame, envelope: Envelope) -> v1::Frame {
    let hello = frame.kind == FrameKind::Hello;
    v1::Frame {
        kind: kind(frame.kind).into(),
        version: frame.version.0,
        resume_token: frame.token.clone().map(Bytes::from).unwrap_or_default(),
        more: frame.more,
        caught_up: frame.caught_up,
        commit_time: frame.commit_time.map(timestamp),
        row_count: frame.row_count.unwrap_or_default(),
        reason: frame.reason.to_owned(),
        diffs: match &frame.rows {
            Rows::Diff(batch) => batch.weights().to_vec(),
            _ => Vec::new(),
        },
        schema_version: if hello { frame.schema_version.into() } else { 0 },
        envelope: if hello {
            envelope_to_wire(envelope).into()
        } else {
            0
        },
    }
}

/// A frame in pieces that clients take: which of its rows, by their encoded sizes, go with which frame. A piece that is not
/// the last says that more follows, and cannot be resumed after.
pub(crate) fn split(
    frame: v1::Frame,
    row_bytes: impl Iterator<Item = usize>,
) -> Vec<(v1::Frame, Range<usize>)> {
    let ranges = message::pieces(row_bytes);
    let last = ranges.len() - 1;
    let piece = |(number, range): (usize, Range<usize>)| {
        let mut piece = frame.clone();
        if !piece.diffs.is_empty() {
            piece.diffs = piece.diffs[range.clone()].to_vec();
        }
        if number < last {
            (piece.more, piece.caught_up, piece.row_count) = (true, false, 0);
            piece.resume_token.clear();
        }
        (piece, range)
    };
    ranges.into_iter().enumerate().map(piece).collect()
}

/// The last frame of a stream that the server ends, from where the client can resume.
pub(crate) fn bye(reason: &str, version: u64, resume_token: Bytes) -> v1::Frame {
    let kind = v1::frame::Kind::Bye.into();
    v1::Frame {
        kind,
        version,
        resume_token,
        reason: reason.to_owned(),
        ..v1::Frame::default()
    }
}

/// Microseconds as the well-known type.
pub(crate) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.0.div_euclid(1_000_000),
        nanos: (time.0.rem_euclid(1_000_000) * 1_000) as i32,
    }
}

fn kind(kind: FrameKind) -> v1::frame::Kind {
    match kind {
        FrameKind::Hello => v1::frame::Kind::Hello,
        FrameKind::Snapshot => v1::frame::Kind::Snapshot,
        FrameKind::Delta => v1::frame::Kind::Delta,
        FrameKind::Progress => v1::frame::Kind::Progress,
        FrameKind::Reset => v1::frame::Kind::Reset,
        FrameKind::Bye => v1::frame::Kind::Bye,
    }
}

fn envelope_to_wire(envelope: Envelope) -> v1::Envelope {
    match envelope {
        Envelope::Upsert => v1::Envelope::Upsert,
        Envelope::Diff => v1::Envelope::Diff,
        Envelope::State => v1::Envelope::State,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_keeps_its_fraction() {
        let time = timestamp(Timestamp(-1));
        assert_eq!((time.seconds, time.nanos), (-1, 999_999_000));
    }

    #[test]
    fn a_heartbeat_is_never_shorter_than_a_second() {
        let asked = |seconds, nanos| v1::FeedRequest {
            heartbeat: Some(prost_types::Duration { seconds, nanos }),
            ..v1::FeedRequest::default()
        };
        let default = Duration::from_secs(15);
        assert_eq!(heartbeat(&v1::FeedRequest::default(), default), default);
        assert_eq!(heartbeat(&asked(0, 5), default), HEARTBEAT_MIN);
        assert_eq!(heartbeat(&asked(-7, 0), default), HEARTBEAT_MIN);
        assert_eq!(heartbeat(&asked(60, 0), default), Duration::from_secs(60));
    }

    #[test]
    fn a_frame_too_large_for_one_message_is_told_in_pieces() {
        let frame = v1::Frame {
            resume_token: Bytes::from_static(b"token"),
            diffs: vec![1, -1, 2],
            caught_up: true,
            ..v1::Frame::default()
        };
        let half = message::ROWS_MESSAGE_BYTES / 2 + 1;
        let pieces = split(frame.clone(), [half, half, 1].into_iter());
        assert_eq!(
            pieces.iter().map(|piece| piece.1.clone()).collect::<Vec<_>>(),
            [0..1, 1..3]
        );
        let (first, last) = (&pieces[0].0, &pieces[1].0);
        assert!(first.more && !first.caught_up && first.resume_token.is_empty());
        assert!(!last.more && last.caught_up && last.resume_token == frame.resume_token);
        assert_eq!(
            (first.diffs.as_slice(), last.diffs.as_slice()),
            (&[1i64][..], &[-1, 2][..])
        );
        assert_eq!(
            split(frame, std::iter::empty()).len(),
            1,
            "a frame without rows is told too"
        );
    }

    #[test]
    fn the_hash_in_tokens_never_changes() {
        assert_eq!(
            stable_hash("/chat.v1.ChatService/JoinChannel"),
            0x5a93e26defa1654d
        );
    }
}
