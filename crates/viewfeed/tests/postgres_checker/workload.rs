//! What clients do to the server meanwhile: tables of every kind, and random transactions of every kind over them.

use rand::{Rng, rngs::StdRng};
use std::sync::{Condvar, Mutex};
use viewfeed_testbed::Psql;

/// The tables, and whether their rows may repeat.
pub(super) const TABLES: [&str; 8] = [
    "account", "pair", "stamp", "loose", "tagged", "measure", "document", "shifting",
];

/// Large values are kept beside their rows, as they are, so that an update that leaves them alone does not send them.
pub(super) const SCHEMA: &[&str] = &[
    "CREATE TABLE account (id bigint PRIMARY KEY, kind int NOT NULL, balance bigint NOT NULL, note text)",
    "ALTER TABLE account ALTER note SET STORAGE EXTERNAL",
    "CREATE TABLE pair (region text, number int, amount numeric(12, 2), note text, PRIMARY KEY (region, number))",
    "ALTER TABLE pair ALTER note SET STORAGE EXTERNAL",
    "CREATE TABLE stamp (day date, code varchar(20), n int, PRIMARY KEY (day, code))",
    "CREATE TABLE loose (kind int, word text, pad text)",
    "ALTER TABLE loose ALTER pad SET STORAGE EXTERNAL",
    "ALTER TABLE loose REPLICA IDENTITY FULL",
    "CREATE TABLE tagged (tag int, label text NOT NULL, size numeric(8, 3))",
    "CREATE UNIQUE INDEX tagged_label ON tagged (label)",
    "ALTER TABLE tagged REPLICA IDENTITY USING INDEX tagged_label",
    "CREATE TABLE measure (id bigint, part int, n bigint, PRIMARY KEY (id, part)) PARTITION BY LIST (part)",
    "CREATE TABLE measure_0 PARTITION OF measure FOR VALUES IN (0)",
    "CREATE TABLE measure_1 (part int NOT NULL, n bigint, id bigint NOT NULL)",
    "ALTER TABLE measure ATTACH PARTITION measure_1 FOR VALUES IN (1)",
    "CREATE TABLE measure_2 PARTITION OF measure DEFAULT",
    "CREATE TABLE document (id uuid PRIMARY KEY, n int, body text, extra text)",
    "ALTER TABLE document ALTER body SET STORAGE EXTERNAL, ALTER extra SET STORAGE EXTERNAL",
    "CREATE TABLE shifting (id bigint PRIMARY KEY, v int, spare_0 text)",
    "INSERT INTO account SELECT i, i % 5, 0, CASE WHEN i % 3 = 0 THEN repeat('n', 3000) END FROM generate_series(1, 100) i",
    "INSERT INTO pair SELECT 'r' || i % 4, i, i / 4.0, repeat('p', 2500) FROM generate_series(1, 80) i",
    "INSERT INTO loose SELECT i % 5, 'w' || i % 7, NULL FROM generate_series(1, 300) i",
    "INSERT INTO measure SELECT i, i % 4, i FROM generate_series(1, 200) i",
    "INSERT INTO document SELECT md5(i::text)::uuid, i, repeat('b', 3000), repeat('e', 2100) FROM generate_series(1, 200) i",
    "INSERT INTO shifting SELECT i, i, 's' || i FROM generate_series(1, 50) i",
];

