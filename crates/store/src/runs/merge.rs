//! Many sources in key order as one: of equal keys the newest wins.

use super::Listed;
use super::run::{Range, RunCursor};
use crate::keys;
use viewfeed_change::Result;

/// Puts (Some) and deletes (None) in key order.
pub(super) type Entries<'a> = Box<dyn Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'a>;

/// Entries in key order, from a table in memory or from a run.
pub(super) enum Source<'a> {
    Table {
        rest: Entries<'a>,
        here: Option<(&'a [u8], Option<&'a [u8]>)>,
    },
    Run {
        cursor: RunCursor<'a>,
        /// Keys that start with one of these are passed over.
        hidden: &'a [Vec<u8>],
    },
}

impl<'a> Source<'a> {
    pub(super) fn table(mut rest: Entries<'a>) -> Self {
        let here = rest.next();
        Self::Table { rest, here }
    }

    /// What `listed` has in `range`, read through the cache; None if nothing.
    pub(super) fn run(listed: &'a Listed, range: &Range<'a>) -> Result<Option<Self>> {
        if !listed.run.may_hold(range)? {
            return Ok(None);
        }
        Self::of(listed, RunCursor::new(&listed.run, range.from, range.to, true)?).map(Some)
    }

    /// All of `listed`, read past the cache.
    pub(super) fn whole(listed: &'a Listed) -> Result<Self> {
        Self::of(listed, RunCursor::new(&listed.run, &[], None, false)?)
    }

    fn of(listed: &'a Listed, cursor: RunCursor<'a>) -> Result<Self> {
        let hidden = &listed.hidden;
        let mut source = Self::Run { cursor, hidden };
        source.pass_hidden()?;
        Ok(source)
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Table { here, .. } => here.map(|(key, _)| key),
            Self::Run { cursor, .. } => cursor.key(),
        }
    }

    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Table { here, .. } => here.and_then(|(_, value)| value),
            Self::Run { cursor, .. } => cursor.value(),
        }
    }

    fn advance(&mut self) -> Result<()> {
        match self {
            Self::Table { rest, here } => {
                *here = rest.next();
                Ok(())
            }
            Self::Run { cursor, .. } => {
                cursor.advance()?;
                self.pass_hidden()
            }
        }
    }

    fn pass_hidden(&mut self) -> Result<()> {
        let Self::Run { cursor, hidden } = self else {
            return Ok(());
        };
        while let Some(key) = cursor.key()
            && let Some(prefix) = hidden.iter().find(|prefix| key.starts_with(prefix))
        {
            match keys::prefix_end(prefix) {
                Some(end) => cursor.seek(&end)?,
                None => cursor.advance()?,
            }
        }
        Ok(())
    }
}

/// Sources merged, newest first.
pub(super) struct Merge<'a> {
    sources: Vec<Source<'a>>,
    /// The source of the entry given out last, and older ones with the same key.
    given: Vec<usize>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(sources: Vec<Source<'a>>) -> Self {
        let given = Vec::with_capacity(sources.len());
        Self { sources, given }
    }

    /// The next entry; deletes are entries.
    #[expect(
        clippy::type_complexity,
        reason = "an entry that is borrowed until the next call"
    )]
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], Option<&[u8]>)>> {
        for place in self.given.drain(..) {
            self.sources[place].advance()?;
        }
        let mut least: Option<&[u8]> = None;
        for (place, source) in self.sources.iter().enumerate() {
            let Some(key) = source.key() else {
                continue;
            };
            let order = least.map_or(std::cmp::Ordering::Less, |least| key.cmp(least));
            if order.is_lt() {
                self.given.clear();
                least = Some(key);
            }
            if order.is_le() {
                self.given.push(place);
            }
        }
        let value = self
            .given
            .first()
            .and_then(|newest| self.sources[*newest].value());
        Ok(least.map(|key| (key, value)))
    }
}
