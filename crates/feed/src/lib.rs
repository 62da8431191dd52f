//! Snapshot + deltas + tokens of every relation, and who gets which.
//!
//! ```text
//! publish(epoch) ──► router: which subscriber wants which row ──► bounded queue per subscriber ──► Subscription::next
//! token, or a queue that overflowed ──► the store's epoch log, from there to now ──────────────────────┘
//! ```
//!
//! There is one way back for everybody who is behind, whether for an hour offline or for a slow network: the epoch log.
//! So a subscriber that does not read costs a full queue, then nothing, and the publisher never waits.
//!
//! Knows rows and relations; protobuf and sockets are unknown here.

mod envelope;
mod feed;
mod frame;
mod options;
mod queue;
mod request;
mod resume;
mod router;
mod slice;
mod snapshot;
mod subscription;
mod token;
mod transactions;

pub use feed::{Feed, Published};
pub use frame::{Frame, FrameKind, Rows, reason};
pub use options::FeedOptions;
pub use request::{Envelope, Filter, OnGap, Request};
pub use subscription::Subscription;
pub use token::Token;
pub use transactions::{TailedTransaction, TransactionTail};
