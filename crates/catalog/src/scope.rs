//! A module's descriptors with what is asked of them everywhere: what is its own, what a message is called in SQL, where
//! something is written.

use crate::diagnostic::Place;
use crate::options;
use prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor};
use std::collections::BTreeSet;

/// A module while it is compiled and bound.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The folder's name.
    pub(crate) module: String,
    pub(crate) schema: String,
    pub(crate) pool: DescriptorPool,
    /// Names of relations that the module's migrations create, without the schema.
    pub(crate) created: BTreeSet<String>,
}

impl Scope {
    /// Whether a file is the module's, not an import.
    pub(crate) fn is_own(&self, file: &FileDescriptor) -> bool {
        self.local_path(file).is_some()
    }

    /// The messages declared in the module, nested ones included.
    pub(crate) fn messages(&self) -> Vec<MessageDescriptor> {
        let own =
            |message: &MessageDescriptor| !message.is_map_entry() && self.is_own(&message.parent_file());
        self.pool.all_messages().filter(own).collect()
    }

    /// The rpcs declared in the module, in the order of declaration.
    pub(crate) fn methods(&self) -> Vec<MethodDescriptor> {
        let services = self
            .pool
            .services()
            .filter(|service| self.is_own(&service.parent_file()));
        services
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect()
    }

    /// The name of the table or view that holds rows of `message`.
    pub(crate) fn relation_name(&self, message: &MessageDescriptor) -> String {
        match options::table(message) {
            Some(table) if !table.name.is_empty() => table.name,
            _ => snake_case(message.name()),
        }
    }

    pub(crate) fn message_place(&self, message: &MessageDescriptor) -> Place {
        self.place(&message.parent_file(), message.path())
    }

    pub(crate) fn field_place(&self, field: &FieldDescriptor) -> Place {
        self.place(&field.parent_file(), field.path())
    }

    pub(crate) fn method_place(&self, method: &MethodDescriptor) -> Place {
        self.place(&method.parent_file(), method.path())
    }

    /// The place of what is at `path` in a file's descriptor.
    pub(crate) fn place(&self, file: &FileDescriptor, path: &[i32]) -> Place {
        let source_info = file.file_descriptor_proto().source_code_info.as_ref();
        let location = source_info.and_then(|info| info.location.iter().find(|at| at.path == path));
        let line = location
            .and_then(|at| at.span.first())
            .map(|line| *line as usize + 1);
        Place {
            file: self.local_path(file).unwrap_or(file.name()).to_owned(),
            line,
        }
    }

    fn local_path<'a>(&self, file: &'a FileDescriptor) -> Option<&'a str> {
        file.name().strip_prefix(&self.module)?.strip_prefix('/')
    }
}

/// `/package.Service/Method`.
pub(crate) fn rpc_path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// `ChatMessage` → `chat_message`, `HTTPLog` → `http_log`.
pub(crate) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (place, c) in chars.iter().enumerate() {
        let after_lower = place > 0 && (chars[place - 1].is_lowercase() || chars[place - 1].is_ascii_digit());
        let before_lower = place > 0
            && chars[place - 1].is_uppercase()
            && chars.get(place + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_lower || before_lower) {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn message_names_become_table_names() {
        let cases = [
            ("Message", "message"),
            ("ChatMessage", "chat_message"),
            ("HTTPLog", "http_log"),
            ("UserV2", "user_v2"),
        ];
        for (message, table) in cases {
            assert_eq!(snake_case(message), table);
        }
    }
}
