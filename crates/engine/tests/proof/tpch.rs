//! TPC-H: the 22 queries with the parameters of its validation, over a small database of the same schema, whose values
//! lie where the queries look for them.

use super::cell::{Cell, Content, DATE, INT, MONEY, Row, TEXT};
use super::suite::prove;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const SUPPLIERS: i64 = 16;
const PARTS: i64 = 60;
const CUSTOMERS: i64 = 50;
const ORDERS: i64 = 220;

/// 1995-06-17, the day on which the database is looked at: what was shipped before is done.
const CURRENT_DATE: i32 = 9298;
/// When orders came in: first days and numbers of days. The last is all of the benchmark's time.
const ORDER_DAYS: [(i32, i32); 7] = [
    (8582, 90),
    (8674, 90),
    (8766, 330),
    (9131, 700),
    (9100, 100),
    (9420, 150),
    (8035, 2405),
];
const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
const NATIONS: [(&str, i64); 25] = [
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];
/// Where suppliers live, one after another: the nations the queries ask for.
const SUPPLIER_NATIONS: [i64; 8] = [6, 7, 20, 3, 2, 8, 18, 20];
/// Where customers live; their phone numbers start with 10 more.
const CUSTOMER_NATIONS: [i64; 10] = [6, 7, 2, 3, 8, 18, 20, 13, 19, 24];
const SEGMENTS: [&str; 4] = ["BUILDING", "AUTOMOBILE", "MACHINERY", "HOUSEHOLD"];
const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const COLORS: [&str; 5] = ["forest", "green", "almond", "ivory", "smoke"];
const TYPES: [&str; 6] = [
    "ECONOMY ANODIZED STEEL",
    "LARGE PLATED BRASS",
    "SMALL BRUSHED BRASS",
    "PROMO BURNISHED COPPER",
    "MEDIUM POLISHED TIN",
    "STANDARD POLISHED NICKEL",
];
/// Brands and containers that belong together in queries 17 and 19, and one that is left out of query 16.
const BRANDS: [(&str, &str); 4] = [
    ("Brand#12", "SM CASE"),
    ("Brand#23", "MED BOX"),
    ("Brand#34", "LG PACK"),
    ("Brand#45", "JUMBO JAR"),
];
const SIZES: [i64; 8] = [15, 15, 3, 3, 5, 9, 14, 49];
const MODES: [&str; 5] = ["MAIL", "SHIP", "AIR", "AIR REG", "TRUCK"];
const INSTRUCTIONS: [&str; 2] = ["DELIVER IN PERSON", "TAKE BACK RETURN"];
const REMARKS: [&str; 4] = [
    "carefully final deposits",
    "special packages and requests",
    "the Customer had many Complaints",
    "quickly even theodolites",
];

#[test]
fn tpc_h() {
    prove("tpch", &tables(), 22);
}

/// The database; always the same.
fn tables() -> Vec<Content> {
    let rng = &mut SmallRng::seed_from_u64(22);
    let (orders, lines) = orders(rng);
    vec![
        region(),
        nation(),
        supplier(rng),
        part(rng),
        partsupp(rng),
        customer(rng),
        orders,
        lines,
    ]
}

fn region() -> Content {
    let row = |(key, name): (usize, &&str)| vec![Cell::Int(key as i64), text(*name), text("")];
    Content {
        name: "region",
        columns: vec![("r_regionkey", INT), ("r_name", TEXT), ("r_comment", TEXT)],
        key: vec![0],
        rows: REGIONS.iter().enumerate().map(row).collect(),
    }
}

fn nation() -> Content {
    let row = |(key, (name, region)): (usize, &(&str, i64))| {
        vec![Cell::Int(key as i64), text(*name), Cell::Int(*region), text("")]
    };
    Content {
        name: "nation",
        columns: vec![
            ("n_nationkey", INT),
            ("n_name", TEXT),
            ("n_regionkey", INT),
            ("n_comment", TEXT),
        ],
        key: vec![0],
        rows: NATIONS.iter().enumerate().map(row).collect(),
    }
}

