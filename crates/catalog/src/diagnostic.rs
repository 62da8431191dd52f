//! What is told to the author of a module: how bad, where, what, and what to do.

use std::fmt;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The module is refused.
    Error,
    /// The module works, perhaps not as meant.
    Warning,
    /// What was guessed.
    Note,
}

/// Something to tell the author of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the module's folder.
    pub file: String,
    /// The line, from 1, if known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub advice: String,
}

/// A place in a module's files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: Option<usize>,
}

impl Place {
    pub(crate) fn file(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
        }
    }

    pub(crate) fn line(file: impl Into<String>, line: usize) -> Self {
        Self {
            file: file.into(),
            line: Some(line),
        }
    }

    pub(crate) fn error(&self, message: impl Into<String>, advice: impl Into<String>) -> Diagnostic {
        self.tell(Severity::Error, message, advice)
    }

    pub(crate) fn warning(&self, message: impl Into<String>, advice: impl Into<String>) -> Diagnostic {
        self.tell(Severity::Warning, message, advice)
    }

    pub(crate) fn note(&self, message: impl Into<String>, advice: impl Into<String>) -> Diagnostic {
        self.tell(Severity::Note, message, advice)
    }

    fn tell(&self, severity: Severity, message: impl Into<String>, advice: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity,
            file: self.file.clone(),
            line: self.line,
            message: message.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Place {
    /// `chat.proto:12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

impl fmt::Display for Diagnostic {
    /// `chat.proto:12: error: message (advice)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {severity}: {}", self.message)?;
        if self.advice.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.advice)
        }
    }
}

/// Whether any of them refuses the module.
pub(crate) fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Sorts by place, worst first at the same place, and says the same only once.
pub(crate) fn tidy(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| {
        let place = |d: &Diagnostic| (d.file.clone(), d.line, d.severity);
        place(a).cmp(&place(b))
    });
    diagnostics.dedup();
}
