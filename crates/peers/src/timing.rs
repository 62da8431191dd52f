//! What a row of equal steps took.

use std::time::Duration;

/// The times of steps of one size.
#[derive(Default)]
pub(crate) struct Steps {
    times: Vec<Duration>,
}

impl Steps {
    /// Notes one.
    pub(crate) fn push(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    /// The sum.
    pub(crate) fn total(&self) -> Duration {
        self.times.iter().sum()
    }

    /// The median, in milliseconds.
    pub(crate) fn median_ms(&self) -> f64 {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        middle.as_secs_f64() * 1e3
    }

    /// How many a second, if each step was of `size`.
    pub(crate) fn per_second(&self, size: usize) -> f64 {
        (self.times.len() * size) as f64 / self.total().as_secs_f64()
    }
}
