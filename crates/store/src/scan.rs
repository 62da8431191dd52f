//! Reading ranges: layers of writes over the Kv, merged while they are visited, so that nothing of the layers is copied.
//!
//! Owns the notes about stretches in which nothing was found ([`crate::gaps`]).

use crate::committed::View;
use crate::gaps::DEAD_MIN;
use crate::kv::Pairs;
use crate::reader::EachPair;
use crate::writes::{Entry, SortedWrites};
use crate::{Reader, keys};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::Result;

/// A scan reads this many entries of the Kv first, because most scans are of a key with few rows …
const CHUNK_FIRST: usize = 16;
/// … then four times as many each time, up to this.
const CHUNK_MAX: usize = 1024;

/// Many reads of one reader, fast if they come about in the order of keys: it starts to look where it found the last one.
pub struct Prober {
    reader: Reader,
    view: Arc<View>,
    /// Where the last key was, by layer: those of the transaction first, the newest of each first.
    hints: Vec<usize>,
    /// Reads what is committed, if there are files of the transaction between that and its layers.
    below: Option<Box<Self>>,
}

impl Prober {
    pub(crate) fn new(reader: &Reader) -> Self {
        let view = reader.snapshot().view();
        let is_spilled = !reader.spilled().is_empty();
        Self {
            hints: vec![0; layers(reader, &view).count()],
            below: is_spilled.then(|| Box::new(Self::new(&reader.base()))),
            reader: reader.clone(),
            view,
        }
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Self {
            reader,
            view,
            hints,
            below,
        } = self;
        for ((layer, _), hint) in layers(reader, view).zip(hints) {
            if let Some(value) = layer.get(key, hint) {
                return Ok(value.map(<[u8]>::to_vec));
            }
        }
        match (below, reader.spilled().get(key)?) {
            (_, Some(value)) => Ok(value),
            (Some(below), None) => below.get(key),
            (None, None) => reader.snapshot().read_kv(|kv| kv.get(key)),
        }
    }

    /// Every pair whose key starts with `prefix` and is `>= from`, in key order, until `each` breaks.
    pub fn scan(&mut self, prefix: &[u8], from: &[u8], each: &mut EachPair<'_>) -> Result<()> {
        self.range(from.max(prefix), keys::prefix_end(prefix).as_deref(), each)
    }

    /// Every pair with `from <= key < end`, in key order, until `each` breaks.
    fn range(&mut self, from: &[u8], end: Option<&[u8]>, each: &mut EachPair<'_>) -> Result<()> {
        if end.is_some_and(|end| from >= end) {
            return Ok(());
        }
        let Self {
            reader,
            view,
            hints,
            below,
        } = self;
        let snapshot = reader.snapshot();
        // What is committed has no gap where files lie over it.
        let known = below.is_none().then(|| &snapshot.committed().gaps);
        let gap_end = known.and_then(|gaps| gaps.after(from, snapshot.epoch()));
        // A gap can reach beyond the range, when it was found by a scan of a longer one.
        let gap_end = gap_end.as_deref().map(|gap| end.map_or(gap, |end| end.min(gap)));
        let start = gap_end.unwrap_or(from);
        let mut sources = Vec::new();
        for ((layer, is_committed), hint) in layers(reader, view).zip(hints) {
            *hint = layer.seek(if is_committed { start } else { from }, *hint);
            let source = Source {
                layer,
                at: *hint,
                is_committed,
            };
            sources.extend(source.key_before(end).is_some().then_some(source));
        }
        let mut scan = Scan {
            reader,
            below: below.as_deref_mut(),
            sources,
            lead: known.map(|_| Lead { from, dead: 0 }),
            each,
        };
        scan.run(start, end)
    }

    /// At most `limit` pairs with `from <= key < end`.
    fn pairs(&mut self, from: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Pairs> {
        let mut pairs = Pairs::new();
        self.range(from, end, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(match pairs.len() < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        Ok(pairs)
    }
}

/// Every layer above the first file, and whether it is committed.
fn layers<'a>(reader: &'a Reader, view: &'a View) -> impl Iterator<Item = (&'a SortedWrites, bool)> {
    let staged = reader
        .layers()
        .newest_first()
        .map(|layer| (layer.as_ref(), false));
    let is_first = reader.spilled().is_empty();
    let committed = view.overlay.layers().iter().filter(move |_| is_first);
    staged.chain(committed.map(|layer| (layer.writes(), true)))
}

/// Entries of a layer from a place on.
struct Source<'a> {
    layer: &'a SortedWrites,
    at: usize,
    is_committed: bool,
}

impl<'a> Source<'a> {
    fn key_before(&self, end: Option<&[u8]>) -> Option<&'a [u8]> {
        let (key, _) = self.layer.entry(self.at)?;
        end.is_none_or(|end| key < end).then_some(key)
    }
}

