//! A case: tables, views as SQL text, and what happens to them. A case is plain data, so that a failing one can be
//! printed, read again (see `text`) and made smaller.

use super::tables::{Row, Shape};
use std::fmt;
use viewfeed_engine::Rung;

/// What happens next.
#[derive(Clone)]
pub(crate) enum Step {
    /// The view at this place is created, over whatever is there.
    Create(usize),
    /// The view at this place gets another query, as by `OR REPLACE`: without the rows whose first column is NULL, or
    /// with them again.
    Replace(usize),
    /// One epoch: by table, rows with weights.
    Epoch(Vec<(usize, Vec<(Row, i64)>)>),
    /// The next epoch is this much later, in seconds.
    Wait(i64),
    /// Everything so far goes to the checkpoint database.
    Checkpoint,
    /// The store is closed and opened again, and the engine with it.
    Reopen,
    /// The program is killed within an epoch that removes everything, and started again.
    Crash,
    /// One epoch that removes every row of every table.
    Clear,
}

/// The form in which state is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A tree in memory, under a log on disk.
    Memory,
    Sled,
    Runs,
}

/// What must make no difference to the content of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) form: Form,
    /// The best rung a node may stand on that has others to choose from.
    pub(crate) rung: Rung,
    /// How views are filled: at once, or piece by piece.
    pub(crate) filling: Option<Filling>,
}

/// How views are filled while epochs go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filling {
    /// Rows of a piece, at most.
    pub(crate) rows: usize,
    /// Pieces in each epoch.
    pub(crate) pieces: usize,
}

/// Views and what happens.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) modes: Modes,
    pub(crate) tables: Vec<Shape>,
    /// The SELECT of `v0`, `v1`, …; later ones may read earlier ones.
    pub(crate) views: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  modes {:?} {:?}", self.modes.form, self.modes.rung)?;
        if let Some(Filling { rows, pieces }) = self.modes.filling {
            write!(f, " filling {rows} x {pieces}")?;
        }
        writeln!(f)?;
        for table in &self.tables {
            writeln!(f, "  table {table}")?;
        }
        for (i, sql) in self.views.iter().enumerate() {
            writeln!(f, "  v{i} := {sql}")?;
        }
        for step in &self.steps {
            match step {
                Step::Create(view) => writeln!(f, "  create v{view}")?,
                Step::Replace(view) => writeln!(f, "  replace v{view}")?,
                Step::Checkpoint => writeln!(f, "  checkpoint")?,
                Step::Reopen => writeln!(f, "  reopen")?,
                Step::Crash => writeln!(f, "  crash")?,
                Step::Wait(seconds) => writeln!(f, "  wait {seconds} s")?,
                Step::Clear => writeln!(f, "  clear")?,
                Step::Epoch(tables) => {
                    writeln!(f, "  epoch")?;
                    for (table, rows) in tables {
                        for (row, weight) in rows {
                            let cells: Vec<String> = row.iter().map(ToString::to_string).collect();
                            writeln!(f, "    t{table} {weight:+} {}", cells.join(", "))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
