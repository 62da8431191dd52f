//! Connections to a Postgres server: where, as whom, how encrypted, with which session settings.
//!
//! tokio-postgres dials, authenticates and speaks SQL; what the bytes travel in is ours (`wire`, encrypted as `tls` says).
//! What is said over a connection is left to others.

mod options;
mod tls;
mod wire;

use super::Settings;
use super::failure;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::{Client, Config};
use viewfeed_change::{Error, ErrorKind, Result};
use wire::{Encryption, Handover, Opening};

pub(super) use wire::Stream;

/// How long one host may take to answer the first packet, unless `connect_timeout` says otherwise.
const HOST_SECONDS_MAX: u64 = 15;
/// How long opening a connection may take, over all hosts.
const OPEN_SECONDS_MAX: u64 = 60;
/// After how much silence TCP probes the other end, unless `keepalives_idle` says otherwise.
const KEEPALIVE_IDLE_SECONDS: u64 = 30;
/// The time between these probes.
const KEEPALIVE_INTERVAL_SECONDS: u64 = 10;
/// How many of them may be lost.
const KEEPALIVE_RETRIES: u32 = 3;
/// What tokio-postgres says if `keepalives_idle` is not given.
const KEEPALIVE_IDLE_UNSET: Duration = Duration::from_secs(2 * 60 * 60);
/// The port if none is given.
const PORT: u16 = 5432;
/// What errors say we were doing.
const CONNECTING: &str = "connecting to Postgres";

/// What every session is set to, whatever the server, the database or the role say: how values are written as text depends
/// on it. `client_encoding` is always UTF8.
const SESSION: &str = "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex \
     -c timezone=UTC -c search_path=pg_catalog -c statement_timeout=0 -c idle_in_transaction_session_timeout=0";

/// Makes connections to one server, or to the first of several that will do.
#[derive(Clone)]
pub struct Connector {
    config: Config,
    encryption: Encryption,
    password: Password,
}

/// Where the password is. Read at every connection, so that it can be changed meanwhile.
#[derive(Clone)]
enum Password {
    /// In the connection string, or there is none.
    Given,
    Variable(String),
    File(PathBuf),
}

/// A connection for SQL. Closed when dropped.
pub struct SqlSession {
    client: Client,
    connection: JoinHandle<()>,
    server_major: u32,
}

/// An open connection before anything is said.
struct Opened {
    client: Client,
    /// Carries the bytes; nothing goes either way unless it is polled.
    connection: BoxFuture<'static, ()>,
    server_major: u32,
}

impl Connector {
    /// Reads the settings and the certificates they name; no connection is made. Fails as `Invalid` if something of it
    /// cannot be read or is not understood.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mut options = options::parse(&settings.connection)?;
        let encryption = Encryption::new(&options)?;
        let config = &mut options.config;
        let password = match (
            config.get_password(),
            &settings.password_env,
            &settings.password_file,
        ) {
            (None, Some(variable), _) => Password::Variable(variable.clone()),
            (None, None, Some(file)) => Password::File(file.into()),
            _ => Password::Given,
        };
        keep_alive(config);
        // Whether there is encryption is decided in `wire`, which tokio-postgres takes for encryption in any case.
        config.ssl_mode(SslMode::Require);
        config.ssl_negotiation(SslNegotiation::Direct);
        let given = config.get_options().map(|given| format!("{given} "));
        config.options(format!("{}{SESSION}", given.unwrap_or_default()));
        Ok(Self {
            config: options.config,
            encryption,
            password,
        })
    }

    /// A connection for SQL. `application_name` is what the server's lists show.
    pub async fn sql(&self, application_name: &str) -> Result<SqlSession> {
        let opened = self.open(application_name, None).await?;
        Ok(SqlSession {
            client: opened.client,
            connection: tokio::spawn(opened.connection),
            server_major: opened.server_major,
        })
    }

    /// A connection that takes replication commands, and the server's major version.
    pub(super) async fn replication(&self, application_name: &str) -> Result<(Stream, u32)> {
        let handover = Handover::default();
        let opened = self.open(application_name, Some(handover.clone())).await?;
        let server_major = opened.server_major;
        // Whoever has the wire of the connection now leaves it there.
        drop(opened);
        let stream = handover.take().expect("an open connection has a stream");
        Ok((stream, server_major))
    }

    async fn open(&self, application_name: &str, handover: Option<Handover>) -> Result<Opened> {
        let mut config = self.config.clone();
        config.application_name(application_name);
        if let Some(password) = self.password.read().await? {
            config.password(password);
        }
        let opening = Opening::new(self.encryption.clone(), handover);
        let limit = Duration::from_secs(OPEN_SECONDS_MAX);
        match tokio::time::timeout(limit, dial(&config, opening)).await {
            Ok(opened) => opened,
            Err(_) => {
                let why = format!("no answer within {OPEN_SECONDS_MAX} seconds");
                Err(failure::unavailable(CONNECTING, &why))
            }
        }
    }
}

