//! A store whose files may not grow: the kernel cuts a write short, and the store goes on.
//!
//! The limit (`ulimit -f`) is set by a shell before it becomes this test binary again.

#![cfg(unix)]

use crate::{commit, nothing, pairs, relaxed};
use std::path::Path;
use std::process::{Command, Stdio};
use viewfeed_change::{Epoch, ErrorKind};
use viewfeed_store::{Durability, Options, Store};

const DIR: &str = "VIEWFEED_STORE_LIMITED_DIR";
/// In units of the shell, which are 512 or 1024 bytes.
const FILE_BLOCKS_MAX: usize = 8192;
const TOO_LARGE_BYTES: usize = 3 * FILE_BLOCKS_MAX * 1024;

fn options() -> Options {
    Options {
        durability: Durability::Sync,
        ..relaxed()
    }
}

#[test]
fn child_commits_more_than_fits() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = Store::open(Path::new(&dir), options()).unwrap();
    for n in 1..=5u8 {
        commit(&store, &[(b"k", Some(&[n]))]);
        let mut txn = store.begin().unwrap();
        txn.put(b"k".to_vec(), vec![n; TOO_LARGE_BYTES]);
        let error = store.commit(txn, &nothing()).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Unavailable),
            "{error:?}"
        );
        assert_ne!(error.reason(), "STORE_POISONED");
        assert_eq!(store.epoch(), Epoch(n.into()));
        assert_eq!(pairs(&store.reader(), b"k"), [(b"k".to_vec(), vec![n])]);
        assert_eq!(
            store.read_log(Epoch(0)).unwrap().map(Result::unwrap).count(),
            usize::from(n)
        );
    }
    println!("the child went on");
}

#[test]
fn an_epoch_that_does_not_fit_is_gone_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Ignored signals stay ignored: a write beyond the limit then fails instead of ending the process.
    let script = format!("trap '' XFSZ; ulimit -f {FILE_BLOCKS_MAX}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "disk_full::child_commits_more_than_fits",
            "--nocapture",
        ])
        .env(DIR, dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = crate::spawn(&mut command).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("the child went on"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.epoch(), Epoch(5));
    assert_eq!(pairs(&store.reader(), b"k"), [(b"k".to_vec(), vec![5])]);
}
