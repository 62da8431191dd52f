//! What a failure of Postgres or of the way there means for whoever asked: retry, or change something first.
//!
//! Only the severity, the SQLSTATE and the message of a server's error are kept. Its details and hints are not: they quote rows.

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;
use std::error::Error as Cause;
use std::io;
use viewfeed_change::{Error, ErrorKind};

/// Of an error of tokio-postgres while `doing` something, for example "reading the catalog".
pub(super) fn of_client(doing: &str, error: &tokio_postgres::Error) -> Error {
    if let Some(said) = error.as_db_error() {
        return of_server(doing, said.severity(), said.code().code(), said.message());
    }
    let text = error.to_string();
    let cause = error.source();
    if let Some(ours) = cause.and_then(|cause| cause.downcast_ref::<Error>()) {
        return ours.clone();
    }
    if text.starts_with("authentication") {
        return refused_authentication(doing, cause);
    }
    if let Some(io) = cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return of_io(doing, io);
    }
    if text.starts_with("invalid configuration") {
        return Error::invalid("BAD_CONNECTION", format!("{doing}: {}", text_of(cause, &text))).hint(
            "if Postgres asks for a password, put it into the connection string, or name its variable or file",
        );
    }
    // What remains is a connection that is closed or does not speak as it should: another one may.
    unavailable(doing, &text_of(cause, &text))
}

/// Of an `ErrorResponse` read by our own client.
pub(super) fn of_response(doing: &str, body: &ErrorResponseBody) -> Error {
    let (mut severity, mut state, mut message) = (String::new(), String::new(), String::new());
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'S' => severity = value(),
            b'C' => state = value(),
            b'M' => message = value(),
            _ => {}
        }
    }
    of_server(doing, &severity, &state, &message)
}

/// Of a socket that failed, or of the encryption upon it.
pub(super) fn of_io(doing: &str, error: &io::Error) -> Error {
    let inner = error.get_ref();
    if let Some(ours) = inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        return ours.clone();
    }
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Error::new(
            ErrorKind::Precondition,
            "TLS_FAILED",
            format!("{doing}: the encrypted connection was not made: {tls}"),
        )
        .hint("check sslmode, sslrootcert and the names in the server's certificate; its names must be subject alternative names");
    }
    unavailable(doing, &error.to_string())
}

/// The server or the way to it is not there now.
pub(super) fn unavailable(doing: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "POSTGRES_UNAVAILABLE",
        format!("{doing}: {why}"),
    )
    .hint("it is tried again; check that the server runs and can be reached")
}

fn of_server(doing: &str, severity: &str, state: &str, message: &str) -> Error {
    // Errors of values quote the value in the message itself.
    let message = match state.get(..2) {
        Some("22" | "23") => "a value was not accepted",
        _ => message,
    };
    let (kind, reason, hint) = meaning(state);
    Error::new(kind, reason, format!("{doing}: {severity} {state}: {message}")).hint(hint)
}

/// What a SQLSTATE asks for ("Appendix A" of the Postgres documentation).
fn meaning(state: &str) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Exists, NotFound, Precondition, Unavailable};
    let retried = "it is tried again";
    match state {
        "55006" => (
            Unavailable,
            "POSTGRES_IN_USE",
            "it is tried again; somebody else is using it now",
        ),
        "42704" | "42P01" | "3F000" => (NotFound, "POSTGRES_MISSING", "create it, or correct the name"),
        "42710" | "42P07" => (
            Exists,
            "POSTGRES_EXISTS",
            "choose another name, or drop what is there",
        ),
        "42501" => (
            Precondition,
            "POSTGRES_PERMISSION",
            "grant it to the role of the connection: REPLICATION for the stream, SELECT on the tables, CREATE on the database for a publication; a table with row level security needs BYPASSRLS",
        ),
        "3D000" => (
            Precondition,
            "POSTGRES_DATABASE",
            "correct dbname, or create the database",
        ),
        "58P01" => (
            Precondition,
            "POSTGRES_WAL_REMOVED",
            "the server no longer has what the slot needs; the tables must be copied anew",
        ),
        "57014" => (Unavailable, "POSTGRES_CANCELLED", retried),
        _ => match state.get(..2) {
            Some("28") => (
                Precondition,
                "POSTGRES_LOGIN",
                "check user, password and the server's pg_hba.conf",
            ),
            Some("08" | "40" | "53" | "57" | "58" | "XX") => (Unavailable, "POSTGRES_UNAVAILABLE", retried),
            _ => (
                Precondition,
                "POSTGRES_REFUSED",
                "change what Postgres names, then retry",
            ),
        },
    }
}

fn refused_authentication(doing: &str, cause: Option<&(dyn Cause + 'static)>) -> Error {
    let why = text_of(cause, "the server's way of authentication is not understood");
    Error::new(
        ErrorKind::Precondition,
        "POSTGRES_LOGIN",
        format!("{doing}: {why}"),
    )
    .hint("viewfeed authenticates by SCRAM, md5, password over TLS, certificate or trust")
}

fn text_of(cause: Option<&(dyn Cause + 'static)>, otherwise: &str) -> String {
    cause.map_or_else(|| otherwise.to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_messages_are_left_out() {
        let error = of_server(
            "reading",
            "ERROR",
            "22P02",
            "invalid input syntax for type integer: \"secret\"",
        );
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.to_string().contains("22P02"), "{error}");
    }

    #[test]
    fn states_say_whether_to_retry() {
        for (state, kind) in [
            ("57P03", ErrorKind::Unavailable),
            ("55006", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("28P01", ErrorKind::Precondition),
            ("42501", ErrorKind::Precondition),
            ("55000", ErrorKind::Precondition),
            ("3D000", ErrorKind::Precondition),
            ("42704", ErrorKind::NotFound),
            ("42710", ErrorKind::Exists),
            ("é", ErrorKind::Precondition),
        ] {
            assert_eq!(of_server("x", "ERROR", state, "y").kind(), kind, "{state}");
        }
    }
}
