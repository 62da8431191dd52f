//! The `viewfeed.v1` options of a module's descriptors, as the messages they are.

use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor,
};
use viewfeed_wire::v1;

/// `(viewfeed.v1.module)` of a file; what is not said is the default.
pub(crate) fn module(file: &FileDescriptor) -> v1::ModuleOptions {
    read(file.parent_pool(), &file.options(), "viewfeed.v1.module").unwrap_or_default()
}

/// `(viewfeed.v1.table)` of a message, if it has it.
pub(crate) fn table(message: &MessageDescriptor) -> Option<v1::TableOptions> {
    read(message.parent_pool(), &message.options(), "viewfeed.v1.table")
}

/// `(viewfeed.v1.column)` of a field; what is not said is the default.
pub(crate) fn column(field: &FieldDescriptor) -> v1::ColumnOptions {
    read(field.parent_pool(), &field.options(), "viewfeed.v1.column").unwrap_or_default()
}

/// `(viewfeed.v1.rpc)` of a method, if it says what the rpc does.
pub(crate) fn rpc(method: &MethodDescriptor) -> Option<v1::rpc_options::Kind> {
    read::<v1::RpcOptions>(method.parent_pool(), &method.options(), "viewfeed.v1.rpc")?.kind
}

/// A module that does not import `viewfeed/v1/options.proto` has none of the extensions in its pool, and no options.
fn read<M: Message + Default>(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<M> {
    let extension = pool.get_extension_by_name(name)?;
    if !options.has_extension(&extension) {
        return None;
    }
    options
        .get_extension(&extension)
        .as_message()?
        .transcode_to()
        .ok()
}

/// The expression that fills a column when the client does not, or may not.
pub(crate) fn default_sql(column: &v1::ColumnOptions) -> Option<String> {
    [&column.preset, &column.default]
        .into_iter()
        .find(|sql| !sql.is_empty())
        .cloned()
}