/// Statements of any transaction: {a}, {b}, {c} are small numbers, {k} one below 5, {x} a letter.
const STATEMENTS: &[&str] = &[
    "INSERT INTO account VALUES ({a}, {k}, 0, repeat('{x}', 3000)) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO account VALUES ({a}, {k}, {c}, NULL), ({b} + 500, {k}, -{c}, repeat('{x}', 2500))",
    "UPDATE account SET kind = {k} WHERE id % 11 = {k}",
    "UPDATE account SET note = repeat('{x}', 2800) WHERE id = {a}",
    "UPDATE account SET id = id + 1000 WHERE id = {a}",
    "UPDATE account SET id = {a} WHERE id = 1000 + {b}",
    "DELETE FROM account WHERE balance = 0 AND id BETWEEN {a} AND {a} + 4",
    "INSERT INTO pair VALUES ('r{k}', {a}, {b}.25, repeat('{x}', 2500)) ON CONFLICT (region, number) DO UPDATE SET amount = pair.amount + 1",
    "INSERT INTO pair SELECT 'r{k}', i, NULL, NULL FROM generate_series({a}, {a} + 30) i",
    "UPDATE pair SET amount = amount * 2 WHERE number % 13 = {k} AND amount < 100000",
    "UPDATE pair SET region = 'r{k}', number = number + 300 WHERE number = {a}",
    "UPDATE pair SET number = {b} WHERE number = 300 + {a}",
    "DELETE FROM pair WHERE region = 'r{k}' AND number % 9 = {k}",
    "INSERT INTO stamp VALUES (DATE '2020-02-{k}1' + {a}, '{x}{k}', {b})",
    "UPDATE stamp SET n = n + 1 WHERE code < '{x}'",
    "UPDATE stamp SET day = day + 1 WHERE code = '{x}{k}'",
    "DELETE FROM stamp WHERE n % 17 = {k}",
    "INSERT INTO loose SELECT {k}, '{x}', CASE WHEN i % 4 = 0 THEN repeat('{x}', 2200) END FROM generate_series(1, {c}) i",
    "UPDATE loose SET word = 'w{b}' WHERE kind = {k} AND word < 'm'",
    "UPDATE loose SET kind = NULL WHERE word = '{x}'",
    "UPDATE loose SET pad = '{x}' WHERE pad LIKE '{x}%'",
    "DELETE FROM loose WHERE ctid IN (SELECT ctid FROM loose WHERE kind = {k} OR kind IS NULL LIMIT {b})",
    "INSERT INTO tagged VALUES ({a}, 'l{b}', {c}.125) ON CONFLICT (label) DO UPDATE SET tag = excluded.tag",
    "UPDATE tagged SET label = label || '{x}' WHERE tag % 7 = {k} AND length(label) < 9",
    "DELETE FROM tagged WHERE label LIKE '%{x}'",
    "INSERT INTO measure SELECT i, i % 4, {b} FROM generate_series({a}, {a} + {c}) i ON CONFLICT DO NOTHING",
    "UPDATE measure SET n = n + 1 WHERE id % 19 = {k}",
    "UPDATE measure SET part = (part + 1) % 4 WHERE id BETWEEN {a} AND {a} + 5",
    "DELETE FROM measure WHERE part = {k} AND id % 5 = {k}",
    "INSERT INTO document SELECT md5(i::text)::uuid, i, repeat('{x}', 3000), NULL FROM generate_series({a}, {a} + {k}) i ON CONFLICT DO NOTHING",
    "UPDATE document SET n = n + 1 WHERE n % 23 = {k} AND n < 1000",
    "UPDATE document SET id = md5('{a}' || n)::uuid WHERE n = {b}",
    "UPDATE document SET body = extra, extra = repeat('{x}', 2300) WHERE n = {a}",
    "DELETE FROM document WHERE n % 29 = {k}",
    "DELETE FROM document WHERE n >= 1000",
    "UPDATE shifting SET v = v + {k} WHERE id % 5 = {k}",
    "INSERT INTO shifting (id, v) VALUES ({a}, {b}) ON CONFLICT (id) DO UPDATE SET v = excluded.v",
    "DELETE FROM shifting WHERE id = {a}",
    "COPY pair (region, number) FROM PROGRAM 'seq -f \"copied,%.0f\" {a} 160' CSV",
    "COPY tagged (label) FROM PROGRAM 'seq -f \"c%.0f\" {a} 150'",
    "DO $$ BEGIN INSERT INTO tagged VALUES (1, 'sub{k}', NULL); BEGIN UPDATE pair SET amount = {a} WHERE number < 9; \
     PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN UPDATE stamp SET n = {b} WHERE code > '{x}'; END; END $$",
];

/// Only where everybody sees one snapshot: what one takes the other gets.
const TRANSFER: &str = "UPDATE account SET balance = balance + CASE id WHEN {a} THEN -{c} ELSE {c} END \
                        WHERE id IN ({a}, {b}) AND {a} <> {b} AND (SELECT count(*) FROM account WHERE id IN ({a}, {b})) = 2";

/// Transactions that are sent before they have ended, by the size of what they change.
const LARGE: &[&str] = &[
    "INSERT INTO document SELECT gen_random_uuid(), 1000 + i, repeat('{x}', 300), NULL FROM generate_series(1, {a} * 12) i",
    "INSERT INTO measure SELECT i, i % 4, {b} FROM generate_series({a} * 1000, {a} * 1000 + 2000) i ON CONFLICT DO NOTHING",
    "UPDATE document SET n = n + 1000 WHERE n >= 1000",
    "DELETE FROM measure WHERE id > 900",
    "INSERT INTO loose SELECT i % 5, 'large', '{x}' FROM generate_series(1, {a} * 10) i",
    "DELETE FROM loose WHERE word = 'large'",
];

