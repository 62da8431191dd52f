//! Rows that many subscribers get are encoded once.

use super::encode::{Encoded, encode};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use viewfeed_catalog::{Rpc, Subscribe};
use viewfeed_change::Result;
use viewfeed_feed::Frame;

/// Frames kept for subscribers who are a little behind the first; the feed bounds the rows of each.
const FRAMES_MAX: usize = 64;

/// The rows of recent frames, encoded.
#[derive(Default)]
pub(crate) struct EncodedFrames {
    recent: Mutex<VecDeque<Shared>>,
}

struct Shared {
    /// Whose messages they are: the same rows are other bytes in another rpc.
    rpc: Weak<Rpc>,
    /// The feed's number for the rows.
    number: u64,
    /// Filled by the first who needs it, while others who need it too wait.
    slot: Slot,
}

type Slot = Arc<Mutex<Option<Arc<Encoded>>>>;

impl EncodedFrames {
    /// The encoded rows of a frame of a subscription to `rpc`. None if the rows no longer have the columns that the
    /// messages are made of.
    pub(super) fn encode(
        &self,
        rpc: &Arc<Rpc>,
        subscribe: &Subscribe,
        frame: &Frame,
    ) -> Result<Option<Arc<Encoded>>> {
        let Some(number) = frame.shared else {
            return Ok(encode(subscribe, frame)?.map(Arc::new));
        };
        let slot = self.slot(rpc, number);
        let mut slot = slot.lock();
        if slot.is_none() {
            *slot = encode(subscribe, frame)?.map(Arc::new);
        }
        Ok(slot.clone())
    }

    fn slot(&self, rpc: &Arc<Rpc>, number: u64) -> Slot {
        let mut recent = self.recent.lock();
        let known = recent
            .iter()
            .rev()
            .find(|shared| shared.number == number && std::ptr::eq(shared.rpc.as_ptr(), Arc::as_ptr(rpc)));
        if let Some(known) = known {
            return known.slot.clone();
        }
        if recent.len() == FRAMES_MAX {
            recent.pop_front();
        }
        let slot = Slot::default();
        recent.push_back(Shared {
            rpc: Arc::downgrade(rpc),
            number,
            slot: slot.clone(),
        });
        slot
    }
}
