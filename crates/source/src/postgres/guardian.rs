//! The WAL guardian: how much of its log the server keeps for our slot, when that becomes too much, and what keeps it small.
//!
//! One question to the server and pure arithmetic on the answers; what is done about it is left to whoever runs the source.

use super::slot::{self, Slot, SlotState, WalStatus};
use super::{Lsn, Settings, answer};
use postgres_protocol::escape::escape_literal;
use std::time::Duration;
use tokio_postgres::Client;
use viewfeed_change::{Error, ErrorKind, Result, Timestamp};

/// The prefix of the messages that let an idle slot advance.
pub const HEARTBEAT_PREFIX: &str = "viewfeed.heartbeat";
/// From this part of a limit on there is a warning, in percent.
const WARN_PERCENT: u64 = 50;
/// A limit that will be reached within this time is warned of.
const WARN_AHEAD: Duration = Duration::from_secs(60 * 60);
/// How fast the kept log grows is averaged over about this time.
const RATE_WINDOW_US: f64 = 300e6;
const MICROSECONDS: f64 = 1e6;

/// What the server said at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Where the server's log ends; on a standby, where it has been replayed to.
    pub position: Lsn,
    /// What became of the slot.
    pub state: SlotState,
}

/// How far the slot is behind, in numbers: what `viewfeed.sources` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLag {
    /// Where the server's log ends.
    pub position: Lsn,
    /// Up to where we need nothing any more.
    pub confirmed: Lsn,
    /// Bytes of log that have not been confirmed.
    pub lag_bytes: u64,
    /// Bytes of log that the server keeps for the slot.
    pub kept_bytes: u64,
    /// How well the server keeps it.
    pub wal_status: WalStatus,
    /// Bytes of log that can be written before the slot may be lost; None: the server has no limit.
    pub safe_wal_bytes: Option<i64>,
    /// When the nearer limit, the server's or ours, is reached if it goes on like this; None if it does not grow.
    pub exhausted_in: Option<Duration>,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalLimit {
    /// The option `wal_limit`.
    Source,
    /// The server's `max_slot_wal_keep_size`: past it the slot is lost.
    Server,
}

/// What the numbers mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to say.
    Fine,
    /// A limit is near.
    Warn {
        /// Whose.
        limit: WalLimit,
        /// Bytes until then.
        remaining_bytes: u64,
    },
    /// A limit is passed: act now.
    OverLimit {
        /// Whose.
        limit: WalLimit,
        /// Bytes of log that the server keeps for the slot.
        kept_bytes: u64,
    },
    /// There is no slot that could be read; the state says why.
    NoSlot,
}

/// Watches one slot.
#[derive(Clone, Debug)]
pub struct Guardian {
    wal_bytes_max: u64,
    last: Option<(Timestamp, u64)>,
    /// By how many bytes a second the kept log grows; negative while it shrinks.
    growth: Option<f64>,
}

