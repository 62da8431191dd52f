//! Messages of pgoutput become whole transactions: blocks of running ones apart, what was rolled back left out, large ones by way
//! of the disk with the same result.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use viewfeed_change::ErrorKind;
use viewfeed_source::postgres::pgoutput::{Field, Message, OldRow, Xid};
use viewfeed_source::postgres::{Assembled, Assembler, Committed, Lsn, Messages};

/// More than any of these tests needs.
const AMPLE_BYTES: usize = 1 << 20;

fn begin(xid: u32, commit: u64) -> Vec<u8> {
    [&b"B"[..], &commit.to_be_bytes(), &[0; 8], &xid.to_be_bytes()].concat()
}

/// When and where: the record's end is one further on.
fn end(commit: u64) -> Vec<u8> {
    [
        &[0][..],
        &commit.to_be_bytes(),
        &(commit + 1).to_be_bytes(),
        &[0; 8],
    ]
    .concat()
}

fn commit(at: u64) -> Vec<u8> {
    [b"C".to_vec(), end(at)].concat()
}

fn stream_start(xid: u32, is_first: bool) -> Vec<u8> {
    [&b"S"[..], &xid.to_be_bytes(), &[is_first.into()]].concat()
}

fn stream_stop() -> Vec<u8> {
    b"E".to_vec()
}

fn stream_commit(xid: u32, at: u64) -> Vec<u8> {
    [b"c".to_vec(), xid.to_be_bytes().to_vec(), end(at)].concat()
}

fn stream_abort(xid: u32, subtransaction: u32) -> Vec<u8> {
    [&b"A"[..], &xid.to_be_bytes(), &subtransaction.to_be_bytes()].concat()
}

/// The beginning of a message; of `xid` within a block.
fn of(kind: u8, xid: Option<u32>) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(xid.into_iter().flat_map(u32::to_be_bytes));
    bytes
}

/// A row with one column, of `xid` within a block.
fn insert(xid: Option<u32>, value: &str) -> Vec<u8> {
    let mut bytes = of(b'I', xid);
    bytes.extend_from_slice(&7_u32.to_be_bytes());
    bytes.extend_from_slice(b"N\0\x01t");
    bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

fn relation(xid: Option<u32>, name: &str) -> Vec<u8> {
    let mut bytes = of(b'R', xid);
    bytes.extend_from_slice(&7_u32.to_be_bytes());
    bytes.extend_from_slice(format!("public\0{name}\0d").as_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

fn note(xid: Option<u32>, is_transactional: bool, content: &str) -> Vec<u8> {
    let mut bytes = of(b'M', xid);
    bytes.push(is_transactional.into());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(b"ours\0");
    bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
    bytes.extend_from_slice(content.as_bytes());
    bytes
}

/// What a message says, in short.
fn told(message: &Message<'_>) -> String {
    let text = |field: &Field<'_>| match field {
        Field::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?} was never sent"),
    };
    match message {
        Message::Insert { new, .. } => new.fields().map(|field| text(&field)).collect(),
        Message::Relation(relation) => format!("table {}", relation.name),
        Message::Note(note) => format!("note {}", String::from_utf8_lossy(note.content)),
        Message::Origin { name, .. } => format!("from {name}"),
        Message::Delete {
            old: OldRow::Key(_), ..
        } => "delete".to_owned(),
        other => panic!("{other:?} was never sent"),
    }
}

/// What the messages say, as often as they are read.
fn read(mut committed: Committed) -> (Xid, Lsn, Vec<String>) {
    let messages = &mut committed.messages;
    let first = all(messages);
    // From the middle, and from the end, wherever that is.
    for stop in [first.len() / 2, first.len()] {
        messages.rewind().unwrap();
        assert_eq!(messages.passed(), 0);
        for _ in 0..stop {
            messages.next().unwrap();
        }
        messages.rewind().unwrap();
        assert_eq!(all(messages), first);
        assert_eq!(messages.passed(), messages.bytes());
    }
    assert_eq!(committed.end.0, committed.commit.0 + 1);
    (committed.xid, committed.commit, first)
}

fn all(messages: &mut Messages) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(message) = messages.next().unwrap() {
        said.push(told(&message));
    }
    said
}

/// Pushes all, and gives what became whole: transactions as number and contents, notes as their content.
fn assemble(messages: &[Vec<u8>], memory_bytes_max: usize) -> Vec<(u32, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut assembler = Assembler::new(folder.path(), memory_bytes_max);
    let mut whole = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match assembler.push(message, Lsn(at as u64)).unwrap() {
            Some(Assembled::Transaction(committed)) => {
                let (xid, _, said) = read(committed);
                whole.push((xid.0, said));
            }
            Some(Assembled::Note(note)) => whole.push((0, vec![String::from_utf8(note.content).unwrap()])),
            None => {}
        }
        assert!(assembler.load().memory_bytes <= memory_bytes_max);
    }
    whole
}

