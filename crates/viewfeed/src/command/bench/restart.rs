//! Kill -9 with many rows: time to the first correct answer; memory and disk per row.

use super::server::{BenchServer, disk_bytes};
use super::{ms, throughput};
use crate::output;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use viewfeed_change::{Error, Result};

/// Prints one table.
pub(super) async fn run(rows: usize) -> Result<()> {
    let mut server = BenchServer::start().await?;
    let start = Instant::now();
    throughput::prepare(&server, rows, &AtomicU64::new(0)).await?;
    let loaded = start.elapsed();
    let question = "SELECT sum(orders) FROM by_region";
    check(&server.sql(question).await?, rows)?;
    let resident_loaded = server.resident_bytes()?;
    let disk = disk_bytes(&server.data_dir())?;

    let start = Instant::now();
    server.kill_and_restart().await?;
    let listening = start.elapsed();
    check(&server.sql(question).await?, rows)?;
    let answered = start.elapsed();
    let resident = server.resident_bytes()?;
    let per_row = |bytes: u64| format!("{:.0}", bytes as f64 / rows as f64);
    let line = |name: &str, value: String| vec![name.to_owned(), value];
    output::line(&output::text_table(
        ["after kill -9", &format!("{rows} rows, join + aggregate view")]
            .map(String::from)
            .to_vec(),
        vec![
            line(
                "load, rows/s",
                format!("{:.0}", rows as f64 / loaded.as_secs_f64()),
            ),
            line("listening again, ms", ms(listening)),
            line("first correct answer, ms", ms(answered)),
            line("disk, bytes/row", per_row(disk)),
            line("resident after loading, bytes/row", per_row(resident_loaded)),
            line("resident after restart, bytes/row", per_row(resident)),
        ],
    ));
    Ok(())
}

fn check(answer: &[Vec<String>], rows: usize) -> Result<()> {
    if answer == [[rows.to_string()]] {
        return Ok(());
    }
    Err(Error::internal(format!(
        "the view does not count the {rows} rows that were written"
    )))
}
