//! Blocks in memory, within a bound. CLOCK: a block that was used since the hand last passed stays for another round.
//!
//! Our own, because a block is found by a small number, all are about as large, and every entry of the state is read
//! through this: a few dozen lines are less than another dependency.

use super::block::Block;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Threads that read at once rarely meet in one of so many parts.
const SHARDS: usize = 16;

/// The run and the number of the block in it.
pub(super) type BlockId = (u64, u32);

pub(super) struct BlockCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: usize,
}

#[derive(Default)]
struct Shard {
    places: HashMap<BlockId, usize>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
}

struct Slot {
    id: BlockId,
    block: Arc<Block>,
    is_used: bool,
}

impl BlockCache {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX) / SHARDS,
        }
    }

    pub(super) fn get(&self, id: BlockId) -> Option<Arc<Block>> {
        let mut shard = self.shard(id).lock();
        let place = *shard.places.get(&id)?;
        let slot = &mut shard.slots[place];
        slot.is_used = true;
        Some(slot.block.clone())
    }

    pub(super) fn insert(&self, id: BlockId, block: &Arc<Block>) {
        let bytes = block.memory_bytes();
        let mut shard = self.shard(id).lock();
        if bytes > self.shard_bytes_max || shard.places.contains_key(&id) {
            return;
        }
        while shard.bytes + bytes > self.shard_bytes_max {
            shard.evict();
        }
        let place = shard.slots.len();
        shard.places.insert(id, place);
        shard.bytes += bytes;
        shard.slots.push(Slot {
            id,
            block: block.clone(),
            is_used: false,
        });
    }

    /// Bytes of blocks.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }

    fn shard(&self, (run, block): BlockId) -> &Mutex<Shard> {
        let mixed = (run << 32 ^ u64::from(block)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.shards[(mixed >> 60) as usize % SHARDS]
    }
}

impl Shard {
    /// Removes one block; there is one.
    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.is_used) {
                break;
            }
            self.hand += 1;
        }
        let gone = self.slots.swap_remove(self.hand);
        self.places.remove(&gone.id);
        self.bytes -= gone.block.memory_bytes();
        if let Some(moved) = self.slots.get(self.hand) {
            self.places.insert(moved.id, self.hand);
        }
        self.hand += 1;
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
        assert!((40..=128).contains(&kept), "{kept}");
        assert!(cache.get((2, 0)).is_none());
    }
}
