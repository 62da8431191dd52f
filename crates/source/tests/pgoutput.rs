//! The messages of Postgres' pgoutput: each form is read as documented, and no bytes whatever make the reader panic.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use viewfeed_source::postgres::Lsn;
use viewfeed_source::postgres::pgoutput::{
    Begin, Commit, Field, Message, Note, Oid, OldRow, PostgresTime, ReplicaIdentity, Within, Xid,
};

/// Writes a message as the server does.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn kind(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    fn u16(self, number: u16) -> Self {
        self.raw(number.to_be_bytes())
    }

    fn u32(self, number: u32) -> Self {
        self.raw(number.to_be_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.raw(number.to_be_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.raw(text).raw([0])
    }

    fn value(self, form: u8, value: &str) -> Self {
        self.raw([form]).u32(value.len() as u32).raw(value)
    }

    /// The columns 1, NULL, an unchanged one and a binary one.
    fn row(self, part: u8) -> Self {
        self.raw([part])
            .u16(4)
            .value(b't', "1")
            .raw(b"nu")
            .value(b'b', "\u{1}\u{2}")
    }
}

const ROW: [Field<'_>; 4] = [
    Field::Text(b"1"),
    Field::Null,
    Field::Unchanged,
    Field::Binary(&[1, 2]),
];

fn decode(bytes: &Bytes, within: Within) -> Message<'_> {
    Message::decode(&bytes.0, within).unwrap()
}

fn every_message() -> Vec<(Bytes, Within)> {
    let committed = [
        Bytes::kind(b'B').u64(0x10).u64(7).u32(9),
        Bytes::kind(b'C').raw([0]).u64(0x10).u64(0x20).u64(7),
        Bytes::kind(b'O').u64(0x10).text("elsewhere"),
        Bytes::kind(b'Y').u32(70_000).text("shop").text("mood"),
        Bytes::kind(b'I').u32(16_384).row(b'N'),
        Bytes::kind(b'U').u32(16_384).row(b'N'),
        Bytes::kind(b'U').u32(16_384).row(b'K').row(b'N'),
        Bytes::kind(b'U').u32(16_384).row(b'O').row(b'N'),
        Bytes::kind(b'D').u32(16_384).row(b'K'),
        Bytes::kind(b'D').u32(16_384).row(b'O'),
        Bytes::kind(b'T').u32(2).raw([3]).u32(16_384).u32(16_390),
        Bytes::kind(b'M')
            .raw([1])
            .u64(0x10)
            .text("beat")
            .value_of("hello"),
        table(Bytes::kind(b'R')),
    ];
    let streamed = [
        Bytes::kind(b'S').u32(9).raw([1]),
        Bytes::kind(b'E'),
        Bytes::kind(b'c').u32(9).raw([0]).u64(0x10).u64(0x20).u64(7),
        Bytes::kind(b'A').u32(9).u32(10),
        Bytes::kind(b'A').u32(9).u32(10).u64(0x10).u64(7),
        Bytes::kind(b'I').u32(11).u32(16_384).row(b'N'),
        table(Bytes::kind(b'R').u32(11)),
    ];
    let committed = committed.into_iter().map(|bytes| (bytes, Within::Committed));
    let streamed = streamed.into_iter().map(|bytes| (bytes, Within::StreamBlock));
    committed.chain(streamed).collect()
}

impl Bytes {
    fn value_of(self, content: &str) -> Self {
        self.u32(content.len() as u32).raw(content)
    }
}

fn table(head: Bytes) -> Bytes {
    head.u32(16_384)
        .text("public")
        .text("orders")
        .raw(b"d")
        .u16(2)
        .raw([1])
        .text("id")
        .u32(23)
        .u32(u32::MAX)
        .raw([0])
        .text("total")
        .u32(1700)
        .u32(655_366)
}

#[test]
fn transactions_begin_and_end() {
    let messages = every_message();
    let begin = Begin {
        commit: Lsn(0x10),
        time: PostgresTime(7),
        xid: Xid(9),
    };
    let commit = Commit {
        commit: Lsn(0x10),
        end: Lsn(0x20),
        time: PostgresTime(7),
    };
    assert_eq!(decode(&messages[0].0, Within::Committed), Message::Begin(begin));
    assert_eq!(decode(&messages[1].0, Within::Committed), Message::Commit(commit));
    let streamed = Message::StreamCommit { xid: Xid(9), commit };
    assert_eq!(decode(&messages[15].0, Within::Committed), streamed);
}

#[test]
fn a_row_tells_null_from_unchanged_and_text_from_binary() {
    let bytes = Bytes::kind(b'I').u32(16_384).row(b'N');
    let Message::Insert { xid, relation, new } = decode(&bytes, Within::Committed) else {
        panic!("an insert");
    };
    assert_eq!((xid, relation, new.len()), (None, Oid(16_384), 4));
    assert_eq!(new.fields().collect::<Vec<_>>(), ROW);
}

