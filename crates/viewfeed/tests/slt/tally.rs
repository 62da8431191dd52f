//! What a run counted, and what it has to tell.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use viewfeed_engine::Rung;

/// How many texts of a kind are printed.
const TEXTS_MAX: usize = 20;
/// How many characters of a text are kept.
const TEXT_CHARS_MAX: usize = 3000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Count {
    Statement,
    Query,
    /// Statements and queries that were not understood, or understood although they should not be.
    Refused,
    /// Queries that answer otherwise than the file says.
    OtherAnswer,
    /// Queries that cannot be views.
    NoView,
    /// Views that are what their query answered, by rung.
    View(Rung),
    /// Views that failed over rows on the way, as the query would have, and were right again when made anew.
    FailedOnTheWay,
    /// Views with other rows than their query where the query leaves open which: a LIMIT without an order.
    Ambiguous,
    /// Views that are wrong.
    Failed,
}

/// How often each count came, and the texts of those that are told.
#[derive(Clone, Default)]
pub(super) struct Tally {
    counts: BTreeMap<Count, usize>,
    texts: BTreeMap<Count, Vec<String>>,
}

impl Tally {
    pub(super) fn count(&mut self, count: Count) {
        *self.counts.entry(count).or_default() += 1;
    }

    /// Counts, and keeps what is to be told about it.
    pub(super) fn add(&mut self, count: Count, file: &Path, line: usize, text: &str) {
        self.count(count);
        let texts = self.texts.entry(count).or_default();
        if !matches!(count, Count::View(_)) && texts.len() < TEXTS_MAX {
            let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
            texts.push(format!("{}:{line}: {count}: {text}", file.display()));
        }
    }

    pub(super) fn of(&self, count: Count) -> usize {
        self.counts.get(&count).copied().unwrap_or_default()
    }

    /// The texts of what must not be, but for `forgiven`.
    pub(super) fn wrong(&self, forgiven: &[Count]) -> Vec<String> {
        let mut wrong = vec![
            Count::Failed,
            Count::Refused,
            Count::OtherAnswer,
            Count::NoView,
            Count::Ambiguous,
        ];
        wrong.retain(|count| !forgiven.contains(count));
        let texts = wrong
            .iter()
            .flat_map(|count| self.texts.get(count).into_iter().flatten());
        texts.cloned().collect()
    }

    /// What was counted since `before`.
    pub(super) fn since(&self, before: &Self) -> String {
        let more = self
            .counts
            .iter()
            .map(|(count, number)| (*count, number - before.of(*count)));
        let shown = more
            .filter(|(_, number)| *number > 0)
            .map(|(count, number)| format!("{number} {count}"));
        shown.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Tally {
    /// The texts that are told, then all counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.texts.values().flatten();
        told.into_iter().try_for_each(|text| writeln!(f, "{text}\n"))?;
        f.write_str(&self.since(&Self::default()))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement => f.write_str("statements"),
            Self::Query => f.write_str("queries"),
            Self::Refused => f.write_str("refused"),
            Self::OtherAnswer => f.write_str("answered otherwise"),
            Self::NoView => f.write_str("cannot be views"),
            Self::View(rung) => write!(f, "views {rung}"),
            Self::FailedOnTheWay => f.write_str("views failed on the way"),
            Self::Ambiguous => f.write_str("views ambiguous"),
            Self::Failed => f.write_str("views failed"),
        }
    }
}
