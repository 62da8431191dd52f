//! The bare hop: our replication client alone. When does a commit arrive that has rows in it?

use std::time::Instant;
use viewfeed_change::Result;
use viewfeed_source::postgres::{Lsn, Received, ReplicationStream};

/// Of pgoutput's messages.
const INSERT: u8 = b'I';
const COMMIT: u8 = b'C';
/// Of a transaction that was sent while it was running.
const STREAM_COMMIT: u8 = b'c';

/// When each of the next `count` transactions with rows has arrived, in the order of their commits.
pub(super) async fn receive(mut stream: ReplicationStream, count: usize) -> Result<Vec<Instant>> {
    let mut arrived = Vec::with_capacity(count);
    let mut has_rows = false;
    while arrived.len() < count {
        let Received::Wal { start, data, .. } = stream.next().await? else {
            continue;
        };
        match data.first() {
            Some(&INSERT) => has_rows = true,
            Some(&(COMMIT | STREAM_COMMIT)) => {
                if std::mem::take(&mut has_rows) {
                    arrived.push(Instant::now());
                }
                stream.report(Lsn(start.0));
            }
            _ => {}
        }
    }
    stream.close().await;
    Ok(arrived)
}
