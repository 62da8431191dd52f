//! Tables that are there when the source is made: how fast they are copied.

use super::database::Database;
use super::{mib, per_second, print, ratio};
use crate::command::bench::postgres::catch_up;
use crate::command::bench::server::{BenchServer, disk_bytes};
use std::time::Instant;
use viewfeed_change::Result;

/// From CREATE SOURCE until everything can be read, with the doctor and the making of the slot; and psql on the same table.
pub(super) async fn run(database: &Database, rows: u64) -> Result<()> {
    database.insert_here(0, rows).await?;
    let server = BenchServer::start().await?;
    let start = Instant::now();
    server.sql(&database.create_source()).await?;
    catch_up(&server, database).await?;
    let taken = start.elapsed();
    let (peak, processor) = (server.peak_resident_bytes()?, server.processor_time()?);
    let disk = disk_bytes(&server.data_dir())?;
    server.sql("DROP SOURCE bench").await?;
    drop(server);
    let copied = database.programs.copy(database).await?;
    let line = vec![
        rows.to_string(),
        format!("{:.2}", taken.as_secs_f64()),
        per_second(rows, taken),
        copied.map_or_else(|| "–".to_owned(), |copied| per_second(rows, copied)),
        ratio(
            1.0 / taken.as_secs_f64(),
            copied.map(|copied| 1.0 / copied.as_secs_f64()),
        ),
        format!("{:.2}", processor.as_secs_f64() * 1e6 / rows as f64),
        mib(peak),
        format!("{:.0}", disk as f64 / rows as f64),
    ];
    let header = [
        "copied rows",
        "s",
        "rows/s",
        "psql COPY rows/s",
        "ratio",
        "CPU µs/row",
        "peak MiB",
        "disk bytes/row",
    ];
    print("copy", &header, vec![line]);
    Ok(())
}
