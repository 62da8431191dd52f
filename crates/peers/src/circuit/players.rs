//! The fifty best scores as a circuit.

use super::{Circuit, Output, Rows, append};
use crate::checksum::RowHash;
use crate::workload::players::{PLACES, Score};
use dbsp::utils::Tup2;
use dbsp::{Runtime, ZSetHandle};
use std::time::Duration;

/// A score, negated so that the best is the smallest, and its player.
type Row = Tup2<i64, i64>;

/// The running circuit.
pub(crate) struct PlayersCircuit {
    /// The circuit itself.
    pub(crate) circuit: Circuit,
    scores: ZSetHandle<Row>,
}

impl PlayersCircuit {
    /// Without any score.
    pub(crate) fn new() -> Self {
        let built = Runtime::init_circuit(1, |circuit| {
            let (scores, handle) = circuit.add_input_zset::<Row>();
            let best = scores.map_index(|row| ((), row.clone())).topk_asc(PLACES);
            Ok((handle, best.map(|((), row)| row.clone()).accumulate_output()))
        });
        let (handle, (scores, output)) = built.expect("a worker thread can be started");
        let hash = |Tup2(negated, id): &Row| RowHash::new().int(*id).int(-negated);
        let circuit = Circuit::new(handle, Box::new(Output::new(output, hash)));
        Self { circuit, scores }
    }

    /// One change.
    pub(crate) fn step(&mut self, scores: &[Score]) -> Duration {
        let row = |score: &Score| Tup2(Tup2(-score.score, score.id), score.weight);
        let rows: Rows<Row> = scores.iter().map(row).collect();
        self.circuit.transaction(|| append(&self.scores, rows))
    }
}
