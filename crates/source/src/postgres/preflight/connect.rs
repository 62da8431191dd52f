//! A plain connection for the preflight, without encryption.

use super::super::Settings;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};
use viewfeed_change::{Error, ErrorKind, Result};

const APPLICATION: &str = "viewfeed doctor";

/// Connects to the server of the settings. The second part carries the bytes: nothing happens unless it is polled.
pub(super) async fn connect(settings: &Settings) -> Result<(Client, Connection<Socket, NoTlsStream>)> {
    let mut config: Config = settings.connection.parse().map_err(|_| {
        let message = "the option connection is not understood";
        Error::invalid("BAD_CONNECTION", message).hint("write host=… dbname=… user=…")
    })?;
    if let Some(password) = password(settings).await? {
        config.password(password);
    }
    config.application_name(APPLICATION);
    config.connect(NoTls).await.map_err(|error| {
        let why = error.as_db_error().map_or_else(
            || error.to_string(),
            |said| format!("{} {}", said.code().code(), said.message()),
        );
        Error::new(
            ErrorKind::Unavailable,
            "POSTGRES_UNAVAILABLE",
            format!("connecting: {why}"),
        )
        .hint("check host, port, user and password, and that the server runs")
    })
}

async fn password(settings: &Settings) -> Result<Option<String>> {
    if let Some(variable) = &settings.password_env {
        return std::env::var(variable).map(Some).map_err(|_| {
            let message = format!("the environment variable {variable} is not set");
            Error::invalid("NO_PASSWORD", message).hint("set it, or correct the option password_env")
        });
    }
    let Some(file) = &settings.password_file else {
        return Ok(None);
    };
    let text = tokio::fs::read_to_string(file).await.map_err(|error| {
        Error::invalid("NO_PASSWORD", format!("the password file {file} cannot be read"))
            .because(error)
            .hint("create it, or correct the option password_file")
    })?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}
