//! Statements about sources, and how sources are shown.

use super::Session;
use crate::sources::ShownSource;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use std::sync::Arc;
use viewfeed_change::{Error, Result};
use viewfeed_query::{SourceKind, SourceStatement};
use viewfeed_source::postgres::Settings;
use viewfeed_source::postgres::stored::Phase;

impl Session {
    /// `CREATE SOURCE`, `ALTER SOURCE`, `DROP SOURCE`: each is a transaction of its own.
    pub(super) async fn source(&mut self, statement: SourceStatement) -> Result<()> {
        let sources = self.shared.sources.clone();
        match statement {
            SourceStatement::Create {
                name,
                if_not_exists,
                kind: SourceKind::Postgres,
                options,
            } => {
                if if_not_exists && sources.settings(&name).is_ok() {
                    let notice = format!("source \"{name}\" exists already, skipped");
                    return self.done("CREATE SOURCE", vec![notice]).await;
                }
                let settings = Settings::from_options(&name, &options.0)?;
                let (committed, notices) = sources.create(&name, settings).await?;
                self.command("CREATE SOURCE", committed.version, 0, notices).await
            }
            SourceStatement::Set { name, options } => {
                let (committed, notices) = sources.set(&name, &options.0).await?;
                self.command("ALTER SOURCE", committed.version, 0, notices).await
            }
            SourceStatement::Resync { name, table } => {
                sources.again(&name, table).await?;
                self.done("ALTER SOURCE", Vec::new()).await
            }
            SourceStatement::Wait { name, until } => {
                sources.wait(&name, until.as_deref()).await?;
                self.done("WAIT", Vec::new()).await
            }
            SourceStatement::Drop {
                name,
                if_exists,
                cascade,
                ..
            } => {
                if if_exists && sources.settings(&name).is_err() {
                    let notice = format!("source \"{name}\" does not exist, skipped");
                    return self.done("DROP SOURCE", vec![notice]).await;
                }
                if cascade {
                    return Err(Error::invalid("CASCADE", "CASCADE does not reach views")
                        .hint("drop the views over the source's tables first"));
                }
                let (committed, notices) = sources.drop_source(&name).await?;
                self.command("DROP SOURCE", committed.version, 0, notices).await
            }
        }
    }

    /// `SHOW CREATE SOURCE`.
    pub(super) async fn show_create_source(&mut self, name: &str) -> Result<()> {
        let settings = self.shared.sources.settings(name)?;
        let option = |(name, value): (&str, String)| format!("    {name} = '{}'", value.replace('\'', "''"));
        let options: Vec<String> = settings.to_options().into_iter().map(option).collect();
        let text = format!("CREATE SOURCE {name} FROM POSTGRES (\n{}\n)", options.join(",\n"));
        self.text("SHOW", "create", &text).await
    }
}

