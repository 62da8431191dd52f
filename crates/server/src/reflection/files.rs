//! Looking up files in the pools of everything that is live.

use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor};
use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;
use viewfeed_catalog::Modules;

/// The files of the services that are always there.
static BUILT_IN: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for set in [
        viewfeed_wire::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(set)
            .expect("descriptors compiled into the binary are valid");
    }
    pool
});

/// Every file that can be asked for.
pub(super) struct Files {
    pools: Vec<DescriptorPool>,
}

impl Files {
    /// The files of live modules and of the built-in services.
    pub(super) fn of(modules: &Modules) -> Self {
        let live = modules.states.values().filter_map(|state| state.live.as_ref());
        let pools = live
            .map(|module| module.pool.clone())
            .chain([BUILT_IN.clone()])
            .collect();
        Self { pools }
    }

    /// The file with this import path.
    pub(super) fn named(&self, name: &str) -> Option<FileDescriptor> {
        self.pools.iter().find_map(|pool| pool.get_file_by_name(name))
    }

    /// The file that declares a message, enum, service, extension, or a part of one.
    pub(super) fn containing(&self, symbol: &str) -> Option<FileDescriptor> {
        let symbol = symbol.trim_start_matches('.');
        self.pools
            .iter()
            .find_map(|pool| declared(pool, symbol).or_else(|| declared_within(pool, symbol)))
    }

    /// The file that extends `message` with field `number`.
    pub(super) fn extending(&self, message: &str, number: u32) -> Option<FileDescriptor> {
        let message = message.trim_start_matches('.');
        self.pools.iter().find_map(|pool| {
            let extension = pool.get_message_by_name(message)?.get_extension(number)?;
            Some(extension.parent_file())
        })
    }

    /// The numbers of everything that extends `message`; None if there is no such message.
    pub(super) fn extension_numbers(&self, message: &str) -> Option<Vec<i32>> {
        let message = message.trim_start_matches('.');
        let found: Vec<_> = self
            .pools
            .iter()
            .filter_map(|pool| pool.get_message_by_name(message))
            .collect();
        if found.is_empty() {
            return None;
        }
        let numbers = found
            .iter()
            .flat_map(|message| {
                message
                    .extensions()
                    .map(|extension| extension.number())
                    .collect::<Vec<_>>()
            })
            .filter_map(|number| i32::try_from(number).ok());
        Some(numbers.collect::<BTreeSet<_>>().into_iter().collect())
    }
}

fn declared(pool: &DescriptorPool, symbol: &str) -> Option<FileDescriptor> {
    let message = || pool.get_message_by_name(symbol).map(|found| found.parent_file());
    let service = || pool.get_service_by_name(symbol).map(|found| found.parent_file());
    let r#enum = || pool.get_enum_by_name(symbol).map(|found| found.parent_file());
    let extension = || {
        pool.get_extension_by_name(symbol)
            .map(|found| found.parent_file())
    };
    message().or_else(service).or_else(r#enum).or_else(extension)
}

/// A method, field, oneof or enum value: known by the name of what it is in.
fn declared_within(pool: &DescriptorPool, symbol: &str) -> Option<FileDescriptor> {
    let (parent, name) = symbol.rsplit_once('.')?;
    if let Some(service) = pool.get_service_by_name(parent) {
        return service
            .methods()
            .any(|method| method.name() == name)
            .then(|| service.parent_file());
    }
    let part_of = |message: &MessageDescriptor| {
        message.get_field_by_name(name).is_some() || message.oneofs().any(|oneof| oneof.name() == name)
    };
    if let Some(message) = pool.get_message_by_name(parent).filter(part_of) {
        return Some(message.parent_file());
    }
    // Values of an enum are named as its siblings in protobuf, but tools also ask for them within it.
    let within = pool
        .get_enum_by_name(parent)
        .filter(|found| found.get_value_by_name(name).is_some());
    let beside = || {
        pool.all_enums().find(|found| {
            let scope = found.full_name().rsplit_once('.').map_or("", |(scope, _)| scope);
            scope == parent && found.get_value_by_name(name).is_some()
        })
    };
    within.or_else(beside).map(|found| found.parent_file())
}

/// The bytes of a file and of everything it imports, itself first, each once.
pub(super) fn closure(file: FileDescriptor) -> Vec<Vec<u8>> {
    let mut seen = HashSet::from([file.name().to_owned()]);
    let (mut encoded, mut open) = (Vec::new(), vec![file]);
    while let Some(file) = open.pop() {
        encoded.push(file.encode_to_vec());
        open.extend(
            file.dependencies()
                .filter(|import| seen.insert(import.name().to_owned())),
        );
    }
    encoded
}
