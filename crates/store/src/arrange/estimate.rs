//! About how many rows a relation has, without counting all of them: a part is counted, and how far through the order of
//! the relation that part gets says how many such parts there are. Good for keys that are spread evenly, such as numbers
//! given in sequence; for others only an order of magnitude.

use super::{Arrangement, Position, next};
use crate::Reader;
use std::ops::ControlFlow;
use viewfeed_change::Result;

/// Bytes of the last entry that are found out.
const LAST_BYTES: usize = 16;
/// Bytes after those all entries begin with that are compared.
const COMPARED_BYTES: usize = 8;

/// The distinct rows of `primary`: counted, if there are at most `counted_max`, else estimated from that many.
pub fn rows_about(primary: &dyn Arrangement, reader: &Reader, counted_max: usize) -> Result<u64> {
    let (counted, position) = next(primary, reader, &Position::Start, counted_max.max(1))?;
    let Some(counted) = counted else { return Ok(0) };
    let rows = counted.len() as u64;
    let Position::At(reached) = position else {
        return Ok(rows);
    };
    let first = primary.entries(&counted.rows().slice(0, 1))?.row(0).to_vec();
    let last = last_entry(primary, reader)?;
    let equal = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
    let [first, reached, last] = [&first, &reached, &last].map(|entry| number(entry, equal));
    let share = reached.saturating_sub(first) as f64 / last.saturating_sub(first).max(1) as f64;
    // Never less than what was counted; one part in a million is all this can tell.
    Ok((rows as f64 / share.clamp(1e-6, 1.0)) as u64)
}

/// How the last entry begins, found by halving.
fn last_entry(primary: &dyn Arrangement, reader: &Reader) -> Result<Vec<u8>> {
    let mut last = Vec::with_capacity(LAST_BYTES);
    for _ in 0..LAST_BYTES {
        let (mut low, mut high) = (0u8, u8::MAX);
        while low < high {
            let middle = high - (high - low) / 2;
            let from = [last.as_slice(), &[middle]].concat();
            let mut is_there = false;
            primary.scan_range(reader, &from, None, 1, &mut |_| {
                is_there = true;
                Ok(ControlFlow::Break(()))
            })?;
            match is_there {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        last.push(low);
    }
    Ok(last)
}

fn number(entry: &[u8], skip: usize) -> u64 {
    let mut bytes = [0; COMPARED_BYTES];
    let rest = entry.get(skip..).unwrap_or_default();
    let count = rest.len().min(COMPARED_BYTES);
    bytes[..count].copy_from_slice(&rest[..count]);
    u64::from_be_bytes(bytes)
}
