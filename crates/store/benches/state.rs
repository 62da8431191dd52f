//! The forms of the state side by side: what a checkpoint writes per second, reads, opening after a kill, disk, memory.
//!
//! `cargo bench -p viewfeed-store --bench state -- 1000000 10000000` (numbers of entries; with `sled` or `runs`, only that
//! form; with `cache=256,640`, reads with caches of so many MiB; with `narrow`, rows of two columns that are both in the
//! key). The data folder is made in `$VIEWFEED_BENCH_DIR` (default: the system's folder for temporary files). Each step is
//! a process of its own, so that memory is that of the step, and the writing one is killed when it is done. Reads are
//! measured when no merge is left to do.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use viewfeed_store::{Kv, RunsKv, SledKv};

/// What a checkpoint copies at a time, and how much comes together before one.
const BATCH_ENTRIES: usize = 2048;
const CHECKPOINT_ENTRIES: u64 = 250_000;
const CACHE_MIB: u64 = 256;
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

/// What is measured, in which form, where.
struct Setting {
    form: String,
    dir: PathBuf,
    entries: u64,
    is_narrow: bool,
    cache_bytes: u64,
}

enum Open {
    Sled(SledKv),
    Runs(RunsKv),
}

impl Open {
    fn kv(&self) -> &dyn Kv {
        match self {
            Self::Sled(kv) => kv,
            Self::Runs(kv) => kv,
        }
    }
}

impl Setting {
    /// A row of one of three arrangements: state, a 64-bit column that comes in a random order, the rest. In the last
    /// one, five rows have the same.
    fn key(&self, number: u64) -> Vec<u8> {
        let state = number % 3;
        let column = if state == 2 { group(number) } else { mixed(number) };
        let mut key = vec![b'a', 0, 0, 0, state as u8, 1];
        key.extend(column.to_be_bytes());
        key.push(1);
        key.extend(number.to_be_bytes());
        if !self.is_narrow {
            key.extend(format!("\x01text of the item {:>16x}\0\0\x01", mixed(number + 1)).bytes());
            key.extend((number % 1000).to_be_bytes());
        }
        key
    }

    fn open(&self) -> Open {
        let dir = self.dir.join("kv");
        if self.form == "sled" {
            return Open::Sled(SledKv::open(&dir, self.cache_bytes).unwrap());
        }
        let sled = SledKv::open(&dir, self.cache_bytes / 8).unwrap();
        let cache_bytes = self.cache_bytes - self.cache_bytes / 8;
        Open::Runs(RunsKv::open(&self.dir.join("runs"), Arc::new(sled), cache_bytes).unwrap())
    }

    fn print_disk(&self, when: &str) {
        let each = bytes(&self.dir) as f64 / self.entries as f64;
        println!("  disk        {each:>9.1} bytes/entry {when}");
    }
}

fn group(number: u64) -> u64 {
    mixed(number / 3 / GROUP_ROWS)
}

