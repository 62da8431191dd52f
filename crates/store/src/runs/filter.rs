//! Which keys, and which starts of keys, a run can hold: a Bloom filter whose bits of one item lie in one cache line.
//!
//! Beside whole keys it holds their starts of a few fixed lengths, so that a scan of a long prefix (what a join asks:
//! tag, state, encoded key) passes over runs that have nothing. Lengths that tell hardly more than a shorter one are
//! left out. (Blocked Bloom filters: Putze, Sanders, Singler 2007.)

use super::block::shared_bytes;

/// Lengths of the starts that may be held: tag and state (5 bytes) with a 32-bit column, with a 64-bit one, with a UUID.
pub(super) const STARTS: [usize; 3] = [10, 14, 22];
/// Bits an item gets …
const BITS_PER_ITEM: u64 = 10;
/// … unless that makes more than this for a key.
const BITS_PER_KEY_MAX: u64 = 16;
/// A start is held if there are this many quarters as many of it as of the next shorter one.
const WORTH_QUARTERS: u64 = 5;
const LINE_WORDS: usize = 8;

/// How many keys, and how many distinct starts of each length, there are (or at most).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) keys: u64,
    pub(super) starts: [u64; STARTS.len()],
}

impl Counts {
    /// Counts a key that shares `shared` bytes with the one before it.
    pub(super) fn add(&mut self, key: &[u8], shared: usize) {
        self.keys += 1;
        for (count, length) in self.starts.iter_mut().zip(STARTS) {
            *count += u64::from(key.len() >= length && shared < length);
        }
    }

    /// Counts keys in order.
    pub(super) fn of<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut counts, mut last) = (Self::default(), [].as_slice());
        for key in keys {
            counts.add(key, shared_bytes(last, key));
            last = key;
        }
        counts
    }

    /// At most as many as both have together.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.keys += other.keys;
        for (count, more) in self.starts.iter_mut().zip(other.starts) {
            *count += more;
        }
        self
    }

    fn is_worth_holding(&self) -> [bool; STARTS.len()] {
        let mut held = 0;
        self.starts.map(|count| {
            let is_worth = count > 0 && count * 4 >= held * WORTH_QUARTERS;
            if is_worth {
                held = count;
            }
            is_worth
        })
    }
}

/// What filters know of a key; made once for all of them.
#[derive(Clone, Copy)]
pub(super) struct KeyHash(u64);

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        Self(hash(key))
    }
}

/// What filters know of the start of a key: the hash of each of its first [`STARTS`] bytes, where it is as long.
pub(super) struct StartHashes([Option<u64>; STARTS.len()]);

impl StartHashes {
    pub(super) fn of(start: &[u8]) -> Self {
        Self(STARTS.map(|length| start.get(..length).map(hash)))
    }
}

/// The filter of one run.
#[derive(Debug, PartialEq)]
pub(super) struct Filter {
    words: Vec<u64>,
    probes: u32,
    holds: [bool; STARTS.len()],
}

impl Filter {
    /// An empty filter for so many items.
    pub(super) fn new(counts: &Counts) -> Self {
        let holds = counts.is_worth_holding();
        let starts = counts.starts.iter().zip(holds).filter(|(_, holds)| *holds);
        let items = counts.keys + starts.map(|(count, _)| count).sum::<u64>();
        let bits = (items * BITS_PER_ITEM).min(counts.keys * BITS_PER_KEY_MAX);
        let lines = (bits as usize).div_ceil(LINE_WORDS * 64).max(1);
        // ln 2 × bits per item is best.
        let probes = (bits * 69 / 100).checked_div(items).unwrap_or(1).clamp(1, 7);
        Self {
            words: vec![0; lines * LINE_WORDS],
            probes: probes as u32,
            holds,
        }
    }

    /// Adds a key that shares `shared` bytes with the one before it.
    pub(super) fn add(&mut self, key: &[u8], shared: usize) {
        self.set(hash(key));
        for (length, holds) in STARTS.into_iter().zip(self.holds) {
            if holds && key.len() > length && shared < length {
                self.set(hash(&key[..length]));
            }
        }
    }

    /// False if the key with this hash was not added.
    pub(super) fn may_hold(&self, key: KeyHash) -> bool {
        self.has(key.0)
    }

    /// False if no key was added that starts as `start` does.
    pub(super) fn may_hold_start(&self, start: &StartHashes) -> bool {
        let hashes = start.0.iter().zip(self.holds);
        let mut usable = hashes.filter_map(|(hash, holds)| hash.filter(|_| holds));
        usable.next_back().is_none_or(|hash| self.has(hash))
    }