/// Columns come, go, and change; some of it cannot be done as things stand, as in life. No type change makes other values of
/// a column that ends with the type it had: of that the server says nothing (see docs/postgres.md).
const DDL: &[&str] = &[
    "ALTER TABLE shifting ADD COLUMN spare_{k} text",
    "ALTER TABLE shifting ADD COLUMN spare_{k} text DEFAULT '{x}'",
    "ALTER TABLE shifting ADD COLUMN spare_{k} text DEFAULT '{a}'",
    "ALTER TABLE shifting ADD COLUMN spare_{k} int DEFAULT {a}",
    "ALTER TABLE shifting DROP COLUMN spare_{k}",
    "ALTER TABLE shifting RENAME COLUMN spare_{k} TO spare_0",
    "ALTER TABLE shifting RENAME COLUMN spare_0 TO spare_{k}",
    "ALTER TABLE shifting ALTER COLUMN spare_{k} TYPE bigint USING spare_{k}::bigint",
    "ALTER TABLE shifting ALTER COLUMN spare_{k} TYPE text USING spare_{k}::text",
];

const TRUNCATES: &[&str] = &[
    "TRUNCATE account",
    "TRUNCATE pair, stamp",
    "TRUNCATE loose",
    "TRUNCATE measure",
    "TRUNCATE document, tagged, shifting",
];

/// One client: so many transactions, unless the server goes.
pub(super) fn work(mut psql: Psql, random: &mut StdRng, transactions: usize, progress: &Progress) {
    let _ended = Ended(progress);
    // Nobody waits for long: the clients stand in each other's way.
    for statement in transaction_settings().iter().map(ToString::to_string) {
        if psql.attempt(&statement).is_none() {
            return;
        }
    }
    for _ in 0..transactions {
        for statement in transaction(random) {
            if psql.attempt(&statement).is_none() {
                return;
            }
        }
        progress.add();
    }
}

fn transaction_settings() -> [&'static str; 2] {
    ["SET lock_timeout = '300ms'", "SET statement_timeout = '20s'"]
}

fn transaction(random: &mut StdRng) -> Vec<String> {
    match random.random_range(0..100) {
        0..35 => vec![one(random, STATEMENTS)],
        35..80 => block(random, STATEMENTS, 6),
        80..88 => block(random, LARGE, 3),
        88..92 => vec![one(random, DDL), one(random, STATEMENTS)],
        92..95 => {
            let mut block = block(random, STATEMENTS, 3);
            block.insert(2, one(random, DDL));
            block.insert(1, "INSERT INTO shifting (id, v) VALUES (777, 7) ON CONFLICT (id) DO UPDATE SET v = shifting.v + 1".to_owned());
            block
        }
        95..97 => vec![one(random, TRUNCATES)],
        97..99 => {
            let mut block = block(random, STATEMENTS, 4);
            block.insert(2, one(random, TRUNCATES));
            block
        }
        _ => vec!["VACUUM pair".to_owned()],
    }
}

/// Statements between BEGIN and its end, with savepoints some of which are gone back to.
fn block(random: &mut StdRng, statements: &[&str], most: usize) -> Vec<String> {
    let mut block = vec!["BEGIN ISOLATION LEVEL REPEATABLE READ".to_owned()];
    for number in 0..random.random_range(1..=most) {
        let has_savepoint = random.random_bool(0.4);
        if has_savepoint {
            block.push(format!("SAVEPOINT s{number}"));
        }
        let statement = match random.random_bool(0.2) {
            true => one(random, &[TRANSFER]),
            false => one(random, statements),
        };
        block.push(statement);
        if has_savepoint {
            block.push(match random.random_bool(0.5) {
                true => format!("ROLLBACK TO s{number}"),
                false => format!("RELEASE s{number}"),
            });
        }
    }
    block.push(match random.random_bool(0.8) {
        true => "COMMIT".to_owned(),
        false => "ROLLBACK".to_owned(),
    });
    block
}

fn one(random: &mut StdRng, statements: &[&str]) -> String {
    let statement = statements[random.random_range(0..statements.len())];
    let letter = char::from(random.random_range(b'a'..=b'z'));
    statement
        .replace("{a}", &random.random_range(1..150).to_string())
        .replace("{b}", &random.random_range(1..150).to_string())
        .replace("{c}", &random.random_range(1..40).to_string())
        .replace("{k}", &random.random_range(0..5).to_string())
        .replace("{x}", &letter.to_string())
}

/// How many transactions the clients have done together.
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    done: usize,
    working: usize,
}

impl Progress {
    pub(super) fn of(clients: usize) -> Self {
        Self {
            state: Mutex::new(State {
                done: 0,
                working: clients,
            }),
            changed: Condvar::new(),
        }
    }

    fn add(&self) {
        self.state.lock().unwrap().done += 1;
        self.changed.notify_all();
    }

    /// Waits for so many more transactions, or for the end of the clients.
    pub(super) fn wait_for(&self, more: usize) {
        let state = self.state.lock().unwrap();
        let until = state.done + more;
        let waits = |state: &mut State| state.working > 0 && state.done < until;
        drop(self.changed.wait_while(state, waits).unwrap());
    }
}

/// A client that has ended, however.
struct Ended<'a>(&'a Progress);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().working -= 1;
        self.0.changed.notify_all();
    }
}
