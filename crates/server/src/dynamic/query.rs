//! Calls of rpcs that read once.

use crate::Command;
use crate::context::Context;
use crate::message::{Requests, Responses, one};
use crate::status;
use tonic::Status;
use viewfeed_catalog::{Query, Rpc};

/// One request, one page.
pub(super) async fn answer(
    context: &Context,
    rpc: &Rpc,
    query: &Query,
    mut requests: Requests,
) -> Result<Responses, Status> {
    let request = super::decode(rpc, requests.only().await?)?;
    let page = async {
        let select = query.select(&request)?;
        let command = |reply| Command::Select {
            sql: select.sql.clone(),
            params: select.params.clone(),
            search_schema: select.search_schema.clone(),
            min_version: select.min_version,
            reply,
        };
        let selected = context.ask(command).await??;
        query.respond(&select, &selected.rows, selected.version)
    };
    page.await.map(one).map_err(|error| status::of(&error))
}
