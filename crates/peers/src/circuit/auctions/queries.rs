//! The queries, each with the hash of its rows in the order of the columns of its SQL.

use super::{AuctionRow, BidRow, Rel, Tables};
use crate::checksum::RowHash;
use dbsp::algebra::F64;
use dbsp::operator::{Max, Min};
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5, Tup6, Tup7, Tup8, Tup10};

/// The category that queries 3 and 20 ask for.
const CATEGORY: i64 = 10;

/// Pass through.
pub(super) fn q0(tables: Tables) -> Rel<Tup5<i64, i64, i64, i64, String>> {
    tables
        .bid
        .map(|Tup7(auction, bidder, price, _, _, date_time, extra)| {
            Tup5(*auction, *bidder, *price, *date_time, extra.clone())
        })
}

pub(super) fn hash_q0(row: &Tup5<i64, i64, i64, i64, String>) -> RowHash {
    let Tup5(auction, bidder, price, date_time, extra) = row;
    RowHash::new()
        .int(*auction)
        .int(*bidder)
        .int(*price)
        .int(*date_time)
        .text(extra)
}

/// Local item suggestion.
pub(super) fn q3(tables: Tables) -> Rel<Tup4<String, String, String, i64>> {
    let by_seller = tables.auction.flat_map_index(|auction| {
        let Tup10(id, _, _, _, _, _, _, seller, category, _) = auction;
        (*category == CATEGORY).then_some((*seller, *id))
    });
    let by_id = tables.person.flat_map_index(|person| {
        let Tup8(id, name, _, _, city, state, _, _) = person;
        let is_local = matches!(state.as_str(), "OR" | "ID" | "CA");
        is_local.then(|| (*id, Tup3(name.clone(), city.clone(), state.clone())))
    });
    by_seller.join(&by_id, |_, auction, Tup3(name, city, state)| {
        Tup4(name.clone(), city.clone(), state.clone(), *auction)
    })
}

pub(super) fn hash_q3(row: &Tup4<String, String, String, i64>) -> RowHash {
    let Tup4(name, city, state, auction) = row;
    RowHash::new().text(name).text(city).text(state).int(*auction)
}

/// Average price for a category.
pub(super) fn q4(tables: Tables) -> Rel<Tup2<i64, F64>> {
    let auctions = tables.auction.map_index(|auction| {
        let Tup10(id, _, _, _, _, opened, expires, _, category, _) = auction;
        (*id, Tup3(*category, *opened, *expires))
    });
    let bids = tables
        .bid
        .map_index(|Tup7(auction, _, price, _, _, date_time, _)| (*auction, Tup2(*price, *date_time)));
    let in_time = auctions.join_index(
        &bids,
        |id, Tup3(category, opened, expires), Tup2(price, date_time)| {
            (opened <= date_time && date_time <= expires).then_some((Tup2(*id, *category), *price))
        },
    );
    let finals = in_time.aggregate(Max);
    let by_category = finals.map_index(|(Tup2(_, category), price)| (*category, Tup2(*price, 1_i64)));
    let sums = by_category.aggregate_linear(|sums| sums.clone());
    sums.map(|(category, Tup2(sum, count))| Tup2(*category, F64::from(*sum as f64 / *count as f64)))
}

pub(super) fn hash_q4(Tup2(category, average): &Tup2<i64, F64>) -> RowHash {
    RowHash::new().int(*category).float(average.into_inner())
}

/// Winning bids: the highest of each auction, the earliest of these.
pub(super) fn q9(tables: Tables) -> Rel<Tup8<i64, String, i64, i64, i64, i64, i64, i64>> {
    let auctions = tables.auction.map_index(|auction| {
        let Tup10(id, item, _, _, _, opened, expires, seller, category, _) = auction;
        (*id, Tup5(item.clone(), *opened, *expires, *seller, *category))
    });
    let bids = tables.bid.map_index(|bid| {
        let Tup7(auction, bidder, price, channel, url, date_time, extra) = bid;
        let rest = (extra.clone(), channel.clone(), url.clone());
        (
            *auction,
            Tup6(-price, *date_time, *bidder, rest.0, rest.1, rest.2),
        )
    });
    let in_time = auctions.join_index(&bids, |id, Tup5(item, opened, expires, seller, category), bid| {
        (*opened <= bid.1 && bid.1 <= *expires)
            .then(|| (Tup4(*id, item.clone(), *seller, *category), bid.clone()))
    });
    in_time
        .aggregate(Min)
        .map(|(Tup4(id, item, seller, category), bid)| {
            Tup8(*id, item.clone(), *seller, *category, *id, bid.2, -bid.0, bid.1)
        })
}

pub(super) fn hash_q9(row: &Tup8<i64, String, i64, i64, i64, i64, i64, i64>) -> RowHash {
    let Tup8(id, item, seller, category, auction, bidder, price, time) = row;
    let hash = RowHash::new().int(*id).text(item).int(*seller).int(*category);
    hash.int(*auction).int(*bidder).int(*price).int(*time)
}

/// The last bid of every bidder on every auction.
pub(super) fn q18(tables: Tables) -> Rel<BidRow> {
    let by_both = tables.bid.map_index(|bid| {
        let Tup7(auction, bidder, price, channel, url, date_time, extra) = bid;
        let rest = (channel.clone(), url.clone(), extra.clone());
        (
            Tup2(*bidder, *auction),
            Tup5(-date_time, *price, rest.0, rest.1, rest.2),
        )
    });
    by_both.aggregate(Min).map(|(Tup2(bidder, auction), bid)| {
        let Tup5(negated, price, channel, url, extra) = bid;
        let rest = (channel.clone(), url.clone(), extra.clone());
        Tup7(*auction, *bidder, *price, rest.0, rest.1, -negated, rest.2)
    })
}

pub(super) fn hash_q18(bid: &BidRow) -> RowHash {
    let Tup7(auction, bidder, price, channel, url, date_time, extra) = bid;
    let hash = RowHash::new().int(*auction).int(*bidder).int(*price);
    hash.text(channel).text(url).int(*date_time).text(extra)
}

/// Bids with the auctions they are on.
pub(super) fn q20(tables: Tables) -> Rel<Tup2<BidRow, AuctionRow>> {
    let bids = tables.bid.map_index(|bid| (bid.0, bid.clone()));
    let auctions = tables
        .auction
        .flat_map_index(|auction| (auction.8 == CATEGORY).then(|| (auction.0, auction.clone())));
    bids.join(&auctions, |_, bid, auction| Tup2(bid.clone(), auction.clone()))
}

pub(super) fn hash_q20(Tup2(bid, auction): &Tup2<BidRow, AuctionRow>) -> RowHash {
    let Tup10(_, item, description, initial_bid, reserve, opened, expires, seller, category, extra) = auction;
    let hash = hash_q18(bid)
        .text(item)
        .text(description)
        .int(*initial_bid)
        .int(*reserve);
    hash.int(*opened)
        .int(*expires)
        .int(*seller)
        .int(*category)
        .text(extra)
}
