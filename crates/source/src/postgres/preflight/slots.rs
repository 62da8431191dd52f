//! The replication slot: can it be made, or be read; and those nobody reads.

use super::super::answer;
use super::super::slot::{OrphanSlot, SlotState};
use super::server::{self, Server};
use super::{Finding, Settings, Severity};
use postgres_protocol::escape::escape_literal;
use tokio_postgres::Client;
use viewfeed_change::Result;

/// A transaction that has been open for so long holds up the making of a slot.
const OPEN_SECONDS_MAX: u32 = 10;

/// All that is to say of the source's slot.
pub(super) fn findings(state: &SlotState, server: &Server, settings: &Settings) -> Vec<Finding> {
    let name = &settings.slot;
    let drop = format!("SELECT pg_drop_replication_slot({});", escape_literal(name));
    let finding = match state {
        SlotState::Missing => Finding::good(format!("there is no slot {name}: it will be made")),
        SlotState::Free(_) => Finding::new(
            Severity::Note,
            format!("slot {name} exists already and nobody reads it"),
            "a source that made it goes on with it; for a new source it is in the way",
            Some(format!("if no source uses it: {drop}")),
        ),
        SlotState::InUse { reader, .. } => Finding::warning(
            format!(
                "slot {name} is being read by process {} ({})",
                reader.process, reader.application
            ),
            "a slot has one reader; this may be the source itself",
            "if it is another one, choose another slot by the option slot",
        ),
        SlotState::Foreign { why } => Finding::error(
            format!("slot {name} is not ours: {why}"),
            "it is of no use here, and left alone",
            "choose another slot by the option slot",
        ),
        SlotState::Lost { why } => Finding::error(
            format!("slot {name} is lost: {why}"),
            "the server no longer has what it needs; the tables are copied anew",
            drop,
        ),
    };
    let exists = !matches!(state, SlotState::Missing);
    vec![finding, server::slots(server, exists)]
}

/// Transactions that the making of the slot waits for. (Only a role that may see other sessions sees their age.)
pub(super) async fn blockers(client: &Client, state: &SlotState) -> Result<Option<Finding>> {
    if !matches!(state, SlotState::Missing) {
        return Ok(None);
    }
    let sql = format!(
        "SELECT pg_catalog.string_agg(pid::text, ', ' ORDER BY pid) AS processes FROM pg_catalog.pg_stat_activity
        WHERE backend_xid IS NOT NULL AND xact_start < pg_catalog.now() - interval '{OPEN_SECONDS_MAX} seconds'"
    );
    let row = answer::row(client, "reading the running transactions", &sql).await?;
    Ok(row.text("processes").map(|processes| {
        Finding::warning(
            format!("transactions have been open for more than {OPEN_SECONDS_MAX} s: process {processes}"),
            "a slot is made only when those that run have ended",
            "end them, or wait; SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL; shows them",
        )
    }))
}

/// Slots like ours that nobody reads.
pub(super) fn orphans(orphans: &[OrphanSlot]) -> Vec<Finding> {
    let finding = |orphan: &OrphanSlot| {
        let name = &orphan.name;
        Finding::warning(
            format!(
                "slot {name} is read by nobody and keeps {} MB of log",
                orphan.kept_bytes >> 20
            ),
            "a slot that nobody reads keeps log until the disk is full",
            format!(
                "if no viewfeed uses it: SELECT pg_drop_replication_slot({});",
                escape_literal(name)
            ),
        )
    };
    orphans.iter().map(finding).collect()
}
