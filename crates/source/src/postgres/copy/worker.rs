//! One connection of a copy: takes pieces and gives rows until there are no more.

use super::parser::{Form, Parser};
use super::plan::{PartPages, Piece, Queue};
use super::{CopyEvent, CopyProgress};
use crate::postgres::value::{RowBuilder, sql_name};
use crate::postgres::{TableShape, failure};
use futures::TryStreamExt;
use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use viewfeed_change::Result;

/// How many rows a batch may have.
const BATCH_ROWS_MAX: usize = 8192;
/// How many bytes they may have had when they came; one row may have more.
const BATCH_BYTES_MAX: usize = 4 << 20;

pub(super) struct Worker<C> {
    pub(super) session: Arc<C>,
    /// Kept until the last worker is done.
    pub(super) locks: Arc<C>,
    pub(super) tables: Arc<[TableShape]>,
    pub(super) pieces: Arc<Queue>,
    pub(super) progress: Arc<CopyProgress>,
    pub(super) events: mpsc::Sender<Result<CopyEvent>>,
    pub(super) binary: bool,
}

/// Nobody takes the rows any more.
struct Abandoned;

impl<C: AsRef<Client> + Send + Sync + 'static> Worker<C> {
    pub(super) async fn run(self) {
        while let Some(piece) = self.pieces.take() {
            match self.copy(piece).await {
                Ok(Ok(())) => {}
                Ok(Err(Abandoned)) => return,
                Err(error) => {
                    // If nobody listens nobody wants to know.
                    let _ = self.events.send(Err(error)).await;
                    return;
                }
            }
        }
        drop(self.locks);
    }

    async fn copy(&self, piece: &Piece) -> Result<Result<(), Abandoned>> {
        let table = &self.tables[piece.table];
        let counters = &self.progress.tables[piece.table];
        if let Some(part) = &piece.part {
            if let Err(abandoned) = self.copy_part(piece, part, table).await? {
                return Ok(Err(abandoned));
            }
            let read = CopyEvent::Read {
                table: table.oid,
                pages: part.range,
            };
            if self.events.send(Ok(read)).await.is_err() {
                return Ok(Err(Abandoned));
            }
        }
        counters.pages_done.fetch_add(piece.pages, Ordering::Relaxed);
        // All rows of a piece are in the queue before it counts as done.
        if counters.pieces_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(Ok(()));
        }
        let finished = CopyEvent::Finished {
            table: table.oid,
            rows: counters.rows.load(Ordering::Acquire),
        };
        Ok(self.events.send(Ok(finished)).await.map_err(|_| Abandoned))
    }

    async fn copy_part(
        &self,
        piece: &Piece,
        part: &PartPages,
        table: &TableShape,
    ) -> Result<Result<(), Abandoned>> {
        let form = match self.binary && table.has_binary() {
            true => Form::Binary,
            false => Form::Text,
        };
        let failed = |error| failure::of_client(&format!("copying {}", table.full_name()), &error);
        let client: &Client = self.session.as_ref().as_ref();
        let chunks = client.copy_out(&statement(part, table, form)).await;
        let mut chunks = pin!(chunks.map_err(failed)?);
        let (mut parser, mut rows) = (Parser::new(form, table.columns.len()), RowBuilder::new(table));
        while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
            parser.feed(&chunk);
            while parser.next_row(&mut rows)? {
                let is_full = rows.len() >= BATCH_ROWS_MAX || rows.bytes() >= BATCH_BYTES_MAX;
                if is_full && let Err(abandoned) = self.send(piece, &mut rows).await {
                    return Ok(Err(abandoned));
                }
            }
        }
        parser.end()?;
        match rows.is_empty() {
            true => Ok(Ok(())),
            false => Ok(self.send(piece, &mut rows).await),
        }
    }

    async fn send(&self, piece: &Piece, rows: &mut RowBuilder) -> Result<(), Abandoned> {
        let rows = rows.finish();
        let counters = &self.progress.tables[piece.table];
        counters.rows.fetch_add(rows.num_rows() as u64, Ordering::Release);
        let table = counters.table;
        let sent = self.events.send(Ok(CopyEvent::Copied { table, rows })).await;
        sent.map_err(|_| Abandoned)
    }
}

fn statement(part: &PartPages, table: &TableShape, form: Form) -> String {
    let columns: Vec<_> = table
        .columns
        .iter()
        .map(|column| sql_name(&column.name))
        .collect();
    // Pages and places are numbers, the filter is the server's own text.
    let mut statement = format!(
        "COPY (SELECT {} FROM ONLY {} WHERE ctid >= '({},0)'::tid",
        columns.join(", "),
        part.name,
        part.range.from
    );
    let written = match part.range.to {
        u32::MAX => Ok(()),
        to => write!(statement, " AND ctid < '({to},0)'::tid"),
    };
    let written = written.and_then(|()| match &table.row_filter {
        Some(filter) => write!(statement, " AND ({filter})"),
        None => Ok(()),
    });
    written.expect("memory is written");
    let format = match form {
        Form::Binary => "binary",
        Form::Text => "text",
    };
    statement.push_str(") TO STDOUT (FORMAT ");
    statement.push_str(format);
    statement.push(')');
    statement
}