    /// On disk: probes, which starts are held, words.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.words.len() * 8 + 2);
        let holds = self
            .holds
            .iter()
            .rev()
            .fold(0, |bits, holds| bits << 1 | u8::from(*holds));
        bytes.extend([self.probes as u8, holds]);
        for word in &self.words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// None if this is no filter.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[probes, bits], bytes) = bytes.split_first_chunk::<2>()?;
        let (words, rest) = bytes.as_chunks::<8>();
        let is_filter = rest.is_empty() && !words.is_empty() && words.len().is_multiple_of(LINE_WORDS);
        let mut holds = [false; STARTS.len()];
        for (place, holds) in holds.iter_mut().enumerate() {
            *holds = bits >> place & 1 == 1;
        }
        is_filter.then(|| Self {
            words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            probes: u32::from(probes),
            holds,
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.words.len() * 8
    }

    fn set(&mut self, hash: u64) {
        let (line, mut places) = self.place(hash);
        for _ in 0..self.probes {
            let bit = places as usize % (LINE_WORDS * 64);
            self.words[line + bit / 64] |= 1 << (bit % 64);
            places >>= 9;
        }
    }

    fn has(&self, hash: u64) -> bool {
        let (line, mut places) = self.place(hash);
        (0..self.probes).all(|_| {
            let bit = places as usize % (LINE_WORDS * 64);
            places >>= 9;
            self.words[line + bit / 64] >> (bit % 64) & 1 == 1
        })
    }

    /// The first word of the line, and the bits in it: nine binary digits for each.
    fn place(&self, hash: u64) -> (usize, u64) {
        let lines = (self.words.len() / LINE_WORDS) as u128;
        let line = ((u128::from(hash) * lines) >> 64) as usize;
        (line * LINE_WORDS, mix(hash, MULTIPLIERS[2]))
    }
}

/// Digits of π without pattern, odd. Stored filters depend on them: never change one.
const MULTIPLIERS: [u64; 3] = [
    0x243F_6A88_85A3_08D3,
    0x1319_8A2E_0370_7345,
    0xA409_3822_299F_31D1,
];

/// Folds the product of both, as wyhash does.
fn mix(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

/// A hash that is the same in every version and on every machine.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut state = MULTIPLIERS[1] ^ bytes.len() as u64;
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word), MULTIPLIERS[0]);
    }
    mix(state ^ u64::from_le_bytes(last), MULTIPLIERS[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(from: u64, count: u64) -> Vec<Vec<u8>> {
        let key = |number: u64| {
            [
                b"a\0\0\0\x07\x01",
                &number.to_be_bytes()[..],
                b"the rest of the row",
            ]
            .concat()
        };
        (from..from + count).map(key).collect()
    }

    fn filter(keys: &[Vec<u8>]) -> Filter {
        let mut filter = Filter::new(&Counts::of(keys.iter().map(Vec::as_slice)));
        let mut last = [].as_slice();
        for key in keys {
            filter.add(key, shared_bytes(last, key));
            last = key;
        }
        Filter::decode(&filter.encode()).unwrap()
    }

    fn may_hold_start(filter: &Filter, start: &[u8]) -> bool {
        filter.may_hold_start(&StartHashes::of(start))
    }

    #[test]
    fn it_holds_what_was_added_and_little_else_in_two_bytes_a_key() {
        let (inside, outside) = (keys(0, 20_000), keys(1 << 40, 20_000));
        let filter = filter(&inside);
        assert!(filter.memory_bytes() <= 2 * inside.len() + 64);
        for key in &inside {
            assert!(filter.may_hold(KeyHash::of(key)));
            assert!((0..key.len()).all(|length| may_hold_start(&filter, &key[..length])));
        }
        let wrong = outside
            .iter()
            .filter(|key| filter.may_hold(KeyHash::of(key)))
            .count();
        assert!(wrong < 1200, "{wrong} of 20,000");
        let wrong = outside
            .iter()
            .filter(|key| may_hold_start(&filter, &key[..14]))
            .count();
        assert!(wrong < 1200, "{wrong} of 20,000");
    }

    #[test]
    fn short_keys_and_no_keys_are_well() {
        let short: Vec<_> = (0..=255u8).map(|byte| vec![byte]).collect();
        let filter = filter(&short);
        assert!(
            short
                .iter()
                .all(|key| filter.may_hold(KeyHash::of(key)) && may_hold_start(&filter, key))
        );
        assert!(!Filter::new(&Counts::default()).may_hold(KeyHash::of(b"a")));
        assert_eq!(Filter::decode(&[1, 0, 0]), None);
    }
}
