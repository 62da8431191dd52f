//! Which pages of a table have been read: what a copy that was interrupted need not read again.
//!
//! Owns counting pages; whether rows that were read in two snapshots can be put together is left to `ingest`.

use crate::postgres::pgoutput::Oid;
use serde::{Deserialize, Serialize};

/// Pages of one file of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRange {
    /// The table itself, or the partition.
    pub part: Oid,
    /// The file it was in (`relfilenode`): a table that is written anew has another one, and its rows lie elsewhere in it.
    pub file: u32,
    /// The first page.
    pub from: u32,
    /// The page behind the last one; `u32::MAX` if there was none behind.
    pub to: u32,
}

/// The pages of one table that have been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPages {
    /// Apart from each other, in order. They are read in about this order, so there are few.
    ranges: Vec<PageRange>,
}

impl ReadPages {
    /// These were read too.
    pub fn add(&mut self, range: PageRange) {
        let place = self.ranges.partition_point(|other| other.start() < range.start());
        self.ranges.insert(place, range);
        self.ranges.dedup_by(|next, before| {
            let touches = (next.part, next.file) == (before.part, before.file) && next.from <= before.to;
            if touches {
                before.to = before.to.max(next.to);
            }
            touches
        });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether all of it lies in one of `files`: parts with the file they are in now.
    pub(super) fn is_in(&self, files: &[(Oid, u32)]) -> bool {
        let is_there = |range: &PageRange| files.contains(&(range.part, range.file));
        self.ranges.iter().all(is_there)
    }

    /// What of the pages `from..to` has not been read, in order.
    pub(super) fn left_of(&self, part: Oid, from: u32, to: u32) -> Vec<(u32, u32)> {
        let (mut left, mut at) = (Vec::new(), from);
        for read in self.ranges.iter().filter(|read| read.part == part) {
            if read.from > at {
                left.push((at, read.from.min(to)));
            }
            at = at.max(read.to);
            if at >= to {
                return left;
            }
        }
        left.push((at, to));
        left
    }
}

impl PageRange {
    fn start(&self) -> (Oid, u32, u32) {
        (self.part, self.file, self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(part: u32, from: u32, to: u32) -> PageRange {
        PageRange {
            part: Oid(part),
            file: 7,
            from,
            to,
        }
    }

    #[test]
    fn what_was_read_in_any_order_is_one_range_and_the_rest_is_left() {
        let mut read = ReadPages::default();
        for (from, to) in [(20, 30), (0, 10), (40, u32::MAX), (10, 20)] {
            read.add(range(1, from, to));
        }
        read.add(range(2, 30, 40));
        assert_eq!(
            read.ranges,
            [range(1, 0, 30), range(1, 40, u32::MAX), range(2, 30, 40)]
        );
        assert_eq!(read.left_of(Oid(1), 0, u32::MAX), [(30, 40)]);
        assert_eq!(read.left_of(Oid(1), 0, 20), []);
        assert_eq!(read.left_of(Oid(1), 25, 35), [(30, 35)]);
        assert_eq!(read.left_of(Oid(2), 0, u32::MAX), [(0, 30), (40, u32::MAX)]);
        assert_eq!(read.left_of(Oid(3), 5, 6), [(5, 6)]);
    }

    #[test]
    fn a_file_that_is_gone_is_noticed() {
        let mut read = ReadPages::default();
        assert!(read.is_in(&[]));
        read.add(range(1, 0, 10));
        assert!(read.is_in(&[(Oid(1), 7), (Oid(2), 9)]));
        assert!(!read.is_in(&[(Oid(1), 8)]));
        assert!(!read.is_in(&[]));
    }
}
