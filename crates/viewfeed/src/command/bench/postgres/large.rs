//! One transaction of very many rows: from its commit until a view over it shows it, beside when it has arrived at a bare
//! replication client, and what it takes here and at the server.

use super::database::{Database, NAME};
use super::{VIEW, catch_up, follow, hop, mib, print};
use std::time::{Duration, Instant};
use viewfeed_change::{Error, Result};

/// Prints one line.
pub(super) async fn run(database: &Database, rows: u64) -> Result<()> {
    let hop = bare_hop(database, rows).await?;
    database.reset().await?;
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
        format!("{:.2}", hop.as_secs_f64()),
        mib(before),
        mib(server.peak_resident_bytes()?),
        shown(written.map(|(spilled, _)| spilled)),
        shown(written.map(|(_, streamed)| streamed)),
    ];
    let header = [
        "rows of the transaction",
        "COMMIT → in the view, s",
        "bare hop, s",
        "peak MiB before",
        "peak MiB",
        "spilled by the server, MiB",
        "sent before the commit, MiB",
    ];
    print("large transaction", &header, vec![line]);
    Ok(())
}

/// From the commit of such a transaction until all of it has arrived at a client that does nothing with it.
async fn bare_hop(database: &Database, rows: u64) -> Result<Duration> {
    let publication = format!("CREATE PUBLICATION {NAME} FOR TABLE {NAME}.orders");
    database.run(&publication).await?;
    database.make_peer_slot().await?;
    let arriving = tokio::spawn(hop::receive(database.peer_stream().await?, 1));
    database.run("BEGIN").await?;
    database.insert_here(0, rows).await?;
    let start = Instant::now();
    database.run("COMMIT").await?;
    let arrived = arriving.await;
    let arrived = arrived.map_err(|error| Error::internal("the bare client stopped").because(error))??;
    Ok(arrived
        .first()
        .map_or(Duration::ZERO, |arrived| arrived.duration_since(start)))
}
