//! The forms of the state side by side: what a checkpoint writes per second, reads, opening after a kill, disk, memory.
//!
//! `cargo bench -p viewfeed-store --bench state -- 1000000 10000000` (numbers of entries; with `sled` or `runs`, only that
//! form). The data folder is made in `$VIEWFEED_BENCH_DIR` (default: the system's folder for temporary files). Each step is
//! a process of its own, so that memory is that of the step, and the writing one is killed when it is done.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use viewfeed_store::{Kv, RunsKv, SledKv};

/// What a checkpoint copies at a time, and how much comes together before one.
const BATCH_ENTRIES: usize = 2048;
const CHECKPOINT_ENTRIES: u64 = 250_000;
const CACHE_BYTES: u64 = 256 << 20;
const PROBES: u64 = 50_000;
/// Rows with the same join key.
const GROUP_ROWS: u64 = 5;

/// Numbers in an order that looks random: an odd factor is invertible.
fn mixed(number: u64) -> u64 {
    number
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(31)
        .wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// A row of about 80 bytes in one of three arrangements: state, a 64-bit column that comes in a random order, the rest.
/// In the last one, five rows have the same.
fn key(number: u64) -> Vec<u8> {
    let state = number % 3;
    let column = if state == 2 { group(number) } else { mixed(number) };
    let mut key = vec![b'a', 0, 0, 0, state as u8, 1];
    key.extend(column.to_be_bytes());
    key.push(1);
    key.extend(number.to_be_bytes());
    key.extend(format!("\x01text of the item {:>16x}\0\0\x01", mixed(number + 1)).bytes());
    key.extend((number % 1000).to_be_bytes());
    key
}

fn group(number: u64) -> u64 {
    mixed(number / 3 / GROUP_ROWS)
}

fn open(form: &str, dir: &Path) -> Arc<dyn Kv> {
    match form {
        "sled" => Arc::new(SledKv::open(&dir.join("kv"), CACHE_BYTES).unwrap()),
        _ => {
            let sled = SledKv::open(&dir.join("kv"), CACHE_BYTES / 8).unwrap();
            let cache_bytes = CACHE_BYTES - CACHE_BYTES / 8;
            Arc::new(RunsKv::open(&dir.join("runs"), Arc::new(sled), cache_bytes).unwrap())
        }
    }
}

/// Checkpoints of new rows in random order. Does not return: it is killed.
fn write(form: &str, dir: &Path, entries: u64) {
    let kv = open(form, dir);
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    for first in (0..entries).step_by(CHECKPOINT_ENTRIES as usize) {
        let last = (first + CHECKPOINT_ENTRIES).min(entries);
        let rows: BTreeMap<_, _> = (first..last)
            .map(|number| (key(number), Some(Vec::new())))
            .collect();
        let checkpoint = Instant::now();
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            kv.apply(&rows.by_ref().take(BATCH_ENTRIES).collect()).unwrap();
        }
        kv.flush().unwrap();
        let mark = (b"mcheckpoint".to_vec(), Some(last.to_be_bytes().to_vec()));
        kv.apply(&BTreeMap::from([mark])).unwrap();
        kv.flush().unwrap();
        longest = longest.max(checkpoint.elapsed());
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "  write       {:>9.0} entries/s ({seconds:.1} s, longest checkpoint {:.2} s), memory {}",
        entries as f64 / seconds,
        longest.as_secs_f64(),
        memory("VmHWM:"),
    );
    println!(
        "  disk        {:>9.1} bytes/entry at the kill",
        bytes(dir) as f64 / entries as f64
    );
    Command::new("kill")
        .args(["-9", &std::process::id().to_string()])
        .status()
        .unwrap();
    loop {
        std::thread::park();
    }
}

