//! The second oracle: what DataFusion computes from scratch may itself be wrong, so that random views of the part of SQL
//! on which both agree are also compared with Postgres, after every epoch.
//!
//! Cases are those of the first oracle, without the ones that use what Postgres has not, or knows in another sense: these
//! are named in [`DIFFERENT`], and docs/sql.md says how they differ. `VIEWFEED_POSTGRES_SEED` repeats a run,
//! `VIEWFEED_POSTGRES_CASES` makes it longer.

use crate::oracle::case::{Case, Step};
use crate::oracle::tables::{Cell, Row, Type};
use crate::oracle::world::{Defect, Failure, World};
use crate::oracle::{for_each_number, random_case, setting, shrink};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use viewfeed_change::Batch;
use viewfeed_query::Planner;
use viewfeed_testbed::{Postgres, Psql, TextRow};

/// Views of a run, unless the environment says otherwise.
const CASES: u64 = 400;
/// Runs spent on making a failing case smaller.
const SHRINK_TRIES: usize = 300;

/// What views here do not use, and why.
const DIFFERENT: [(&str, &str); 14] = [
    ("now()", "the time of a transaction"),
    ("current_date", "the time of a transaction"),
    ("/*", "which rows a LIMIT without a total order keeps"),
    ("min(true", "of booleans: not in Postgres"),
    ("min(false", "of booleans: not in Postgres"),
    ("median(", "not in Postgres"),
    ("approx_distinct(", "not in Postgres"),
    (
        "nth_value(",
        "an aggregate with an order here, a window function there",
    ),
    ("IGNORE NULLS", "not in Postgres"),
    ("array_agg(", "shown in another way"),
    ("corr(", "of rows without variance, each side has its own answer"),
    ("regr_", "of rows without variance, each side has its own answer"),
    (
        "first_value(",
        "an aggregate with an order here, a window function there",
    ),
    (
        "last_value(",
        "an aggregate with an order here, a window function there",
    ),
];

/// Why a case stopped.
enum Stop {
    Wrong(String),
    /// One of both does not run it.
    Refused(String),
}

/// A world, and the same tables in Postgres.
struct Pair<'a> {
    world: World,
    client: &'a mut Psql,
}

impl<'a> Pair<'a> {
    fn new(planner: &Planner, case: &Case, client: &'a mut Psql) -> Result<Self, Stop> {
        let world = World::new(planner, case, Defect::None).map_err(stop)?;
        let mut pair = Self { world, client };
        // What is temporary belongs to the connection alone, and so do views over it.
        pair.run("DISCARD TEMP")?;
        for shape in &case.tables {
            let columns: Vec<String> = shape.columns.iter().map(column).collect();
            pair.run(&format!(
                "CREATE TEMP TABLE {} ({})",
                shape.name,
                columns.join(", ")
            ))?;
        }
        Ok(pair)
    }

    /// Runs every step on both sides, comparing after each.
    fn run_case(&mut self, case: &Case) -> Result<u64, Stop> {
        let (mut created, mut comparisons) = (Vec::new(), 0);
        let replaced = |step: &&Step| matches!(step, Step::Replace(_));
        for step in case.steps.iter().filter(|step| !replaced(step)) {
            if let Step::Create(view) = step {
                let sql = postgres_form(&case.views[*view]);
                self.run(&format!("CREATE VIEW v{view} AS {sql}"))?;
                created.push(*view);
            }
            self.world.run_step(case, step).map_err(stop)?;
            self.fill(case)?;
            for view in &created {
                self.compare(*view)?;
                comparisons += 1;
            }
        }
        Ok(comparisons)
    }

    /// The tables in Postgres get the rows they have here.
    fn fill(&mut self, case: &Case) -> Result<(), Stop> {
        for (table, shape) in case.tables.iter().enumerate() {
            self.run(&format!("TRUNCATE {}", shape.name))?;
            let rows: Vec<String> = self.world.content(table).iter().map(row).collect();
            if !rows.is_empty() {
                self.run(&format!("INSERT INTO {} VALUES {}", shape.name, rows.join(", ")))?;
            }
        }
        Ok(())
    }

    fn compare(&mut self, view: usize) -> Result<(), Stop> {
        let (ours, types) = shown(&self.world.rows_of(&format!("v{view}")).map_err(stop)?);
        let theirs = self.run(&format!("SELECT * FROM v{view}"))?;
        let mut theirs: Vec<String> = theirs.iter().map(|row| canonical_row(row, &types)).collect();
        theirs.sort();
        if ours == theirs {
            return Ok(());
        }
        Err(Stop::Wrong(format!(
            "v{view} is wrong\nhere:     {ours:?}\nPostgres: {theirs:?}"
        )))
    }

    fn run(&mut self, sql: &str) -> Result<Vec<TextRow>, Stop> {
        self.client
            .query(sql)
            .map_err(|error| Stop::Refused(format!("{error}\n{sql}")))
    }
}

fn stop(failure: Failure) -> Stop {
    match failure {
        Failure::Wrong(wrong) => Stop::Wrong(wrong),
        Failure::Unanswerable(why) => Stop::Refused(why),
    }
}

fn column((name, data_type): &(String, Type)) -> String {
    let sql_type = match data_type {
        Type::Int => "BIGINT",
        Type::Small => "INT",
        Type::Text => "TEXT",
        Type::Decimal => "NUMERIC(10, 2)",
        Type::Bool => "BOOLEAN",
        _ => "DOUBLE PRECISION",
    };
    format!("{name} {sql_type}")
}

