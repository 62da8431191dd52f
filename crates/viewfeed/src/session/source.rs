//! Statements about sources.

use viewfeed_change::{Error, ErrorKind};

/// What every statement about sources is answered with.
pub(super) fn not_wired() -> Error {
    let message = "this server does not run sources yet";
    Error::new(ErrorKind::Unavailable, "SOURCES_NOT_WIRED", message)
        .hint("`viewfeed doctor` says whether a Postgres server is ready for one")
}
