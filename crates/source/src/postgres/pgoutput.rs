//! The messages of Postgres' output plugin `pgoutput`, protocol versions 1 to 4, in text or binary.
//!
//! Bytes in, borrowed values out; who they concern, what they add up to and what their columns mean is left to others. The
//! form is that of "Logical Replication Message Formats" in the Postgres documentation. An unknown message is an error,
//! never skipped: what it said would be lost.

mod input;
mod tuple;

pub use tuple::{Field, Tuple};

use super::Lsn;
use input::Input;
use serde::{Deserialize, Serialize};
use viewfeed_change::{Error, Result};

/// The number of a relation or type in Postgres' catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Oid(pub u32);

/// The number of a transaction or subtransaction. It comes back after four thousand million others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(pub u32);

/// Microseconds since 2000-01-01 00:00 UTC, the beginning of Postgres' time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostgresTime(pub i64);

/// Whether a message stands between `StreamStart` and `StreamStop`: then changes say which subtransaction made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// A transaction that is sent after its commit.
    Committed,
    /// A block of a transaction that is still running at the server.
    StreamBlock,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// A committed transaction begins.
    Begin(Begin),
    /// It ends.
    Commit(Commit),
    /// The transaction came to this server from the one with this name.
    Origin {
        /// Its commit there.
        commit: Lsn,
        /// The name.
        name: &'a str,
    },
    /// What a table looks like from here on.
    Relation(Relation<'a>),
    /// What a type that is not built in is called.
    Type {
        /// Who says so.
        xid: Option<Xid>,
        /// The type.
        oid: Oid,
        /// Its schema; empty is `pg_catalog`.
        schema: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A row came.
    Insert {
        /// The subtransaction, within a block.
        xid: Option<Xid>,
        /// The table.
        relation: Oid,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row changed.
    Update {
        /// The subtransaction, within a block.
        xid: Option<Xid>,
        /// The table.
        relation: Oid,
        /// What was there, if Postgres says so.
        old: Option<OldRow<'a>>,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row went.
    Delete {
        /// The subtransaction, within a block.
        xid: Option<Xid>,
        /// The table.
        relation: Oid,
        /// What was there.
        old: OldRow<'a>,
    },
    /// All rows of some tables went.
    Truncate {
        /// The subtransaction, within a block.
        xid: Option<Xid>,
        /// The tables.
        relations: Vec<Oid>,
        /// Whether CASCADE was given: the tables it reached are listed too.
        cascade: bool,
        /// Whether sequences start anew.
        restart_identity: bool,
    },
    /// What somebody wrote with `pg_logical_emit_message`.
    Note(Note<'a>),
    /// A block of changes of a running transaction begins.
    StreamStart {
        /// The transaction.
        xid: Xid,
        /// Whether it is its first block.
        is_first: bool,
    },
    /// The block ends.
    StreamStop,
    /// A transaction that was sent in blocks is committed.
    StreamCommit {
        /// The transaction.
        xid: Xid,
        /// When and where.
        commit: Commit,
    },
    /// What a transaction that was sent in blocks, or a part of it, did is void.
    StreamAbort {
        /// The transaction.
        xid: Xid,
        /// The subtransaction; the same as `xid` if all of it is void.
        subtransaction: Xid,
    },
}

/// The beginning of a committed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record begins.
    pub commit: Lsn,
    /// When it was committed.
    pub time: PostgresTime,
    /// Its number.
    pub xid: Xid,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record begins.
    pub commit: Lsn,
    /// Where the commit record ends: what is acknowledged when the transaction is durable.
    pub end: Lsn,
    /// When it was committed.
    pub time: PostgresTime,
}

/// What of a row is known before a change.
#[derive(Clone, Debug, PartialEq)]
pub enum OldRow<'a> {
    /// The columns of its replica identity; the others are null and mean nothing.
    Key(Tuple<'a>),
    /// All of it: the table has REPLICA IDENTITY FULL.
    Full(Tuple<'a>),
}

/// A message from `pg_logical_emit_message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The subtransaction, within a block.
    pub xid: Option<Xid>,
    /// Whether it belongs to its transaction: otherwise it holds at once and whatever becomes of that.
    pub is_transactional: bool,
    /// Where it stands.
    pub lsn: Lsn,
    /// Whose it is.
    pub prefix: &'a str,
    /// What it says.
    pub content: &'a [u8],
}

/// A table as Postgres describes it before its first change, and again after each change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The subtransaction, within a block.
    pub xid: Option<Xid>,
    /// Its number.
    pub oid: Oid,
    /// Its schema; empty is `pg_catalog`.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What of an old row Postgres sends.
    pub identity: ReplicaIdentity,
    /// The published columns, in order.
    pub columns: Vec<RelationColumn<'a>>,
}

/// The REPLICA IDENTITY of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index,
}

/// A published column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it is part of the replica identity.
    pub is_key: bool,
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_oid: Oid,
    /// The type's modifier (length, precision and scale), −1 for none.
    pub type_modifier: i32,
}

impl<'a> Message<'a> {
    /// The message in `bytes`, all of them. Fails as `Corrupt` on anything that is not one of the messages above.
    pub fn decode(bytes: &'a [u8], within: Within) -> Result<Self> {
        let mut input = Input::new(bytes);
        let kind = input.byte()?;
        let message = match (kind, within) {
            (b'S' | b'c' | b'A' | b'E', _) => stream(kind, &mut input)?,
            (b'B' | b'C' | b'O', _) => boundary(kind, &mut input)?,
            (_, Within::Committed) => change(kind, None, &mut input)?,
            (_, Within::StreamBlock) => {
                let xid = Xid(input.u32()?);
                change(kind, Some(xid), &mut input)?
            }
        };
        input.end()?;
        Ok(message)
    }
}

