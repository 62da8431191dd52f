//! `examples/postgres-shop`: what its README says to do, with the real server and the real binary.

use crate::server::{PROGRAM, Running, call, repository, sql, start, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use viewfeed_testbed::{Postgres, Viewfeed};

const FOLDER: &str = "examples/postgres-shop";
const MODULE: &str = "storefront";
const CREATE: &str = "CREATE SOURCE shop FROM POSTGRES (connection = '$SHOP', tables = 'public.*')";
const TOTALS: &str = "SELECT sum(orders) AS orders, sum(spent) AS spent FROM storefront.customer_total";
const TOTALS_THERE: &str =
    "SELECT count(DISTINCT order_id) AS orders, sum(quantity * price) AS spent FROM order_items";
const TIDY_UP: &str = "DROP VIEW storefront.offer; DROP VIEW storefront.promotion_sales; \
    DROP VIEW storefront.customer_total; DROP SOURCE shop";

/// The shop's database and what the README says to do with it.
struct Shop {
    primary: Postgres,
    readme: String,
}

impl Shop {
    fn open() -> Self {
        let shop = Self {
            primary: Postgres::start_with(&["wal_level=logical"]),
            readme: std::fs::read_to_string(repository(FOLDER).join("README.md")).unwrap(),
        };
        shop.client("psql", &["-v", "ON_ERROR_STOP=1", "-q", "-f", "schema.sql"]);
        shop
    }

    /// A command of the README: it is there, word by word.
    fn said<'a>(&self, command: &'a str) -> &'a str {
        assert!(
            self.readme.contains(command),
            "the README does not say: {command}"
        );
        command
    }

    /// A program of Postgres, run in the folder of the example.
    fn client(&self, program: &str, arguments: &[&str]) -> String {
        let mut client = self.primary.client(program);
        client.args(arguments).current_dir(repository(FOLDER));
        succeeded(&client.output().unwrap())
    }

    fn load(&self, options: &str) {
        self.said(&format!("pgbench -n -f load.sql {options} shop"));
        let mut arguments = vec!["-n", "-f", "load.sql"];
        arguments.extend(options.split(' '));
        self.client("pgbench", &arguments);
    }

    fn create_source(&self, server: &Viewfeed) {
        let create = self.said(CREATE);
        sql(server, &create.replace("$SHOP", &self.primary.connection()));
        sql(server, self.said("WAIT FOR SOURCE shop"));
    }

    fn is_what_postgres_says(&self, server: &Viewfeed) {
        let here = &sql(server, self.said(TOTALS))[0];
        let there = self.client("psql", &["-At", "-F", " ", "-c", self.said(TOTALS_THERE)]);
        let here = format!("{} {}", here["orders"], here["spent"]).replace('"', "");
        assert_eq!(here, there.trim());
    }
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Puts the module there at once and waits until it is live.
fn add_module(server: &Viewfeed, dir: &Path) {
    let target = dir.join("modules").join(MODULE);
    let copied = Command::new("cp")
        .arg("-r")
        .args([&repository(FOLDER).join(MODULE), &target])
        .output();
    succeeded(&copied.unwrap());
    server.wait_for_log("module is live", 1);
}

fn promote(server: &Viewfeed, shop: &Shop, method: &str, request: &str) {
    let method = format!("shop.v1.ShopService/{method}");
    shop.said(&format!("{method} '{request}'"));
    call(server, &[&method, request]);
}

#[test]
fn the_shop_of_the_example_is_followed_as_its_readme_says() {
    let shop = Shop::open();
    let doctor = Command::new(PROGRAM)
        .args(["doctor", &shop.primary.connection(), "--source", "shop"])
        .args(["--option", "tables=public.*"])
        .output();
    let doctor = succeeded(&doctor.unwrap());
    let finding = "4 tables can be read and identified row by row";
    assert!(doctor.contains(shop.said(finding)), "{doctor}");

    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    shop.create_source(&server);
    add_module(&server, dir.path());
    promote(
        &server,
        &shop,
        "SetPromotion",
        r#"{"product_id": 3, "percent": 20}"#,
    );
    shop.said("viewfeed call shop.v1.ShopService/WatchPromotions '{}'");
    let mut watching = Running::start(&server, "call", &["shop.v1.ShopService/WatchPromotions", "{}"]);
    shop.load("-t 20 --random-seed=1");
    sql(&server, "WAIT FOR SOURCE shop");
    shop.is_what_postgres_says(&server);

    let expected = sql(&server, "SELECT * FROM storefront.promotion_sales");
    assert!(!expected.is_empty());
    promote(&server, &shop, "EndPromotion", r#"{"product_id": 3}"#);
    assert_eq!(until_all_went(&mut watching), by_city(&expected));
    offers_follow_both_sides(&server, &shop);
}

/// What the feed added up to before a frame took it away again.
fn until_all_went(watching: &mut Running) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    loop {
        let frame = watching.next().expect("the feed goes on");
        rows.extend(by_city(frame["sales"].as_array().unwrap_or(&Vec::new())));
        let deletes = frame["deletes"].as_array().cloned().unwrap_or_default();
        if !deletes.is_empty() {
            assert_eq!(deletes.len(), rows.len(), "every row goes with its promotion");
            return rows;
        }
    }
}

/// How many units each city bought: numbers of 64 bits are text in the JSON of protobuf, and are not in that of SQL.
fn by_city(rows: &[Value]) -> BTreeMap<String, String> {
    let pair = |row: &Value| (row["city"].to_string(), row["units"].to_string().replace('"', ""));
    rows.iter().map(pair).collect()
}

fn offers_follow_both_sides(server: &Viewfeed, shop: &Shop) {
    let offer = || {
        sql(
            server,
            "SELECT offer_price FROM storefront.offer WHERE product_id = 3",
        )
    };
    assert_eq!(offer(), [json!({"offer_price": "8.75"})]);
    promote(
        server,
        shop,
        "SetPromotion",
        r#"{"product_id": 3, "percent": 50}"#,
    );
    assert_eq!(offer(), [json!({"offer_price": "4.38"})]);
    shop.client(
        "psql",
        &["-q", "-c", "UPDATE products SET price = 10 WHERE id = 3"],
    );
    sql(server, "WAIT FOR SOURCE shop");
    assert_eq!(offer(), [json!({"offer_price": "5.00"})]);
}

#[test]
fn the_shop_of_the_example_goes_on_after_kill_nine_and_leaves_nothing_behind() {
    let shop = Shop::open();
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    shop.create_source(&server);
    add_module(&server, dir.path());
    shop.load("-t 20 --random-seed=1");
    server.kill();
    shop.load("-t 1000 --random-seed=2");
    let server = start(dir.path());
    sql(&server, "WAIT FOR SOURCE shop");
    shop.is_what_postgres_says(&server);

    shop.said("rm -r modules/storefront");
    std::fs::remove_dir_all(dir.path().join("modules").join(MODULE)).unwrap();
    server.wait_for_log("module is gone", 1);
    sql(&server, shop.said(TIDY_UP));
    let slots = shop.client(
        "psql",
        &["-At", "-c", "SELECT count(*) FROM pg_replication_slots"],
    );
    assert_eq!(slots.trim(), "0");
}