fn row(row: &Row) -> String {
    let cells: Vec<String> = row.iter().map(Cell::to_string).collect();
    format!("({})", cells.join(", "))
}

/// The same query as Postgres writes it.
fn postgres_form(sql: &str) -> String {
    sql.replace("AS DOUBLE)", "AS DOUBLE PRECISION)")
}

/// Whether both sides mean the same by a query.
fn is_common(sql: &str) -> bool {
    !DIFFERENT.iter().any(|(different, _)| sql.contains(different)) && !counts_pairs(sql)
}

/// `count(a, b)` is not in Postgres.
fn counts_pairs(sql: &str) -> bool {
    let mut calls = sql
        .match_indices("count(")
        .map(|(at, call)| &sql[at + call.len()..]);
    calls.any(|arguments| {
        let mut depth = 0;
        for character in arguments.chars() {
            match character {
                '(' => depth += 1,
                ')' if depth == 0 => return false,
                ')' => depth -= 1,
                ',' if depth == 0 => return true,
                _ => {}
            }
        }
        false
    })
}

/// The rows of a view, each as often as it is there, in order; and its types.
fn shown(batch: &Batch) -> (Vec<String>, Vec<DataType>) {
    let types: Vec<DataType> = batch
        .rows()
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    let rows = text_rows(batch.rows());
    let repeated = rows.iter().zip(batch.weights());
    let mut shown: Vec<String> = repeated
        .flat_map(|(row, weight)| std::iter::repeat_n(canonical_row(row, &types), *weight as usize))
        .collect();
    shown.sort();
    (shown, types)
}

fn text_rows(batch: &RecordBatch) -> Vec<TextRow> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| {
        let texts = ArrayFormatter::try_new(column, &options).unwrap();
        (0..batch.num_rows())
            .map(|row| column.is_valid(row).then(|| texts.value(row).to_string()))
            .collect::<Vec<_>>()
    });
    let columns: Vec<Vec<Option<String>>> = columns.collect();
    let row = |row: usize| columns.iter().map(|column| column[row].clone()).collect();
    (0..batch.num_rows()).map(row).collect()
}

fn canonical_row(row: &TextRow, types: &[DataType]) -> String {
    let values = row.iter().zip(types).map(|(value, data_type)| match value {
        None => "NULL".to_owned(),
        Some(text) => canonical(text, data_type),
    });
    values.collect::<Vec<_>>().join(" | ")
}

/// Numbers to the fourth digit, since averages have as many as each side likes; `t` as `true`.
fn canonical(text: &str, data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean if text == "t" => "true".to_owned(),
        DataType::Boolean if text == "f" => "false".to_owned(),
        DataType::Utf8 => format!("'{text}'"),
        _ => match text.parse::<f64>() {
            // + 0.0 makes one zero of both.
            Ok(number) => format!("{:.4}", (number * 1e4).round() / 1e4 + 0.0),
            Err(_) => text.to_owned(),
        },
    }
}

fn run(planner: &Planner, case: &Case, client: &mut Psql) -> Result<u64, Stop> {
    Pair::new(planner, case, client)?.run_case(case)
}

#[test]
fn views_are_what_postgres_computes_after_every_epoch() {
    let seed = setting("VIEWFEED_POSTGRES_SEED", || 1);
    println!("VIEWFEED_POSTGRES_SEED={seed}");
    let cases = setting("VIEWFEED_POSTGRES_CASES", || CASES);
    let (planner, server) = (Planner::new().unwrap(), Postgres::start());
    thread_local!(static CLIENT: RefCell<Option<Psql>> = const { RefCell::new(None) });
    let [views, refused, comparisons] = [0; 3].map(AtomicU64::new);
    let work = |number| {
        let mut case = random_case(seed, number);
        // Rows are compared after every step, so views are to be complete then.
        case.modes.filling = None;
        if views.load(Ordering::Relaxed) >= cases || !case.views.iter().all(|sql| is_common(sql)) {
            return Ok(());
        }
        CLIENT.with_borrow_mut(|client| {
            let client = client.get_or_insert_with(|| server.connect());
            let count = case.views.len() as u64;
            match run(&planner, &case, client) {
                Ok(compared) => {
                    comparisons.fetch_add(compared, Ordering::Relaxed);
                    views.fetch_add(count, Ordering::Relaxed);
                }
                Err(Stop::Refused(why)) => {
                    refused.fetch_add(count, Ordering::Relaxed);
                    println!("world {number} is refused: {why}");
                }
                Err(Stop::Wrong(wrong)) => {
                    let fails = |case: &Case| matches!(run(&planner, case, client), Err(Stop::Wrong(_)));
                    let fails = RefCell::new(fails);
                    let smallest = shrink::shrink(&case, SHRINK_TRIES, &|case| (*fails.borrow_mut())(case));
                    return Err(format!(
                        "VIEWFEED_POSTGRES_SEED={seed}, world {number}\n{smallest}{wrong}"
                    ));
                }
            }
            Ok(())
        })
    };
    // Most random worlds use something that Postgres has not.
    if let Err(report) = for_each_number(cases * 20, &work) {
        panic!("{report}");
    }
    let [views, refused, comparisons] = [views, refused, comparisons].map(AtomicU64::into_inner);
    println!("{views} views, {comparisons} comparisons with Postgres, {refused} views refused");
    assert!(views >= cases, "too few worlds are common to both");
    assert!(refused * 2 <= views, "too many views are refused");
}
