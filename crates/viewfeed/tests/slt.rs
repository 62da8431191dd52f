//! SQL logic tests: `.slt` files of statements, queries and their answers. Every file is run as it stands; then every
//! query of it becomes a view on empty tables, which are filled with the same rows in random batches, with rows between
//! them that are deleted again, and the view must be what the query answered; and the same with a restart in between.
//!
//! `tests/slt/cases` holds our own files, of which everything must hold. Any other folder of such files is run by
//! `VIEWFEED_SLT=<folder> cargo test -p viewfeed --test main slt -- --nocapture`: there what is not understood and
//! answers that differ from the file's are counted, and only views that differ from their query fail the test. A path of
//! one file runs that. `VIEWFEED_SLT_SEED` repeats a run.
//!
//! `record` reads files, `database` runs statements and keeps views, `answer` compares answers, `plateau` turns queries
//! into views, `tally` counts.

mod answer;
mod database;
mod plateau;
mod record;
mod tally;

use database::Database;
use plateau::{Asked, Mode};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use record::{Expected, Record, Statement};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tally::{Count, Tally};

#[test]
fn sql_logic_tests() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt/cases");
    let given = std::env::var_os("VIEWFEED_SLT").map(PathBuf::from);
    let tally = run_all(given.as_deref().unwrap_or(&own));
    println!("{tally}");
    let forgiven: &[Count] = match given {
        Some(_) => &[
            Count::Refused,
            Count::OtherAnswer,
            Count::NoView,
            Count::Ambiguous,
        ],
        None => &[],
    };
    let wrong = tally.wrong(forgiven);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(tally.of(Count::Query) > 0, "no queries were found");
}

#[test]
fn files_that_are_wrong_are_told() {
    let run = |text: &str| {
        let mut tally = Tally::default();
        Run::new(Path::new("memory"), &mut tally, 1).records(record::records(text).unwrap());
        tally.wrong(&[]).len()
    };
    let table = "statement ok\nCREATE TABLE t (a INT)\n\nstatement ok\nINSERT INTO t VALUES (1), (2)\n\n";
    assert_eq!(
        run(&format!("{table}query I rowsort\nSELECT a FROM t\n----\n1\n2\n")),
        0
    );
    assert_eq!(
        run(&format!("{table}query I rowsort\nSELECT a FROM t\n----\n1\n3\n")),
        1
    );
    assert_eq!(
        run(&format!(
            "{table}query I nosort\nSELECT a FROM t ORDER BY a\n----\n2\n1\n"
        )),
        1
    );
    assert_eq!(run(&format!("{table}query I\nSELECT b FROM t\n----\n")), 1);
    assert_eq!(run("statement ok\nSELEC\n"), 1);
    assert_eq!(
        run(&format!("{table}statement error\nINSERT INTO t VALUES (3)\n")),
        1
    );
    assert_eq!(run("statement error no such words\nDROP TABLE t\n"), 1);
}

/// Runs every `.slt` and `.test` file at `path`.
fn run_all(path: &Path) -> Tally {
    let mut files = Vec::new();
    find_files(path, &mut files);
    files.sort();
    let seed = std::env::var("VIEWFEED_SLT_SEED")
        .map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    println!("VIEWFEED_SLT_SEED={seed}");
    let mut tally = Tally::default();
    for file in files {
        let (text, before) = (std::fs::read(&file).unwrap(), tally.clone());
        let records = record::records(&String::from_utf8_lossy(&text));
        let ran = catch_unwind(AssertUnwindSafe(|| match records {
            Ok(records) => Run::new(&file, &mut tally, seed).records(records),
            Err(reason) => tally.add(Count::Refused, &file, 0, &reason),
        }));
        if ran.is_err() {
            tally.add(Count::Failed, &file, 0, "panicked, see above");
        }
        println!(
            "{}: {}",
            file.file_name().unwrap().display(),
            tally.since(&before)
        );
    }
    tally
}

fn find_files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        entries.for_each(|entry| find_files(&entry.unwrap().path(), found));
    } else if path
        .extension()
        .is_some_and(|extension| extension == "slt" || extension == "test")
    {
        found.push(path.to_owned());
    }
}

/// A file that is being run.
struct Run<'a> {
    file: &'a Path,
    tally: &'a mut Tally,
    rng: SmallRng,
    database: Database,
    /// The queries since the last statement.
    asked: Vec<Asked>,
}

impl<'a> Run<'a> {
    fn new(file: &'a Path, tally: &'a mut Tally, seed: u64) -> Self {
        Self {
            file,
            tally,
            rng: SmallRng::seed_from_u64(seed),
            database: Database::new(),
            asked: Vec::new(),
        }
    }

    fn records(&mut self, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Statement(statement) => {
                    self.views();
                    self.statement(&statement);
                }
                Record::Query(query) => self.query(query),
                Record::Halt => break,
            }
        }
        self.views();
    }

    fn statement(&mut self, statement: &Statement) {
        self.tally.count(Count::Statement);
        let complaint = match (self.database.execute(&statement.sql), &statement.error) {
            (Ok(()), None) => return,
            (Err(error), None) => format!("{error:?}"),
            (Ok(()), Some(_)) => "should fail".to_owned(),
            (Err(error), Some(text)) if record::says(&error, text) => return,
            (Err(error), Some(text)) => format!("fails without saying {text:?}: {error:?}"),
        };
        self.tell(
            Count::Refused,
            statement.line,
            &format!("{}\n{complaint}", statement.sql),
        );
    }

    fn query(&mut self, query: record::Query) {
        self.tally.count(Count::Query);
        let answer = match (self.database.query(&query.sql), &query.expected) {
            (Ok(answer), Expected::Error(_)) => {
                return self.unlike(&query, &format!("should fail, answers\n{answer}"));
            }
            (Err(error), Expected::Error(text)) => {
                if !record::says(&error, text) {
                    self.unlike(&query, &format!("fails without saying {text:?}: {error:?}"));
                }
                return;
            }
            (Err(error), _) => {
                return self.tell(Count::Refused, query.line, &format!("{}\n{error:?}", query.sql));
            }
            (Ok(answer), _) => answer,
        };
        if let Some(difference) = answer.unlike(&query) {
            self.unlike(&query, &difference);
        }
        self.asked.push(Asked { query, answer });
    }

    /// Makes views of what was asked since the last statement.
    fn views(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        for views in asked.chunks(plateau::VIEWS_MAX) {
            for mode in [Mode::Filled, Mode::Reopened] {
                let outcomes = plateau::outcomes(&self.database, views, mode, &mut self.rng);
                for (asked, (count, text)) in views.iter().zip(outcomes) {
                    self.tell(count, asked.query.line, &format!("{}\n{text}", asked.query.sql));
                }
            }
        }
    }

    fn unlike(&mut self, query: &record::Query, text: &str) {
        self.tell(Count::OtherAnswer, query.line, &format!("{}\n{text}", query.sql));
    }

    fn tell(&mut self, count: Count, line: usize, text: &str) {
        self.tally.add(count, self.file, line, text);
    }
}
