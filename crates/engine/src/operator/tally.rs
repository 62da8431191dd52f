//! Sums weights by bytes: what several operators do with a delta before they look at their state.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Byte strings in the order they first came, with the sum of the weights each came with. The order does not depend
/// on the hash, so that the same input gives the same output.
#[derive(Default)]
pub(crate) struct Tally {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    weights: Vec<i64>,
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Tally {
    /// Adds `weight` to `entry` and gives its place. The sum saturates, which no count of rows reaches.
    pub(crate) fn add(&mut self, entry: &[u8], weight: i64) -> u32 {
        let hash = self.hasher.hash_one(entry);
        let (bytes, ends) = (&self.bytes, &self.ends);
        let same = |place: &u32| slice(bytes, ends, *place) == entry;
        if let Some(place) = self.places.find(hash, same) {
            let sum = &mut self.weights[*place as usize];
            *sum = sum.saturating_add(weight);
            return *place;
        }
        let place = self.weights.len() as u32;
        self.bytes.extend_from_slice(entry);
        self.ends.push(self.bytes.len());
        self.weights.push(weight);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        let hash_of = |place: &u32| hasher.hash_one(slice(bytes, ends, *place));
        self.places.insert_unique(hash, place, hash_of);
        place
    }

    /// How many different entries it has.
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    /// The entry at a place.
    pub(crate) fn entry(&self, place: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, place)
    }

    /// The weight at a place.
    pub(crate) fn weight(&self, place: u32) -> i64 {
        self.weights[place as usize]
    }

    /// Every place, in the order of the entries' bytes: the cheap one to read and write them in.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut places: Vec<u32> = (0..self.len() as u32).collect();
        places.sort_unstable_by_key(|place| self.entry(*place));
        places
    }

    /// Entries with their weights, in the order they first came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], i64)> {
        (0..self.len() as u32).map(|place| (self.entry(place), self.weight(place)))
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[usize], place: u32) -> &'a [u8] {
    let place = place as usize;
    let start = if place == 0 { 0 } else { ends[place - 1] };
    &bytes[start..ends[place]]
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn weights_of_the_same_bytes_are_summed_and_the_first_came_order_is_kept() {
        let mut tally = Tally::default();
        let places: Vec<u32> = [("b", 1), ("", 2), ("b", -1), ("a", 3), ("", 5)]
            .iter()
            .map(|(entry, weight)| tally.add(entry.as_bytes(), *weight))
            .collect();
        assert_eq!(places, [0, 1, 0, 2, 1]);
        let entries: Vec<_> = tally.iter().collect();
        assert_eq!(entries, [(&b"b"[..], 0), (b"", 7), (b"a", 3)]);
        assert_eq!(tally.sorted(), [1, 2, 0]);
    }
}