fn supplier(rng: &mut SmallRng) -> Content {
    let row = |key: i64| {
        let nation = SUPPLIER_NATIONS[key as usize % SUPPLIER_NATIONS.len()];
        vec![
            Cell::Int(key),
            text(format!("Supplier#{key:09}")),
            text(format!("street {key}")),
            Cell::Int(nation),
            text(phone(nation, key)),
            Cell::Money(rng.random_range(-99_999..999_999)),
            one_of(rng, &REMARKS),
        ]
    };
    Content {
        name: "supplier",
        columns: vec![
            ("s_suppkey", INT),
            ("s_name", TEXT),
            ("s_address", TEXT),
            ("s_nationkey", INT),
            ("s_phone", TEXT),
            ("s_acctbal", MONEY),
            ("s_comment", TEXT),
        ],
        key: vec![0],
        rows: (1..=SUPPLIERS).map(row).collect(),
    }
}

fn part(rng: &mut SmallRng) -> Content {
    let row = |key: i64| {
        let (brand, container) = *BRANDS.choose(rng).unwrap();
        let (first, second) = (COLORS.choose(rng).unwrap(), COLORS.choose(rng).unwrap());
        vec![
            Cell::Int(key),
            text(format!("{first} {second}")),
            text(format!("Manufacturer#{}", key % 5 + 1)),
            text(brand),
            one_of(rng, &TYPES),
            Cell::Int(*SIZES.choose(rng).unwrap()),
            text(container),
            Cell::Money(price(key)),
            text(""),
        ]
    };
    Content {
        name: "part",
        columns: vec![
            ("p_partkey", INT),
            ("p_name", TEXT),
            ("p_mfgr", TEXT),
            ("p_brand", TEXT),
            ("p_type", TEXT),
            ("p_size", INT),
            ("p_container", TEXT),
            ("p_retailprice", MONEY),
            ("p_comment", TEXT),
        ],
        key: vec![0],
        rows: (1..=PARTS).map(row).collect(),
    }
}

/// What a part costs, in hundredths.
fn price(part: i64) -> i64 {
    90_000 + part * 110
}

/// One of the four suppliers of a part.
fn supplier_of(part: i64, place: i64) -> i64 {
    (part + place * (SUPPLIERS / 4 + 1)) % SUPPLIERS + 1
}

fn partsupp(rng: &mut SmallRng) -> Content {
    let offers = (1..=PARTS).flat_map(|part| (0..4).map(move |place| (part, place)));
    let row = |(part, place)| {
        vec![
            Cell::Int(part),
            Cell::Int(supplier_of(part, place)),
            Cell::Int(rng.random_range(1..200)),
            Cell::Money(rng.random_range(100..100_000)),
            text(""),
        ]
    };
    Content {
        name: "partsupp",
        columns: vec![
            ("ps_partkey", INT),
            ("ps_suppkey", INT),
            ("ps_availqty", INT),
            ("ps_supplycost", MONEY),
            ("ps_comment", TEXT),
        ],
        key: vec![0, 1],
        rows: offers.map(row).collect(),
    }
}

fn customer(rng: &mut SmallRng) -> Content {
    let row = |key: i64| {
        let nation = *CUSTOMER_NATIONS.choose(rng).unwrap();
        vec![
            Cell::Int(key),
            text(format!("Customer#{key:09}")),
            text(format!("avenue {key}")),
            Cell::Int(nation),
            text(phone(nation, key)),
            Cell::Money(rng.random_range(-99_999..999_999)),
            one_of(rng, &SEGMENTS),
            one_of(rng, &REMARKS),
        ]
    };
    Content {
        name: "customer",
        columns: vec![
            ("c_custkey", INT),
            ("c_name", TEXT),
            ("c_address", TEXT),
            ("c_nationkey", INT),
            ("c_phone", TEXT),
            ("c_acctbal", MONEY),
            ("c_mktsegment", TEXT),
            ("c_comment", TEXT),
        ],
        key: vec![0],
        rows: (1..=CUSTOMERS).map(row).collect(),
    }
}

