//! The limits of the feeds.

use std::time::Duration;

/// Limits.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Rows that may wait in memory for one subscriber; with more it has to catch up from the epoch log.
    pub queue_rows_max: usize,
    /// Rows of a backlog, coalesced, that are held at one time. A subscriber that lags by more is reset, or, if its
    /// envelope or its `on_gap` forbids that, served in pieces of this size.
    pub coalesced_rows_max: usize,
    /// Rows per frame.
    pub frame_rows_max: usize,
    /// Subscriptions at one time.
    pub subscriptions_max: usize,
    /// Rows of a result in the STATE envelope.
    pub state_rows_max: usize,
    /// Snapshots and backlogs that are read at one time; more wait for their turn.
    pub readers_max: usize,
    /// How long all in all a snapshot may wait for its subscriber to take rows while it keeps the store's state of its
    /// epoch from being released. A snapshot of at most `coalesced_rows_max` rows never waits.
    pub snapshot_wait: Duration,
    /// How long after [`drain`](crate::Feed::drain) deltas that were waiting then are still delivered.
    pub drain: Duration,
    /// Names the history that tokens refer to. Must differ between databases, and must change when epochs that were
    /// published may be gone: after a crash under relaxed durability, after a restore from a backup.
    pub incarnation: u64,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            queue_rows_max: 16_384,
            coalesced_rows_max: 65_536,
            frame_rows_max: 1_024,
            subscriptions_max: 100_000,
            state_rows_max: 10_000,
            readers_max: 32,
            snapshot_wait: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            incarnation: 0,
        }
    }
}