fn said(xid: u32, said: &[&str]) -> (u32, Vec<String>) {
    (xid, said.iter().map(ToString::to_string).collect())
}

#[test]
fn blocks_of_running_transactions_come_apart_and_in_the_order_of_their_commits() {
    let messages = [
        stream_start(1, true),
        relation(Some(1), "t"),
        insert(Some(1), "a"),
        stream_stop(),
        stream_start(2, true),
        insert(Some(2), "b"),
        stream_stop(),
        begin(3, 10),
        insert(None, "c"),
        commit(10),
        stream_start(1, false),
        insert(Some(1), "d"),
        note(Some(1), true, "e"),
        stream_stop(),
        stream_commit(2, 20),
        stream_commit(1, 30),
    ];
    assert_eq!(
        assemble(&messages, AMPLE_BYTES),
        [
            said(3, &["c"]),
            said(2, &["b"]),
            said(1, &["table t", "a", "d", "note e"])
        ]
    );
}

#[test]
fn what_a_subtransaction_did_is_void_when_it_is_rolled_back() {
    let messages = [
        stream_start(1, true),
        insert(Some(1), "a"),
        relation(Some(2), "void"),
        insert(Some(2), "b"),
        insert(Some(3), "c"),
        insert(Some(4), "d"),
        stream_stop(),
        stream_abort(1, 3),
        stream_abort(1, 2),
        stream_start(1, false),
        relation(Some(1), "t"),
        insert(Some(1), "e"),
        note(Some(4), true, "f"),
        stream_stop(),
        stream_commit(1, 10),
    ];
    assert_eq!(
        assemble(&messages, AMPLE_BYTES),
        [said(1, &["a", "d", "table t", "e", "note f"])]
    );
}

#[test]
fn a_transaction_that_is_rolled_back_is_void_and_its_number_free() {
    let messages = [
        stream_start(1, true),
        insert(Some(1), "a"),
        insert(Some(2), "b"),
        stream_stop(),
        stream_abort(1, 2),
        stream_abort(1, 1),
        // Both numbers come back after four thousand million others.
        stream_start(1, true),
        insert(Some(2), "c"),
        stream_stop(),
        stream_commit(1, 10),
        begin(1, 20),
        insert(None, "d"),
        commit(20),
        stream_start(2, true),
        insert(Some(1), "e"),
        stream_stop(),
        stream_commit(2, 30),
    ];
    assert_eq!(
        assemble(&messages, AMPLE_BYTES),
        [said(1, &["c"]), said(1, &["d"]), said(2, &["e"])]
    );
}

#[test]
fn a_note_that_belongs_to_no_transaction_is_given_out_at_once() {
    let messages = [
        stream_start(1, true),
        insert(Some(1), "a"),
        stream_stop(),
        note(None, false, "at once"),
        begin(2, 10),
        note(None, false, "at once too"),
        note(None, true, "later"),
        commit(10),
        stream_abort(1, 1),
    ];
    assert_eq!(
        assemble(&messages, AMPLE_BYTES),
        [
            said(0, &["at once"]),
            said(0, &["at once too"]),
            said(2, &["note later"])
        ]
    );
}

#[test]
fn the_end_of_a_transaction_is_where_it_says_and_empty_ones_are_given_out() {
    let mut assembler = Assembler::new("", AMPLE_BYTES);
    assert!(assembler.push(&begin(5, 100), Lsn(1)).unwrap().is_none());
    assert!(assembler.is_within_commit());
    let Some(Assembled::Transaction(committed)) = assembler.push(&commit(100), Lsn(2)).unwrap() else {
        panic!("it is whole");
    };
    assert!(!assembler.is_within_commit());
    assert_eq!((committed.commit, committed.end), (Lsn(100), Lsn(101)));
    assert_eq!(read(committed), (Xid(5), Lsn(100), vec![]));
}

