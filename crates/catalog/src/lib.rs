//! What users declare: modules, their bindings and their evolution. The only place where rows meet protobuf.
//!
//! ```text
//! files of a module ─ compile ─► CompiledModule (descriptors, table drafts, migrations)
//!                                   │  the program creates tables, runs migrations
//! relations as they are then ─ bind ┴► Module (rpc → Query | Subscribe | Mutate, with codecs)
//! ```
//!
//! Does no IO and runs no SQL.

mod binding;
mod codec;
mod compile;
mod generic;
mod module;

pub use binding::{Binding, Mutate, Mutation, Query, Select, Subscribe, SubscribeCall};
pub use codec::{RowDecoder, RowEncoder};
pub use compile::{CompiledModule, Migration, ModuleFiles, compile};
pub use generic::{row_type, rows_to_wire, text_to_array};
pub use module::{Diagnostic, Module, ModuleState, Modules, Rpc, Severity};
