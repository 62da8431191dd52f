//! A high-score list: players whose scores change, and the fifty best of them.

use crate::ours::TableShape;
use arrow::array::Int64Array;
use arrow::datatypes::DataType;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use viewfeed_change::{Batch, Relation, Result};

/// The view.
pub(crate) const SQL: &str = "SELECT id, score FROM player ORDER BY score DESC, id LIMIT 50";
/// Its limit.
pub(crate) const PLACES: usize = 50;

const SCORES: i64 = 1_000_000_000;

/// A player's score with its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    /// The key.
    pub(crate) id: i64,
    /// What is ordered by.
    pub(crate) score: i64,
    /// Whether it comes (1) or goes (−1).
    pub(crate) weight: i64,
}

/// Everybody's present score.
pub(crate) struct Players {
    scores: Vec<i64>,
    loaded: usize,
    rng: SmallRng,
}

impl Players {
    /// Of `size` players, none of them loaded yet.
    pub(crate) fn new(size: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(7);
        Self {
            scores: (0..size).map(|_| rng.random_range(0..SCORES)).collect(),
            loaded: 0,
            rng,
        }
    }

    /// Up to `count` more players; none when all are loaded.
    pub(crate) fn load(&mut self, count: usize) -> Vec<Score> {
        let end = self.scores.len().min(self.loaded + count);
        let new = self.loaded..end;
        self.loaded = end;
        new.map(|place| score(place, self.scores[place], 1)).collect()
    }

    /// `count` new scores of different players: twice as many rows.
    pub(crate) fn play(&mut self, count: usize) -> Vec<Score> {
        // Different ones: one of each stretch of the list.
        let stride = (self.scores.len() / count).max(1);
        let first = self.rng.random_range(0..stride);
        let mut changes = Vec::with_capacity(2 * count);
        for place in (first..self.scores.len()).step_by(stride).take(count) {
            let new = self.rng.random_range(0..SCORES);
            changes.push(score(place, std::mem::replace(&mut self.scores[place], new), -1));
            changes.push(score(place, new, 1));
        }
        changes
    }
}

/// The table's shape.
pub(crate) fn tables() -> Vec<TableShape> {
    vec![TableShape {
        name: "player",
        columns: vec![("id", DataType::Int64), ("score", DataType::Int64)],
        key: 1,
    }]
}

/// Scores as columns.
pub(crate) fn score_batch(relation: &Relation, scores: &[Score]) -> Result<Batch> {
    let column = |value: fn(&Score) -> i64| Arc::new(scores.iter().map(value).collect::<Int64Array>()) as _;
    let columns = vec![column(|score| score.id), column(|score| score.score)];
    super::batch(
        relation,
        columns,
        scores.iter().map(|score| score.weight).collect(),
    )
}

fn score(place: usize, score: i64, weight: i64) -> Score {
    Score {
        id: place as i64,
        score,
        weight,
    }
}
