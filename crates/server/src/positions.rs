//! Read your writes at a source: a call that says how far a source was when its client wrote there is answered when that is
//! visible here.
//!
//! ```text
//! viewfeed-min-position: shop=16/B374D848, crm=0/15D6A48
//! ```
//! Owns the header; how far a source is, is known to the program.

use crate::Command;
use crate::context::Context;
use crate::status;
use http::HeaderMap;
use tonic::Status;
use viewfeed_change::{Error, Result};

/// The header. It may be there more than once.
const HEADER: &str = "viewfeed-min-position";
/// Positions of one call.
const POSITIONS_MAX: usize = 16;

/// A source, and its own position as its server writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MinPosition {
    source: String,
    position: String,
}

/// What the headers of a call say.
pub(crate) fn of(headers: &HeaderMap) -> Result<Vec<MinPosition>> {
    let mut positions = Vec::new();
    for value in headers.get_all(HEADER) {
        let text = value.to_str().map_err(|_| malformed())?;
        for part in text.split(',') {
            let (source, position) = part.split_once('=').ok_or_else(malformed)?;
            positions.push(MinPosition {
                source: source.trim().to_owned(),
                position: position.trim().to_owned(),
            });
        }
    }
    match positions.len() {
        0..=POSITIONS_MAX => Ok(positions),
        more => {
            let message = format!("{HEADER} names {more} positions");
            Err(Error::invalid("MIN_POSITION", message).hint(format!("send at most {POSITIONS_MAX}")))
        }
    }
}

/// Returns when all of them are visible.
pub(crate) async fn wait(context: &Context, positions: Vec<MinPosition>) -> Result<(), Status> {
    for MinPosition { source, position } in positions {
        let reached = context.ask(|reply| Command::Reach {
            source,
            position,
            reply,
        });
        let reached = reached.await.and_then(|reached| reached);
        reached.map_err(|error| status::of(&error))?;
    }
    Ok(())
}

fn malformed() -> Error {
    Error::invalid("MIN_POSITION", format!("the header {HEADER} is malformed"))
        .hint("send source=position, for example shop=16/B374D848")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_sources_are_named_with_commas_or_in_several_headers() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, "shop=16/B374D848, crm = 0/1".parse().unwrap());
        headers.append(HEADER, "hr=0/2".parse().unwrap());
        let pairs: Vec<(String, String)> = of(&headers)
            .unwrap()
            .into_iter()
            .map(|one| (one.source, one.position))
            .collect();
        let expected = [("shop", "16/B374D848"), ("crm", "0/1"), ("hr", "0/2")];
        assert_eq!(pairs, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_header_without_a_source_says_what_to_send() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, "16/B374D848".parse().unwrap());
        let error = of(&headers).unwrap_err();
        assert!(error.advice().unwrap().contains("shop="), "{error}");
    }
}
