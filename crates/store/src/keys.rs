//! Every kind of key in the database, and what its value is. Tags are stored: never change or reuse one.
//!
//! | tag | key | value |
//! |---|---|---|
//! | `c` | `c` ‖ name | catalog entry: JSON, owned by who names it (`c/relation/7`, `c/module/chat`) |
//! | `i` | `i` ‖ name | the u32 given to a named state by [`allocate`] |
//! | `a` | `a` ‖ state id ‖ key ‖ rest of the row | weight of the row (see [`crate::arrange`]) |
//! | `o` | `o` ‖ state id ‖ group | an operator's state for a group; form owned by the operator |
//! | `q` | `q` ‖ name | the last value of a sequence, i64 big-endian |
//! | `m` | `m` ‖ name | the store's own bookkeeping |
//! | `g` | `g` ‖ state id | a dropped state whose entries are still to be removed |

use crate::{Reader, Txn};
use viewfeed_change::Result;

/// Names a piece of state for ever; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u32);

/// The key of a catalog entry.
pub fn catalog(_name: &str) -> Vec<u8> {
    todo!()
}

/// The key of a sequence.
pub fn sequence(_name: &str) -> Vec<u8> {
    todo!()
}

/// Where the entries of an arrangement start.
pub fn arrangement_prefix(_state: StateId) -> Vec<u8> {
    todo!()
}

/// Where the entries of an operator start.
pub fn operator_prefix(_state: StateId) -> Vec<u8> {
    todo!()
}

/// The id of the state called `name`, if it has one at the reader's epoch.
pub fn find(_reader: &Reader, _name: &str) -> Result<Option<StateId>> {
    todo!()
}

/// The id of the state called `name`, given out now if it had none; true if so.
pub fn allocate(_txn: &mut Txn, _name: &str) -> Result<(StateId, bool)> {
    todo!()
}

/// Forgets the state called `name`; its entries are removed later in the background. Nothing if there is none.
pub fn release(_txn: &mut Txn, _name: &str) -> Result<()> {
    todo!()
}

/// Adds 1 to the sequence called `name` (starting from 1) `count` times; gives the first of the new values.
pub fn advance(_txn: &mut Txn, _name: &str, _count: u64) -> Result<i64> {
    todo!()
}
