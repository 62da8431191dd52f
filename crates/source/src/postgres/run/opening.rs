//! What happens before the stream: is this the server and the slot we know, is everything there that it needs.

use super::{APPLICATION, Source};
use crate::postgres::connection::{Connector, SqlSession};
use crate::postgres::replication::{NewSlot, Replication, StartOptions, SystemIdentity};
use crate::postgres::slot::{self, Slot, SlotState};
use crate::postgres::stored::{Progress, SlotIdentity};
use crate::postgres::{
    Applied, Loop, Lsn, Membership, Published, TableShape, Tables, Work, answer, publication, read_shapes,
    wanted,
};
use viewfeed_change::{Error, ErrorKind, Result};

/// From which version on slots can go over to standbys.
const FAILOVER_FROM: u32 = 17;

/// Everything that the stream needs.
pub(super) struct Opened {
    pub(super) connector: Connector,
    pub(super) sql: SqlSession,
    pub(super) replication: Replication,
    pub(super) start: StartOptions,
    pub(super) shapes: Vec<TableShape>,
    /// How tables are in the publication.
    pub(super) memberships: Vec<Membership>,
    pub(super) applied: Applied,
}

/// Connects and brings server and store in line.
pub(super) async fn open<L: Loop>(source: &Source<L>) -> Result<Opened> {
    let settings = &source.settings;
    let connector = Connector::new(settings)?;
    let sql = connector.sql(APPLICATION).await?;
    let mut replication = Replication::open(&connector, APPLICATION).await?;
    let identity = replication.identify().await?;

    let wanted = wanted::wanted_tables(sql.client(), settings).await?;
    wanted.check_all()?;
    publication::ensure(sql.client(), &source.name, settings, &wanted).await?;

    let state = slot::slot_state(sql.client(), settings).await?;
    let progress = source.stored_progress()?;
    if let Some(slot) = new_identity(source, &sql, &mut replication, identity, state, &progress).await? {
        tracing::info!(source = %source.name, slot = %slot.name, began = %slot.began, "a slot is read from its beginning");
        source.target.apply(Work::Slot(slot)).await?;
    }
    let published = Tables::Publication(&settings.publication);
    let found = read_shapes(sql.client(), published, &settings.text_columns).await?;
    let publication = publication::read_publication(sql.client(), settings).await?;
    let memberships = publication
        .map(|publication| publication.memberships())
        .unwrap_or_default();
    let published = found.tables.iter().map(|shape| Published {
        shape: shape.clone(),
        membership: memberships
            .iter()
            .find(|member| member.table == shape.oid)
            .cloned(),
    });
    let applied = source.target.apply(Work::Tables(published.collect())).await?;

    let mut start = StartOptions::for_server(
        sql.server_major(),
        &settings.slot,
        &settings.publication,
        applied.position,
    );
    start.is_binary &= found.tables.iter().all(TableShape::has_binary);
    Ok(Opened {
        connector,
        sql,
        replication,
        start,
        shapes: found.tables,
        memberships,
        applied,
    })
}

/// The slot, if it is another one than was read before: then nobody knows what was missed, and the tables are copied again.
async fn new_identity<L: Loop>(
    source: &Source<L>,
    sql: &SqlSession,
    replication: &mut Replication,
    identity: SystemIdentity,
    state: SlotState,
    progress: &Progress,
) -> Result<Option<SlotIdentity>> {
    let settings = &source.settings;
    let began = match state {
        SlotState::Foreign { why } => return Err(foreign(&settings.slot, &why)),
        SlotState::InUse { reader, .. } => return Err(in_use(&settings.slot, reader.process)),
        SlotState::Free(slot) => match gap(&slot, &identity, progress) {
            None => return Ok(None),
            Some(began) => began,
        },
        SlotState::Lost { why } => {
            tracing::error!(source = %source.name, why, "the slot was lost; tables are copied again");
            slot::drop_slot(sql.client(), settings).await?;
            create(&settings.slot, sql, replication).await?
        }
        SlotState::Missing => create(&settings.slot, sql, replication).await?,
    };
    Ok(Some(SlotIdentity {
        system_id: identity.system_id,
        database: identity.database,
        name: settings.slot.clone(),
        began,
    }))
}

/// Where we have to begin with a slot that is there; None if we can go on where we were.
fn gap(slot: &Slot, identity: &SystemIdentity, progress: &Progress) -> Option<Lsn> {
    let Some(known) = &progress.slot else {
        return Some(slot.confirmed);
    };
    let is_same = known.system_id == identity.system_id && known.database == identity.database;
    // A slot that is ahead of us was read by somebody else, or made anew; a server that is behind us has lost commits.
    let is_ahead = slot.confirmed > progress.position;
    let is_behind = progress.position > identity.flushed;
    match is_same && !is_ahead && !is_behind {
        true => None,
        false => Some(slot.confirmed),
    }
}

async fn create(name: &str, sql: &SqlSession, replication: &mut Replication) -> Result<Lsn> {
    let slot = NewSlot {
        name: name.to_owned(),
        is_temporary: false,
        exports_snapshot: false,
        // A standby's own slots stay where they are.
        is_failover: sql.server_major() >= FAILOVER_FROM && !is_standby(sql).await?,
    };
    Ok(replication.create_slot(&slot).await?.consistent_point)
}

async fn is_standby(sql: &SqlSession) -> Result<bool> {
    let asked = "SELECT pg_catalog.pg_is_in_recovery() AS is_standby";
    let row = answer::row(sql.client(), "asking whether the server is a standby", asked).await?;
    Ok(row.is("is_standby"))
}

fn foreign(slot: &str, why: &str) -> Error {
    let message = format!("the replication slot \"{slot}\" cannot be used: {why}");
    Error::new(ErrorKind::Precondition, "FOREIGN_SLOT", message)
        .hint("drop the source and create it with another name for its slot: slot = '…'")
}

fn in_use(slot: &str, process: i32) -> Error {
    let message = format!("the replication slot \"{slot}\" is being read by process {process} of the server");
    Error::new(ErrorKind::Unavailable, "SLOT_IN_USE", message)
        .hint("if that is no other viewfeed: SELECT pg_terminate_backend of that process")
}