impl Guardian {
    /// Watches the limit of the settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            wal_bytes_max: settings.wal_bytes_max,
            last: None,
            growth: None,
        }
    }

    /// What `observation`, made at `now`, means. No numbers without a slot.
    pub fn observe(&mut self, observation: &Observation, now: Timestamp) -> (Option<SlotLag>, Verdict) {
        let (SlotState::Free(slot) | SlotState::InUse { slot, .. }) = &observation.state else {
            (self.last, self.growth) = (None, None);
            return (None, Verdict::NoSlot);
        };
        let behind = |lsn: Lsn| observation.position.0.saturating_sub(lsn.0);
        let kept_bytes = behind(slot.restart);
        self.follow(kept_bytes, now);
        let (limit, remaining_bytes) = self.nearest_limit(slot, kept_bytes);
        let lag = SlotLag {
            position: observation.position,
            confirmed: slot.confirmed,
            lag_bytes: behind(slot.confirmed),
            kept_bytes,
            wal_status: slot.wal_status,
            safe_wal_bytes: slot.safe_wal_bytes,
            exhausted_in: self.forecast(remaining_bytes),
        };
        (Some(lag), verdict(slot, &lag, limit, remaining_bytes))
    }

    /// The limit that is reached first, and the bytes until then.
    fn nearest_limit(&self, slot: &Slot, kept_bytes: u64) -> (WalLimit, u64) {
        let ours = self.wal_bytes_max.saturating_sub(kept_bytes);
        let theirs = slot.safe_wal_bytes.map(|bytes| bytes.max(0) as u64);
        match theirs {
            Some(theirs) if theirs < ours || slot.wal_status == WalStatus::Unreserved => {
                (WalLimit::Server, theirs)
            }
            _ => (WalLimit::Source, ours),
        }
    }

    /// Takes the growth since the last observation into the average: an old one counts the less the longer ago it is.
    fn follow(&mut self, kept_bytes: u64, now: Timestamp) {
        if let Some((then, before)) = self.last {
            let elapsed_us = (now.0 - then.0) as f64;
            if elapsed_us <= 0.0 {
                return;
            }
            let rate = (kept_bytes as f64 - before as f64) / elapsed_us * MICROSECONDS;
            let weight = 1.0 - (-elapsed_us / RATE_WINDOW_US).exp();
            self.growth = Some(match self.growth {
                None => rate,
                Some(average) => average + (rate - average) * weight,
            });
        }
        self.last = Some((now, kept_bytes));
    }

    fn forecast(&self, remaining_bytes: u64) -> Option<Duration> {
        let growth = self.growth.filter(|growth| *growth > 0.0)?;
        Duration::try_from_secs_f64(remaining_bytes as f64 / growth).ok()
    }
}

fn verdict(slot: &Slot, lag: &SlotLag, limit: WalLimit, remaining_bytes: u64) -> Verdict {
    let kept_bytes = lag.kept_bytes;
    if remaining_bytes == 0 || matches!(slot.wal_status, WalStatus::Unreserved | WalStatus::Lost) {
        return Verdict::OverLimit { limit, kept_bytes };
    }
    let whole = kept_bytes.saturating_add(remaining_bytes);
    let is_near = kept_bytes / WARN_PERCENT >= whole / 100;
    match is_near || lag.exhausted_in.is_some_and(|time| time <= WARN_AHEAD) {
        true => Verdict::Warn {
            limit,
            remaining_bytes,
        },
        false => Verdict::Fine,
    }
}

/// Asks the server.
pub async fn observe_slot(client: &Client, settings: &Settings) -> Result<Observation> {
    let sql = format!(
        "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                ELSE pg_catalog.pg_current_wal_lsn() END AS position,
            pg_catalog.current_database() AS here, {} AS slot, a.application_name
        FROM (SELECT {}::name AS wanted) w
        LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = w.wanted
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid",
        slot::LISTED,
        escape_literal(&settings.slot)
    );
    let row = answer::row(client, "reading the replication slot", &sql).await?;
    let state = match row.text("slot") {
        None => SlotState::Missing,
        Some(_) => slot::state_of(&row, &row.name("here")?)?,
    };
    Ok(Observation {
        position: row.value("position")?,
        state,
    })
}

