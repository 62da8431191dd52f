//! The writes of one client stream: begun in order without waiting for each commit, so that they share fsyncs, and stopped
//! at the first that fails.

use super::binding;
use crate::context::{Context, unanswered};
use crate::message::Requests;
use crate::{Command, Reply, Written, dynamic, status};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::oneshot;
use tonic::Status;
use viewfeed_catalog::Rpc;
use viewfeed_change::{Error, Timestamp};

/// Writes of one stream that are begun and not yet durable.
const WRITES_IN_FLIGHT_MAX: usize = 128;
/// Their size; one message may be larger.
const BYTES_IN_FLIGHT_MAX: usize = 8 << 20;

/// A stream of writes.
pub(super) struct Pipeline {
    context: Arc<Context>,
    rpc: Arc<Rpc>,
    requests: Requests,
    /// False once the client has sent everything, or something went wrong.
    reading: bool,
    /// Why reading stopped, to be told after the writes before it.
    stopped: Option<Status>,
    in_flight: VecDeque<InFlight>,
    bytes_in_flight: usize,
    chain_failed: Arc<AtomicBool>,
    committed: u64,
}

struct InFlight {
    bytes: usize,
    answer: oneshot::Receiver<Written>,
}

impl Pipeline {
    pub(super) fn new(context: Arc<Context>, rpc: Arc<Rpc>, requests: Requests) -> Self {
        Self {
            context,
            rpc,
            requests,
            reading: true,
            stopped: None,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            chain_failed: Arc::default(),
            committed: 0,
        }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// What became of the next write, in the order of the messages; None after the last one. After a failure, which tells
    /// how many were committed before it, there is nothing more, and nothing more is written.
    pub(super) async fn next(&mut self) -> Option<Result<(u64, u64, Timestamp), Status>> {
        loop {
            let has_room =
                self.in_flight.len() < WRITES_IN_FLIGHT_MAX && self.bytes_in_flight < BYTES_IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                Some(answer) = first_answer(&mut self.in_flight) => return Some(self.finish(answer)),
                request = self.requests.next(), if self.reading && has_room => self.proceed(request).await,
                else => {
                    let status = self.stopped.take()?;
                    return Some(Err(status::after_commits(status, self.committed)));
                }
            }
        }
    }

    async fn proceed(&mut self, request: Result<Option<Bytes>, Status>) {
        let begun = match request {
            Ok(Some(request)) => self.begin(request).await,
            Ok(None) => {
                self.reading = false;
                Ok(())
            }
            Err(status) => Err(status),
        };
        if let Err(status) = begun {
            self.reading = false;
            self.stopped = Some(status);
        }
    }

    async fn begin(&mut self, request: Bytes) -> Result<(), Status> {
        let bytes = request.len();
        let mutate = binding(&self.rpc)?;
        let message = dynamic::decode(&self.rpc, request)?;
        let rows = mutate.rows(&[message]).map_err(|error| status::of(&error))?;
        let (reply, answer) = Reply::chained(&self.chain_failed);
        let (table, mutation) = (mutate.table.clone(), mutate.mutation);
        let command = Command::Mutate {
            table,
            mutation,
            rows,
            reply,
        };
        self.context
            .send(command)
            .await
            .map_err(|error| status::of(&error))?;
        self.in_flight.push_back(InFlight { bytes, answer });
        self.bytes_in_flight += bytes;
        Ok(())
    }

    fn finish(
        &mut self,
        answer: Result<Written, oneshot::error::RecvError>,
    ) -> Result<(u64, u64, Timestamp), Status> {
        if let Some(finished) = self.in_flight.pop_front() {
            self.bytes_in_flight -= finished.bytes;
        }
        match answer.unwrap_or_else(|_| Err(unanswered())) {
            Ok(written) => {
                self.committed += 1;
                Ok(written)
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    fn fail(&mut self, error: &Error) -> Status {
        self.reading = false;
        self.stopped = None;
        // Letting go of the answers closes the replies of what is not yet begun.
        self.in_flight.clear();
        status::after_commits(status::of(error), self.committed)
    }
}

/// The answer to the oldest write; None at once if there is none. Safe to cancel.
async fn first_answer(
    in_flight: &mut VecDeque<InFlight>,
) -> Option<Result<Written, oneshot::error::RecvError>> {
    let first = in_flight.front_mut()?;
    Some((&mut first.answer).await)
}