#[test]
fn an_update_says_what_it_knows_of_the_old_row() {
    let update = |old: Option<u8>| {
        let bytes = Bytes::kind(b'U').u32(1);
        old.map_or(bytes.clone(), |part| bytes.row(part)).row(b'N')
    };
    let old = |bytes: &Bytes| match decode(bytes, Within::Committed) {
        Message::Update { old, .. } => match old {
            None => "nothing",
            Some(OldRow::Key(_)) => "key",
            Some(OldRow::Full(_)) => "full",
        },
        other => panic!("an update, not {other:?}"),
    };
    assert_eq!(old(&update(None)), "nothing");
    assert_eq!(old(&update(Some(b'K'))), "key");
    assert_eq!(old(&update(Some(b'O'))), "full");
}

#[test]
fn a_change_in_a_block_names_its_subtransaction() {
    let bytes = Bytes::kind(b'D').u32(11).u32(16_384).row(b'K');
    let Message::Delete { xid, relation, .. } = decode(&bytes, Within::StreamBlock) else {
        panic!("a delete");
    };
    assert_eq!((xid, relation), (Some(Xid(11)), Oid(16_384)));
    let abort = Message::StreamAbort {
        xid: Xid(9),
        subtransaction: Xid(10),
    };
    for bytes in [
        Bytes::kind(b'A').u32(9).u32(10),
        Bytes::kind(b'A').u32(9).u32(10).u64(0x10).u64(7),
    ] {
        assert_eq!(decode(&bytes, Within::Committed), abort);
    }
}

#[test]
fn a_table_is_described_with_its_identity_and_types() {
    let bytes = table(Bytes::kind(b'R'));
    let Message::Relation(table) = decode(&bytes, Within::Committed) else {
        panic!("a table");
    };
    assert_eq!(
        (table.schema, table.name, table.oid),
        ("public", "orders", Oid(16_384))
    );
    assert_eq!(table.identity, ReplicaIdentity::Default);
    let columns: Vec<_> = table
        .columns
        .iter()
        .map(|column| {
            (
                column.name,
                column.is_key,
                column.type_oid.0,
                column.type_modifier,
            )
        })
        .collect();
    assert_eq!(columns, [("id", true, 23, -1), ("total", false, 1700, 655_366)]);
}

#[test]
fn truncate_and_notes_keep_their_options() {
    let bytes = Bytes::kind(b'T').u32(2).raw([2]).u32(5).u32(6);
    let truncate = Message::Truncate {
        xid: None,
        relations: vec![Oid(5), Oid(6)],
        cascade: false,
        restart_identity: true,
    };
    assert_eq!(decode(&bytes, Within::Committed), truncate);
    let bytes = Bytes::kind(b'M')
        .raw([0])
        .u64(0x10)
        .text("beat")
        .value_of("hello");
    let note = Note {
        xid: None,
        is_transactional: false,
        lsn: Lsn(0x10),
        prefix: "beat",
        content: b"hello",
    };
    assert_eq!(decode(&bytes, Within::Committed), Message::Note(note));
}

#[test]
fn a_message_that_is_cut_or_goes_on_is_an_error() {
    for (bytes, within) in every_message() {
        assert!(Message::decode(&bytes.0, within).is_ok());
        for length in 0..bytes.0.len() {
            // An abort may end before its place and time.
            let is_whole = bytes.0[0] == b'A' && length == 9;
            let cut = Message::decode(&bytes.0[..length], within);
            assert_eq!(cut.is_ok(), is_whole, "{:?} cut to {length}", bytes.0);
        }
        let longer = bytes.raw([0]);
        assert!(Message::decode(&longer.0, within).is_err());
    }
}

#[test]
fn an_unknown_message_is_an_error_and_is_named() {
    let error = Message::decode(b"?", Within::Committed).unwrap_err();
    assert!(error.message().contains("0x3f"), "{error}");
}

#[test]
fn no_bytes_make_the_reader_panic_or_take_memory() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let messages = every_message();
    for _ in 0..200_000 {
        let (bytes, within) = &messages[random.random_range(0..messages.len())];
        let mut bytes = bytes.0.clone();
        for _ in 0..random.random_range(1..4) {
            let place = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[place] = random.random(),
                1 => bytes.insert(place, random.random()),
                // Lengths and counts far beyond what follows.
                _ => bytes[place] = 0xff,
            }
        }
        if let Ok(Message::Insert { new, .. }) = Message::decode(&bytes, *within) {
            assert_eq!(new.fields().count(), new.len());
        }
    }
}
