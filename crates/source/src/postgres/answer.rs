//! Questions to the server's catalog and their answers, as text: whatever its version and whatever stands between, the
//! simple form of a query works.

use super::failure;
use std::str::FromStr;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use viewfeed_change::{Error, ErrorKind, Result};

/// A row; its columns are found by name.
pub(super) struct Row(SimpleQueryRow);

/// The rows of the statement `sql`. `doing` says to the user what it is for.
pub(super) async fn rows(client: &Client, doing: &str, sql: &str) -> Result<Vec<Row>> {
    let messages = client
        .simple_query(sql)
        .await
        .map_err(|error| failure::of_client(doing, &error))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(Row(row)),
        _ => None,
    });
    Ok(rows.collect())
}

/// The only row of `sql`.
pub(super) async fn row(client: &Client, doing: &str, sql: &str) -> Result<Row> {
    let mut rows = rows(client, doing, sql).await?;
    match rows.len() {
        1 => Ok(rows.remove(0)),
        count => Err(unreadable(&format!("{count} rows where one is due, {doing}"))),
    }
}

/// Runs `sql`, one statement or several as one transaction.
pub(super) async fn run(client: &Client, doing: &str, sql: &str) -> Result<()> {
    let done = client.batch_execute(sql).await;
    done.map_err(|error| failure::of_client(doing, &error))
}

impl Row {
    /// None is NULL, or a column that this version does not have.
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.0.try_get(column).ok().flatten()
    }

    /// A text that is never NULL.
    pub(super) fn name(&self, column: &str) -> Result<String> {
        self.text(column)
            .map(str::to_owned)
            .ok_or_else(|| unreadable(column))
    }

    /// A boolean; NULL is false.
    pub(super) fn is(&self, column: &str) -> bool {
        self.text(column) == Some("t")
    }

    /// A number or an LSN.
    pub(super) fn value<T: FromStr>(&self, column: &str) -> Result<T> {
        self.optional(column)?.ok_or_else(|| unreadable(column))
    }

    /// The same, or NULL.
    pub(super) fn optional<T: FromStr>(&self, column: &str) -> Result<Option<T>> {
        let parse = |text: &str| text.parse().map_err(|_| unreadable(column));
        self.text(column).map(parse).transpose()
    }
}

fn unreadable(what: &str) -> Error {
    let message = format!("the server's catalog does not look as it should: {what}");
    Error::new(ErrorKind::Precondition, "POSTGRES_CATALOG", message)
        .hint("viewfeed knows Postgres 13 and later; report the server's version if it is one of these")
}
