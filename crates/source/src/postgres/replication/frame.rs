//! The frames of a replication stream: where each ends, and what kind it is. Bytes in, numbers out.

use crate::postgres::Lsn;
use std::time::SystemTime;
use viewfeed_change::{Error, Result};

/// A tag and the length of all but the tag.
const HEADER_BYTES: usize = 5;
/// The longest frame: Postgres cannot make one of a gigabyte.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// 1970-01-01 to 2000-01-01, where Postgres' time begins.
const EPOCH_SECONDS: u64 = 946_684_800;
/// The bytes of a message with changes before the changes: kind, start, end, time.
const WAL_BYTES: usize = 25;

/// What a frame is, without the changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Changes; they are the frame from byte [`DATA_AT`] on.
    Wal { start: Lsn, end: Lsn },
    /// The server is there.
    Keepalive { end: Lsn, wants_reply: bool },
    /// It fails, and says why.
    Failure,
    /// It ends the stream.
    End,
    /// It is ready for another command.
    Ready,
    /// Notices and the like, which may come at any time.
    Aside,
}

/// Where in a frame of changes they begin.
pub(super) const DATA_AT: usize = HEADER_BYTES + WAL_BYTES;

/// The bytes of the first frame of `input`, or None if not even they are known yet. They may be more than there are.
pub(super) fn length(input: &[u8]) -> Result<Option<usize>> {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if !(4..FRAME_BYTES_MAX).contains(&length) {
        return Err(malformed());
    }
    Ok(Some(length + 1))
}

/// What `frame`, which is whole, is.
pub(super) fn read(frame: &[u8]) -> Result<Frame> {
    let number = |at: usize| -> Result<Lsn> {
        let bytes = frame
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .ok_or_else(malformed)?;
        Ok(Lsn(u64::from_be_bytes(*bytes)))
    };
    let at = HEADER_BYTES + 1;
    match (frame[0], frame.get(HEADER_BYTES)) {
        (b'd', Some(b'w')) if frame.len() >= DATA_AT => Ok(Frame::Wal {
            start: number(at)?,
            end: number(at + 8)?,
        }),
        (b'd', Some(b'k')) => Ok(Frame::Keepalive {
            end: number(at)?,
            wants_reply: *frame.get(at + 16).ok_or_else(malformed)? == 1,
        }),
        (b'E', _) => Ok(Frame::Failure),
        (b'c' | b'C', _) => Ok(Frame::End),
        (b'Z', _) => Ok(Frame::Ready),
        (b'N' | b'S' | b'A', _) => Ok(Frame::Aside),
        _ => Err(malformed()),
    }
}

/// Tells the server how far we are: what we have, and what is durable. `asks` makes it answer at once.
pub(super) fn status(received: Lsn, durable: Lsn, asks: bool, now: SystemTime) -> Vec<u8> {
    let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = unix.as_micros() as i64 - EPOCH_SECONDS as i64 * 1_000_000;
    let mut frame = Vec::with_capacity(39);
    frame.extend_from_slice(b"d\0\0\0\x26r");
    for position in [received.max(durable), durable, durable] {
        frame.extend_from_slice(&position.0.to_be_bytes());
    }
    frame.extend_from_slice(&micros.to_be_bytes());
    frame.push(asks.into());
    frame
}

fn malformed() -> Error {
    Error::corrupt("the replication stream of Postgres is not as it should be")
        .hint("the position is kept; check that nothing between us and the server changes the bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_the_length_it_says() {
        let frame = status(Lsn(1), Lsn(3), true, SystemTime::UNIX_EPOCH);
        assert_eq!(length(&frame).unwrap(), Some(frame.len()));
        assert_eq!(
            &frame[6..14],
            3_u64.to_be_bytes(),
            "nothing is durable that was not received"
        );
        assert_eq!(&frame[30..38], (-946_684_800_000_000_i64).to_be_bytes());
        assert_eq!(frame[38], 1);
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        for kind in 0..=u8::MAX {
            for inner in [b'w', b'k', b'x'] {
                for size in 0..40 {
                    let mut frame = vec![kind, 0, 0, 0, size + 4, inner];
                    frame.resize(5 + usize::from(size), 7);
                    let _ = read(&frame);
                }
            }
        }
        assert!(length(&[b'd', 255, 255, 255, 255]).is_err());
        assert!(length(&[b'd', 0, 0, 0, 3]).is_err());
        assert_eq!(length(b"d\0\0\0").unwrap(), None);
    }
}
