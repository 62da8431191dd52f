//! dbsp in this process: its library, hand-built circuits, one worker, state in memory, nothing on disk.
//!
//! Owns how a circuit is driven and what of it is timed: handing over the rows, the transaction, taking its output.

pub(crate) mod auctions;
pub(crate) mod orders;
pub(crate) mod players;

use crate::checksum::{Checksum, RowHash};
use dbsp::typed_batch::{IndexedZSetReader, SpineSnapshot};
use dbsp::utils::Tup2;
use dbsp::{DBData, DBSPHandle, OrdZSet, OutputHandle, ZSetHandle, ZWeight};
use std::time::{Duration, Instant};

/// The library's version, for the tables.
pub(crate) const NAME: &str = "dbsp 0.349, 1 worker, in memory";

/// Rows with weights as the library takes them.
pub(crate) type Rows<R> = Vec<Tup2<R, ZWeight>>;

/// The output of a circuit whose rows are `R`.
pub(crate) struct Output<R: DBData> {
    handle: OutputHandle<SpineSnapshot<OrdZSet<R>>>,
    hash: fn(&R) -> RowHash,
}

/// What an output gave in one transaction, to be looked at after the clock stopped.
pub(crate) trait Outlet {
    /// Takes what the last transaction gave, and calls `stop` as soon as it is there.
    fn take(&self, stop: &mut dyn FnMut(), sum: &mut Checksum);
}

impl<R: DBData> Output<R> {
    /// Of `handle`, with the hash of its rows.
    pub(crate) fn new(handle: OutputHandle<SpineSnapshot<OrdZSet<R>>>, hash: fn(&R) -> RowHash) -> Self {
        Self { handle, hash }
    }
}

impl<R: DBData> Outlet for Output<R> {
    fn take(&self, stop: &mut dyn FnMut(), sum: &mut Checksum) {
        let batch = self.handle.concat();
        stop();
        for (row, (), weight) in batch.iter() {
            sum.add((self.hash)(&row), weight);
        }
    }
}

/// A running circuit.
pub(crate) struct Circuit {
    handle: DBSPHandle,
    outlet: Box<dyn Outlet>,
    /// The sum over everything it gave out.
    pub(crate) output: Checksum,
}

impl Circuit {
    /// With its output.
    pub(crate) fn new(handle: DBSPHandle, outlet: Box<dyn Outlet>) -> Self {
        Self {
            handle,
            outlet,
            output: Checksum::default(),
        }
    }

    /// One transaction over what `feed` hands over; gives how long it took.
    pub(crate) fn transaction(&mut self, feed: impl FnOnce()) -> Duration {
        let (start, mut taken) = (Instant::now(), Duration::ZERO);
        feed();
        self.handle
            .transaction()
            .expect("the circuit has no step that fails");
        self.outlet
            .take(&mut || taken = start.elapsed(), &mut self.output);
        taken
    }

    /// Ends its threads.
    pub(crate) fn close(self) {
        self.handle.kill().expect("no worker panicked");
    }
}

/// Hands rows over.
pub(crate) fn append<R: DBData>(handle: &ZSetHandle<R>, mut rows: Rows<R>) {
    handle.append(&mut rows);
}
