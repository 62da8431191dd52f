//! What the bytes of a connection travel in: a socket, encrypted or not.
//!
//! tokio-postgres takes it for its encryption, whatever it is. So one place decides on encryption for SQL and replication
//! alike, and a connection can be told to take replication commands, which tokio-postgres cannot say: what is added to its
//! first message does so, and after the handshake, channel binding included, the stream is taken back from it.

use super::CONNECTING;
use super::options::{Mode, Options};
use super::tls;
use crate::postgres::failure;
use bytes::{Buf, BufMut, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use postgres_protocol::message::frontend;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;
use viewfeed_change::{Error, ErrorKind, Result};

/// What makes a connection take replication commands, those of logical replication and SQL.
const REPLICATION: &[u8] = b"replication\0database\0";

/// A socket encrypted by rustls.
type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The bytes to and from a server.
pub(in crate::postgres) enum Stream {
    Tcp(Socket),
    Unix(UnixStream),
    Encrypted(Box<Encrypted>),
}

/// Where a wire leaves its stream when it is let go.
#[derive(Clone, Default)]
pub(super) struct Handover(Arc<Mutex<Option<Stream>>>);

/// Whether and how connections over TCP are encrypted.
#[derive(Clone)]
pub(super) struct Encryption {
    /// None is never.
    tls: Option<MakeRustlsConnect>,
    is_required: bool,
    is_direct: bool,
}

/// How a connection is opened.
#[derive(Clone)]
pub(super) struct Opening {
    encryption: Encryption,
    /// Given for replication.
    handover: Option<Handover>,
}

/// The same, for one host.
pub(super) struct OpeningAt {
    opening: Opening,
    /// None for a Unix socket.
    host: Option<String>,
}

/// What tokio-postgres takes for an encrypted stream.
pub(super) struct Wire {
    /// None once it is handed over.
    stream: Option<Stream>,
    handover: Option<Handover>,
    /// Whether the first message is still to come that says what the connection is for.
    is_untold: bool,
    /// What is still to be sent of that message.
    first: BytesMut,
}

impl Encryption {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let tls = match options.mode {
            Mode::Disable => None,
            _ => Some(MakeRustlsConnect::new(tls::config(options)?)),
        };
        Ok(Self {
            tls,
            is_required: options.mode != Mode::Prefer,
            is_direct: options.is_direct,
        })
    }
}

impl Opening {
    pub(super) fn new(encryption: Encryption, handover: Option<Handover>) -> Self {
        Self { encryption, handover }
    }

    pub(super) fn at(self, host: Option<String>) -> OpeningAt {
        OpeningAt { opening: self, host }
    }

    fn wire(self, stream: Stream) -> Wire {
        Wire {
            stream: Some(stream),
            is_untold: self.handover.is_some(),
            handover: self.handover,
            first: BytesMut::new(),
        }
    }
}

impl MakeTlsConnect<Socket> for Opening {
    type Stream = Wire;
    type TlsConnect = OpeningAt;
    type Error = Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<OpeningAt> {
        Ok(self.clone().at(Some(host.to_owned())))
    }
}

impl TlsConnect<Socket> for OpeningAt {
    type Stream = Wire;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Wire>>;

    fn connect(self, socket: Socket) -> Self::Future {
        async move {
            let stream = encrypt(socket, &self.opening.encryption, &self.host.unwrap_or_default()).await?;
            Ok(self.opening.wire(stream))
        }
        .boxed()
    }
}

impl TlsConnect<UnixStream> for OpeningAt {
    type Stream = Wire;
    type Error = Error;
    type Future = std::future::Ready<Result<Wire>>;

    /// Never encrypted, as in libpq: the bytes do not leave the machine.
    fn connect(self, socket: UnixStream) -> Self::Future {
        std::future::ready(Ok(self.opening.wire(Stream::Unix(socket))))
    }
}

async fn encrypt(mut socket: Socket, encryption: &Encryption, host: &str) -> Result<Stream> {
    let Some(mut tls) = encryption.tls.clone() else {
        return Ok(Stream::Tcp(socket));
    };
    if !encryption.is_direct {
        let answer = ask_for_encryption(&mut socket)
            .await
            .map_err(|error| failure::of_io(CONNECTING, &error))?;
        match answer {
            b'S' => {}
            b'N' if !encryption.is_required => return Ok(Stream::Tcp(socket)),
            b'N' => {
                return Err(
                    Error::new(ErrorKind::Precondition, "NO_TLS", "the server does not encrypt")
                        .hint("set ssl=on at the server, or sslmode=prefer or disable here"),
                );
            }
            _ => {
                return Err(failure::unavailable(
                    CONNECTING,
                    "this is not a Postgres server, or it has no room",
                ));
            }
        }
    }
    let Ok(connect) = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls, host);
    match connect.connect(socket).await {
        Ok(stream) => Ok(Stream::Encrypted(Box::new(stream))),
        Err(error) => Err(failure::of_io(CONNECTING, &error)),
    }
}

/// One byte: `S` or `N`.
async fn ask_for_encryption(socket: &mut Socket) -> io::Result<u8> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    socket.flush().await?;
    let mut answer = [0];
    socket.read_exact(&mut answer).await?;
    Ok(answer[0])
}

impl Handover {
    pub(super) fn take(&self) -> Option<Stream> {
        self.slot().take()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(handover) = &self.handover {
            // That of a host tried later takes the place of one that failed.
            *handover.slot() = self.stream.take();
        }
    }
}

impl Wire {
    fn stream(&mut self) -> &mut Stream {
        self.stream.as_mut().expect("it is handed over only at the end")
    }

    /// Sends what is left of the first message.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.first.has_remaining() {
            let stream = self.stream.as_mut().expect("it is handed over only at the end");
            let sent = ready!(Pin::new(stream).poll_write(context, &self.first))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.first.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

/// The startup message (length, version, names and values, zero) with what the connection is for.
fn told(startup: &[u8]) -> io::Result<BytesMut> {
    let length = startup
        .first_chunk()
        .map(|length| u32::from_be_bytes(*length) as usize);
    let Some((&0, parameters)) = startup[4.min(startup.len())..].split_last() else {
        return Err(io::Error::other("the startup message is not whole"));
    };
    if length != Some(startup.len()) {
        return Err(io::Error::other("the startup message is not whole"));
    }
    let mut told = BytesMut::with_capacity(startup.len() + REPLICATION.len());
    told.put_u32((startup.len() + REPLICATION.len()) as u32);
    told.put_slice(parameters);
    told.put_slice(REPLICATION);
    told.put_u8(0);
    Ok(told)
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.stream {
            Some(Stream::Encrypted(stream)) => stream.channel_binding(),
            _ => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.stream()).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.is_untold) {
            // tokio-postgres hands over its first message whole.
            self.first = told(bytes)?;
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_first(context))?;
        Pin::new(self.stream()).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_first(context))?;
        Pin::new(self.stream()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()).poll_shutdown(context)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
