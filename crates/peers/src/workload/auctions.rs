//! Nexmark's auction house: of every fifty events one is a person, three are auctions, forty-six are bids. Shares, hot
//! spots, prices and sizes follow the published generator (nexmark/nexmark v0.2: half of the bids on the hot auction, three
//! quarters by the hot bidder, 100 auctions in flight, 10,000 events a second of event time); the code and the random
//! numbers are our own. Nothing goes again: Nexmark only appends.

mod columns;

pub(crate) use columns::{SIDE_INPUT, auction_batch, bid_batch, person_batch, side_input_batch, tables};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Events of one round: one person, three auctions, forty-six bids.
const ROUND: i64 = 50;
const AUCTIONS_PER_ROUND: i64 = 3;
/// 2015-07-15T00:00:00Z, where Nexmark's time starts, in microseconds.
const START_US: i64 = 1_436_918_400_000_000;
const EVENT_US: i64 = 100;
const FIRST_ID: i64 = 1_000;
const ACTIVE_PERSONS: i64 = 1_000;
const AUCTIONS_IN_FLIGHT: i64 = 100;
/// A hot one stays hot while this many of its kind come.
const HOT_SPAN: i64 = 100;
const CATEGORY_FIRST: i64 = 10;
const CATEGORIES: i64 = 5;

const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] = [
    "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris",
];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const OTHER_CHANNELS: i64 = 10_000;

/// Somebody who sells and bids.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) credit_card: String,
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) date_time: i64,
    pub(crate) extra: String,
}

/// Something for sale.
#[derive(Clone, Debug)]
pub(crate) struct Auction {
    pub(crate) id: i64,
    pub(crate) item: String,
    pub(crate) description: String,
    pub(crate) initial_bid: i64,
    pub(crate) reserve: i64,
    pub(crate) date_time: i64,
    pub(crate) expires: i64,
    pub(crate) seller: i64,
    pub(crate) category: i64,
    pub(crate) extra: String,
}

/// An offer.
#[derive(Clone, Debug)]
pub(crate) struct Bid {
    pub(crate) auction: i64,
    pub(crate) bidder: i64,
    pub(crate) price: i64,
    pub(crate) channel: String,
    pub(crate) url: String,
    pub(crate) date_time: i64,
    pub(crate) extra: String,
}

/// The events of an epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    pub(crate) persons: Vec<Person>,
    pub(crate) auctions: Vec<Auction>,
    pub(crate) bids: Vec<Bid>,
}

/// Makes events, one after another; always the same.
pub(crate) struct House {
    rng: SmallRng,
    /// The number of the next event.
    next: i64,
}

impl House {
    /// Before the first event.
    pub(crate) fn new() -> Self {
        Self {
            rng: SmallRng::seed_from_u64(42),
            next: 0,
        }
    }

    /// The next `count` events.
    pub(crate) fn events(&mut self, count: usize) -> Events {
        let mut events = Events::default();
        for _ in 0..count {
            match self.next % ROUND {
                0 => events.persons.push(self.person()),
                1..=AUCTIONS_PER_ROUND => events.auctions.push(self.auction()),
                _ => events.bids.push(self.bid()),
            }
            self.next += 1;
        }
        events
    }

    fn person(&mut self) -> Person {
        let name = format!("{} {}", self.one_of(&FIRST_NAMES), self.one_of(&LAST_NAMES));
        let card: Vec<String> = (0..4)
            .map(|_| self.rng.random_range(1000..9999).to_string())
            .collect();
        Person {
            id: FIRST_ID + self.persons_before(),
            name,
            email: format!("{}@{}.com", self.letters(7), self.letters(5)),
            credit_card: card.join(" "),
            city: self.one_of(&CITIES).to_owned(),
            state: self.one_of(&STATES).to_owned(),
            date_time: self.now(),
            extra: self.padding(PERSON_BYTES, 90),
        }
    }