/// Orders and their lines. Every third customer never orders.
fn orders(rng: &mut SmallRng) -> (Content, Content) {
    let (mut orders, mut lines) = (Vec::new(), Vec::new());
    for key in 1..=ORDERS {
        let (first, days) = *ORDER_DAYS.choose(rng).unwrap();
        let date = first + rng.random_range(0..days);
        let is_big = rng.random_bool(0.05);
        let count = if is_big { 7 } else { rng.random_range(1..7) };
        let own: Vec<Row> = (1..=count)
            .map(|number| line(rng, key, number, date, is_big))
            .collect();
        let done = own.iter().filter(|line| line[9] == text("F")).count();
        let status = match own.len() - done {
            0 => "F",
            open if open == own.len() => "O",
            _ => "P",
        };
        let prices = own.iter().map(|line| match line[5] {
            Cell::Money(price) => price,
            _ => 0,
        });
        orders.push(vec![
            Cell::Int(key),
            Cell::Int(rng.random_range(0..CUSTOMERS / 3) * 3 + rng.random_range(1..3)),
            text(status),
            Cell::Money(prices.sum()),
            Cell::Date(date),
            one_of(rng, &PRIORITIES),
            text(format!("Clerk#{:09}", key % 10)),
            Cell::Int(0),
            one_of(rng, &REMARKS),
        ]);
        lines.extend(own);
    }
    (orders_table(orders), lineitem_table(lines))
}

fn line(rng: &mut SmallRng, order: i64, number: i64, ordered: i32, is_big: bool) -> Row {
    let part = rng.random_range(1..=PARTS);
    let quantity = rng.random_range(if is_big { 44..51 } else { 1..51 });
    let shipped = ordered + rng.random_range(1..122);
    let committed = ordered + rng.random_range(30..91);
    let received = shipped + rng.random_range(1..31);
    let is_done = shipped <= CURRENT_DATE;
    vec![
        Cell::Int(order),
        Cell::Int(part),
        Cell::Int(supplier_of(part, rng.random_range(0..4))),
        Cell::Int(number),
        Cell::Money(quantity * 100),
        Cell::Money(quantity * price(part)),
        Cell::Money(rng.random_range(0..11)),
        Cell::Money(rng.random_range(0..9)),
        if received <= CURRENT_DATE {
            one_of(rng, &["R", "A"])
        } else {
            text("N")
        },
        text(if is_done { "F" } else { "O" }),
        Cell::Date(shipped),
        Cell::Date(committed),
        Cell::Date(received),
        one_of(rng, &INSTRUCTIONS),
        one_of(rng, &MODES),
        text(""),
    ]
}

fn orders_table(rows: Vec<Row>) -> Content {
    Content {
        name: "orders",
        columns: vec![
            ("o_orderkey", INT),
            ("o_custkey", INT),
            ("o_orderstatus", TEXT),
            ("o_totalprice", MONEY),
            ("o_orderdate", DATE),
            ("o_orderpriority", TEXT),
            ("o_clerk", TEXT),
            ("o_shippriority", INT),
            ("o_comment", TEXT),
        ],
        key: vec![0],
        rows,
    }
}

fn lineitem_table(rows: Vec<Row>) -> Content {
    Content {
        name: "lineitem",
        columns: vec![
            ("l_orderkey", INT),
            ("l_partkey", INT),
            ("l_suppkey", INT),
            ("l_linenumber", INT),
            ("l_quantity", MONEY),
            ("l_extendedprice", MONEY),
            ("l_discount", MONEY),
            ("l_tax", MONEY),
            ("l_returnflag", TEXT),
            ("l_linestatus", TEXT),
            ("l_shipdate", DATE),
            ("l_commitdate", DATE),
            ("l_receiptdate", DATE),
            ("l_shipinstruct", TEXT),
            ("l_shipmode", TEXT),
            ("l_comment", TEXT),
        ],
        key: vec![0, 3],
        rows,
    }
}

fn phone(nation: i64, key: i64) -> String {
    format!("{}-{key:03}-555", nation + 10)
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn one_of(rng: &mut SmallRng, texts: &[&str]) -> Cell {
    text(*texts.choose(rng).unwrap())
}
