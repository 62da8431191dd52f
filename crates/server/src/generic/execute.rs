//! SQL scripts: one per call, or many in a session whose transactions may span them.

use crate::context::{Context, unanswered};
use crate::message::{self, Requests, Responses, decode, encode};
use crate::{Command, Executed, SessionRequest, status};
use async_stream::try_stream;
use bytes::Bytes;
use prost::Message;
use std::ops::Range;
use tokio::sync::mpsc;
use tonic::Status;
use viewfeed_catalog::{row_type, rows_to_wire};
use viewfeed_change::{Column, Error, RelationName, Result};
use viewfeed_wire::v1;

/// Parts of answers that wait for a slow client; then the statement waits.
const ANSWERS_WAITING_MAX: usize = 16;
/// One script; its failure is the call's.
pub(super) async fn execute(context: &Context, mut requests: Requests) -> Result<Responses, Status> {
    let request: v1::ExecuteRequest = requests.only_as().await?;
    let mut session = Session::open(context).await.map_err(|error| status::of(&error))?;
    session.begin(request).await.map_err(|error| status::of(&error))?;
    Ok(Box::pin(try_stream! {
        loop {
            let executed = session.next().await.map_err(|error| status::of(&error))?;
            if matches!(executed, Executed::Done) {
                return;
            }
            if let Executed::Failed(error) = &executed {
                Err(status::of(error))?;
            }
            for response in session.responses(executed).map_err(|error| status::of(&error))? {
                yield response;
            }
        }
    }))
}

/// Scripts, one after another; a failure is told and the session goes on.
pub(super) async fn session(context: &Context, mut requests: Requests) -> Result<Responses, Status> {
    let mut session = Session::open(context).await.map_err(|error| status::of(&error))?;
    Ok(Box::pin(try_stream! {
        while let Some(request) = requests.next().await? {
            session.begin(decode(request)?).await.map_err(|error| status::of(&error))?;
            loop {
                let executed = session.next().await.map_err(|error| status::of(&error))?;
                let done = matches!(executed, Executed::Done | Executed::Failed(_));
                for response in session.responses(executed).map_err(|error| status::of(&error))? {
                    yield response;
                }
                if done {
                    break;
                }
            }
        }
    }))
}

/// A session of the program. Dropping it ends it, and what it has not committed.
struct Session {
    requests: mpsc::Sender<SessionRequest>,
    answers: mpsc::Receiver<Executed>,
    sql_type: fn(&Column) -> String,
}

impl Session {
    async fn open(context: &Context) -> Result<Self> {
        // One at a time: the next script is read when the one before is answered.
        let (requests, program_requests) = mpsc::channel(1);
        let (program_answers, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        let command = Command::Session {
            requests: program_requests,
            replies: program_answers,
        };
        context.send(command).await?;
        Ok(Self {
            requests,
            answers,
            sql_type: context.options.sql_type,
        })
    }

    async fn begin(&self, request: v1::ExecuteRequest) -> Result<()> {
        let unnamed = request.schema.is_empty();
        let search_schema = if unnamed {
            RelationName::PUBLIC.to_owned()
        } else {
            request.schema
        };
        let script = SessionRequest {
            sql: request.sql,
            search_schema,
            min_version: request.min_version,
        };
        self.requests.send(script).await.map_err(|_| unanswered())
    }

    async fn next(&mut self) -> Result<Executed> {
        self.answers.recv().await.ok_or_else(unanswered)
    }

    fn responses(&self, executed: Executed) -> Result<Vec<Bytes>> {
        let response = match executed {
            Executed::Columns(columns) => v1::ExecuteResponse {
                row_type: Some(row_type(&columns, &[], self.sql_type)),
                ..v1::ExecuteResponse::default()
            },
            Executed::Rows(rows) => return Ok(rows_responses(&rows_to_wire(&rows)?)),
            Executed::Command {
                command,
                version,
                row_count,
                notices,
            } => v1::ExecuteResponse {
                command,
                version,
                row_count,
                notices,
                ..v1::ExecuteResponse::default()
            },
            Executed::Failed(error) => v1::ExecuteResponse {
                failure: Some(failure(&error)),
                done: true,
                ..v1::ExecuteResponse::default()
            },
            Executed::Done => v1::ExecuteResponse {
                done: true,
                ..v1::ExecuteResponse::default()
            },
        };
        Ok(vec![encode(&response)])
    }
}

/// Rows in messages of bounded size.
fn rows_responses(rows: &[v1::Row]) -> Vec<Bytes> {
    let pieces = message::pieces(rows.iter().map(Message::encoded_len));
    let response = |piece: Range<usize>| {
        encode(&v1::ExecuteResponse {
            rows: rows[piece].to_vec(),
            ..v1::ExecuteResponse::default()
        })
    };
    pieces.into_iter().map(response).collect()
}

fn failure(error: &Error) -> v1::Failure {
    let code = status::code(error.kind()).into();
    v1::Failure {
        code,
        reason: error.reason().to_owned(),
        message: error.to_string(),
    }
}
