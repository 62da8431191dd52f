//! Which web pages may call: what CORS tells browsers. Other clients send no origin and are not concerned.

use http::HeaderValue;
use std::str::FromStr;
use tower_http::cors::AllowOrigin;
use viewfeed_change::Error;

/// The origins of pages that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Pages served from this machine, from any port: what a developer's browser shows.
    Local,
    /// Any page.
    Any,
    /// These.
    Listed(Vec<HeaderValue>),
}

impl Origins {
    pub(crate) fn allow(&self) -> AllowOrigin {
        match self {
            Self::Local => AllowOrigin::predicate(|origin, _| is_local(origin.as_bytes())),
            Self::Any => AllowOrigin::any(),
            Self::Listed(origins) => AllowOrigin::list(origins.clone()),
        }
    }
}

impl FromStr for Origins {
    type Err = Error;

    /// `local`, `*`, or origins separated by commas: `https://app.example,http://10.0.0.7:8080`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |origin: &str| {
            Error::invalid("ORIGIN", format!("\"{origin}\" is not an origin"))
                .hint("use local, *, or a list such as https://app.example,http://10.0.0.7:8080")
        };
        let one = |origin: &str| {
            let host = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            match host {
                Some(host) if !host.is_empty() && !host.contains('/') => {
                    HeaderValue::from_str(origin).map_err(|_| wrong(origin))
                }
                _ => Err(wrong(origin)),
            }
        };
        match text.trim() {
            "local" => Ok(Self::Local),
            "*" => Ok(Self::Any),
            list => list
                .split(',')
                .map(|origin| one(origin.trim()))
                .collect::<Result<_, _>>()
                .map(Self::Listed),
        }
    }
}

/// Whether an origin is a page of this machine, over HTTP or HTTPS, on any port.
fn is_local(origin: &[u8]) -> bool {
    let text = std::str::from_utf8(origin).unwrap_or_default();
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let Some(host) = host else { return false };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|local| {
        let rest = host.strip_prefix(local);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    })
}
