//! What steps cost, measured: the last steps of each view that had few rows to take in, kept in memory. The engine has no
//! clock; whoever has one lends it as a function, see [`super::Engine::measure_with`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The most changed rows of the relations a view reads for a step to be measured: what one user does at a time.
pub(super) const SMALL_ROWS_MAX: usize = 16;
/// Steps remembered per view.
const STEPS_MAX: usize = 1024;

/// Gives the time that has passed since any moment, always the same.
pub(super) type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What the last small steps of a view cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// How many were measured.
    pub measured: usize,
    /// The last one.
    pub last: Duration,
    /// Half of them cost at most this.
    pub p50: Duration,
    /// 99 of 100 cost at most this.
    pub p99: Duration,
}

/// The last small steps.
#[derive(Default)]
pub(super) struct RecentSteps(VecDeque<Duration>);

impl RecentSteps {
    pub(super) fn note(&mut self, time: Duration) {
        if self.0.len() == STEPS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    pub(super) fn times(&self) -> StepTimes {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        // the smallest of which at least so many percent are not larger
        let percentile = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(place).copied().unwrap_or_default()
        };
        StepTimes {
            measured: sorted.len(),
            last: self.0.back().copied().unwrap_or_default(),
            p50: percentile(50),
            p99: percentile(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_steps() {
        let mut recent = RecentSteps::default();
        assert_eq!(recent.times(), StepTimes::default());
        (0..STEPS_MAX).for_each(|_| recent.note(Duration::from_secs(9)));
        (1..=STEPS_MAX as u64).for_each(|us| recent.note(Duration::from_micros(us)));
        let times = recent.times();
        assert_eq!((times.measured, times.last.as_micros()), (STEPS_MAX, 1024));
        assert_eq!((times.p50.as_micros(), times.p99.as_micros()), (512, 1014));
    }
}
