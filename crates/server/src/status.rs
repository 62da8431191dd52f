//! Errors as gRPC statuses with `google.rpc` details: the only place that knows both.

use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use viewfeed_change::{Error, ErrorKind};

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "viewfeed";
/// The longest text sent: many clients refuse headers of more than 8 KiB, and the text is in them twice.
const TEXT_BYTES_MAX: usize = 1024;
/// When to try again after a conflict.
const RETRY_CONFLICT_AFTER: Duration = Duration::from_millis(20);
/// When to try again after something was not available.
const RETRY_UNAVAILABLE_AFTER: Duration = Duration::from_secs(1);

/// The status of an error: its code says what to do, its text is the whole story, its details are for programs.
pub(crate) fn of(error: &Error) -> Status {
    let code = code(error.kind());
    let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, HashMap::new());
    match error.kind() {
        ErrorKind::Conflict => _ = details.set_retry_info(Some(RETRY_CONFLICT_AFTER)),
        ErrorKind::Unavailable => _ = details.set_retry_info(Some(RETRY_UNAVAILABLE_AFTER)),
        ErrorKind::Invalid => {
            if let Some(field) = field_of(error.message()) {
                details.add_bad_request_violation(field, shortened(error.message()));
            }
        }
        _ => {}
    }
    if let Some(hint) = error.advice() {
        details.set_localized_message("en", shortened(hint));
    }
    Status::with_error_details(code, shortened(&error.to_string()), details)
}

/// The code of a kind of error.
pub(crate) fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Exists => Code::AlreadyExists,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Precondition => Code::FailedPrecondition,
        ErrorKind::OutOfRange => Code::OutOfRange,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The failure of a message in a stream of transactions, of which `committed` messages before it are durable.
pub(crate) fn after_commits(status: Status, committed: u64) -> Status {
    let number = committed + 1;
    let text = format!(
        "message {number} of the stream: {}; of the others, the {committed} before it are committed and none after it",
        status.message()
    );
    let mut details = status.get_error_details();
    if let Some(info) = details.error_info().cloned() {
        let mut metadata = info.metadata;
        metadata.insert("committed".to_owned(), committed.to_string());
        details.set_error_info(info.reason, info.domain, metadata);
    }
    Status::with_error_details(status.code(), shortened(&text), details)
}

/// Nothing answers this path, or no longer.
pub(crate) fn unimplemented(reason: &'static str, text: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unimplemented, shortened(text), details)
}

/// The time the client gave is over.
pub(crate) fn deadline_exceeded() -> Status {
    let details = ErrorDetails::with_error_info("DEADLINE_EXCEEDED", DOMAIN, HashMap::new());
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the deadline of the call is over",
        details,
    )
}

/// Messages about a field of a request begin with `field "name"`.
fn field_of(message: &str) -> Option<&str> {
    let (field, _) = message.strip_prefix("field \"")?.split_once('"')?;
    Some(field)
}

fn shortened(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = TEXT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_when_to_retry_and_what_to_do() {
        let error =
            Error::new(ErrorKind::Conflict, "VERSION_CONFLICT", "changed meanwhile").hint("read again");
        let status = of(&error);
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(status.message(), "changed meanwhile (read again)");
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("VERSION_CONFLICT", "viewfeed")
        );
        assert_eq!(
            details.retry_info().unwrap().retry_delay,
            Some(RETRY_CONFLICT_AFTER)
        );
        assert_eq!(details.localized_message().unwrap().message, "read again");
    }

    #[test]
    fn the_field_of_a_bad_request_is_named() {
        let status = of(&Error::invalid("PAGE_SIZE", "field \"page_size\" is negative"));
        let violations = status
            .get_error_details()
            .bad_request()
            .unwrap()
            .field_violations
            .clone();
        assert_eq!(violations[0].field, "page_size");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let status = of(&Error::internal("ä".repeat(TEXT_BYTES_MAX)));
        assert!(status.message().len() <= TEXT_BYTES_MAX + '…'.len_utf8());
    }
}
