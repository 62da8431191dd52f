//! The publication at the server: made for exactly the wanted tables, or adopted as somebody made it.
//!
//! A publication that this source made says so in its comment; only such a one is ever altered or dropped. What a table
//! must be like to be wanted is left to `wanted`, what of a table is published to `membership`.

mod membership;

use super::answer;
use super::pgoutput::Oid;
use super::wanted::{WantedTable, WantedTables};
use super::{Settings, wanted};
pub(super) use membership::Member;
use membership::members;
pub use membership::{Membership, MembershipChanges};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;
use viewfeed_change::{Error, ErrorKind, Result};

/// Every kind of change; a publication without one of them loses it.
const PUBLISHED: &str = "insert, update, delete, truncate";
const READING: &str = "reading the publication";
const ALTERING: &str = "altering the publication";
/// The comment on a publication of ours, before the name of its source.
const COMMENT: &str = "Made, altered and dropped by viewfeed source=";

/// A publication as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its number: another one when it is dropped and made anew.
    pub oid: Oid,
    /// Its name.
    pub name: String,
    /// Which source made it; None if it was somebody else.
    pub made_by: Option<String>,
    /// Whether the connection's role may alter it.
    pub is_owned: bool,
    /// Whether it has every table of the database.
    pub has_all_tables: bool,
    /// The kinds of change it leaves out.
    pub lacks: Vec<&'static str>,
    /// Whether partitions are published as the table they are part of.
    pub is_via_root: bool,
    /// The tables in it.
    pub(super) members: Vec<Member>,
}

/// What [`ensure`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// There was none.
    Created,
    /// Somebody else's is used as it is.
    Adopted,
    /// Ours was as it should be.
    Unchanged,
    /// Ours was altered.
    Altered {
        /// Tables that came, as SQL writes them.
        added: Vec<String>,
        /// Tables that went.
        dropped: Vec<String>,
    },
}

impl Publication {
    /// Whether the source `source` made it, so that it may be altered and dropped.
    pub fn is_made_by(&self, source: &str) -> bool {
        self.made_by.as_deref() == Some(source)
    }

    /// How each table is in it. To be stored, and compared by [`MembershipChanges::between`].
    pub fn memberships(&self) -> Vec<Membership> {
        self.members
            .iter()
            .map(|member| member.membership.clone())
            .collect()
    }

    /// Those of `tables` that are in it: what the source gets.
    pub fn published<'a>(&self, tables: &'a [WantedTable]) -> Vec<&'a WantedTable> {
        tables.iter().filter(|table| self.has(table.oid)).collect()
    }

    pub(super) fn has(&self, table: Oid) -> bool {
        self.members.iter().any(|member| member.membership.table == table)
    }
}

/// The publication of the settings; None if there is none.
pub async fn read_publication(client: &Client, settings: &Settings) -> Result<Option<Publication>> {
    let sql = format!(
        "SELECT p.oid, p.pubname, p.puballtables, p.pubviaroot, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
            pg_catalog.pg_has_role(p.pubowner, 'USAGE') AS is_owned,
            pg_catalog.obj_description(p.oid, 'pg_publication') AS comment
        FROM pg_catalog.pg_publication p WHERE p.pubname = {}",
        escape_literal(&settings.publication)
    );
    let rows = answer::rows(client, READING, &sql).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let kinds = [
        ("insert", "pubinsert"),
        ("update", "pubupdate"),
        ("delete", "pubdelete"),
        ("truncate", "pubtruncate"),
    ];
    let lacks = kinds.into_iter().filter(|(_, column)| !row.is(column));
    Ok(Some(Publication {
        oid: Oid(row.value("oid")?),
        name: row.name("pubname")?,
        made_by: row.text("comment").and_then(maker),
        is_owned: row.is("is_owned"),
        has_all_tables: row.is("puballtables"),
        lacks: lacks.map(|(kind, _)| kind).collect(),
        is_via_root: row.is("pubviaroot"),
        members: members(client, &settings.publication).await?,
    }))
}

/// Sees to it that the publication of the settings has the tables of `wanted`. One that the source `source` made is brought
/// to exactly these (one that lost its identity goes: its users' UPDATEs would fail); one that somebody else made must serve as it is, and must have every table that is named. Refused
/// tables are not added: whether they are an error is for the caller to say, before.
pub async fn ensure(
    client: &Client,
    source: &str,
    settings: &Settings,
    wanted: &WantedTables,
) -> Result<Ensured> {
    match read_publication(client, settings).await? {
        None => {
            let sql = creation(source, &settings.publication, &wanted.tables);
            answer::run(client, "creating the publication", &sql).await?;
            Ok(Ensured::Created)
        }
        Some(publication) if publication.is_made_by(source) => {
            let is_reset = !publication.lacks.is_empty() || !publication.is_via_root;
            if !is_reset {
                return alter(client, &publication, wanted).await;
            }
            set_parameters(client, &publication).await?;
            // Which tables it has depends on that.
            let publication = read_publication(client, settings).await?.ok_or_else(gone)?;
            Ok(match alter(client, &publication, wanted).await? {
                Ensured::Unchanged => Ensured::Altered {
                    added: Vec::new(),
                    dropped: Vec::new(),
                },
                altered => altered,
            })
        }
        Some(publication) => {
            check_adopted(&publication, settings, wanted)?;
            Ok(Ensured::Adopted)
        }
    }
}

