//! The sealed writes of an open epoch, in layers: sealing never copies what a reader still holds, and reading looks into
//! few layers, because a layer that is not much larger than the one above it is joined with it.

use crate::overlay::Writes;
use std::ops::Bound;
use std::sync::Arc;

/// A layer stays below another one only if it is more than this many times as large.
const LAYER_FACTOR: usize = 2;

/// Writes in layers, later ones over earlier ones. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Sealed {
    /// The oldest first.
    layers: Vec<Arc<Writes>>,
}

/// The keys of a scan.
pub(crate) type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl Sealed {
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// What was last written to `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.layers.iter().rev().find_map(|layer| layer.get(key))
    }

    /// The layers that have something in `range`, the oldest first.
    pub(crate) fn touching<'a>(&'a self, range: Range<'a>) -> impl Iterator<Item = &'a Writes> {
        let touches = move |layer: &&'a Arc<Writes>| layer.range::<[u8], _>(range).next().is_some();
        self.layers.iter().filter(touches).map(AsRef::as_ref)
    }

    /// Puts `writes` over all there are.
    pub(crate) fn push(&mut self, writes: Arc<Writes>) {
        if writes.is_empty() {
            return;
        }
        let mut top = writes;
        while let Some(below) = self
            .layers
            .pop_if(|below| below.len() <= top.len() * LAYER_FACTOR)
        {
            top = Arc::new(joined(below, top));
        }
        self.layers.push(top);
    }

    /// Puts `writes` over all there are without joining layers: nothing is copied, also of layers that are held.
    pub(crate) fn lay(&mut self, writes: Arc<Writes>) {
        self.layers.extend((!writes.is_empty()).then_some(writes));
    }

    /// The layers of `above` over all there are, without joining any.
    pub(crate) fn under(&self, above: &Self) -> Self {
        let layers = self.layers.iter().chain(&above.layers);
        Self {
            layers: layers.cloned().collect(),
        }
    }

    /// Everything as one layer.
    pub(crate) fn into_writes(self) -> Writes {
        let mut layers = self.layers.into_iter();
        let oldest = layers.next().map(Arc::unwrap_or_clone).unwrap_or_default();
        layers.fold(oldest, |below, above| joined(Arc::new(below), above))
    }
}

/// `above` over `below`. Copies a layer only if somebody else holds it.
fn joined(below: Arc<Writes>, above: Arc<Writes>) -> Writes {
    let (mut below, mut above) = (Arc::unwrap_or_clone(below), Arc::unwrap_or_clone(above));
    match above.len() * LAYER_FACTOR > below.len() {
        // Linear in both, where the other way is a search for each.
        true => below.append(&mut above),
        false => below.extend(above),
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(keys: std::ops::Range<u8>, value: u8) -> Arc<Writes> {
        Arc::new(keys.map(|key| (vec![key], Some(vec![value]))).collect())
    }

    #[test]
    fn later_layers_hide_earlier_ones() {
        let mut sealed = Sealed::default();
        sealed.push(layer(0..100, 1));
        sealed.push(layer(10..12, 2));
        sealed.push(Arc::new(Writes::from([(vec![11], None)])));
        assert_eq!(sealed.get(&[9]), Some(&Some(vec![1])));
        assert_eq!(sealed.get(&[10]), Some(&Some(vec![2])));
        assert_eq!(sealed.get(&[11]), Some(&None));
        let writes = sealed.into_writes();
        assert_eq!(writes.len(), 100);
        assert_eq!(writes[&vec![11]], None);
    }

    #[test]
    fn layers_stay_few_and_what_a_reader_holds_stays_as_it_was() {
        let mut sealed = Sealed::default();
        let mut held = Vec::new();
        for round in 0..200_u8 {
            sealed.push(layer(round..round + 1, round));
            held.push(sealed.clone());
            assert!(sealed.layers.len() <= 8, "{} layers", sealed.layers.len());
        }
        for (round, reader) in held.iter().enumerate() {
            assert_eq!(reader.get(&[round as u8]), Some(&Some(vec![round as u8])));
            assert_eq!(reader.get(&[round as u8 + 1]), None);
        }
    }
}