    fn auction(&mut self) -> Auction {
        let initial_bid = self.price();
        // Twice the time in which as many auctions open as are in flight.
        let longest_us = 2 * AUCTIONS_IN_FLIGHT * ROUND / AUCTIONS_PER_ROUND * EVENT_US;
        Auction {
            id: FIRST_ID + self.auctions_before(),
            item: self.letters(20),
            description: self.letters(100),
            initial_bid,
            reserve: initial_bid + self.price(),
            date_time: self.now(),
            expires: self.now() + self.rng.random_range(EVENT_US..=longest_us),
            seller: self.someone(),
            category: CATEGORY_FIRST + self.rng.random_range(0..CATEGORIES),
            extra: self.padding(AUCTION_BYTES, 176),
        }
    }

    fn bid(&mut self) -> Bid {
        let last = (self.auctions_before() - 1).max(0);
        let auction = match self.rng.random_bool(0.5) {
            true => last / HOT_SPAN * HOT_SPAN,
            false => self.rng.random_range((last - AUCTIONS_IN_FLIGHT).max(0)..=last),
        };
        let (channel, path) = self.channel();
        Bid {
            auction: FIRST_ID + auction,
            bidder: self.someone(),
            price: self.price(),
            channel,
            url: format!("https://www.nexmark.com/{path}/item.htm?query=1"),
            date_time: self.now(),
            extra: self.padding(BID_BYTES, 90),
        }
    }

    /// A channel and the path of its address.
    fn channel(&mut self) -> (String, String) {
        let channel = match self.rng.random_bool(0.5) {
            true => self.one_of(&HOT_CHANNELS).to_owned(),
            false => format!("channel-{}", self.rng.random_range(0..OTHER_CHANNELS)),
        };
        let path = format!("{}/{}/{}", self.letters(4), self.letters(3), self.letters(4));
        (channel, path)
    }

    /// A bidder or seller: three times of four the hot one.
    fn someone(&mut self) -> i64 {
        let last = (self.persons_before() - 1).max(0);
        FIRST_ID
            + match self.rng.random_bool(0.75) {
                true => last / HOT_SPAN * HOT_SPAN,
                false => self.rng.random_range((last - ACTIVE_PERSONS).max(0)..=last),
            }
    }

    fn price(&mut self) -> i64 {
        (10_f64.powf(self.rng.random::<f64>() * 6.0) * 100.0) as i64
    }

    fn persons_before(&self) -> i64 {
        self.next / ROUND + i64::from(self.next % ROUND > 0)
    }

    fn auctions_before(&self) -> i64 {
        self.next / ROUND * AUCTIONS_PER_ROUND + (self.next % ROUND - 1).clamp(0, AUCTIONS_PER_ROUND)
    }

    fn now(&self) -> i64 {
        START_US + self.next * EVENT_US
    }

    fn padding(&mut self, bytes: usize, used: usize) -> String {
        let mean = bytes - used;
        let count = self.rng.random_range(mean * 4 / 5..=mean * 6 / 5);
        self.letters(count)
    }

    fn letters(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(self.rng.random_range(b'a'..=b'z')))
            .collect()
    }

    fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        texts.choose(&mut self.rng).expect("none of the lists is empty")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fifty_events_one_is_a_person_three_are_auctions_and_ids_have_no_gap() {
        let events = House::new().events(500);
        assert_eq!(
            (events.persons.len(), events.auctions.len(), events.bids.len()),
            (10, 30, 460)
        );
        assert!(
            events
                .persons
                .iter()
                .zip(FIRST_ID..)
                .all(|(person, id)| person.id == id)
        );
        assert!(
            events
                .auctions
                .iter()
                .zip(FIRST_ID..)
                .all(|(auction, id)| auction.id == id)
        );
        assert!(
            events
                .bids
                .iter()
                .all(|bid| bid.auction < FIRST_ID + 30 && bid.bidder < FIRST_ID + 10)
        );
    }
}