/// Where transactions begin and end that are sent after their commit.
fn boundary<'a>(kind: u8, input: &mut Input<'a>) -> Result<Message<'a>> {
    Ok(match kind {
        b'B' => Message::Begin(Begin {
            commit: input.lsn()?,
            time: PostgresTime(input.i64()?),
            xid: Xid(input.u32()?),
        }),
        b'C' => Message::Commit(commit(input)?),
        _ => Message::Origin {
            commit: input.lsn()?,
            name: input.text()?,
        },
    })
}

/// Where blocks of running transactions begin and end.
fn stream<'a>(kind: u8, input: &mut Input<'a>) -> Result<Message<'a>> {
    Ok(match kind {
        b'S' => Message::StreamStart {
            xid: Xid(input.u32()?),
            is_first: input.byte()? == 1,
        },
        b'E' => Message::StreamStop,
        b'c' => Message::StreamCommit {
            xid: Xid(input.u32()?),
            commit: commit(input)?,
        },
        _ => {
            let (xid, subtransaction) = (Xid(input.u32()?), Xid(input.u32()?));
            // With streaming = parallel, version 4 adds where and when: not needed to make it void.
            if !input.is_empty() {
                input.take(16)?;
            }
            Message::StreamAbort { xid, subtransaction }
        }
    })
}

fn commit(input: &mut Input<'_>) -> Result<Commit> {
    // Flags that no version uses yet.
    input.byte()?;
    Ok(Commit {
        commit: input.lsn()?,
        end: input.lsn()?,
        time: PostgresTime(input.i64()?),
    })
}

/// What happens within transactions.
fn change<'a>(kind: u8, xid: Option<Xid>, input: &mut Input<'a>) -> Result<Message<'a>> {
    Ok(match kind {
        b'I' => Message::Insert {
            xid,
            relation: Oid(input.u32()?),
            new: new_row(input)?,
        },
        b'U' => Message::Update {
            xid,
            relation: Oid(input.u32()?),
            old: match input.peek() {
                Some(b'N') => None,
                _ => Some(old_row(input)?),
            },
            new: new_row(input)?,
        },
        b'D' => Message::Delete {
            xid,
            relation: Oid(input.u32()?),
            old: old_row(input)?,
        },
        b'T' => truncate(xid, input)?,
        b'R' => Message::Relation(relation(xid, input)?),
        b'Y' => Message::Type {
            xid,
            oid: Oid(input.u32()?),
            schema: input.text()?,
            name: input.text()?,
        },
        b'M' => Message::Note(note(xid, input)?),
        _ => return Err(unknown("message", kind)),
    })
}

fn new_row<'a>(input: &mut Input<'a>) -> Result<Tuple<'a>> {
    match input.byte()? {
        b'N' => Tuple::read(input),
        other => Err(unknown("part of a row", other)),
    }
}

fn old_row<'a>(input: &mut Input<'a>) -> Result<OldRow<'a>> {
    match input.byte()? {
        b'K' => Ok(OldRow::Key(Tuple::read(input)?)),
        b'O' => Ok(OldRow::Full(Tuple::read(input)?)),
        other => Err(unknown("part of a row", other)),
    }
}

fn truncate<'a>(xid: Option<Xid>, input: &mut Input<'a>) -> Result<Message<'a>> {
    let count = input.u32()?;
    let options = input.byte()?;
    // Read before it is believed: a count is four bytes, the memory it asks for is not.
    let bytes = input.take(count as usize * 4)?;
    let oid = |bytes: &[u8]| Oid(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    Ok(Message::Truncate {
        xid,
        relations: bytes.chunks_exact(4).map(oid).collect(),
        cascade: options & 1 != 0,
        restart_identity: options & 2 != 0,
    })
}

fn relation<'a>(xid: Option<Xid>, input: &mut Input<'a>) -> Result<Relation<'a>> {
    let (oid, schema, name) = (Oid(input.u32()?), input.text()?, input.text()?);
    let identity = match input.byte()? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        other => return Err(unknown("replica identity", other)),
    };
    let columns = (0..input.u16()?)
        .map(|_| {
            Ok(RelationColumn {
                is_key: input.byte()? & 1 != 0,
                name: input.text()?,
                type_oid: Oid(input.u32()?),
                type_modifier: input.i32()?,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Relation {
        xid,
        oid,
        schema,
        name,
        identity,
        columns,
    })
}

fn note<'a>(xid: Option<Xid>, input: &mut Input<'a>) -> Result<Note<'a>> {
    let (flags, lsn, prefix) = (input.byte()?, input.lsn()?, input.text()?);
    let length = input.u32()?;
    Ok(Note {
        xid,
        is_transactional: flags & 1 != 0,
        lsn,
        prefix,
        content: input.take(length as usize)?,
    })
}

fn unknown(what: &str, byte: u8) -> Error {
    Error::corrupt(format!("Postgres sent an unknown {what}: byte {byte:#04x}")).hint(
        "this version of viewfeed may be older than the server; the position is kept, nothing was skipped",
    )
}
