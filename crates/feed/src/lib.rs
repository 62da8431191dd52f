//! Snapshot + deltas + tokens of every relation, and who gets which.
//!
//! ```text
//! publish(epoch) ──► router: which subscriber wants which row ──► bounded queue per subscriber ──► Subscription::next
//! token ──► the store's epoch log, from there to now ──────────────┘
//! ```
//!
//! Knows rows and relations; protobuf and sockets are unknown here.

mod feed;
mod subscription;
mod token;

pub use feed::{Feed, FeedOptions, Published};
pub use subscription::{Envelope, Filter, Frame, FrameKind, Request, Rows, Subscription};
pub use subscription::{OnGap, TailedTransaction, TransactionTail};
pub use token::Token;
