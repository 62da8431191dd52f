//! What users declare: modules, their bindings and their evolution. The only place where rows meet protobuf.
//!
//! ```text
//! files of a module ─ compile ─► CompiledModule (descriptors, table drafts, migrations)
//!                                   │  the program creates tables, runs migrations
//! relations as they are then ─ bind ┴► Module (rpc → Query | Subscribe | Mutate, with codecs)
//! ```
//!
//! Does no IO and runs no SQL.

mod bind;
mod binding;
mod codec;
mod compile;
mod declare;
mod diagnostic;
mod evolve;
mod form;
mod generic;
mod infer;
mod module;
mod options;
mod report;
mod scope;
mod sidecar;
mod sql;
mod structure;

pub use binding::{Binding, Mutate, Mutation, Query, Select, Subscribe, SubscribeCall};
pub use codec::{RowDecoder, RowEncoder};
pub use compile::{CompiledModule, Migration, ModuleFiles, compile};
pub use diagnostic::{Diagnostic, Severity};
pub use generic::{row_type, rows_to_wire, text_to_array};
pub use module::{Module, ModuleState, Modules, Rpc};