/// Writes a message into the log, so that a slot advances although none of its tables changes. It comes back by the stream
/// with this `content`: sent time in, round trip out. Gives its place in the log. A standby refuses.
pub async fn heartbeat(client: &Client, content: &str) -> Result<Lsn> {
    if content.contains('\0') {
        let message = "a heartbeat cannot hold a zero character";
        return Err(Error::new(ErrorKind::Invalid, "HEARTBEAT", message));
    }
    let sql = format!(
        "SELECT pg_catalog.pg_logical_emit_message(false, {}, {}::text) AS place",
        escape_literal(HEARTBEAT_PREFIX),
        escape_literal(content)
    );
    answer::row(client, "sending a heartbeat", &sql)
        .await?
        .value("place")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn guardian(limit_mb: u64) -> Guardian {
        Guardian {
            wal_bytes_max: limit_mb * MB,
            last: None,
            growth: None,
        }
    }

    /// A log of 1000 MB of which `kept_mb` are kept.
    fn kept(kept_mb: u64, status: WalStatus, safe_mb: Option<i64>) -> Observation {
        Observation {
            position: Lsn(1000 * MB),
            state: SlotState::Free(Slot {
                confirmed: Lsn((1000 - kept_mb / 2) * MB),
                restart: Lsn((1000 - kept_mb) * MB),
                wal_status: status,
                safe_wal_bytes: safe_mb.map(|safe| safe * MB as i64),
                is_failover: false,
            }),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    #[test]
    fn numbers_are_those_of_the_server() {
        let observed = kept(100, WalStatus::Reserved, None);
        let (lag, verdict) = guardian(1000).observe(&observed, at(0));
        let lag = lag.unwrap();
        assert_eq!(
            (lag.kept_bytes, lag.lag_bytes, lag.exhausted_in),
            (100 * MB, 50 * MB, None)
        );
        assert_eq!(verdict, Verdict::Fine);
    }

    #[test]
    fn a_limit_is_warned_of_at_its_half_and_passed_at_its_end() {
        let verdict = |kept_mb, status, safe| guardian(200).observe(&kept(kept_mb, status, safe), at(0)).1;
        let warn = |limit, remaining_mb: u64| Verdict::Warn {
            limit,
            remaining_bytes: remaining_mb * MB,
        };
        let over = |limit, kept_mb: u64| Verdict::OverLimit {
            limit,
            kept_bytes: kept_mb * MB,
        };
        assert_eq!(verdict(99, WalStatus::Reserved, None), Verdict::Fine);
        assert_eq!(
            verdict(100, WalStatus::Extended, None),
            warn(WalLimit::Source, 100)
        );
        assert_eq!(
            verdict(200, WalStatus::Extended, None),
            over(WalLimit::Source, 200)
        );
        assert_eq!(
            verdict(250, WalStatus::Extended, None),
            over(WalLimit::Source, 250)
        );
        assert_eq!(verdict(10, WalStatus::Reserved, Some(50)), Verdict::Fine);
        assert_eq!(
            verdict(50, WalStatus::Reserved, Some(40)),
            warn(WalLimit::Server, 40)
        );
        assert_eq!(
            verdict(50, WalStatus::Unreserved, Some(-3)),
            over(WalLimit::Server, 50)
        );
        assert_eq!(
            verdict(50, WalStatus::Unreserved, Some(0)),
            over(WalLimit::Server, 50)
        );
    }

    #[test]
    fn growth_is_forecast_and_warned_of_an_hour_ahead() {
        let mut guardian = guardian(1000);
        for (second, kept_mb) in [(0, 10), (10, 20), (20, 30)] {
            let (lag, verdict) = guardian.observe(&kept(kept_mb, WalStatus::Reserved, None), at(second));
            let left = lag
                .unwrap()
                .exhausted_in
                .map(|time| time.as_secs_f64().round() as u64);
            match second {
                0 => assert_eq!((left, verdict), (None, Verdict::Fine)),
                // 1 MB a second.
                _ => {
                    assert_eq!(left, Some(1000 - kept_mb));
                    assert!(matches!(verdict, Verdict::Warn { .. }), "{verdict:?}");
                }
            }
        }
        // What shrinks for long will not end.
        let (lag, verdict) = guardian.observe(&kept(1, WalStatus::Reserved, None), at(4000));
        assert_eq!((lag.unwrap().exhausted_in, verdict), (None, Verdict::Fine));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_forecasts_nothing() {
        let mut guardian = guardian(1000);
        for second in [5, 5, 4] {
            let (lag, _) = guardian.observe(&kept(10, WalStatus::Reserved, None), at(second));
            assert_eq!(lag.unwrap().exhausted_in, None);
        }
    }

    #[test]
    fn without_a_slot_there_is_nothing_to_measure() {
        let observation = Observation {
            position: Lsn(1),
            state: SlotState::Missing,
        };
        assert_eq!(guardian(1).observe(&observation, at(0)), (None, Verdict::NoSlot));
    }
}
