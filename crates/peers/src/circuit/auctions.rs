//! Some of Nexmark's queries as circuits, written for this comparison after the way Feldera's own benchmark expresses
//! them (feldera/feldera, crates/nexmark): one input per table, no table is kept unless a query needs it.
//!
//! Ties are broken as in our SQL, so that both engines must give the same rows.

mod queries;

use super::{Circuit, Outlet, Output, Rows, append};
use crate::workload::auctions::{Auction, Bid, Events, Person};
use dbsp::utils::{Tup2, Tup7, Tup8, Tup10};
use dbsp::{OrdZSet, RootCircuit, Runtime, Stream, ZSetHandle};
use std::time::Duration;

/// The queries there are circuits for, by the names of their SQL.
pub(crate) const QUERIES: [&str; 6] = ["q00", "q03", "q04", "q09", "q18", "q20"];

type PersonRow = Tup8<i64, String, String, String, String, String, i64, String>;
type AuctionRow = Tup10<i64, String, String, i64, i64, i64, i64, i64, i64, String>;
type BidRow = Tup7<i64, i64, i64, String, String, i64, String>;

/// A collection within a circuit.
type Rel<R> = Stream<RootCircuit, OrdZSet<R>>;

/// The tables within a circuit.
struct Tables {
    person: Rel<PersonRow>,
    auction: Rel<AuctionRow>,
    bid: Rel<BidRow>,
}

/// The running circuit of a query.
pub(crate) struct AuctionsCircuit {
    /// The circuit itself.
    pub(crate) circuit: Circuit,
    person: ZSetHandle<PersonRow>,
    auction: ZSetHandle<AuctionRow>,
    bid: ZSetHandle<BidRow>,
}

/// An epoch as the circuit takes it.
pub(crate) struct EventRows {
    person: Rows<PersonRow>,
    auction: Rows<AuctionRow>,
    bid: Rows<BidRow>,
}

impl AuctionsCircuit {
    /// Of one of [`QUERIES`]; None for another one.
    pub(crate) fn new(query: &str) -> Option<Self> {
        Some(match query {
            "q00" => Self::of(queries::q0, queries::hash_q0),
            "q03" => Self::of(queries::q3, queries::hash_q3),
            "q04" => Self::of(queries::q4, queries::hash_q4),
            "q09" => Self::of(queries::q9, queries::hash_q9),
            "q18" => Self::of(queries::q18, queries::hash_q18),
            "q20" => Self::of(queries::q20, queries::hash_q20),
            _ => return None,
        })
    }

    fn of<R: dbsp::DBData>(query: fn(Tables) -> Rel<R>, hash: fn(&R) -> crate::checksum::RowHash) -> Self {
        let built = Runtime::init_circuit(1, move |circuit| {
            let (person, person_handle) = circuit.add_input_zset::<PersonRow>();
            let (auction, auction_handle) = circuit.add_input_zset::<AuctionRow>();
            let (bid, bid_handle) = circuit.add_input_zset::<BidRow>();
            let output = query(Tables { person, auction, bid });
            Ok((
                person_handle,
                auction_handle,
                bid_handle,
                output.accumulate_output(),
            ))
        });
        let (handle, (person, auction, bid, output)) = built.expect("a worker thread can be started");
        let outlet: Box<dyn Outlet> = Box::new(Output::new(output, hash));
        Self {
            circuit: Circuit::new(handle, outlet),
            person,
            auction,
            bid,
        }
    }

    /// One epoch.
    pub(crate) fn step(&mut self, rows: EventRows) -> Duration {
        let Self {
            circuit,
            person,
            auction,
            bid,
        } = self;
        circuit.transaction(|| {
            append(person, rows.person);
            append(auction, rows.auction);
            append(bid, rows.bid);
        })
    }
}

impl EventRows {
    /// The rows of an epoch.
    pub(crate) fn new(events: Events) -> Self {
        Self {
            person: events
                .persons
                .into_iter()
                .map(|row| Tup2(person_row(row), 1))
                .collect(),
            auction: events
                .auctions
                .into_iter()
                .map(|row| Tup2(auction_row(row), 1))
                .collect(),
            bid: events.bids.into_iter().map(|row| Tup2(bid_row(row), 1)).collect(),
        }
    }
}

fn person_row(row: Person) -> PersonRow {
    Tup8(
        row.id,
        row.name,
        row.email,
        row.credit_card,
        row.city,
        row.state,
        row.date_time,
        row.extra,
    )
}

fn auction_row(row: Auction) -> AuctionRow {
    Tup10(
        row.id,
        row.item,
        row.description,
        row.initial_bid,
        row.reserve,
        row.date_time,
        row.expires,
        row.seller,
        row.category,
        row.extra,
    )
}

fn bid_row(row: Bid) -> BidRow {
    Tup7(
        row.auction,
        row.bidder,
        row.price,
        row.channel,
        row.url,
        row.date_time,
        row.extra,
    )
}
