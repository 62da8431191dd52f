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

/// The rows of `viewfeed.sources`, also what SHOW SOURCES gives.
pub(super) fn sources(shown: &[ShownSource]) -> Result<RecordBatch> {
    let text = |each: &dyn Fn(&ShownSource) -> String| -> ArrayRef {
        let texts = shown.iter().map(|source| Some(each(source)));
        Arc::new(texts.collect::<StringArray>())
    };
    let number = |each: &dyn Fn(&ShownSource) -> Option<i64>| -> ArrayRef {
        Arc::new(shown.iter().map(each).collect::<Int64Array>())
    };
    let lag = |source: &ShownSource| source.status.as_ref().and_then(|status| status.lag);
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("name", text(&|source| source.name.clone()), false),
        ("kind", text(&|_| "postgres".to_owned()), false),
        ("state", text(&|source| source.state().to_owned()), false),
        ("tables", number(&|source| tables(source, |_| true)), true),
        (
            "live_tables",
            number(&|source| tables(source, |phase| matches!(phase, Phase::Live { .. }))),
            true,
        ),
        (
            "position",
            text(&|source| {
                source
                    .status
                    .as_ref()
                    .map(|status| status.position.to_string())
                    .unwrap_or_default()
            }),
            false,
        ),
        (
            "lag_bytes",
            number(&|source| lag(source).map(|lag| lag.lag_bytes as i64)),
            true,
        ),
        (
            "kept_wal_bytes",
            number(&|source| lag(source).map(|lag| lag.kept_bytes as i64)),
            true,
        ),
        (
            "wal_status",
            text(&|source| {
                lag(source)
                    .map(|lag| format!("{:?}", lag.wal_status).to_lowercase())
                    .unwrap_or_default()
            }),
            false,
        ),
        (
            "safe_wal_bytes",
            number(&|source| lag(source).and_then(|lag| lag.safe_wal_bytes)),
            true,
        ),
        (
            "open_bytes",
            number(&|source| source.status.as_ref().map(|status| status.open_bytes as i64)),
            true,
        ),
        (
            "connections",
            number(&|source| source.status.as_ref().map(|status| status.connections as i64)),
            true,
        ),
        ("detail", text(&ShownSource::detail), false),
    ])?)
}

/// The rows of `viewfeed.source_tables`.
pub(super) fn source_tables(shown: &[ShownSource]) -> Result<RecordBatch> {
    let mut texts: [Vec<String>; 5] = Default::default();
    let (mut rows, mut done, mut total) = (Vec::new(), Vec::new(), Vec::new());
    for source in shown {
        let copy = source.status.as_ref().and_then(|status| status.copy.as_ref());
        let pages = copy.map(|copy| copy.tables()).unwrap_or_default();
        for table in &source.tables {
            let read = pages.iter().find(|pages| pages.table == table.shape.oid);
            let is_copying = matches!(table.phase, Phase::Copying { .. });
            let (copied, why) = match &table.phase {
                Phase::Copying { rows, again, .. } => (Some(*rows as i64), again.clone()),
                Phase::Wanted { again } => (None, again.clone()),
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
            rows.push(copied);
            done.push(read.filter(|_| is_copying).map(|read| read.pages_done as i64));
            total.push(read.filter(|_| is_copying).map(|read| read.pages_total as i64));
        }
    }
    let [source, table, origin, state, detail] =
        texts.map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("source", source, false),
        ("table", table, false),
        ("origin", origin, false),
        ("state", state, false),
        ("copied_rows", Arc::new(Int64Array::from(rows)) as ArrayRef, true),
        ("pages_done", Arc::new(Int64Array::from(done)), true),
        ("pages_total", Arc::new(Int64Array::from(total)), true),
        ("detail", detail, false),
    ])?)
}

fn tables(source: &ShownSource, counts: impl Fn(&Phase) -> bool) -> Option<i64> {
    Some(source.tables.iter().filter(|table| counts(&table.phase)).count() as i64)
}
