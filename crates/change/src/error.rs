//! The one error type. Its kind says what the caller should do; mapping kinds to gRPC codes or exit codes is
//! left to the crates that answer clients.

use std::fmt;
use std::sync::Arc;

/// The result of every fallible function of viewfeed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: correct it and send it again.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// What was to be created exists already; a duplicate key is of this kind.
    Exists,
    /// Somebody else's change came first: read again and retry.
    Conflict,
    /// What is asked cannot be done in the present state: change the state first.
    Precondition,
    /// A resume point is older than the retained history: start again from a snapshot.
    OutOfRange,
    /// A named limit was reached: ask for less, or later.
    Exhausted,
    /// Not available now: the same request may succeed later.
    Unavailable,
    /// The deadline passed or the caller went away.
    Cancelled,
    /// Stored bytes are not what was written: stop and look at the disk.
    Corrupt,
    /// viewfeed itself is wrong: report it.
    Internal,
}

/// A failure: what failed, why, and what to do.
///
/// The message never holds row values or secrets. Cloning is cheap, so that one failure can answer many waiters.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    reason: &'static str,
    message: String,
    hint: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. `reason` is a stable UPPER_SNAKE word for programs, `message` a sentence for people.
    pub fn new(kind: ErrorKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                reason,
                message: message.into(),
                hint: None,
                source: None,
            }),
        }
    }

    /// The request is wrong.
    pub fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, reason, message)
    }

    /// What was named does not exist.
    pub fn not_found(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, reason, message)
    }

    /// Stored bytes are not what was written.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, "CORRUPT", message)
    }

    /// A bug of viewfeed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "INTERNAL", message)
    }

    /// Adds what the reader should do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.rebuild(|inner| inner.hint = Some(hint.into()))
    }

    /// Chains the cause.
    #[must_use]
    pub fn because(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.rebuild(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Puts where it happened before the message, for example `chat.sql:12`.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        self.rebuild(|inner| inner.message = format!("{place}: {}", inner.message))
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// A stable UPPER_SNAKE word for programs.
    pub fn reason(&self) -> &'static str {
        self.inner.reason
    }

    /// The sentence for people, without hint and cause.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What the reader should do, if there is advice.
    pub fn advice(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    fn rebuild(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner {
            kind: self.inner.kind,
            reason: self.inner.reason,
            message: self.inner.message.clone(),
            hint: self.inner.hint.clone(),
            source: self.inner.source.clone(),
        };
        change(&mut inner);
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl fmt::Display for Error {
    /// `message: cause (hint)`: the whole story on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match &self.inner.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}: {self}", self.inner.kind, self.inner.reason)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let made = match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                Self::new(ErrorKind::Exhausted, "DISK_FULL", "the disk takes no more")
                    .hint("free space or raise the quota, then retry")
            }
            _ => Self::new(ErrorKind::Unavailable, "IO", "reading or writing a file failed"),
        };
        made.because(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::invalid("EVALUATION", "computing a value failed").because(error)
    }
}