/// One range being read.
struct Scan<'a, 'b> {
    reader: &'a Reader,
    /// What reads what is committed, below files of the transaction.
    below: Option<&'a mut Prober>,
    /// The newest first; none that has nothing left in the range.
    sources: Vec<Source<'a>>,
    /// What there was committed before the first pair; None once there is one.
    lead: Option<Lead<'a>>,
    each: &'a mut EachPair<'b>,
}

/// The start of a range, in which nothing was found so far.
struct Lead<'a> {
    from: &'a [u8],
    /// Deleted entries passed over.
    dead: usize,
}

impl<'a> Scan<'a, '_> {
    /// Visits `start..end`.
    fn run(&mut self, start: &[u8], end: Option<&[u8]>) -> Result<()> {
        let (mut chunk, mut at) = (CHUNK_FIRST, None);
        loop {
            let from = at.as_deref().unwrap_or(start);
            let (pairs, dead) = self.read_files(from, end, chunk)?;
            self.pass_dead(dead);
            let next = match pairs.last() {
                Some((last, _)) if pairs.len() == chunk => Some([last.as_slice(), &[0]].concat()),
                _ => None,
            };
            if self.visit(&pairs, next.as_deref().or(end), end)?.is_break() {
                return Ok(());
            }
            match next {
                Some(next) => at = Some(next),
                None => break,
            }
            chunk = (chunk * 4).min(CHUNK_MAX);
        }
        self.end_lead(end);
        Ok(())
    }

    /// At most `chunk` pairs of what is below the layers, and how many deleted entries were passed over before the first.
    fn read_files(&mut self, from: &[u8], end: Option<&[u8]>, chunk: usize) -> Result<(Pairs, usize)> {
        match &mut self.below {
            None => {
                let snapshot = self.reader.snapshot();
                snapshot.read_kv(|kv| kv.scan_counting(from, end, chunk))
            }
            Some(below) => {
                let mut below = |from: &[u8], end: Option<&[u8]>, limit| below.pairs(from, end, limit);
                let spilled = self.reader.spilled();
                let pairs = spilled.scan_over(&mut below, from, end, chunk)?;
                Ok((pairs, 0))
            }
        }
    }

    /// Visits every entry before `limit`, of which `pairs` are all that the Kv has; `end` is that of the whole range.
    fn visit(&mut self, pairs: &Pairs, limit: Option<&[u8]>, end: Option<&[u8]>) -> Result<ControlFlow<()>> {
        let mut pairs = pairs.iter().peekable();
        while let Some((key, value)) = self.least(limit) {
            while let Some((stored, value)) = pairs.next_if(|pair| pair.0.as_slice() < key) {
                self.end_lead(Some(stored));
                if (self.each)(stored, value)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let is_stored = pairs.next_if(|pair| pair.0 == key).is_some();
            self.follow_lead(key, is_stored);
            self.pass(key, end);
            if let Some(value) = value
                && (self.each)(key, value)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        for (stored, value) in pairs {
            self.end_lead(Some(stored));
            if (self.each)(stored, value)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The next entry of the layers before `limit`; of equal keys the newest.
    fn least(&self, limit: Option<&[u8]>) -> Option<Entry<'a>> {
        let mut least: Option<(&[u8], &Source<'a>)> = None;
        for source in &self.sources {
            if let Some(key) = source.key_before(least.map(|(key, _)| key).or(limit)) {
                least = Some((key, source));
            }
        }
        least.and_then(|(_, source)| source.layer.entry(source.at))
    }

    /// Goes past `key` in every layer.
    fn pass(&mut self, key: &[u8], end: Option<&[u8]>) {
        self.sources.retain_mut(|source| {
            if source.layer.entry(source.at).is_some_and(|(here, _)| here == key) {
                source.at += 1;
            }
            source.key_before(end).is_some()
        });
    }

    /// Whether the committed value of `key`, at which the layers are, ends what was empty so far.
    fn follow_lead(&mut self, key: &[u8], is_stored: bool) {
        if self.lead.is_none() {
            return;
        }
        let committed = self.sources.iter().filter(|source| source.is_committed);
        let mut entries = committed.filter_map(|source| source.layer.entry(source.at));
        match entries.find(|(here, _)| *here == key) {
            Some((_, None)) => self.pass_dead(1),
            None if !is_stored => {}
            _ => self.end_lead(Some(key)),
        }
    }

    fn pass_dead(&mut self, count: usize) {
        if let Some(lead) = &mut self.lead
            && count > 0
        {
            lead.dead += count;
            self.reader.snapshot().committed().pass_dead(count);
        }
    }

    /// Nothing was found before `end`: notes the stretch, if much was passed over in it.
    fn end_lead(&mut self, end: Option<&[u8]>) {
        if let Some(lead) = self.lead.take()
            && let Some(end) = end
            && lead.dead >= DEAD_MIN
        {
            let snapshot = self.reader.snapshot();
            let gaps = &snapshot.committed().gaps;
            gaps.note(lead.from, end, snapshot.epoch());
        }
    }
}
