//! Whether a running stream survives a change of modules: it does when its rpc still says the same.

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};
use std::collections::HashSet;
use viewfeed_catalog::{Binding, Modules, Rpc, Subscribe};

/// What became of an rpc.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It says the same as before.
    Same,
    /// There is one of that name, but it says something else.
    Changed,
    /// There is none any more.
    Removed,
}

/// What became of `rpc` in `modules`.
pub(super) fn fate(rpc: &Rpc, modules: &Modules) -> Fate {
    let Some(now) = modules.rpcs.get(&rpc.path) else {
        return Fate::Removed;
    };
    if std::ptr::eq(rpc, &**now) {
        return Fate::Same;
    }
    match (&rpc.binding, &now.binding) {
        (_, Binding::Unbound(_)) => Fate::Removed,
        (Binding::Subscribe(before), Binding::Subscribe(after))
            if same_binding(before, after) && same_messages(rpc, now) =>
        {
            Fate::Same
        }
        _ => Fate::Changed,
    }
}

fn same_binding(before: &Subscribe, after: &Subscribe) -> bool {
    before.relation.id == after.relation.id
        && before.relation.columns == after.relation.columns
        && before.key == after.key
        && before.filter == after.filter
        && before.envelope == after.envelope
        && before.bare == after.bare
        && before.key_encoder.is_some() == after.key_encoder.is_some()
}

fn same_messages(before: &Rpc, after: &Rpc) -> bool {
    let mut seen = HashSet::new();
    same_message(&before.method.input(), &after.method.input(), &mut seen)
        && same_message(&before.method.output(), &after.method.output(), &mut seen)
}

/// Whether two messages and all that they hold have the same fields.
fn same_message(before: &MessageDescriptor, after: &MessageDescriptor, seen: &mut HashSet<String>) -> bool {
    if !seen.insert(before.full_name().to_owned()) {
        return true;
    }
    if before.full_name() != after.full_name() || before.descriptor_proto() != after.descriptor_proto() {
        return false;
    }
    before
        .fields()
        .zip(after.fields())
        .all(|(before, after)| match (before.kind(), after.kind()) {
            (Kind::Message(before), Kind::Message(after)) => same_message(&before, &after, seen),
            (Kind::Enum(before), Kind::Enum(after)) => same_enum(&before, &after),
            _ => true,
        })
}

fn same_enum(before: &EnumDescriptor, after: &EnumDescriptor) -> bool {
    before.full_name() == after.full_name() && before.enum_descriptor_proto() == after.enum_descriptor_proto()
}