fn read(form: &str, dir: &Path, entries: u64) {
    let started = Instant::now();
    let kv = open(form, dir);
    let opened = started.elapsed();
    assert!(kv.get(&key(0)).unwrap().is_some());
    println!(
        "  open        {:>9.1} ms, first answer after {:.1} ms",
        opened.as_secs_f64() * 1e3,
        started.elapsed().as_secs_f64() * 1e3,
    );
    for round in ["cold", "warm"] {
        let seed = || StdRng::seed_from_u64(5);
        probe(&format!("get {round}"), seed(), entries, &mut |number| {
            assert!(kv.get(&key(number)).unwrap().is_some());
        });
        probe(&format!("miss {round}"), seed(), entries, &mut |number| {
            assert!(kv.get(&key(entries + number)).unwrap().is_none());
        });
        probe(&format!("scan {round}"), seed(), entries, &mut |number| {
            let prefix = &key(number / 3 * 3 + 2)[..14];
            let found = kv.scan(prefix, Some(&end(prefix)), 16).unwrap();
            assert!(
                (1..=GROUP_ROWS as usize).contains(&found.len()),
                "{}",
                found.len()
            );
        });
    }
    println!("  memory      {:>9} after reading", memory("VmRSS:"));
    let (started, mut from, mut count) = (Instant::now(), Vec::new(), 0);
    while count < 1_000_000.min(entries) {
        let found = kv.scan(&from, None, 1024).unwrap();
        let Some((key, _)) = found.last() else {
            break;
        };
        from = [key.as_slice(), &[0]].concat();
        count += found.len() as u64;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("  scan all    {:>9.0} entries/s", count as f64 / seconds);
    update(kv.as_ref(), entries);
    drop(kv);
    println!(
        "  disk        {:>9.1} bytes/entry when closed",
        bytes(dir) as f64 / entries as f64
    );
}

/// A checkpoint of updates: the rows of a tenth of all keys go, others come.
fn update(kv: &dyn Kv, entries: u64) {
    let count = (entries / 10).min(CHECKPOINT_ENTRIES);
    let mut random = StdRng::seed_from_u64(9);
    let mut rows = BTreeMap::new();
    for _ in 0..count / 2 {
        let number = random.random_range(0..entries);
        rows.insert(key(number), None);
        rows.insert(key(2 * entries + number), Some(Vec::new()));
    }
    let (started, count) = (Instant::now(), rows.len());
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        kv.apply(&rows.by_ref().take(BATCH_ENTRIES).collect()).unwrap();
    }
    kv.flush().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("  update      {:>9.0} entries/s", count as f64 / seconds);
}

fn probe(what: &str, mut random: StdRng, entries: u64, each: &mut dyn FnMut(u64)) {
    let probes = PROBES.min(entries);
    let started = Instant::now();
    for _ in 0..probes {
        each(random.random_range(0..entries));
    }
    let each_us = started.elapsed().as_secs_f64() * 1e6 / probes as f64;
    println!("  {what:<11} {each_us:>9.2} µs each");
}

fn end(prefix: &[u8]) -> Vec<u8> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF).unwrap();
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

fn bytes(dir: &Path) -> u64 {
    let sizes = std::fs::read_dir(dir).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        // Merged files go while this looks.
        if path.is_dir() {
            bytes(&path)
        } else {
            path.metadata().map_or(0, |metadata| metadata.len())
        }
    });
    sizes.sum()
}

fn memory(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

/// Runs one step in a process of its own.
fn step(step: &str, form: &str, dir: &Path, entries: u64) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env("VIEWFEED_BENCH_STEP", step)
        .args([form, dir.to_str().unwrap(), &entries.to_string()]);
    command.status().unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let (Ok(step), [form, dir, entries]) = (std::env::var("VIEWFEED_BENCH_STEP"), arguments.as_slice()) {
        let (dir, entries) = (Path::new(dir), entries.parse().unwrap());
        match step.as_str() {
            "write" => write(form, dir, entries),
            _ => read(form, dir, entries),
        }
        return;
    }
    let sizes: Vec<u64> = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    for entries in if sizes.is_empty() { vec![100_000] } else { sizes } {
        println!("{entries} entries of {} bytes", key(0).len());
        for form in ["sled", "runs"] {
            let is_wanted = |other: &str| !arguments.iter().any(|argument| argument == other);
            if (form == "sled" && !is_wanted("runs")) || (form == "runs" && !is_wanted("sled")) {
                continue;
            }
            println!(" {form}");
            let dir = match std::env::var_os("VIEWFEED_BENCH_DIR") {
                Some(dir) => tempfile::tempdir_in(dir).unwrap(),
                None => tempfile::tempdir().unwrap(),
            };
            step("write", form, dir.path(), entries);
            step("read", form, dir.path(), entries);
        }
    }
}
