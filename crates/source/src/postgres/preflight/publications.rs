//! The publication: is there one, or may it be made, and does it publish whole tables?

use super::super::publication::{Publication, create_statement, only, parameters};
use super::super::wanted::{WantedTable, WantedTables};
use super::server::Server;
use super::{Finding, Settings, counted, listed};
use postgres_protocol::escape::escape_identifier;
use viewfeed_change::Result;

/// What the publication is asked to be.
pub(super) struct Asked<'a> {
    pub(super) source: &'a str,
    pub(super) settings: &'a Settings,
    pub(super) wanted: &'a WantedTables,
    pub(super) server: &'a Server,
}

/// All that is to say of it.
pub(super) fn findings(publication: Option<&Publication>, asked: &Asked<'_>) -> Result<Vec<Finding>> {
    let Some(publication) = publication else {
        return Ok(vec![missing(asked)]);
    };
    let mut findings = vec![match publication.is_made_by(asked.source) {
        true => ours(publication, asked),
        false => adopted(publication, asked),
    }];
    findings.extend(kinds(publication, asked));
    findings.extend(absent(publication, asked)?);
    findings.extend(surplus(publication, asked));
    for table in &asked.wanted.tables {
        findings.extend(part_of(publication, table));
    }
    Ok(findings)
}

fn missing(asked: &Asked<'_>) -> Finding {
    let name = escape_identifier(&asked.settings.publication);
    let tables = &asked.wanted.tables;
    let foreign = tables.iter().filter(|table| !table.access.owns).count();
    let what = format!("there is no publication {name}");
    if asked.server.may_create && foreign == 0 {
        let count = counted(tables.len(), "table");
        return Finding::good(format!("{what}: it will be made, with {count}"));
    }
    let role = escape_identifier(&asked.server.role);
    let why = match asked.server.may_create {
        true => format!(
            "role {role} cannot make it: {} not its own",
            counted(foreign, "table")
        ),
        false => format!("role {role} cannot make it without CREATE on the database"),
    };
    let database = escape_identifier(&asked.server.database);
    let run = match foreign {
        0 => format!("GRANT CREATE ON DATABASE {database} TO {role};"),
        _ => format!(
            "as the owner of the tables or a superuser: {};",
            create_statement(&asked.settings.publication, tables)
        ),
    };
    Finding::error(what, why, run)
}

fn ours(publication: &Publication, asked: &Asked<'_>) -> Finding {
    let name = escape_identifier(&publication.name);
    if publication.is_owned {
        return Finding::good(format!("publication {name} was made by this source"));
    }
    let role = escape_identifier(&asked.server.role);
    Finding::error(
        format!("publication {name} was made by this source, but is not of role {role}"),
        "it cannot be altered when tables come and go",
        format!("ALTER PUBLICATION {name} OWNER TO {role};"),
    )
}

fn adopted(publication: &Publication, asked: &Asked<'_>) -> Finding {
    let name = escape_identifier(&publication.name);
    match &publication.made_by {
        Some(source) => Finding::warning(
            format!("publication {name} was made by another source, \"{source}\""),
            "it changes with that source, and goes with it",
            format!("give the source \"{}\" a publication of its own", asked.source),
        ),
        None => Finding::note(
            format!("publication {name} exists already"),
            "it is used as it is, and never altered or dropped",
        ),
    }
}

/// Kinds of change that it leaves out, and partitions under their own names.
fn kinds(publication: &Publication, asked: &Asked<'_>) -> Vec<Finding> {
    // Ours is brought to what it should be.
    if publication.is_made_by(asked.source) {
        return Vec::new();
    }
    let name = escape_identifier(&publication.name);
    let run = format!("ALTER PUBLICATION {name} SET ({});", parameters());
    let mut findings = Vec::new();
    if !publication.lacks.is_empty() {
        let lacks = listed(publication.lacks.iter().map(ToString::to_string));
        findings.push(Finding::error(
            format!("publication {name} does not publish {lacks}"),
            "rows here would not follow the rows there",
            run.clone(),
        ));
    }
    if !publication.is_via_root && asked.wanted.tables.iter().any(|table| table.is_partitioned) {
        findings.push(Finding::error(
            format!("publication {name} publishes partitions under their own names"),
            "rows of a partitioned table would not be known as its rows",
            run,
        ));
    }
    findings
}

/// Wanted tables that it does not have.
fn absent(publication: &Publication, asked: &Asked<'_>) -> Result<Option<Finding>> {
    let missing = asked
        .wanted
        .tables
        .iter()
        .filter(|table| !publication.has(table.oid));
    let missing: Vec<&WantedTable> = missing.collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let name = escape_identifier(&publication.name);
    let names = listed(missing.iter().map(|table| table.sql_name()));
    let what = format!("publication {name} does not have {names}");
    let list = missing.iter().map(|table| only(table)).collect::<Vec<_>>();
    let run = format!("ALTER PUBLICATION {name} ADD TABLE {};", list.join(", "));
    if publication.is_made_by(asked.source) {
        let is_foreign = missing.iter().any(|table| !table.access.owns);
        return Ok(Some(match is_foreign {
            true => Finding::error(what, "a table is added by its owner only", run),
            false => Finding::note(what, "it will be added"),
        }));
    }
    let patterns = asked.settings.patterns()?;
    let is_named = missing.iter().any(|table| {
        patterns
            .iter()
            .any(|pattern| pattern.table.is_some() && pattern.matches(&table.schema, &table.name))
    });
    Ok(Some(match is_named {
        true => Finding::error(what, "the source names it", run),
        false => Finding::warning(what, "it is left out", run),
    }))
}

/// Tables that it has and the source does not want.
fn surplus(publication: &Publication, asked: &Asked<'_>) -> Option<Finding> {
    let surplus = publication
        .members
        .iter()
        .filter(|member| !asked.wanted.has(member.membership.table));
    let names: Vec<String> = surplus.map(|member| member.sql_name()).collect();
    if names.is_empty() {
        return None;
    }
    let name = escape_identifier(&publication.name);
    let what = format!("publication {name} also has {}", listed(names));
    Some(match publication.is_made_by(asked.source) {
        true => Finding::note(
            what,
            "the source does not want it: it will be dropped from the publication",
        ),
        false => Finding::note(
            what,
            "the source does not want it: it is sent all the same, and thrown away",
        ),
    })
}

/// Row filters and lists of columns.
fn part_of(publication: &Publication, table: &WantedTable) -> Vec<Finding> {
    let of_table = |member: &&super::super::publication::Member| member.membership.table == table.oid;
    let Some(member) = publication.members.iter().find(of_table) else {
        return Vec::new();
    };
    let again = member.again(&publication.name);
    let (publication, name) = (escape_identifier(&publication.name), table.sql_name());
    let mut findings = Vec::new();
    if member.membership.filter.is_some() {
        let what = format!("publication {publication} has a row filter on {name}");
        findings.push(match member.filters_beyond_identity(table) {
            false => Finding::note(what, "the other rows are left out"),
            true => Finding::error(
                what,
                "it reads columns outside of the replica identity: UPDATE and DELETE on the table fail for everybody",
                again.clone(),
            ),
        });
    }
    if member.membership.columns.is_some() {
        let what = format!("publication {publication} has a column list for {name}");
        findings.push(match member.hides_identity(table) {
            false => Finding::note(what, "the other columns are left out"),
            true => Finding::error(
                what,
                "it lacks columns of the replica identity: UPDATE and DELETE on the table fail for everybody",
                again,
            ),
        });
    }
    findings
}
