//! Answers clients, all on one port: gRPC by reflection of modules, the generic service, reflection, health, gRPC-Web.
//!
//! ```text
//! connection (serve) ─► HTTP, CORS, gRPC-Web (web) ─► deadline ─► path (route) ─┬► a module's rpc (dynamic)
//!                                                                              ├► viewfeed.v1.Viewfeed (generic)
//!                                                                              └► health, reflection
//! ```
//!
//! Every call, whatever its shape, is bytes in and a stream of bytes out (message). Reads feeds itself; everything that
//! writes or runs SQL is asked of the program through [`Command`]s. Never looks into a row: the catalog's codecs do.

mod command;
mod context;
mod deadline;
mod dynamic;
mod frames;
mod generic;
mod health;
mod message;
mod origins;
mod positions;
mod reflection;
mod route;
mod serve;
mod status;
mod web;

pub use command::{Command, Executed, Failure, Gateway, Reply, Selected, SessionRequest, Written};
pub use origins::Origins;
pub use serve::{Server, ServerOptions};
