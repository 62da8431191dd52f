//! DISTINCT within a call: a value is added to the sums when it comes into a group, and taken away when it is gone.

use super::accumulator::{Accumulator, negative};
use super::argument::Arguments;
use super::call::Call;
use super::delta::split;
use super::ordered::{bytes_of, count_of};
use crate::operator::tally::Tally;
use viewfeed_change::Result;
use viewfeed_store::{Reader, Txn};

/// Stages how often each value is in its group, and gives what that means for the sums of each of `groups` groups.
/// `key_of` gives the key of the count of a value in the group at a place.
pub(super) fn step(
    call: &Call,
    values: &Tally,
    groups: usize,
    key_of: &dyn Fn(u32, &[u8]) -> Vec<u8>,
    before: &Reader,
    txn: &mut Txn,
) -> Result<Vec<Accumulator>> {
    let (mut changed, mut weights) = (Vec::new(), Vec::new());
    let mut before = before.prober();
    for (entry, weight) in values.iter().filter(|(_, weight)| *weight != 0) {
        let (place, value) = split(entry);
        let key = key_of(place, value);
        let old = before.get(&key)?.map_or(Ok(0), |bytes| count_of(&bytes))?;
        let new = old.saturating_add(weight);
        match new {
            ..0 => return Err(negative()),
            0 => txn.delete(key),
            count => txn.put(key, bytes_of(count)),
        }
        if (old == 0) != (new == 0) {
            changed.push((place, call.form()?.value_of(value)?));
            weights.push(if new == 0 { -1 } else { 1 });
        }
    }
    let mut sums = vec![Accumulator::new(call.kind()); groups];
    let arrays = [call
        .form()?
        .decode(changed.iter().map(|(_, value)| value.as_slice()))?];
    let arguments = Arguments::new(call.kind(), &arrays)?;
    for (row, ((place, _), weight)) in changed.iter().zip(weights).enumerate() {
        sums[*place as usize].add(weight, &arguments, row);
    }
    Ok(sums)
}
