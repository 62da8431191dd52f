//! Resume tokens: opaque outside, bound to what they were made for. The checksum finds damage, it is no signature: a
//! token grants nothing, because a feed is authorised anew each time it starts.

use viewfeed_change::{Epoch, Error, RelationId, Result};

/// The first byte; another layout gets another one.
const LAYOUT: u8 = 1;
/// Layout, incarnation, relation, schema version, version, request, CRC-32; numbers big-endian.
const BYTES: usize = 1 + 8 + 4 + 4 + 8 + 8 + 4;

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
    /// The opaque bytes, of no particular history.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_in(0)
    }

    /// The opaque bytes; `version` is of the history called `incarnation`, see [`crate::FeedOptions::incarnation`].
    pub fn encode_in(&self, incarnation: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(LAYOUT);
        bytes.extend(incarnation.to_be_bytes());
        bytes.extend(self.relation.0.to_be_bytes());
        bytes.extend(self.schema_version.to_be_bytes());
        bytes.extend(self.version.0.to_be_bytes());
        bytes.extend(self.request.to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// The token of these bytes. Fails as `Invalid`/`TOKEN_INVALID` on anything that [`Token::encode`] did not make.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(Self::decode_in(bytes)?.0)
    }

    /// The token of these bytes, and the incarnation it was encoded in. Fails as [`Token::decode`] does.
    pub fn decode_in(bytes: &[u8]) -> Result<(Self, u64)> {
        Self::parse(bytes).ok_or_else(|| {
            Error::invalid(
                "TOKEN_INVALID",
                "the resume token is damaged or not a resume token",
            )
            .hint("send the token of the last frame byte for byte, or none to start with a snapshot")
        })
    }

    fn parse(bytes: &[u8]) -> Option<(Self, u64)> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if bytes.len() != BYTES || body[0] != LAYOUT || crc32fast::hash(body).to_be_bytes() != *checksum {
            return None;
        }
        let long = |at: usize| Some(u64::from_be_bytes(*body.get(at..)?.first_chunk()?));
        let short = |at: usize| Some(u32::from_be_bytes(*body.get(at..)?.first_chunk()?));
        let token = Self {
            relation: RelationId(short(9)?),
            schema_version: short(13)?,
            version: Epoch(long(17)?),
            request: long(25)?,
        };
        Some((token, long(1)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use viewfeed_change::ErrorKind;

    fn token() -> impl Strategy<Value = Token> {
        let parts = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
        parts.prop_map(|(relation, schema_version, version, request)| Token {
            relation: RelationId(relation),
            schema_version,
            version: Epoch(version),
            request,
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(token in token(), incarnation: u64) {
            let bytes = token.encode_in(incarnation);
            prop_assert_eq!(Token::decode_in(&bytes).unwrap(), (token, incarnation));
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let error = Token::decode(&bytes).unwrap_err();
            prop_assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, "TOKEN_INVALID"));
        }

        #[test]
        fn a_token_with_one_changed_bit_is_refused(token in token(), bit in 0..BYTES * 8) {
            let mut bytes = token.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Token::decode(&bytes).is_err());
        }
    }
}
