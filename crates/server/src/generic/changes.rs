//! Every change of every table, transaction by transaction.

use super::pair::{Change, pair};
use crate::context::{Context, stopping};
use crate::message::{Requests, Responses, encode};
use crate::{Command, frames, status};
use async_stream::try_stream;
use bytes::Bytes;
use tonic::Status;
use viewfeed_change::{Epoch, Error, ErrorKind, RelationId, RelationName, Result};
use viewfeed_feed::{Feed, TailedTransaction, Token, TransactionTail};
use viewfeed_wire::v1;
use viewfeed_wire::v1::change_notification::Operation;

/// The path of the rpc, to which tokens are bound.
const PATH: &str = "/viewfeed.v1.Viewfeed/TailChanges";
/// Tokens of this rpc are of no single relation.
const ALL_RELATIONS: RelationId = RelationId(u32::MAX);

/// One request, notifications until somebody ends it.
pub(super) async fn answer(context: &Context, mut requests: Requests) -> Result<Responses, Status> {
    let request: v1::TailChangesRequest = requests.only_as().await?;
    let mut tail = start(context, &request)
        .await
        .map_err(|error| status::of(&error))?;
    let feed = context.feed.clone();
    Ok(Box::pin(try_stream! {
        while let Some(tailed) = tail.next().await {
            let changes = tailed.and_then(|tailed| notifications(&tailed, &feed));
            for change in changes.map_err(|error| status::of(&error))? {
                yield change;
            }
        }
        // There is no BYE here: the status says that there is more to come elsewhere.
        Err(status::of(&stopping()))?;
    }))
}

async fn start(context: &Context, request: &v1::TailChangesRequest) -> Result<TransactionTail> {
    let relations = context.feed.relations();
    let id = |name: &String| {
        relations
            .resolve(name, RelationName::PUBLIC)
            .map(|relation| relation.id)
    };
    let wanted = request.relations.iter().map(id).collect::<Result<Vec<_>>>()?;
    let after = if !request.resume_token.is_empty() {
        Some(epoch_of(&request.resume_token, &context.feed)?)
    } else if request.from_start {
        let status = context.ask(|reply| Command::Status { reply }).await?;
        Some(Epoch(status.oldest_version))
    } else {
        None
    };
    context.feed.transactions(after, wanted)
}

fn epoch_of(token: &[u8], feed: &Feed) -> Result<Epoch> {
    let (token, incarnation) = Token::decode_in(token)?;
    if token.relation != ALL_RELATIONS || token.request != frames::stable_hash(PATH) {
        let error = Error::invalid("TOKEN_MISMATCH", "field \"resume_token\" is of another rpc");
        return Err(error.hint("send the resume_token of a ChangeNotification"));
    }
    if incarnation != feed.incarnation() {
        let text = "the resume token is of another database, or of a history that was lost";
        let error = Error::new(ErrorKind::OutOfRange, "HISTORY_LOST", text);
        return Err(error.hint("read the tables anew, then tail without a token"));
    }
    Ok(token.version)
}

fn token(version: Epoch, feed: &Feed) -> Bytes {
    let token = Token {
        relation: ALL_RELATIONS,
        schema_version: 0,
        version,
        request: frames::stable_hash(PATH),
    };
    token.encode_in(feed.incarnation()).into()
}

/// The encoded notifications of a transaction; the last of an epoch carries the token.
fn notifications(tailed: &TailedTransaction, feed: &Feed) -> Result<Vec<Bytes>> {
    let (transaction, relations) = (&tailed.transaction, feed.relations());
    let mut notifications = Vec::new();
    for change in pair(&transaction.changes, &relations)? {
        let relation = relations.get(change.relation);
        notifications.push(v1::ChangeNotification {
            source: transaction.source.to_string(),
            position: transaction.position.0.clone().into(),
            transaction_id: transaction.id.0,
            commit_time: Some(frames::timestamp(transaction.commit_time)),
            version: tailed.epoch.0,
            // A table that was dropped since has no name any more.
            relation: relation
                .map(|relation| relation.name.to_string())
                .unwrap_or_default(),
            schema_version: relation
                .map(|relation| relation.schema_version)
                .unwrap_or_default(),
            operation: operation(&change).into(),
            before: change.before,
            after: change.after,
            resume_token: Bytes::new(),
        });
    }
    if let (true, Some(last)) = (tailed.last_of_epoch, notifications.last_mut()) {
        last.resume_token = token(tailed.epoch, feed);
    }
    Ok(notifications.iter().map(encode).collect())
}

fn operation(change: &Change) -> Operation {
    match (&change.before, &change.after) {
        (None, Some(_)) => Operation::Insert,
        (Some(_), Some(_)) => Operation::Update,
        (Some(_), None) => Operation::Delete,
        (None, None) => Operation::Unspecified,
    }
}
