//! Writes in key order, in one buffer: what an epoch, a part of one, or many epochs put and deleted.
//!
//! They are gathered by appending, sorted once if they did not come in order, and never change afterwards: so they are
//! shared by readers, the log and a checkpoint without a copy, and two of them become one by merging.

use std::sync::Arc;

/// Stands for the length of a value where the key is deleted.
const DELETED: u32 = u32::MAX;
/// What it takes in memory beside its buffers, roughly.
const FIXED_BYTES: usize = 96;

/// A key with its value, or with None where it is deleted.
pub(crate) type Entry<'a> = (&'a [u8], Option<&'a [u8]>);

/// Puts and deletes in key order, each key once.
#[derive(Debug, Default)]
pub struct SortedWrites {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// Writes in the order they came; of the same key the last one counts.
#[derive(Default)]
pub(crate) struct WritesBuilder {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    is_unsorted: bool,
}

/// Where an entry is: its key, then its value.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    key_bytes: u32,
    value_bytes: u32,
}

impl SortedWrites {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// About what its keys and values take one after another, with their lengths.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.bytes.len() + self.spans.len() * 4
    }

    /// What it takes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>() + FIXED_BYTES
    }

    /// Every key with its value, or with None where it is deleted, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.spans.iter().map(|span| span.entry(&self.bytes))
    }

    /// What was written to `key`: Some(None) if it was deleted.
    pub(crate) fn get(&self, key: &[u8], hint: &mut usize) -> Option<Option<&[u8]>> {
        *hint = self.seek(key, *hint);
        let (found, value) = self.entry(*hint)?;
        (found == key).then_some(value)
    }

    /// The entry at a place.
    pub(crate) fn entry(&self, place: usize) -> Option<Entry<'_>> {
        self.spans.get(place).map(|span| span.entry(&self.bytes))
    }

    /// The place of the first key at or after `key`. `hint` is any place; it is found fast shortly after it.
    pub(crate) fn seek(&self, key: &[u8], hint: usize) -> usize {
        let is_before = |span: &Span| span.key(&self.bytes) < key;
        let (mut low, mut step) = (hint.min(self.spans.len()), 1);
        if low > 0 && !is_before(&self.spans[low - 1]) {
            return self.spans[..low].partition_point(is_before);
        }
        // Everything before `low` is before the key; steps that double find an end that is not.
        while let Some(span) = self.spans.get(low + step - 1) {
            if !is_before(span) {
                break;
            }
            low += step;
            step *= 2;
        }
        let high = (low + step).min(self.spans.len());
        low + self.spans[low..high].partition_point(is_before)
    }

    /// `above` over `below`.
    pub(crate) fn joined(below: &Self, above: &Self) -> Self {
        let mut joined = Self {
            bytes: Vec::with_capacity(below.bytes.len() + above.bytes.len()),
            spans: Vec::with_capacity(below.len() + above.len()),
        };
        let mut at = 0;
        for span in &above.spans {
            let key = span.key(&above.bytes);
            let to = below.seek(key, at);
            joined.extend(below, at..to);
            at = to + usize::from(below.entry(to).is_some_and(|(same, _)| same == key));
            joined.push_span(span, &above.bytes);
        }
        joined.extend(below, at..below.len());
        joined
    }

    /// All of `layers`, the newest first, as one: of equal keys the newest counts. Entries of a layer between which no other one
    /// has a key are copied at once.
    pub(crate) fn merged(layers: &[Arc<Self>]) -> Self {
        let mut merged = Self {
            bytes: Vec::with_capacity(layers.iter().map(|layer| layer.bytes.len()).sum()),
            spans: Vec::with_capacity(layers.iter().map(|layer| layer.len()).sum()),
        };
        let mut places = vec![0; layers.len()];
        while let Some(least) = Least::of(layers, &places) {
            let (layer, from) = (&layers[least.layer], places[least.layer]);
            let to = match least.next {
                Some(next) if next == least.key => from + 1,
                Some(next) => layer.seek(next, from),
                None => layer.len(),
            };
            merged.extend(layer, from..to);
            places[least.layer] = to;
            if least.next == Some(least.key) {
                for (layer, place) in layers.iter().zip(&mut places) {
                    *place += usize::from(layer.entry(*place).is_some_and(|(key, _)| key == least.key));
                }
            }
        }
        merged
    }

    /// Adds entries of `from`, whose bytes lie in the order of their keys.
    fn extend(&mut self, from: &Self, places: std::ops::Range<usize>) {
        let spans = &from.spans[places];
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return;
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&from.bytes[first.start..last.end()]);
        let moved = spans.iter().map(|span| Span {
            start: span.start - first.start + start,
            ..*span
        });
        self.spans.extend(moved);
    }

    fn push_span(&mut self, span: &Span, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&bytes[span.start..span.end()]);
        self.spans.push(Span { start, ..*span });
    }
}

/// The least of the entries at the places of some layers.
struct Least<'a> {
    /// The layer that has it, the first of equal ones.
    layer: usize,
    key: &'a [u8],
    /// The least key of the other layers.
    next: Option<&'a [u8]>,
}