/// Drops the publication if the source `source` made it; says whether it did. Nothing is dropped twice.
pub async fn drop_publication(client: &Client, source: &str, settings: &Settings) -> Result<bool> {
    let publication = read_publication(client, settings).await?;
    let Some(publication) = publication.filter(|publication| publication.is_made_by(source)) else {
        return Ok(false);
    };
    let sql = format!(
        "DROP PUBLICATION IF EXISTS {}",
        escape_identifier(&publication.name)
    );
    answer::run(client, "dropping the publication", &sql).await?;
    Ok(true)
}

/// The statements that make a publication of `tables` and say that it is ours; one transaction.
fn creation(source: &str, publication: &str, tables: &[WantedTable]) -> String {
    format!(
        "{}; COMMENT ON PUBLICATION {} IS {}",
        create_statement(publication, tables),
        escape_identifier(publication),
        escape_literal(&comment(source))
    )
}

/// The statement that makes a publication of `tables`.
pub(super) fn create_statement(publication: &str, tables: &[WantedTable]) -> String {
    let name = escape_identifier(publication);
    let list = tables.iter().map(only).collect::<Vec<_>>().join(", ");
    let tables = match list.is_empty() {
        true => String::new(),
        false => format!(" FOR TABLE {list}"),
    };
    format!("CREATE PUBLICATION {name}{tables} WITH ({})", parameters())
}

async fn alter(client: &Client, publication: &Publication, wanted: &WantedTables) -> Result<Ensured> {
    check_identities(publication, wanted)?;
    let name = escape_identifier(&publication.name);
    let missing = wanted.tables.iter().filter(|table| !publication.has(table.oid));
    let added: Vec<String> = missing.map(WantedTable::sql_name).collect();
    let surplus = publication
        .members
        .iter()
        .filter(|member| !wanted.has(member.membership.table));
    let dropped: Vec<String> = surplus.map(Member::sql_name).collect();
    let mut statements = Vec::new();
    for (verb, tables) in [("DROP", &dropped), ("ADD", &added)] {
        if !tables.is_empty() {
            let list = tables.iter().map(|table| format!("ONLY {table}"));
            let list = list.collect::<Vec<_>>().join(", ");
            statements.push(format!("ALTER PUBLICATION {name} {verb} TABLE {list}"));
        }
    }
    if statements.is_empty() {
        return Ok(Ensured::Unchanged);
    }
    answer::run(client, ALTERING, &statements.join("; ")).await?;
    Ok(Ensured::Altered { added, dropped })
}

async fn set_parameters(client: &Client, publication: &Publication) -> Result<()> {
    let name = escape_identifier(&publication.name);
    let sql = format!("ALTER PUBLICATION {name} SET ({})", parameters());
    answer::run(client, ALTERING, &sql).await
}

/// The settings of a publication that loses nothing.
pub(super) fn parameters() -> String {
    format!("publish = '{PUBLISHED}', publish_via_partition_root = true")
}

/// That somebody else's publication serves as it is.
fn check_adopted(publication: &Publication, settings: &Settings, wanted: &WantedTables) -> Result<()> {
    let name = escape_identifier(&publication.name);
    let partitioned = wanted.tables.iter().any(|table| table.is_partitioned);
    if !publication.lacks.is_empty() || partitioned && !publication.is_via_root {
        let message = format!("publication {name} leaves out changes that the source needs");
        return Err(unfit(
            message,
            format!("ALTER PUBLICATION {name} SET ({})", parameters()),
        ));
    }
    check_identities(publication, wanted)?;
    let patterns = settings.patterns()?;
    let is_named = |table: &&WantedTable| {
        patterns
            .iter()
            .any(|pattern| pattern.table.is_some() && pattern.matches(&table.schema, &table.name))
    };
    let mut named = wanted.tables.iter().filter(is_named);
    match named.find(|table| !publication.has(table.oid)) {
        None => Ok(()),
        Some(table) => {
            let message = format!("publication {name} does not have table {}", table.sql_name());
            let run = format!("ALTER PUBLICATION {name} ADD TABLE {}", only(table));
            Err(unfit(message, run))
        }
    }
}

/// That no wanted table is published in a way that makes the server refuse its UPDATEs and DELETEs. (Rows and columns that
/// somebody chose otherwise are theirs to choose.)
fn check_identities(publication: &Publication, wanted: &WantedTables) -> Result<()> {
    for table in &wanted.tables {
        let of_table = |member: &&Member| member.membership.table == table.oid;
        let Some(member) = publication.members.iter().find(of_table) else {
            continue;
        };
        if member.filters_beyond_identity(table) || member.hides_identity(table) {
            let (name, table) = (escape_identifier(&publication.name), table.sql_name());
            let message = format!(
                "the filter or columns of table {table} in publication {name} do not go with its replica identity"
            );
            return Err(unfit(message, member.again(&publication.name)));
        }
    }
    Ok(())
}

fn gone() -> Error {
    let message = "the publication was dropped while it was being altered";
    Error::new(ErrorKind::Unavailable, "PUBLICATION_GONE", message)
        .hint("it is made again at the next attempt")
}

fn unfit(message: String, run: String) -> Error {
    Error::new(ErrorKind::Precondition, "PUBLICATION_UNFIT", message).hint(format!(
        "run at the server: {run} — or give the source a publication of its own by the option publication"
    ))
}

pub(super) fn only(table: &WantedTable) -> String {
    format!("ONLY {}", wanted::sql_name(&table.schema, &table.name))
}

/// What is kept in the comment on a publication that the source `source` made.
fn comment(source: &str) -> String {
    format!("{COMMENT}{source}")
}

/// The source that wrote this comment.
fn maker(comment: &str) -> Option<String> {
    comment.strip_prefix(COMMENT).map(str::to_owned)
}
