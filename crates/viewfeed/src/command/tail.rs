//! `viewfeed tail`: the feed of a relation, or the changes of tables.

use crate::cli::Tail;
use crate::{client, output};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio_stream::StreamExt;
use viewfeed_change::{Error, Result};
use viewfeed_wire::v1;
use viewfeed_wire::v1::frame::Kind;

/// Prints until the server says BYE or the user stops.
pub(super) async fn run(arguments: Tail) -> Result<()> {
    if arguments.changes {
        changes(arguments).await
    } else {
        relation(arguments).await
    }
}

async fn relation(arguments: Tail) -> Result<()> {
    let name = arguments.relation.clone().ok_or_else(|| {
        Error::invalid("USAGE", "no relation given")
            .hint("name a table or view, or use --changes for all tables")
    })?;
    let request = v1::TailRequest {
        relation: name,
        filter: arguments
            .filter
            .iter()
            .map(|text| filter(text))
            .collect::<Result<_>>()?,
        feed: Some(v1::FeedRequest {
            resume_token: token(arguments.resume.as_deref())?.into(),
            skip_snapshot: arguments.skip_snapshot,
            up_to_version: arguments.up_to.unwrap_or(0),
            envelope: envelope(arguments.envelope.as_deref())?.into(),
            ..Default::default()
        }),
    };
    let mut client = client::generic(&arguments.remote.server).await?;
    let mut frames = client.tail(request).await.map_err(client::failure)?.into_inner();
    let mut row_type = v1::RowType::default();
    while let Some(response) = frames.next().await {
        let response = response.map_err(client::failure)?;
        if let Some(described) = &response.row_type {
            row_type = described.clone();
        }
        if arguments.remote.json {
            print_json(&row_type, &response)
        } else {
            print_text(&row_type, &response)
        }
    }
    Ok(())
}

fn print_json(row_type: &v1::RowType, response: &v1::TailResponse) {
    let frame = response.frame.clone().unwrap_or_default();
    let key_type = key_type(row_type);
    let mut value = json!({
        "kind": frame.kind().as_str_name().trim_start_matches("KIND_"),
        "version": frame.version,
        "rows": response.rows.iter().map(|row| output::json_row(row_type, row)).collect::<Vec<_>>(),
    });
    let optional = [
        (
            "deletes",
            json!(
                response
                    .deletes
                    .iter()
                    .map(|key| output::json_row(&key_type, key))
                    .collect::<Vec<_>>()
            ),
            !response.deletes.is_empty(),
        ),
        ("diffs", json!(frame.diffs), !frame.diffs.is_empty()),
        ("more", json!(true), frame.more),
        ("caught_up", json!(true), frame.caught_up),
        ("row_count", json!(frame.row_count), frame.row_count > 0),
        ("reason", json!(frame.reason), !frame.reason.is_empty()),
        (
            "token",
            json!(URL_SAFE_NO_PAD.encode(&frame.resume_token)),
            !frame.resume_token.is_empty(),
        ),
    ];
    for (name, field, wanted) in optional {
        if wanted {
            value[name] = field;
        }
    }
    output::line(&value.to_string());
}

fn print_text(row_type: &v1::RowType, response: &v1::TailResponse) {
    let frame = response.frame.clone().unwrap_or_default();
    let mark = |place: usize| match frame.diffs.get(place) {
        Some(1) => "+ ".to_owned(),
        Some(-1) => "- ".to_owned(),
        Some(diff) => format!("{diff:+} "),
        None if frame.kind() == Kind::Snapshot => "  ".to_owned(),
        None => "+ ".to_owned(),
    };
    for (place, row) in response.rows.iter().enumerate() {
        output::line(&format!("{}{}", mark(place), output::inline(row_type, row)));
    }
    let key_type = key_type(row_type);
    response
        .deletes
        .iter()
        .for_each(|key| output::line(&format!("- {}", output::inline(&key_type, key))));
    match frame.kind() {
        Kind::Snapshot if frame.caught_up => {
            output::note(&format!(
                "-- {} rows at version {}; changes follow",
                frame.row_count, frame.version
            ));
        }
        Kind::Delta if !frame.more => output::note(&format!("-- version {}", frame.version)),
        Kind::Reset => output::note(&format!("-- forget the rows above ({})", frame.reason)),
        Kind::Bye => output::note(&format!("-- the server ended the feed ({})", frame.reason)),
        _ => {}
    }
}

fn key_type(row_type: &v1::RowType) -> v1::RowType {
    let columns = row_type
        .key
        .iter()
        .filter_map(|place| row_type.columns.get(*place as usize).cloned());
    v1::RowType {
        columns: columns.collect(),
        key: Vec::new(),
    }
}

async fn changes(arguments: Tail) -> Result<()> {
    let request = v1::TailChangesRequest {
        relations: arguments.relation.clone().into_iter().collect(),
        resume_token: token(arguments.resume.as_deref())?.into(),
        from_start: arguments.from_start,
    };
    let mut client = client::generic(&arguments.remote.server).await?;
    let mut notifications = client
        .tail_changes(request)
        .await
        .map_err(client::failure)?
        .into_inner();
    while let Some(notification) = notifications.next().await {
        let change = notification.map_err(client::failure)?;
        let row = |row: &Option<v1::Row>| {
            row.as_ref()
                .map(|row| row.values.iter().map(output::json).collect::<Vec<_>>())
        };
        let operation = change
            .operation()
            .as_str_name()
            .trim_start_matches("OPERATION_")
            .to_owned();
        if arguments.remote.json {
            output::line(&json!({
                "source": change.source, "transaction_id": change.transaction_id, "version": change.version,
                "commit_time": change.commit_time.as_ref().map(output::timestamp), "relation": change.relation,
                "schema_version": change.schema_version, "operation": operation,
                "before": row(&change.before), "after": row(&change.after),
                "token": URL_SAFE_NO_PAD.encode(&change.resume_token),
            }).to_string());
        } else {
            let values = |row: &Option<v1::Row>| {
                row.as_ref()
                    .map(|row| row.values.iter().map(output::text).collect::<Vec<_>>().join(", "))
            };
            let (before, after) = (values(&change.before), values(&change.after));
            let both = [before, after]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("  →  ");
            output::line(&format!(
                "{} {operation} {}: {both}",
                change.version, change.relation
            ));
        }
    }
    Ok(())
}

fn filter(text: &str) -> Result<v1::tail_request::Filter> {
    let (column, value) = text.split_once('=').ok_or_else(|| {
        Error::invalid("USAGE", format!("\"{text}\" is not a filter")).hint("write --filter COLUMN=VALUE")
    })?;
    Ok(v1::tail_request::Filter {
        column: column.to_owned(),
        value: Some(value.to_owned()),
    })
}

fn token(text: Option<&str>) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.unwrap_or_default()).map_err(|error| {
        Error::invalid("TOKEN_INVALID", "this is not a resume token")
            .because(error)
            .hint("copy it from the output of --json")
    })
}

fn envelope(text: Option<&str>) -> Result<v1::Envelope> {
    Ok(match text {
        None => v1::Envelope::Unspecified,
        Some("upsert") => v1::Envelope::Upsert,
        Some("diff") => v1::Envelope::Diff,
        Some("state") => v1::Envelope::State,
        Some(other) => {
            return Err(Error::invalid("USAGE", format!("\"{other}\" is not an envelope"))
                .hint("use upsert, diff or state"));
        }
    })
}