impl<'a> Least<'a> {
    fn of(layers: &'a [Arc<SortedWrites>], places: &[usize]) -> Option<Self> {
        let mut least: Option<Self> = None;
        for (layer, (writes, place)) in layers.iter().zip(places).enumerate() {
            let Some((key, _)) = writes.entry(*place) else {
                continue;
            };
            match &mut least {
                Some(least) if key >= least.key => {
                    least.next = Some(least.next.map_or(key, |next| next.min(key)));
                }
                _ => {
                    let next = least.map(|least| least.key);
                    least = Some(Self { layer, key, next });
                }
            }
        }
        least
    }
}

impl<'a> FromIterator<Entry<'a>> for SortedWrites {
    /// In any order; of the same key the last one counts.
    fn from_iter<I: IntoIterator<Item = Entry<'a>>>(entries: I) -> Self {
        let mut builder = WritesBuilder::default();
        for (key, value) in entries {
            builder.push(key, value);
        }
        builder.finish()
    }
}

impl WritesBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Adds a put (Some) or a delete (None).
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let is_after = |last: &Span| last.key(&self.bytes) < key;
        self.is_unsorted |= !self.spans.last().is_none_or(is_after);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let length = |bytes: &[u8]| match u32::try_from(bytes.len()) {
            Ok(length) if length != DELETED => length,
            _ => panic!("a key or a value of 4 GiB"),
        };
        self.spans.push(Span {
            start,
            key_bytes: length(key),
            value_bytes: value.map_or(DELETED, length),
        });
    }

    /// In key order.
    pub(crate) fn finish(self) -> SortedWrites {
        let Self { bytes, mut spans, .. } = self;
        if !self.is_unsorted {
            return SortedWrites { bytes, spans };
        }
        // Mostly some stretches that are in order, which a stable sort finds; equal keys stay in the order they came.
        spans.sort_by(|a, b| a.key(&bytes).cmp(b.key(&bytes)));
        let mut sorted = SortedWrites {
            bytes: Vec::with_capacity(bytes.len()),
            spans: Vec::with_capacity(spans.len()),
        };
        for same in spans.chunk_by(|a, b| a.key(&bytes) == b.key(&bytes)) {
            sorted.push_span(same.last().expect("chunks are not empty"), &bytes);
        }
        sorted
    }
}

impl Span {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..self.start + self.key_bytes as usize]
    }

    fn end(&self) -> usize {
        let value_bytes = match self.value_bytes {
            DELETED => 0,
            length => length,
        };
        self.start + self.key_bytes as usize + value_bytes as usize
    }

    fn entry<'a>(&self, bytes: &'a [u8]) -> Entry<'a> {
        let (key, value) = bytes[self.start..self.end()].split_at(self.key_bytes as usize);
        (key, (self.value_bytes != DELETED).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

    fn some(random: &mut StdRng, model: &mut Model) -> SortedWrites {
        let mut builder = WritesBuilder::default();
        for _ in 0..random.random_range(0..60) {
            let key = vec![random.random_range(0..90); random.random_range(0..3)];
            let value = random.random_bool(0.7).then(|| vec![random.random(); 3]);
            builder.push(&key, value.as_deref());
            model.insert(key, value);
        }
        builder.finish()
    }

    fn same(writes: &SortedWrites, model: &Model) {
        let want: Vec<Entry<'_>> = model.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
        assert_eq!(writes.iter().collect::<Vec<_>>(), want);
        for byte in 0..100 {
            let key = [byte, byte];
            let mut hint = byte as usize;
            let found = writes.get(&key, &mut hint);
            assert_eq!(found, model.get(&key[..]).map(Option::as_deref));
        }
    }

    #[test]
    fn writes_are_what_a_tree_of_them_is() {
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..300 {
            let (mut model, mut later) = (Model::new(), Model::new());
            let below = some(&mut random, &mut model);
            same(&below, &model);
            let above = some(&mut random, &mut later);
            model.append(&mut later);
            same(&SortedWrites::joined(&below, &above), &model);
        }
    }

    #[test]
    fn many_layers_are_what_a_tree_of_them_is() {
        let mut random = StdRng::seed_from_u64(6);
        for round in 0..300 {
            let (mut model, mut layers) = (Model::new(), Vec::new());
            for _ in 0..round % 7 {
                let mut later = Model::new();
                layers.insert(0, Arc::new(some(&mut random, &mut later)));
                model.append(&mut later);
            }
            same(&SortedWrites::merged(&layers), &model);
        }
    }

    #[test]
    fn a_place_is_found_from_every_other_one() {
        let keys: Vec<[u8; 1]> = (0..50).map(|number| [2 * number]).collect();
        let writes: SortedWrites = keys.iter().map(|key| (&key[..], None)).collect();
        for key in 0..=100u8 {
            let place = usize::from(key).div_ceil(2);
            for hint in 0..60 {
                assert_eq!(writes.seek(&[key], hint), place.min(50), "{key} from {hint}");
            }
        }
    }
}
