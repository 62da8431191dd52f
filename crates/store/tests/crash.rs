//! A process is killed while it commits; what it acknowledged must be there.
//!
//! The child is this test binary again, told by an environment variable to run [`child_commits_until_killed`] for real.

use crate::relaxed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use viewfeed_change::Timestamp;
use viewfeed_store::{Durability, EpochRecord, Form, Options, Retention, Store};

const DIR: &str = "VIEWFEED_STORE_CRASH_DIR";
const DURABILITY: &str = "VIEWFEED_STORE_CRASH_DURABILITY";
const FORM: &str = "VIEWFEED_STORE_CRASH_FORM";
const KEYS: u64 = 400;
const ROUNDS: usize = 24;

/// Small limits, so that kills also hit checkpoints, new segments and dropped history.
fn options(durability: Durability, form: Form) -> Options {
    Options {
        durability,
        form,
        overlay_bytes: 40_000,
        segment_bytes: 30_000,
        retention: Retention {
            bytes_max: 100_000,
            age_us: i64::MAX,
        },
        ..relaxed()
    }
}

fn key(number: u64) -> Vec<u8> {
    [b"a".as_slice(), &number.to_be_bytes()].concat()
}

/// What epoch `epoch` does to each key: the same in the child, and in the model of the parent.
fn writes_of(epoch: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut random = StdRng::seed_from_u64(epoch);
    let count = random.random_range(1..30);
    let mut one = || {
        let key = key(random.random_range(0..KEYS));
        let value = random
            .random_bool(0.7)
            .then(|| [&epoch.to_be_bytes()[..], &vec![7; random.random_range(0..200)]].concat());
        (key, value)
    };
    (0..count).map(|_| one()).collect()
}

#[test]
fn child_commits_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let durability = match std::env::var(DURABILITY).unwrap().as_str() {
        "relaxed" => Durability::Relaxed { interval_ms: 5 },
        _ => Durability::Sync,
    };
    let form = match std::env::var(FORM).unwrap().as_str() {
        "runs" => Form::Runs,
        _ => Form::Sled,
    };
    let store = Store::open(Path::new(&dir), options(durability, form)).unwrap();
    // Not through the test harness's captured output: the parent reads every line as an acknowledgement.
    let mut out = std::io::stdout().lock();
    loop {
        let mut txn = store.begin().unwrap();
        let epoch = txn.epoch().0;
        writeln!(out, "\nstart {epoch}").unwrap();
        let record = EpochRecord {
            commit_time: Timestamp(epoch as i64),
            transactions: Vec::new(),
            deltas: Vec::new(),
            schema_versions: Vec::new(),
        };
        for (number, (key, value)) in writes_of(epoch).into_iter().enumerate() {
            match value {
                Some(value) => txn.put(key, value),
                None => txn.delete(key),
            }
            // Some epochs come in parts.
            if epoch.is_multiple_of(3) && number % 5 == 4 {
                store.write_part(&mut txn, &record).unwrap();
            }
        }
        store.commit(txn, &record).unwrap();
        writeln!(out, "done {epoch}").unwrap();
        out.flush().unwrap();
    }
}

fn spawn(dir: &Path, (durability, form): (&str, &str)) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "crash::child_commits_until_killed", "--nocapture"])
        .env(DIR, dir)
        .env(DURABILITY, durability)
        .env(FORM, form)
        .stdout(Stdio::piped());
    crate::spawn(&mut command)
}

/// Lets a child run for a while and kills it; gives the last epoch it started and the last it acknowledged.
fn run_and_kill(dir: &Path, setting: (&str, &str), commits: u64, pause: Duration) -> (u64, u64) {
    let mut child = spawn(dir, setting);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut started, mut done, mut seen) = (0, 0, 0);
    let mut take = |line: String, started: &mut u64, done: &mut u64| {
        if let Some(epoch) = line.strip_prefix("start ") {
            *started = epoch.parse().unwrap();
        } else if let Some(epoch) = line.strip_prefix("done ") {
            *done = epoch.parse().unwrap();
            seen += 1;
        }
        seen
    };
    for line in &mut lines {
        if take(line.unwrap(), &mut started, &mut done) >= commits {
            break;
        }
    }
    // The moment of the kill is anywhere within a commit; this only spreads it.
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        take(line, &mut started, &mut done);
    }
    (started, done)
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    survives_kills("sync", "sled");
}

/// What relaxed durability may lose, it loses to a crash of the machine, not of the process.
#[test]
fn a_kill_loses_nothing_with_relaxed_durability_either() {
    survives_kills("relaxed", "sled");
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill_with_run_files() {
    survives_kills("sync", "runs");
}

#[test]
fn a_kill_loses_nothing_with_run_files_and_relaxed_durability_either() {
    survives_kills("relaxed", "runs");
}

fn survives_kills(durability: &str, form: &str) {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..ROUNDS {
        let (commits, pause_us) = (random.random_range(0..60), random.random_range(0..6000));
        let (started, done) = run_and_kill(
            dir.path(),
            (durability, form),
            commits,
            Duration::from_micros(pause_us),
        );
        // What the child made, in whatever form it did so.
        let store = Store::open(dir.path(), options(Durability::Sync, Form::Sled)).unwrap();
        let epoch = store.epoch().0;
        assert!(
            done <= epoch,
            "round {round}: {done} was acknowledged, found {epoch}"
        );
        assert!(
            epoch <= started.max(total),
            "round {round}: {started} was started last, found {epoch}"
        );
        assert!(
            epoch >= total,
            "round {round}: {total} was there before, found {epoch}"
        );
        total = epoch;
        holds_exactly(&store, epoch);
        // Afterwards no history is dropped behind the back of what follows.
        store.checkpoint().unwrap();
        let oldest = store.oldest();
        let logged = store.read_log(oldest).unwrap().map(Result::unwrap);
        let logged = logged.filter(|part| part.is_last).map(|part| part.epoch.0);
        assert_eq!(
            logged.collect::<Vec<_>>(),
            (oldest.0 + 1..=epoch).collect::<Vec<_>>()
        );
    }
    assert!(total > 200, "only {total} commits happened");
}

fn holds_exactly(store: &Store, epoch: u64) {
    let mut model = std::collections::BTreeMap::new();
    for (key, value) in (1..=epoch).flat_map(writes_of) {
        match value {
            Some(value) => model.insert(key, value),
            None => model.remove(&key),
        };
    }
    let reader = store.reader();
    for key in (0..KEYS).map(key) {
        assert_eq!(
            reader.get(&key).unwrap().as_ref(),
            model.get(&key),
            "at epoch {epoch}"
        );
    }
    let found: Vec<_> = crate::pairs(&reader, b"a\0");
    assert_eq!(found, model.into_iter().collect::<Vec<_>>(), "at epoch {epoch}");
}
