//! Run files against a tree in memory, through reopenings; files that were damaged; which form a data folder has.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind};
use viewfeed_store::{Form, Kv, MemoryKv, Options, RunsKv, Store};

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

const CACHE_BYTES: u64 = 1 << 20;

/// A row of one of five states: short and long keys, many that share their first 10, 14 or 22 bytes.
fn key(random: &mut StdRng) -> Vec<u8> {
    let tag = b"aao"[random.random_range(0..3)];
    let mut key = vec![tag, 0, 0, 0, random.random_range(0..5), 1];
    key.extend(random.random_range(0..40u64).to_be_bytes());
    key.extend(random.random_range(0..30u64).to_be_bytes());
    key.truncate(random.random_range(6..23));
    key.resize(key.len() + random.random_range(0..20), 0xFF);
    key
}

fn batch(random: &mut StdRng, keys: usize) -> Writes {
    (0..keys)
        .map(|_| {
            let is_put = random.random_bool(0.7);
            let length = if random.random_bool(0.001) {
                40_000
            } else {
                random.random_range(0..30)
            };
            (key(random), is_put.then(|| vec![random.random(); length]))
        })
        .collect()
}

/// Asks both for the same random things.
fn agree(random: &mut StdRng, runs: &RunsKv, model: &MemoryKv) {
    for _ in 0..30 {
        let probe = key(random);
        assert_eq!(runs.get(&probe).unwrap(), model.get(&probe).unwrap(), "{probe:?}");
        let start = &probe[..random.random_range(0..=probe.len())];
        let end = start.iter().rposition(|byte| *byte != 0xFF).map(|last| {
            let mut end = start[..=last].to_vec();
            end[last] += 1;
            end
        });
        let limit = [1, 3, 16, 100_000][random.random_range(0..4)];
        let want = model.scan(start, end.as_deref(), limit).unwrap();
        assert_eq!(
            runs.scan(start, end.as_deref(), limit).unwrap(),
            want,
            "{start:?}"
        );
        let to = key(random);
        let want = model.scan(&probe, Some(&to), limit).unwrap();
        assert_eq!(
            runs.scan(&probe, Some(&to), limit).unwrap(),
            want,
            "{probe:?}..{to:?}"
        );
    }
}

#[test]
fn run_files_are_a_tree_through_flushes_merges_removals_and_reopenings() {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let (small, model) = (Arc::new(MemoryKv::default()), MemoryKv::default());
    let open = || RunsKv::open(dir.path(), small.clone(), CACHE_BYTES).unwrap();
    let mut runs = open();
    for _ in 0..200 {
        match random.random_range(0..12) {
            0 => runs.wait_until_merged().unwrap(),
            1 => {
                runs.flush().unwrap();
                drop(runs);
                runs = open();
            }
            2 | 3 if random.random_bool(0.3) => {
                let prefix = &key(&mut random)[..5];
                assert!(runs.remove_prefix(prefix).unwrap());
                let mut gone = model.scan(prefix, None, 1_000_000).unwrap();
                gone.retain(|(key, _)| key.starts_with(prefix));
                model
                    .apply(&gone.into_iter().map(|(key, _)| (key, None)).collect())
                    .unwrap();
            }
            4..8 => runs.flush().unwrap(),
            _ => {
                let keys = random.random_range(0..600);
                let writes = batch(&mut random, keys);
                runs.apply(&writes).unwrap();
                model.apply(&writes).unwrap();
            }
        }
        agree(&mut random, &runs, &model);
    }
    runs.flush().unwrap();
    runs.wait_until_merged().unwrap();
    let everything = |kv: &dyn Kv| kv.scan(&[], None, usize::MAX).unwrap();
    assert_eq!(everything(&runs), everything(&model));
    assert!(runs.runs() <= 10);
    drop(runs);
    assert_eq!(everything(&open()), everything(&model));
}

