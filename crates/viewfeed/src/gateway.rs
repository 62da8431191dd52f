//! Answers what the server asks: hands writes to the loop, runs reads beside it.

use crate::pipeline::{Job, Write};
use crate::session::Sessions;
use crate::status::StatusSource;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use viewfeed_catalog::Mutation;
use viewfeed_server::Command;
use viewfeed_source::embedded::Operation;

/// Runs until the server is gone. Writes are handed on in the order they arrive.
pub(crate) async fn run(
    mut commands: mpsc::Receiver<Command>,
    sessions: Sessions,
    status: Arc<StatusSource>,
) {
    let mut running = JoinSet::new();
    while let Some(command) = commands.recv().await {
        while running.try_join_next().is_some() {}
        match command {
            Command::Mutate {
                table,
                mutation,
                rows,
                reply,
            } => {
                let write = Write {
                    table: table.id,
                    operation: operation(mutation),
                    rows,
                };
                if sessions.jobs.send(Job::Write { write, reply }).await.is_err() {
                    return;
                }
            }
            Command::Select {
                sql,
                params,
                search_schema,
                min_version,
                reply,
            } => {
                let sessions = sessions.clone();
                running.spawn(async move {
                    let selected = sessions.select(sql, params, search_schema, min_version).await;
                    // The caller may be gone.
                    let _ = reply.send(selected);
                });
            }
            Command::Reach {
                source,
                position,
                reply,
            } => {
                let sources = sessions.sources.clone();
                running.spawn(async move {
                    // The caller may be gone.
                    let _ = reply.send(sources.wait(&source, Some(&position)).await);
                });
            }
            Command::Session { requests, replies } => {
                running.spawn(sessions.clone().run(requests, replies));
            }
            Command::Status { reply } => {
                let (sources, status) = (sessions.sources.clone(), status.clone());
                running.spawn(async move {
                    let shown = sources.shown().await.unwrap_or_default();
                    let _ = reply.send(status.now(&shown));
                });
            }
        }
    }
}

fn operation(mutation: Mutation) -> Operation {
    match mutation {
        Mutation::Insert => Operation::Insert,
        Mutation::Update => Operation::Update,
        Mutation::Upsert => Operation::Upsert,
        Mutation::Delete => Operation::Delete,
    }
}
