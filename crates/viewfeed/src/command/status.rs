//! `viewfeed status`.

use crate::cli::Status;
use crate::{client, output};
use serde_json::json;
use viewfeed_change::Result;
use viewfeed_wire::v1;

/// Prints what a server is running.
pub(super) async fn run(arguments: Status) -> Result<()> {
    let mut client = client::generic(&arguments.remote.server).await?;
    let status = client
        .status(v1::StatusRequest {})
        .await
        .map_err(client::failure)?
        .into_inner();
    if arguments.remote.json {
        print_json(&status)
    } else {
        print_text(&status)
    }
    Ok(())
}

fn print_text(status: &v1::StatusResponse) {
    let uptime = status.uptime.as_ref().map_or(0, |uptime| uptime.seconds);
    output::line(&format!(
        "viewfeed {}  up {uptime} s  version {}",
        status.server_version, status.version
    ));
    output::line(&format!(
        "feeds can resume from version {}  subscribers {}",
        status.oldest_version, status.subscribers
    ));
    output::line(&format!(
        "data {}  modules {}",
        status.data_dir, status.modules_dir
    ));
    if !status.modules.is_empty() {
        let row = |module: &v1::ModuleStatus| {
            vec![
                module.name.clone(),
                module.state.clone(),
                module.services.join(", "),
            ]
        };
        let header = ["module", "state", "services"].map(String::from).to_vec();
        output::line(&output::text_table(
            header,
            status.modules.iter().map(row).collect(),
        ));
        for diagnostic in status.modules.iter().flat_map(|module| &module.diagnostics) {
            output::line(&format!("  {diagnostic}"));
        }
    }
    let row = |relation: &v1::RelationStatus| {
        vec![
            relation.name.clone(),
            relation.kind.clone(),
            relation.state.clone(),
            relation.detail.clone(),
        ]
    };
    let header = ["relation", "kind", "state", ""].map(String::from).to_vec();
    output::line(&output::text_table(
        header,
        status.relations.iter().map(row).collect(),
    ));
}

fn print_json(status: &v1::StatusResponse) {
    let module = |module: &v1::ModuleStatus| json!({"name": module.name, "state": module.state, "services": module.services, "diagnostics": module.diagnostics});
    let relation = |relation: &v1::RelationStatus| json!({"name": relation.name, "kind": relation.kind, "state": relation.state, "detail": relation.detail});
    output::line(&json!({
        "server_version": status.server_version, "version": status.version, "oldest_version": status.oldest_version,
        "data_dir": status.data_dir, "modules_dir": status.modules_dir, "subscribers": status.subscribers,
        "modules": status.modules.iter().map(module).collect::<Vec<_>>(),
        "relations": status.relations.iter().map(relation).collect::<Vec<_>>(),
    }).to_string());
}
