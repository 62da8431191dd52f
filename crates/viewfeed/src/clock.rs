//! The real clock: the only place that asks the machine for the time.

use std::time::{SystemTime, UNIX_EPOCH};
use viewfeed_change::{Clock, Timestamp};

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
