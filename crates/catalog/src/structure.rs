//! What the messages of an rpc are made of: where rows, keys, frames and pages are found, by type and by name.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// Request fields that steer an rpc and never filter.
const CONTROL_FIELDS: [&str; 3] = ["page_size", "page_token", "min_version"];
/// Names that a response's field of deleted keys goes by, when its type does not tell.
const KEY_FIELDS: [&str; 5] = ["deletes", "deleted", "keys", "removes", "removed"];

/// The message type of a field that is a message and no map.
pub(crate) fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !field.is_map() => Some(message),
        _ => None,
    }
}

/// The first field of a message with this message type.
pub(crate) fn field_of_type(message: &MessageDescriptor, type_name: &str) -> Option<FieldDescriptor> {
    message
        .fields()
        .find(|field| message_of(field).is_some_and(|of| of.full_name() == type_name))
}

/// The frame of a typed envelope.
pub(crate) fn frame_field(response: &MessageDescriptor) -> Option<FieldDescriptor> {
    field_of_type(response, "viewfeed.v1.Frame").filter(|field| !field.is_list())
}

/// The acknowledgement of a mutation.
pub(crate) fn ack_field(response: &MessageDescriptor) -> Option<FieldDescriptor> {
    field_of_type(response, "viewfeed.v1.Ack").filter(|field| !field.is_list())
}

/// How the client wants to subscribe.
pub(crate) fn feed_field(request: &MessageDescriptor) -> Option<FieldDescriptor> {
    field_of_type(request, "viewfeed.v1.FeedRequest").filter(|field| !field.is_list())
}

/// The repeated message fields of a response: rows, then keys if there are two.
pub(crate) fn row_fields(response: &MessageDescriptor) -> Vec<(FieldDescriptor, MessageDescriptor)> {
    let repeated = |field: FieldDescriptor| {
        message_of(&field)
            .filter(|_| field.is_list())
            .map(|of| (field, of))
    };
    let mut fields: Vec<_> = response.fields().filter_map(repeated).collect();
    fields.sort_by_key(|(field, _)| (KEY_FIELDS.contains(&field.name()), field.number()));
    fields
}

/// Whether a request's field can filter rows: one scalar or enum that does not steer the rpc.
pub(crate) fn can_filter(field: &FieldDescriptor) -> bool {
    let is_value = !field.is_list() && !field.is_map() && !matches!(field.kind(), Kind::Message(_));
    is_value && !CONTROL_FIELDS.contains(&field.name())
}

/// Whether a request's field is understood without being named in a binding.
pub(crate) fn is_control(field: &FieldDescriptor) -> bool {
    let is_feed = message_of(field).is_some_and(|of| of.full_name() == "viewfeed.v1.FeedRequest");
    is_feed || CONTROL_FIELDS.contains(&field.name())
}

/// A field with this name and one of these kinds.
pub(crate) fn named(message: &MessageDescriptor, name: &str, kinds: &[Kind]) -> Option<FieldDescriptor> {
    let field = message.get_field_by_name(name)?;
    (!field.is_list() && kinds.contains(&field.kind())).then_some(field)
}

/// Kinds that hold a version or a count.
pub(crate) const COUNTS: [Kind; 4] = [Kind::Uint64, Kind::Int64, Kind::Uint32, Kind::Int32];