#[test]
fn only_files_of_the_state_are_left_after_a_merge() {
    let dir = tempfile::tempdir().unwrap();
    let runs = RunsKv::open(dir.path(), Arc::new(MemoryKv::default()), CACHE_BYTES).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..30 {
        runs.apply(&batch(&mut random, 500)).unwrap();
        runs.flush().unwrap();
    }
    runs.wait_until_merged().unwrap();
    assert_eq!(run_files(dir.path()).len(), runs.runs());
    let all = runs.scan(&[], None, usize::MAX).unwrap();
    runs.apply(&all.into_iter().map(|(key, _)| (key, None)).collect())
        .unwrap();
    runs.flush().unwrap();
    runs.wait_until_merged().unwrap();
    assert!(run_files(dir.path()).is_empty());
}

#[test]
fn removing_a_state_costs_nothing_and_gives_its_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let runs = RunsKv::open(dir.path(), Arc::new(MemoryKv::default()), CACHE_BYTES).unwrap();
    let row = |state: u8, number: u32| [&[b'a', 0, 0, 0, state], &number.to_be_bytes()[..]].concat();
    for state in 0..3 {
        let rows = (0..20_000).map(|number| (row(state, number), Some(vec![7; 50])));
        runs.apply(&rows.collect()).unwrap();
    }
    runs.flush().unwrap();
    let bytes = || {
        run_files(dir.path())
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum::<u64>()
    };
    let before = bytes();
    assert!(runs.remove_prefix(&[b'a', 0, 0, 0, 1]).unwrap());
    assert_eq!(runs.get(&row(1, 5)).unwrap(), None);
    assert_eq!(
        runs.scan(&[b'a', 0, 0, 0, 1], Some(&[b'a', 0, 0, 0, 2]), 5)
            .unwrap(),
        []
    );
    runs.wait_until_merged().unwrap();
    assert!(bytes() < before * 3 / 4, "{} of {before}", bytes());
    // What is put there later is there.
    runs.apply(&Writes::from([(row(1, 5), Some(vec![1]))])).unwrap();
    assert_eq!(runs.get(&row(1, 5)).unwrap(), Some(vec![1]));
    assert_eq!(runs.scan(&[], None, 100_000).unwrap().len(), 40_001);
    assert!(!runs.remove_prefix(b"c").unwrap());
}

fn run_files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Everything in `dir`, read by scan and by key; or why not.
fn read_all(dir: &Path, small: &Arc<MemoryKv>, keys: &Pairs) -> Result<Pairs, Error> {
    let runs = RunsKv::open(dir, small.clone(), CACHE_BYTES)?;
    for (key, value) in keys {
        assert_eq!(runs.get(key)?.as_ref(), Some(value));
    }
    runs.scan(&[], None, usize::MAX)
}

#[test]
fn damage_anywhere_in_a_run_file_is_an_error_that_names_it() {
    let seed = crate::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let small = Arc::new(MemoryKv::default());
    let runs = RunsKv::open(dir.path(), small.clone(), CACHE_BYTES).unwrap();
    runs.apply(&batch(&mut random, 2500)).unwrap();
    runs.flush().unwrap();
    let want = runs.scan(&[], None, usize::MAX).unwrap();
    drop(runs);
    let path = run_files(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let expect_error = |damage: &str| {
        let error = read_all(dir.path(), &small, &want).expect_err(damage);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {error}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            error.message().contains(name) && error.advice().is_some(),
            "{damage}: {error}"
        );
    };
    // Every byte of the end, where index, filter and footer are, and some of the blocks.
    let blocks = (0..60).map(|_| random.random_range(0..whole.len()));
    let end = (whole.len() - 150..whole.len()).chain((whole.len() - 4000..whole.len()).step_by(61));
    for place in blocks.chain(end).collect::<Vec<_>>() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&path, bytes).unwrap();
        expect_error(&format!("byte {place} of {}", whole.len()));
    }
    for length in [0, 1, 50, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        expect_error(&format!("cut to {length}"));
    }
    fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
    expect_error("a byte too many");
    fs::remove_file(&path).unwrap();
    expect_error("no file");
    fs::write(&path, &whole).unwrap();
    assert_eq!(read_all(dir.path(), &small, &want).unwrap(), want);
}

