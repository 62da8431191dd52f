//! Blocks in memory, within a bound they share with everything else the state has in memory. CLOCK: a block that was
//! used since the hand last passed stays for another round.
//!
//! Our own, because a block is found by a small number, all are about as large, and every entry of the state is read
//! through this: a few dozen lines are less than another dependency.

use super::block::Block;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that read at once rarely meet in one of so many parts.
const SHARDS: usize = 16;
/// One of so many parts of the bound is for blocks, however much the rest takes.
const BLOCKS_SHARE_MIN: usize = 8;
/// What a block costs in memory beside itself, roughly: its places in the map and in the ring.
const SLOT_BYTES: usize = 64;

/// The run and the number of the block in it.
pub(super) type BlockId = (u64, u32);

pub(super) struct BlockCache {
    shards: Vec<Mutex<Shard>>,
    bytes_max: usize,
    /// Filters, indexes, and tables in memory.
    reserved: AtomicUsize,
    /// What is above the run files.
    above: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    blocks: HashMap<BlockId, Cached, BuildHasherDefault<BlockHasher>>,
    /// The blocks, in the order in which the hand passes.
    ring: Vec<BlockId>,
    hand: usize,
    bytes: usize,
}

struct Cached {
    block: Arc<Block>,
    is_used: bool,
}

impl BlockCache {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            reserved: AtomicUsize::new(0),
            above: AtomicUsize::new(0),
        }
    }

    pub(super) fn get(&self, id: BlockId) -> Option<Arc<Block>> {
        let mut shard = self.shard(id).lock();
        let cached = shard.blocks.get_mut(&id)?;
        cached.is_used = true;
        Some(cached.block.clone())
    }

    pub(super) fn insert(&self, id: BlockId, block: &Arc<Block>) {
        let (bytes, bytes_max) = (cost(block), self.shard_bytes_max());
        let mut shard = self.shard(id).lock();
        if bytes > bytes_max || shard.blocks.contains_key(&id) {
            return;
        }
        shard.shrink(bytes_max - bytes);
        shard.bytes += bytes;
        shard.ring.push(id);
        let block = block.clone();
        shard.blocks.insert(
            id,
            Cached {
                block,
                is_used: false,
            },
        );
    }

    /// Forgets the blocks of a run that is gone.
    pub(super) fn forget(&self, run: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard {
                blocks, ring, bytes, ..
            } = &mut *shard;
            ring.retain(|id| {
                let gone = (id.0 == run).then(|| blocks.remove(id)).flatten();
                *bytes -= gone.as_ref().map_or(0, |gone| cost(&gone.block));
                gone.is_none()
            });
        }
    }

    /// Notes that something else takes this much more of the bound, until it is released.
    pub(super) fn reserve(&self, bytes: usize) {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.shrink();
    }

    pub(super) fn release(&self, bytes: usize) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes what is above the run files now.
    pub(super) fn set_above(&self, bytes: usize) {
        self.above.store(bytes, Ordering::Relaxed);
        self.shrink();
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes of blocks, and of everything that is reserved.
    pub(super) fn bytes(&self) -> usize {
        let blocks: usize = self.shards.iter().map(|shard| shard.lock().bytes).sum();
        blocks + self.reserved.load(Ordering::Relaxed)
    }

    fn shrink(&self) {
        let bytes_max = self.shard_bytes_max();
        for shard in &self.shards {
            shard.lock().shrink(bytes_max);
        }
    }

    fn shard_bytes_max(&self) -> usize {
        let rest = self.reserved.load(Ordering::Relaxed) + self.above.load(Ordering::Relaxed);
        let blocks = self.bytes_max.saturating_sub(rest);
        blocks.max(self.bytes_max / BLOCKS_SHARE_MIN) / SHARDS
    }

    fn shard(&self, (run, block): BlockId) -> &Mutex<Shard> {
        let mixed = (run << 32 ^ u64::from(block)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.shards[(mixed >> 60) as usize % SHARDS]
    }
}

impl Shard {
    /// Removes blocks until there are at most so many bytes.
    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            if self.hand >= self.ring.len() {
                self.hand = 0;
            }
            let id = self.ring[self.hand];
            let cached = self
                .blocks
                .get_mut(&id)
                .expect("what is in the ring is in the map");
            if std::mem::take(&mut cached.is_used) {
                self.hand += 1;
                continue;
            }
            self.bytes -= cost(&cached.block);
            self.blocks.remove(&id);
            // The last one takes the place, behind the hand.
            self.ring.swap_remove(self.hand);
            self.hand += 1;
        }
    }
}

fn cost(block: &Block) -> usize {
    block.memory_bytes() + SLOT_BYTES
}

/// Mixes the two numbers of a [`BlockId`]; nobody outside chooses them.
#[derive(Default)]
struct BlockHasher(u64);

impl Hasher for BlockHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::BlockBuilder;
    use super::*;

    fn block() -> Arc<Block> {
        let mut builder = BlockBuilder::default();
        builder.add(b"key", 0, Some(&[7; 1000]));
        Arc::new(Block::new(builder.finish()).unwrap())
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let cache = BlockCache::new(256 << 10);
        for number in 0..1000 {
            cache.insert((1, number), &block());
            cache.get((1, 0)).unwrap();
            assert!(cache.bytes() <= 256 << 10);
        }
        let kept = (0..1000)
            .filter(|number| cache.get((1, *number)).is_some())
            .count();
        assert!((40..=240).contains(&kept), "{kept}");
        assert!(cache.get((2, 0)).is_none());
    }

    #[test]
    fn it_gives_way_to_what_else_is_in_memory_and_forgets_runs_that_are_gone() {
        let cache = BlockCache::new(256 << 10);
        let blocks = || cache.bytes() - cache.reserved.load(Ordering::Relaxed);
        for number in 0..1000 {
            cache.insert((number % 2, number as u32), &block());
        }
        cache.reserve(100 << 10);
        cache.set_above(50 << 10);
        assert!(cache.bytes() + (50 << 10) <= 256 << 10);
        cache.forget(0);
        assert!(
            (0..1000)
                .step_by(2)
                .all(|number| cache.get((0, number)).is_none())
        );
        assert!(blocks() > 0);
        cache.reserve(1 << 20);
        assert!(blocks() <= 32 << 10);
        cache.forget(1);
        assert_eq!(blocks(), 0);
        cache.release((1 << 20) + (100 << 10));
        assert_eq!(cache.bytes(), 0);
    }
}
