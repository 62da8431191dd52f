//! `viewfeed serve`.

use crate::cli::Serve;
use crate::config::Config;
use crate::{output, program};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use viewfeed_change::Result;

/// Exit code after a second signal, as shells use it for an interrupted program.
const INTERRUPTED: i32 = 130;

/// Serves until Ctrl-C or SIGTERM; a second one stops at once.
pub(super) async fn run(flags: Serve) -> Result<()> {
    let config = Config::load(flags)?;
    start_logging(config.json_logs);
    let (data, modules) = (
        config.data.display().to_string(),
        config.modules.display().to_string(),
    );
    let ready = move |address: std::net::SocketAddr| {
        tracing::info!(%address, data, modules, "viewfeed is ready");
        if !output::is_quiet() {
            output::note(&format!(
                "viewfeed is ready on {address}\n  in a second terminal:  viewfeed status --server {address}"
            ));
        }
    };
    program::serve(config, ready, stop_signal()?).await
}

/// Resolves at the first signal. The second ends the program, however busy it is.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("draining: feeds get BYE, open calls may finish; a second signal stops at once");
        tokio::spawn(async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            std::process::exit(INTERRUPTED);
        });
    })
}

fn start_logging(json: bool) {
    let filter = EnvFilter::try_from_env("VIEWFEED_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        logging.json().init()
    } else {
        logging.with_target(false).init()
    }
}
