//! Calls of rpcs that stay: a subscription's frames as the module's messages.

mod encode;
mod share;

pub(crate) use share::EncodedFrames;

use super::survive::{Fate, fate};
use crate::context::Context;
use crate::frames::{self, Subscribed};
use crate::message::{Requests, Responses};
use crate::status;
use async_stream::try_stream;
use bytes::Bytes;
use prost_reflect::DynamicMessage;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::Status;
use viewfeed_catalog::{Binding, Modules, Rpc, Subscribe};
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_feed::{Envelope, Filter, Frame, FrameKind, Subscription};
use viewfeed_wire::v1;

/// The rpc says something else now, or its rows have other columns: call again, with the token.
const MODULE_CHANGED: &str = "MODULE_CHANGED";
/// The rpc is gone.
const RPC_REMOVED: &str = "RPC_REMOVED";
/// The feed's only end that the client asked for.
const UP_TO_VERSION: &str = "UP_TO_VERSION";

/// One request, frames until somebody ends it.
pub(super) async fn answer(
    context: Arc<Context>,
    rpc: Arc<Rpc>,
    mut requests: Requests,
) -> Result<Responses, Status> {
    let request = super::decode(&rpc, requests.only().await?)?;
    let live = Live::start(context, rpc, &request).map_err(|error| status::of(&error))?;
    Ok(live.responses())
}

/// A running subscription.
struct Live {
    context: Arc<Context>,
    rpc: Arc<Rpc>,
    envelope: Envelope,
    subscription: Subscription,
    modules: watch::Receiver<Arc<Modules>>,
    /// Where the client can resume.
    version: u64,
    token: Bytes,
}

/// What a subscription has to say.
enum Event {
    Frame(Frame),
    /// The server ends the stream, for this reason.
    Over(&'static str),
}

/// How a stream continues after some messages.
enum Then {
    Continue,
    End,
    Fail(Status),
}

impl Live {
    fn start(context: Arc<Context>, rpc: Arc<Rpc>, request: &DynamicMessage) -> Result<Self> {
        let subscribe = binding(&rpc)?;
        let call = subscribe.call(request)?;
        let subscribed = Subscribed {
            relation: &subscribe.relation,
            key: subscribe.key.clone(),
            filter: call.filter.map(|(columns, key)| Filter { columns, key }),
            // Rows without frames can only be told by key, or as they are added.
            envelope: if subscribe.bare {
                v1::Envelope::Unspecified
            } else {
                subscribe.envelope
            },
            heartbeat: context.options.heartbeat,
            path: &rpc.path,
        };
        let request = subscribed.request(&call.feed)?;
        let envelope = request.envelope;
        let subscription = context.feed.subscribe(request)?;
        let modules = context.modules.clone();
        Ok(Self {
            context,
            rpc,
            envelope,
            subscription,
            modules,
            version: 0,
            token: Bytes::new(),
        })
    }

    fn responses(mut self) -> Responses {
        Box::pin(try_stream! {
            while let Some(event) = self.next().await {
                let told = event.and_then(|event| self.tell(event));
                let (messages, then) = told.map_err(|error| status::of(&error))?;
                for message in messages {
                    yield message;
                }
                match then {
                    Then::Continue => {}
                    Then::End => return,
                    Then::Fail(status) => Err(status)?,
                }
            }
        })
    }

    /// The next event; None after the last frame.
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            tokio::select! {
                biased;
                () = changed(&mut self.modules) => {
                    let now = self.modules.borrow_and_update().clone();
                    match fate(&self.rpc, &now) {
                        Fate::Same => {}
                        Fate::Changed => return Some(Ok(Event::Over(MODULE_CHANGED))),
                        Fate::Removed => return Some(Ok(Event::Over(RPC_REMOVED))),
                    }
                }
                frame = self.subscription.next() => return Some(frame?.map(Event::Frame)),
            }
        }
    }

    /// The messages that tell an event.
    fn tell(&mut self, event: Event) -> Result<(Vec<Bytes>, Then)> {
        let frame = match event {
            Event::Over(reason) => return self.over(reason),
            Event::Frame(frame) => frame,
        };
        if let Some(token) = &frame.token {
            (self.version, self.token) = (frame.version.0, token.clone().into());
        }
        let subscribe = binding(&self.rpc)?;
        let bye = frame.kind == FrameKind::Bye;
        if bye && subscribe.bare {
            return self.over(frame.reason);
        }
        let encoded = self.context.encoded.encode(&self.rpc, subscribe, &frame)?;
        match encoded.map(|rows| encode::messages(subscribe, &frame, self.envelope, &rows)) {
            Some(messages) => Ok((messages, if bye { Then::End } else { Then::Continue })),
            None => self.over(MODULE_CHANGED),
        }
    }

    /// The end of the stream: a last frame where there are frames, a status where there are only rows.
    fn over(&self, reason: &'static str) -> Result<(Vec<Bytes>, Then)> {
        let subscribe = binding(&self.rpc)?;
        if !subscribe.bare {
            let bye = frames::bye(reason, self.version, self.token.clone());
            return Ok((vec![subscribe.respond(&bye, &[], &[]).into()], Then::End));
        }
        let then = match reason {
            UP_TO_VERSION => Then::End,
            RPC_REMOVED => Then::Fail(status::unimplemented(
                RPC_REMOVED,
                "the rpc was removed from its module",
            )),
            reason => {
                let text = format!("the server ended the stream: {reason}");
                let error = Error::new(ErrorKind::Unavailable, reason, text).hint("call again");
                Then::Fail(status::of(&error))
            }
        };
        Ok((Vec::new(), then))
    }
}

fn binding(rpc: &Rpc) -> Result<&Subscribe> {
    match &rpc.binding {
        Binding::Subscribe(subscribe) => Ok(subscribe),
        _ => Err(Error::internal("the rpc does not subscribe")),
    }
}

/// Returns when the modules changed since they were last looked at; never if nobody can change them any more.
async fn changed(modules: &mut watch::Receiver<Arc<Modules>>) {
    if modules.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