#[test]
fn run_files_without_a_whole_list_are_an_error_and_are_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let small = Arc::new(MemoryKv::default());
    let runs = RunsKv::open(dir.path(), small.clone(), CACHE_BYTES).unwrap();
    runs.apply(&Writes::from([(b"a1".to_vec(), Some(vec![1]))]))
        .unwrap();
    runs.flush().unwrap();
    drop(runs);
    let open = |small| RunsKv::open(dir.path(), small, CACHE_BYTES).err().unwrap();
    assert_eq!(open(Arc::new(MemoryKv::default())).kind(), ErrorKind::Corrupt);
    let (key, list) = small.scan(b"m", None, 1).unwrap().remove(0);
    for place in 0..list.len() {
        let mut list = list.clone();
        list[place] ^= 4;
        small.apply(&Writes::from([(key.clone(), Some(list))])).unwrap();
        assert_eq!(open(small.clone()).kind(), ErrorKind::Corrupt);
    }
    small.apply(&Writes::from([(key, Some(list))])).unwrap();
    fs::write(dir.path().join("0000000000000099.run"), b"begun before a crash").unwrap();
    let runs = RunsKv::open(dir.path(), small, CACHE_BYTES).unwrap();
    assert_eq!(runs.get(b"a1").unwrap(), Some(vec![1]));
    assert_eq!(run_files(dir.path()).len(), 1);
}

#[test]
fn a_data_folder_keeps_the_form_it_was_made_with() {
    let _guard = crate::without_forks();
    for (made, other) in [(Form::Runs, Form::Sled), (Form::Sled, Form::Runs)] {
        let dir = tempfile::tempdir().unwrap();
        for (form, round) in [(made, 0u8), (other, 1), (other, 2)] {
            let options = Options {
                form,
                ..crate::relaxed()
            };
            let store = Store::open(dir.path(), options).unwrap();
            crate::commit(
                &store,
                &[(&[b'a', round], Some(&[round])), (&[b'c', round], Some(&[round]))],
            );
            store.checkpoint().unwrap();
            for before in 0..=round {
                assert_eq!(store.reader().get(&[b'a', before]).unwrap(), Some(vec![before]));
                assert_eq!(store.reader().get(&[b'c', before]).unwrap(), Some(vec![before]));
            }
            assert_eq!(dir.path().join("runs").exists(), made == Form::Runs);
        }
    }
}

/// Rows of nearly twenty times the memory: found all the same, and what is in memory stays within the limit.
#[test]
fn state_larger_than_its_memory_goes_on_working_within_it() {
    const MEMORY_BYTES: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let runs = RunsKv::open(dir.path(), Arc::new(MemoryKv::default()), MEMORY_BYTES).unwrap();
    let row = |number: u64| {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        (
            [b"a\0\0\0\x01\x01".as_slice(), &mixed].concat(),
            number.to_be_bytes().repeat(50),
        )
    };
    let rows = 50_000;
    let within = || {
        let bytes = runs.memory_bytes() as u64;
        assert!(bytes <= MEMORY_BYTES, "{bytes} bytes in memory");
    };
    for first in (0..rows).step_by(250) {
        let batch = (first..first + 250).map(|number| (row(number).0, Some(row(number).1)));
        runs.apply(&batch.collect()).unwrap();
        let probe = row(first / 2);
        assert_eq!(runs.get(&probe.0).unwrap(), Some(probe.1));
        within();
    }
    runs.flush().unwrap();
    runs.wait_until_merged().unwrap();
    let stored: u64 = run_files(dir.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(stored > 15 * MEMORY_BYTES, "{stored}");
    runs.set_memory_above(100 << 10);
    for number in (0..rows).step_by(7) {
        assert_eq!(runs.get(&row(number).0).unwrap(), Some(row(number).1));
        assert!(runs.memory_bytes() as u64 + (100 << 10) <= MEMORY_BYTES);
    }
    assert_eq!(runs.scan(&[], None, usize::MAX).unwrap().len(), rows as usize);
    within();
}
