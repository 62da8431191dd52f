//! `viewfeed sql`: one script, or a session on a terminal.

use crate::cli::Sql;
use crate::{client, output};
use std::io::{BufRead, IsTerminal, Read, Write};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_wire::v1;

/// Rows kept back to be printed as one table.
const TABLE_ROWS_MAX: usize = 10_000;

/// Runs the script given, stdin, or an interactive session.
pub(super) async fn run(arguments: Sql) -> Result<()> {
    let mut client = client::generic(&arguments.remote.server).await?;
    let (requests, receiver) = mpsc::channel(1);
    let mut printer = Printer {
        json: arguments.remote.json,
        row_type: v1::RowType::default(),
        rows: Vec::new(),
    };
    let script = match &arguments.script {
        Some(script) => Some(script.clone()),
        None if std::io::stdin().is_terminal() => None,
        None => Some(read_stdin().await?),
    };
    let answers = client
        .session(ReceiverStream::new(receiver))
        .await
        .map_err(client::failure)?;
    let mut answers = answers.into_inner();
    match script {
        Some(sql) => {
            send(&requests, sql, &arguments.schema).await?;
            drop(requests);
            printer.answer(&mut answers).await
        }
        None => converse(requests, &mut answers, &mut printer, &arguments.schema).await,
    }
}

async fn converse(
    requests: mpsc::Sender<v1::ExecuteRequest>,
    answers: &mut tonic::Streaming<v1::ExecuteResponse>,
    printer: &mut Printer,
    schema: &str,
) -> Result<()> {
    output::note("viewfeed sql: statements end with a semicolon, \\q leaves");
    let mut statement = String::new();
    loop {
        let prompt = if statement.is_empty() {
            "viewfeed> "
        } else {
            "      ... "
        };
        let Some(line) = read_line(prompt).await? else {
            return Ok(());
        };
        if statement.is_empty() && matches!(line.trim(), "\\q" | "quit" | "exit") {
            return Ok(());
        }
        statement.push_str(&line);
        if statement.trim().is_empty() {
            statement.clear();
        } else if line.trim_end().ends_with(';') {
            send(&requests, std::mem::take(&mut statement), schema).await?;
            if let Err(error) = printer.answer(answers).await {
                if error.kind() == ErrorKind::Unavailable {
                    return Err(error);
                }
                output::print_error(&error);
            }
        }
    }
}

async fn send(requests: &mpsc::Sender<v1::ExecuteRequest>, sql: String, schema: &str) -> Result<()> {
    let request = v1::ExecuteRequest {
        sql,
        schema: schema.to_owned(),
        min_version: 0,
    };
    requests.send(request).await.map_err(|_| ended())
}

struct Printer {
    json: bool,
    row_type: v1::RowType,
    rows: Vec<v1::Row>,
}

impl Printer {
    /// Prints the answer to one script.
    async fn answer(&mut self, answers: &mut tonic::Streaming<v1::ExecuteResponse>) -> Result<()> {
        while let Some(response) = answers.next().await {
            let response = response.map_err(client::failure)?;
            if let Some(failure) = response.failure {
                let status = tonic::Status::new(tonic::Code::from(failure.code), failure.message);
                return Err(client::failure(status));
            }
            if response.done {
                return Ok(());
            }
            self.part(response);
        }
        Err(ended())
    }

    fn part(&mut self, response: v1::ExecuteResponse) {
        if let Some(row_type) = response.row_type {
            self.row_type = row_type;
        }
        self.rows.extend(response.rows);
        let is_end = !response.command.is_empty();
        if self.json {
            for row in self.rows.drain(..) {
                output::line(&output::json_row(&self.row_type, &row).to_string());
            }
        } else if !self.row_type.columns.is_empty() && (is_end || self.rows.len() >= TABLE_ROWS_MAX) {
            output::line(&output::table(&self.row_type, &self.rows));
            self.rows.clear();
        }
        if is_end {
            response
                .notices
                .iter()
                .for_each(|notice| output::note(&format!("notice: {notice}")));
            self.row_type = v1::RowType::default();
            if self.json {
                output::note(&format!("{} (version {})", response.command, response.version));
            } else {
                output::line(&format!("{} (version {})", response.command, response.version));
            }
        }
    }
}

async fn read_stdin() -> Result<String> {
    let read = tokio::task::spawn_blocking(|| {
        let mut script = String::new();
        std::io::stdin().read_to_string(&mut script).map(|_| script)
    });
    Ok(read
        .await
        .map_err(|error| Error::internal("reading stdin stopped").because(error))??)
}

async fn read_line(prompt: &'static str) -> Result<Option<String>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut stdout = std::io::stdout();
        stdout.write_all(prompt.as_bytes())?;
        stdout.flush()?;
        let mut line = String::new();
        let count = std::io::stdin().lock().read_line(&mut line)?;
        Ok::<_, std::io::Error>((count > 0).then_some(line))
    });
    Ok(read
        .await
        .map_err(|error| Error::internal("reading stdin stopped").because(error))??)
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "SERVER", "the server ended the session").hint("see its log")
}
