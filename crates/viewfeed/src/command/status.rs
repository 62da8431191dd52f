//! `viewfeed status`.

use crate::cli::Status;
use crate::{client, output};
use serde_json::json;
use viewfeed_change::Result;
use viewfeed_wire::v1;

/// How many percent a piece of a bar is.
const BAR_STEP: usize = 5;

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
    print_sources(&status.sources);
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

/// The sources, with a bar for a copy that is being made.
fn print_sources(sources: &[v1::SourceStatus]) {
    if sources.is_empty() {
        return;
    }
    let row = |source: &v1::SourceStatus| {
        vec![
            source.name.clone(),
            source.state.clone(),
            format!("{} of {}", source.live_tables, source.tables),
            source.position.clone(),
            source.lag_bytes.to_string(),
            match source.pages_total {
                0 => String::new(),
                total => format!("{}  {}", bar(source.pages_done, total), copy(source)),
            },
        ]
    };
    let header = ["source", "state", "live tables", "position", "lag bytes", "copy"]
        .map(String::from)
        .to_vec();
    output::line(&output::text_table(header, sources.iter().map(row).collect()));
    for source in sources.iter().filter(|source| !source.detail.is_empty()) {
        output::line(&format!("  {}: {}", source.name, source.detail));
    }
}

/// How far a copy is, in words.
fn copy(source: &v1::SourceStatus) -> String {
    let expected = source.expected_rows.map(|rows| format!(" of about {rows}"));
    let left = source
        .seconds_left
        .map(|seconds| format!(", about {} left", time(seconds)));
    format!(
        "{}{} rows, {} a second{}",
        source.copied_rows,
        expected.unwrap_or_default(),
        source.rows_per_second,
        left.unwrap_or_default()
    )
}

/// A time as people say it: `40 s`, `3 min`, `2 h 5 min`.
fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn bar(done: u64, total: u64) -> String {
    let percent = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    let filled = usize::try_from(percent).unwrap_or(0) / BAR_STEP;
    format!(
        "{}{} {percent} %",
        "█".repeat(filled),
        "░".repeat(100 / BAR_STEP - filled)
    )
}

fn print_json(status: &v1::StatusResponse) {
    let module = |module: &v1::ModuleStatus| json!({"name": module.name, "state": module.state, "services": module.services, "diagnostics": module.diagnostics});
    let relation = |relation: &v1::RelationStatus| json!({"name": relation.name, "kind": relation.kind, "state": relation.state, "detail": relation.detail});
    let source = |source: &v1::SourceStatus| {
        json!({"name": source.name, "state": source.state, "tables": source.tables, "live_tables": source.live_tables,
        "position": source.position, "lag_bytes": source.lag_bytes, "pages_done": source.pages_done, "pages_total": source.pages_total,
        "copied_rows": source.copied_rows, "expected_rows": source.expected_rows, "rows_per_second": source.rows_per_second,
        "seconds_left": source.seconds_left, "detail": source.detail})
    };
    output::line(&json!({
        "server_version": status.server_version, "version": status.version, "oldest_version": status.oldest_version,
        "data_dir": status.data_dir, "modules_dir": status.modules_dir, "subscribers": status.subscribers,
        "modules": status.modules.iter().map(module).collect::<Vec<_>>(),
        "sources": status.sources.iter().map(source).collect::<Vec<_>>(),
        "relations": status.relations.iter().map(relation).collect::<Vec<_>>(),
    }).to_string());
}