/// Checkpoints of new rows in random order. Does not return: it is killed.
fn write(setting: &Setting) {
    let (open, entries) = (setting.open(), setting.entries);
    let kv = open.kv();
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    for first in (0..entries).step_by(CHECKPOINT_ENTRIES as usize) {
        let last = (first + CHECKPOINT_ENTRIES).min(entries);
        let rows: BTreeMap<_, _> = (first..last)
            .map(|number| (setting.key(number), Some(Vec::new())))
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
    setting.print_disk("at the kill");
    Command::new("kill")
        .args(["-9", &std::process::id().to_string()])
        .status()
        .unwrap();
    loop {
        std::thread::park();
    }
}

/// Opens what was killed, and waits until nothing is left to merge.
fn settle(setting: &Setting) {
    let started = Instant::now();
    let open = setting.open();
    let opened = started.elapsed();
    assert!(open.kv().get(&setting.key(0)).unwrap().is_some());
    println!(
        "  open        {:>9.1} ms, first answer after {:.1} ms",
        opened.as_secs_f64() * 1e3,
        started.elapsed().as_secs_f64() * 1e3,
    );
    if let Open::Runs(runs) = &open {
        runs.wait_until_merged().unwrap();
        let (count, bytes) = (runs.runs(), runs.memory_bytes());
        println!(
            "  merged      {:>9.1} s later: {count} runs; {bytes} bytes in memory",
            started.elapsed().as_secs_f64()
        );
    }
    drop(open);
    setting.print_disk("when merged");
}

/// The same random reads three times.
fn read(setting: &Setting) {
    let (open, entries) = (setting.open(), setting.entries);
    let kv = open.kv();
    println!("  a cache of {} MiB", setting.cache_bytes >> 20);
    for round in ["cold", "again", "third"] {
        let seed = || StdRng::seed_from_u64(5);
        probe(&format!("get {round}"), seed(), entries, &mut |number| {
            assert!(kv.get(&setting.key(number)).unwrap().is_some());
        });
        probe(&format!("miss {round}"), seed(), entries, &mut |number| {
            assert!(kv.get(&setting.key(entries + number)).unwrap().is_none());
        });
        probe(&format!("scan {round}"), seed(), entries, &mut |number| {
            let prefix = &setting.key(number / 3 * 3 + 2)[..14];
            let found = kv.scan(prefix, Some(&end(prefix)), 16).unwrap();
            assert!(
                (1..=GROUP_ROWS as usize).contains(&found.len()),
                "{}",
                found.len()
            );
        });
    }
    println!("  memory      {:>9} after reading", memory("VmRSS:"));
    scan_all(kv, entries.min(1_000_000));
}

/// Everything, read in order, and what of it stays in memory.
fn fill(setting: &Setting) {
    let open = setting.open();
    println!("  everything read, a cache of {} MiB", setting.cache_bytes >> 20);
    scan_all(open.kv(), setting.entries);
    let kib: f64 = memory("VmRSS:").trim_end_matches(" kB").parse().unwrap();
    println!(
        "  memory      {:>9.1} bytes/entry resident",
        kib * 1024.0 / setting.entries as f64
    );
}

fn scan_all(kv: &dyn Kv, entries: u64) {
    let (started, mut from, mut count) = (Instant::now(), Vec::new(), 0);
    while count < entries {
        let found = kv.scan(&from, None, 1024).unwrap();
        let Some((key, _)) = found.last() else {
            break;
        };
        from = [key.as_slice(), &[0]].concat();
        count += found.len() as u64;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("  scan all    {:>9.0} entries/s", count as f64 / seconds);
}

/// A checkpoint of updates: the rows of a tenth of all keys go, others come.
fn update(setting: &Setting) {
    let (open, entries) = (setting.open(), setting.entries);
    let kv = open.kv();
    let count = (entries / 10).min(CHECKPOINT_ENTRIES);
    let mut random = StdRng::seed_from_u64(9);
    let mut rows = BTreeMap::new();
    for _ in 0..count / 2 {
        let number = random.random_range(0..entries);
        rows.insert(setting.key(number), None);
        rows.insert(setting.key(2 * entries + number), Some(Vec::new()));
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

/// Prints what a read takes, and what of it on a processor: the rest was spent waiting, for the disk or for others.
fn probe(what: &str, mut random: StdRng, entries: u64, each: &mut dyn FnMut(u64)) {
    let probes = PROBES.min(entries);
    let (started, processor) = (Instant::now(), processor_us());
    for _ in 0..probes {
        each(random.random_range(0..entries));
    }
    let each_us = started.elapsed().as_secs_f64() * 1e6 / probes as f64;
    let busy_us = (processor_us() - processor) / probes as f64;
    println!("  {what:<11} {each_us:>9.2} µs each, {busy_us:.2} µs on a processor");
}

/// How long this thread has run.
fn processor_us() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ran_ns = text
        .split_whitespace()
        .next()
        .and_then(|number| number.parse::<f64>().ok());
    ran_ns.unwrap_or(0.0) / 1e3
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

/// A step's name, and what it does.
type Step = (&'static str, fn(&Setting));

const STEPS: [Step; 5] = [
    ("write", write),
    ("settle", settle),
    ("read", read),
    ("fill", fill),
    ("update", update),
];

impl Setting {
    /// Runs one step in a process of its own.
    fn step(&self, step: &str, cache_mib: u64) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("VIEWFEED_BENCH_STEP", step);
        command.arg(&self.form).arg(&self.dir);
        command.args(
            [self.entries, u64::from(self.is_narrow), cache_mib << 20].map(|number| number.to_string()),
        );
        command.status().unwrap();
    }

    /// What [`Setting::step`] says.
    fn of(arguments: &[String]) -> Self {
        Self {
            form: arguments[0].clone(),
            dir: arguments[1].clone().into(),
            entries: arguments[2].parse().unwrap(),
            is_narrow: arguments[3] == "1",
            cache_bytes: arguments[4].parse().unwrap(),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Ok(step) = std::env::var("VIEWFEED_BENCH_STEP") {
        let (_, run) = STEPS.iter().find(|(name, _)| *name == step).unwrap();
        return run(&Setting::of(&arguments));
    }
    let sizes: Vec<u64> = arguments.iter().filter_map(|text| text.parse().ok()).collect();
    let caches = arguments.iter().find_map(|text| text.strip_prefix("cache="));
    let caches = caches.map_or(vec![CACHE_MIB], |list| {
        list.split(',').map(|mib| mib.parse().unwrap()).collect()
    });
    let has = |word: &str| arguments.iter().any(|text| text == word);
    for entries in if sizes.is_empty() { vec![100_000] } else { sizes } {
        for (form, other) in [("sled", "runs"), ("runs", "sled")] {
            if !has(form) && has(other) {
                continue;
            }
            let folder = match std::env::var_os("VIEWFEED_BENCH_DIR") {
                Some(dir) => tempfile::tempdir_in(dir).unwrap(),
                None => tempfile::tempdir().unwrap(),
            };
            let setting = Setting {
                form: form.to_owned(),
                dir: folder.path().to_owned(),
                entries,
                is_narrow: has("narrow"),
                cache_bytes: 0,
            };
            println!("{form}: {entries} entries of {} bytes", setting.key(0).len());
            setting.step("write", CACHE_MIB);
            setting.step("settle", CACHE_MIB);
            for cache in &caches {
                setting.step("read", *cache);
            }
            if has("narrow") {
                setting.step("fill", caches[caches.len() - 1]);
            }
            setting.step("update", CACHE_MIB);
        }
    }
}