/// A column of what is shown: its name, its values, whether they may be NULL.
type Shown = (&'static str, ArrayRef, bool);

/// The rows of `viewfeed.sources`, also what SHOW SOURCES gives.
pub(super) fn sources(shown: &[ShownSource]) -> Result<RecordBatch> {
    let position = |source: &ShownSource| source.status.as_ref().map(|status| status.position.to_string());
    let is_live = |phase: &Phase| matches!(phase, Phase::Live { .. });
    let mut columns = vec![
        text(shown, "name", &|source| source.name.clone()),
        text(shown, "kind", &|_| "postgres".to_owned()),
        text(shown, "state", &|source| source.state().to_owned()),
        number(shown, "tables", &|source| tables(source, |_| true)),
        number(shown, "live_tables", &|source| tables(source, is_live)),
        text(shown, "position", &|source| position(source).unwrap_or_default()),
    ];
    columns.extend(slots(shown));
    columns.extend(copies(shown));
    columns.push(text(shown, "detail", &ShownSource::detail));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// How far the sources are behind, and what that costs.
fn slots(shown: &[ShownSource]) -> [Shown; 6] {
    let status = |source: &ShownSource| {
        source
            .status
            .as_ref()
            .map(|status| (status.open_bytes, status.connections))
    };
    let lag = |source: &ShownSource| source.status.as_ref()?.lag;
    let wal_status = |source: &ShownSource| {
        let status = lag(source).map(|lag| format!("{:?}", lag.wal_status).to_lowercase());
        status.unwrap_or_default()
    };
    [
        number(shown, "lag_bytes", &|source| Some(lag(source)?.lag_bytes as i64)),
        number(shown, "kept_wal_bytes", &|source| {
            Some(lag(source)?.kept_bytes as i64)
        }),
        text(shown, "wal_status", &wal_status),
        number(shown, "safe_wal_bytes", &|source| lag(source)?.safe_wal_bytes),
        number(shown, "open_bytes", &|source| Some(status(source)?.0 as i64)),
        number(shown, "connections", &|source| Some(status(source)?.1 as i64)),
    ]
}

/// The copies that are being made.
fn copies(shown: &[ShownSource]) -> [Shown; 4] {
    [
        number(shown, "copied_rows", &|source| Some(source.copy()?.rows as i64)),
        number(shown, "expected_rows", &|source| {
            Some(source.copy()?.rows_expected? as i64)
        }),
        number(shown, "rows_per_second", &|source| {
            Some(source.copy()?.rows_per_second as i64)
        }),
        number(shown, "seconds_left", &|source| {
            Some(source.copy()?.left?.as_secs() as i64)
        }),
    ]
}

fn text(shown: &[ShownSource], name: &'static str, each: &dyn Fn(&ShownSource) -> String) -> Shown {
    let texts = shown.iter().map(|source| Some(each(source)));
    (name, Arc::new(texts.collect::<StringArray>()), false)
}

fn number(shown: &[ShownSource], name: &'static str, each: &dyn Fn(&ShownSource) -> Option<i64>) -> Shown {
    (
        name,
        Arc::new(shown.iter().map(each).collect::<Int64Array>()),
        true,
    )
}

/// The rows of `viewfeed.source_tables`.
pub(super) fn source_tables(shown: &[ShownSource]) -> Result<RecordBatch> {
    let mut texts: [Vec<String>; 5] = Default::default();
    let mut numbers: [Vec<Option<i64>>; 5] = Default::default();
    for source in shown {
        let copy = source.status.as_ref().and_then(|status| status.copy.as_ref());
        let pages = copy.map(|copy| copy.tables()).unwrap_or_default();
        for table in &source.tables {
            let is_copying = matches!(table.phase, Phase::Copying { .. });
            let read = pages
                .iter()
                .find(|pages| is_copying && pages.table == table.shape.oid);
            let left = copy
                .filter(|_| is_copying)
                .and_then(|copy| copy.left_of(table.shape.oid));
            let (copied, why) = match &table.phase {
                Phase::Copying { begun, again } => (Some(begun.rows as i64), again.clone()),
                Phase::Wanted { again, begun } => {
                    (begun.as_ref().map(|begun| begun.rows as i64), again.clone())
                }
                Phase::Broken { why } => (None, Some(why.clone())),
                Phase::Live { .. } => (None, None),
            };
            let row = [
                source.name.clone(),
                format!("{}.{}", source.settings.schema, table.shape.name),
                table.shape.full_name(),
                table.phase.name().to_owned(),
                why.unwrap_or_default(),
            ];
            texts
                .iter_mut()
                .zip(row)
                .for_each(|(column, value)| column.push(value));
            let row = [
                copied,
                read.and_then(|read| read.rows_expected).map(|rows| rows as i64),
                read.map(|read| read.pages_done as i64),
                read.map(|read| read.pages_total as i64),
                left.map(|left| left.as_secs() as i64),
            ];
            numbers
                .iter_mut()
                .zip(row)
                .for_each(|(column, value)| column.push(value));
        }
    }
    let [source, table, origin, state, detail] =
        texts.map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
    let [copied, expected, done, total, left] =
        numbers.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("source", source, false),
        ("table", table, false),
        ("origin", origin, false),
        ("state", state, false),
        ("copied_rows", copied, true),
        ("expected_rows", expected, true),
        ("pages_done", done, true),
        ("pages_total", total, true),
        ("seconds_left", left, true),
        ("detail", detail, false),
    ])?)
}

fn tables(source: &ShownSource, counts: impl Fn(&Phase) -> bool) -> Option<i64> {
    Some(source.tables.iter().filter(|table| counts(&table.phase)).count() as i64)
}
