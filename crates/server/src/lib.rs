//! Answers clients, all on one port: gRPC by reflection of modules, the generic service, reflection, health, gRPC-Web.
//!
//! Reads feeds itself; everything that writes or runs SQL is asked of the program through [`Command`]s. Never looks into
//! a row: the catalog's codecs do.

mod command;
mod serve;

pub use command::{Command, Executed, Failure, Gateway, Reply, Selected, SessionRequest, Written};
pub use serve::{Server, ServerOptions};
