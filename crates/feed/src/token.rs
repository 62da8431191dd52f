//! Resume tokens: opaque outside, bound to what they were made for.

use viewfeed_change::{Epoch, RelationId, Result};

/// Where a feed can be resumed: everything up to and including `version` was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The relation.
    pub relation: RelationId,
    /// The schema version of the rows delivered.
    pub schema_version: u32,
    /// Delivered up to here.
    pub version: Epoch,
    /// Hash of what was asked for (filter, envelope, principal): a token resumes only the same request.
    pub request: u64,
}

impl Token {
    /// The opaque bytes.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// The token of these bytes. Fails as `Invalid`/`TOKEN_INVALID` on anything that [`Token::encode`] did not make.
    pub fn decode(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }
}