#[test]
fn messages_out_of_order_are_refused() {
    let cases: [&[Vec<u8>]; 13] = [
        &[insert(None, "a")],
        &[commit(1)],
        &[begin(1, 10), begin(2, 20)],
        &[begin(1, 10), commit(20)],
        &[begin(1, 10), stream_start(2, true)],
        &[stream_stop()],
        &[stream_start(1, false)],
        &[stream_start(1, true), stream_start(2, true)],
        &[stream_start(1, true), begin(2, 10)],
        &[stream_start(1, true), stream_commit(1, 10)],
        &[stream_commit(1, 10)],
        &[b"?".to_vec()],
        &[vec![]],
    ];
    for messages in cases {
        let mut assembler = Assembler::new("", AMPLE_BYTES);
        let (last, first) = messages.split_last().unwrap();
        for message in first {
            assembler.push(message, Lsn(0)).unwrap();
        }
        let error = assembler.push(last, Lsn(0x16_0000_0001)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{messages:?}");
        assert!(error.message().contains("16/1"), "{error}");
    }
}

#[test]
fn the_largest_goes_to_the_disk_and_its_file_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut assembler = Assembler::new(folder.path(), 200_000);
    let mut push = |message: Vec<u8>| assembler.push(&message, Lsn(0)).unwrap().map(|_| ()).is_some();
    push(stream_start(1, true));
    push(insert(Some(1), "small"));
    push(stream_stop());
    push(stream_start(2, true));
    let row = "x".repeat(1_000);
    for _ in 0..1_000 {
        push(insert(Some(2), &row));
    }
    push(stream_stop());
    let load = assembler.load();
    assert_eq!(load.transactions, 2);
    assert!(load.memory_bytes <= 200_000, "{load:?}");
    assert!(load.disk_bytes >= 800_000, "{load:?}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it has no name"
    );
    let Some(Assembled::Transaction(small)) = assembler.push(&stream_commit(1, 10), Lsn(0)).unwrap() else {
        panic!("it is whole");
    };
    assert_eq!(read(small).2, ["small"]);
    let Some(Assembled::Transaction(large)) = assembler.push(&stream_commit(2, 20), Lsn(0)).unwrap() else {
        panic!("it is whole");
    };
    assert_eq!(read(large).2, vec![row; 1_000]);
    assert_eq!(assembler.load().memory_bytes, 0);
}

#[test]
fn without_a_folder_to_write_to_the_error_names_it() {
    let mut assembler = Assembler::new("/no/such/folder", 10);
    assembler.push(&begin(1, 10), Lsn(0)).unwrap();
    let error = assembler.push(&insert(None, "a"), Lsn(0)).unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}

/// A random stream beside what it means.
#[derive(Default)]
struct Random {
    messages: Vec<Vec<u8>>,
    expected: Vec<(u32, Vec<String>)>,
    /// The rows of each open transaction with the subtransaction that wrote them.
    open: BTreeMap<u32, Vec<(u32, String)>>,
    /// The numbers of the subtransactions that were rolled back.
    void: HashSet<u32>,
    rows: u32,
    commits: u64,
}

impl Random {
    fn row(&mut self, random: &mut StdRng) -> String {
        self.rows += 1;
        format!("{}:{}", self.rows, "x".repeat(random.random_range(0..200)))
    }

    fn block(&mut self, xid: u32, random: &mut StdRng) {
        let is_first = !self.open.contains_key(&xid);
        self.messages.push(stream_start(xid, is_first));
        self.open.entry(xid).or_default();
        for _ in 0..random.random_range(0..20) {
            // Its own number, or one of its subtransactions'.
            let writer = xid + random.random_range(0..5);
            if self.void.contains(&writer) {
                continue;
            }
            let row = self.row(random);
            self.messages.push(insert(Some(writer), &row));
            self.open.get_mut(&xid).unwrap().push((writer, row));
        }
        self.messages.push(stream_stop());
    }

    fn end(&mut self, xid: u32, is_kept: bool) {
        let rows = self.open.remove(&xid).unwrap();
        if is_kept {
            self.commits += 10;
            self.messages.push(stream_commit(xid, self.commits));
            let kept = rows.into_iter().map(|(_, row)| row).collect();
            self.expected.push((xid, kept));
        } else {
            self.messages.push(stream_abort(xid, xid));
        }
        for writer in xid..xid + 5 {
            self.void.remove(&writer);
        }
    }

    fn step(&mut self, random: &mut StdRng) {
        let open: Vec<u32> = self.open.keys().copied().collect();
        match (random.random_range(0..10), open.choose(random)) {
            (0, Some(xid)) => self.end(*xid, true),
            (1, Some(xid)) => self.end(*xid, false),
            (2 | 3, Some(xid)) => {
                let writer = xid + random.random_range(1..5);
                self.void.insert(writer);
                self.messages.push(stream_abort(*xid, writer));
                self.open.get_mut(xid).unwrap().retain(|(by, _)| *by != writer);
            }
            (4, _) => {
                self.commits += 10;
                self.messages.push(begin(1, self.commits));
                let rows: Vec<String> = (0..random.random_range(0..30))
                    .map(|_| self.row(random))
                    .collect();
                self.messages.extend(rows.iter().map(|row| insert(None, row)));
                self.messages.push(commit(self.commits));
                self.expected.push((1, rows));
            }
            // Few numbers, so that they come back.
            _ => self.block(random.random_range(1..8) * 10, random),
        }
    }
}

#[test]
fn random_streams_are_put_together_alike_in_memory_and_on_disk() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    for case in 0..60 {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(case));
        let mut stream = Random::default();
        for _ in 0..random.random_range(10..150) {
            stream.step(&mut random);
        }
        for memory_bytes_max in [0, 3_000, 100_000, AMPLE_BYTES * 16] {
            let whole = assemble(&stream.messages, memory_bytes_max);
            assert_eq!(
                whole, stream.expected,
                "seed {seed}, case {case}, {memory_bytes_max} bytes"
            );
        }
    }
}
