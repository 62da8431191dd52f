//! Facts about the log that need a fault no outside door can cause, and about damage of unsynced records.

use super::writer::Fault;
use super::{LogEntry, LogReader, bytes_about, open};
use crate::EpochRecord;
use crate::log::Log;
use crate::writes::SortedWrites;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use viewfeed_change::{Epoch, ErrorKind, Result, Timestamp};

fn append_synced(log: &Arc<Log>, epoch: u64, synced: u64) -> Result<u64> {
    append_value(log, epoch, synced, &[epoch as u8; 50])
}

fn append_value(log: &Arc<Log>, epoch: u64, synced: u64, value: &[u8]) -> Result<u64> {
    let nothing = EpochRecord {
        commit_time: Timestamp(0),
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    };
    let writes = SortedWrites::from_iter([(&b"k"[..], Some(value))]);
    let writes = [Arc::new(writes)];
    log.append(Epoch(epoch), Timestamp(0), bytes_about(&writes), |output| {
        let entry = LogEntry {
            epoch: Epoch(epoch),
            synced: Epoch(synced),
            record: &nothing,
        };
        entry.encode(&writes, output)
    })
}

fn open_at(dir: &Path) -> Result<(Arc<Log>, Vec<u64>)> {
    let mut replayed = Vec::new();
    let log = open(dir, 1 << 20, Epoch(0), &mut |epoch, _, _| {
        replayed.push(epoch.0);
        Ok(())
    })?;
    Ok((Arc::new(log), replayed))
}

fn append(log: &Arc<Log>, epoch: u64) -> Result<u64> {
    append_synced(log, epoch, log.synced().0)
}

#[test]
fn a_full_disk_loses_the_epoch_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open_at(dir.path()).unwrap();
    let record_bytes = append(&log, 1).unwrap() as usize;
    log.sync().unwrap();
    let size = fs::metadata(dir.path().join("00000000000000000001.log"))
        .unwrap()
        .len();
    for bytes in 0..record_bytes {
        log.inject(Fault::FullAfter(bytes));
        let error = append(&log, 2).unwrap_err();
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Exhausted, "DISK_FULL")
        );
        assert_eq!(
            fs::metadata(dir.path().join("00000000000000000001.log"))
                .unwrap()
                .len(),
            size
        );
    }
    append(&log, 2).unwrap();
    log.sync().unwrap();
    let read = LogReader::new(log.clone(), Epoch(1), Epoch(2));
    assert_eq!(read.map(|read| read.unwrap().epoch.0).collect::<Vec<_>>(), [1, 2]);
    drop(log);
    assert_eq!(open_at(dir.path()).unwrap().1, [1, 2]);
}

#[test]
fn a_failed_sync_refuses_every_later_epoch_until_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open_at(dir.path()).unwrap();
    append(&log, 1).unwrap();
    log.sync().unwrap();
    append(&log, 2).unwrap();
    log.inject(Fault::Sync);
    for error in [log.sync(), append(&log, 3).map(drop), log.sync()].map(Result::unwrap_err) {
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Unavailable, "STORE_POISONED")
        );
        assert!(error.advice().unwrap().contains("restart"));
    }
    assert_eq!(log.synced(), Epoch(1));
    drop(log);
    let (log, replayed) = open_at(dir.path()).unwrap();
    assert_eq!(replayed[0], 1);
    append(&log, replayed.len() as u64 + 1).unwrap();
    log.sync().unwrap();
}

/// Records written without a sync between them may reach the disk in any order: a hole among them is no damage.
#[test]
fn a_hole_is_cut_unless_a_later_record_says_it_was_durable() {
    let path = |dir: &Path| dir.join("00000000000000000001.log");
    for (synced_by_third, is_cut) in [(1, true), (2, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open_at(dir.path()).unwrap();
        let records = [(1, 0), (2, 1), (3, synced_by_third)];
        let lengths = records.map(|(epoch, synced)| append_synced(&log, epoch, synced).unwrap());
        drop(log);
        let mut bytes = fs::read(path(dir.path())).unwrap();
        let second = 8 + lengths[0] as usize;
        bytes[second..second + 60].fill(0);
        fs::write(path(dir.path()), bytes).unwrap();
        match open_at(dir.path()) {
            Ok((_, replayed)) => assert!(is_cut && replayed == [1], "{replayed:?}"),
            Err(error) => assert!(!is_cut && error.kind() == ErrorKind::Corrupt, "{error}"),
        }
    }
}

/// A large record is written a piece at a time, and its start last.
#[test]
fn of_a_large_record_that_was_not_finished_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("00000000000000000001.log");
    let size = || fs::metadata(&file).unwrap().len();
    let (log, _) = open_at(dir.path()).unwrap();
    let before = size();
    let large = vec![7; 3 << 20];
    log.inject(Fault::FullAfter(2 << 20));
    let error = append_value(&log, 1, 0, &large).unwrap_err();
    assert_eq!((error.reason(), size()), ("DISK_FULL", before));
    append_value(&log, 1, 0, &large).unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, replayed) = open_at(dir.path()).unwrap();
    assert_eq!(replayed, [1]);
    drop(log);
    // As a crash leaves it before the start is written.
    let mut bytes = fs::read(&file).unwrap();
    bytes[before as usize..][..38].fill(0);
    fs::write(&file, bytes).unwrap();
    let (_, replayed) = open_at(dir.path()).unwrap();
    assert!(replayed.is_empty());
    assert_eq!(size(), before);
}