impl SqlSession {
    /// What speaks SQL.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same for what needs it alone, such as a transaction.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The server's major version, for example 17.
    pub fn server_major(&self) -> u32 {
        self.server_major
    }
}

impl Drop for SqlSession {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Password {
    async fn read(&self) -> Result<Option<String>> {
        match self {
            Self::Given => Ok(None),
            Self::Variable(name) => match std::env::var(name) {
                Ok(password) => Ok(Some(password)),
                Err(_) => Err(no_password(format!(
                    "the variable `{name}`, which should hold the password, is not set"
                ))),
            },
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => Ok(Some(text.lines().next().unwrap_or_default().to_owned())),
                Err(error) => {
                    let what = format!("the password file `{}` cannot be read", path.display());
                    Err(no_password(what).because(error))
                }
            },
        }
    }
}

fn no_password(what: String) -> Error {
    Error::new(ErrorKind::Precondition, "NO_PASSWORD", what)
        .hint("correct password_env or password_file, or provide what they name")
}

/// Over TCP to the first host that will do, or over a Unix socket.
async fn dial(config: &Config, opening: Opening) -> Result<Opened> {
    match config.get_hosts() {
        [] if config.get_hostaddrs().is_empty() => Err(Error::invalid(
            "BAD_CONNECTION",
            "the connection string names no host",
        )
        .hint("add host=…, a name or the folder of a Unix socket")),
        [Host::Unix(folder)] => {
            let port = config.get_ports().first().copied().unwrap_or(PORT);
            let path = folder.join(format!(".s.PGSQL.{port}"));
            let socket = UnixStream::connect(&path)
                .await
                .map_err(|error| failure::of_io(CONNECTING, &error))?;
            opened(config.connect_raw(socket, opening.at(None)).await)
        }
        hosts if hosts.iter().any(|host| matches!(host, Host::Unix(_))) => Err(Error::invalid(
            "BAD_CONNECTION",
            "the folder of a Unix socket stands among several hosts",
        )
        .hint("name one Unix socket, or hosts that are reached over TCP")),
        _ => opened(config.connect(opening).await),
    }
}

fn opened<S>(
    connected: Result<(Client, tokio_postgres::Connection<S, wire::Wire>), tokio_postgres::Error>,
) -> Result<Opened>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = connected.map_err(|error| failure::of_client(CONNECTING, &error))?;
    let version = connection.parameter("server_version").unwrap_or_default();
    // "16.4 (Debian 16.4-1)", "17beta1".
    let digits = version
        .split(|character: char| !character.is_ascii_digit())
        .next();
    let server_major = digits.and_then(|digits| digits.parse().ok()).unwrap_or_default();
    Ok(Opened {
        client,
        // How it ends is told to whoever uses the client.
        connection: connection.map(drop).boxed(),
        server_major,
    })
}

/// A peer that is gone without a word is noticed within a minute, where the user has said nothing else.
fn keep_alive(config: &mut Config) {
    if config.get_keepalives_idle() == KEEPALIVE_IDLE_UNSET {
        config.keepalives_idle(Duration::from_secs(KEEPALIVE_IDLE_SECONDS));
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(KEEPALIVE_INTERVAL_SECONDS));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(HOST_SECONDS_MAX));
    }
}
