//! One transaction of very many rows: from its commit until a view over it shows it, and what it takes here and at the server.

use super::database::Database;
use super::{VIEW, catch_up, follow, mib, print};
use std::time::Instant;
use viewfeed_change::{Error, Result};

/// Prints one line.
pub(super) async fn run(database: &Database, rows: u64) -> Result<()> {
    let server = follow(database).await?;
    server.sql(VIEW).await?;
    let before = server.peak_resident_bytes()?;
    database.run("BEGIN").await?;
    database.insert_here(0, rows).await?;
    let start = Instant::now();
    database.run("COMMIT").await?;
    catch_up(&server, database).await?;
    let taken = start.elapsed();
    let counted = server.sql("SELECT sum(orders) FROM by_region").await?;
    if counted != [[rows.to_string()]] {
        return Err(Error::internal(format!(
            "the view does not count the {rows} rows that were committed"
        )));
    }
    let written = database.spilled_and_streamed_bytes().await?;
    let shown = |bytes: Option<u64>| bytes.map_or_else(|| "–".to_owned(), mib);
    let line = vec![
        rows.to_string(),
        format!("{:.2}", taken.as_secs_f64()),
        mib(before),
        mib(server.peak_resident_bytes()?),
        shown(written.map(|(spilled, _)| spilled)),
        shown(written.map(|(_, streamed)| streamed)),
    ];
    let header = [
        "rows of the transaction",
        "COMMIT → in the view, s",
        "peak MiB before",
        "peak MiB",
        "spilled by the server, MiB",
        "sent before the commit, MiB",
    ];
    print("large transaction", &header, vec![line]);
    Ok(())
}
