//! What went wrong at the server, as an error of ours: whether a retry may cure it, and the server's word for it.
//! Never its DETAIL, which shows rows.

use tokio_postgres::error::SqlState;
use viewfeed_change::{Error, ErrorKind};

/// `doing` completes "while …".
pub(super) fn sql_error(error: &tokio_postgres::Error, doing: &str) -> Error {
    let Some(said) = error.as_db_error() else {
        // Without what it carries: it may name values that did not convert.
        let message = format!("the connection to Postgres failed while {doing}");
        return Error::new(ErrorKind::Unavailable, "POSTGRES_CONNECTION", message);
    };
    let code = said.code().code();
    let message = format!(
        "Postgres refused while {doing}: {} {code} {}",
        said.severity(),
        said.message()
    );
    // Connection, resources, operator's intervention, the system itself, serialization.
    let may_pass = ["08", "53", "57", "58", "40"];
    if may_pass.iter().any(|class| code.starts_with(class)) {
        return Error::new(ErrorKind::Unavailable, "POSTGRES_UNAVAILABLE", message);
    }
    let error = Error::new(ErrorKind::Precondition, "POSTGRES_REFUSED", message);
    match said.code() {
        &SqlState::INSUFFICIENT_PRIVILEGE => error.hint(
            "grant SELECT on the tables and USAGE on their schemas to the user of the source; a table with row level \
             security needs BYPASSRLS",
        ),
        _ => error,
    }
}
