//! The `viewfeed.v1` protobuf contract as Rust types, generated from `proto/viewfeed/v1` when the crate is built.
//! Owns no behaviour: what the messages mean is written in the `.proto` files and done by catalog and server.

/// Messages, service traits and clients of package `viewfeed.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("viewfeed.v1");
}

/// The encoded `FileDescriptorSet` of `viewfeed.v1` and all it imports, custom options included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/viewfeed.bin"));

/// The sources of the files a module may import, by import path.
pub const SOURCES: &[(&str, &str)] = &[
    (
        "viewfeed/v1/options.proto",
        include_str!("../../../proto/viewfeed/v1/options.proto"),
    ),
    (
        "viewfeed/v1/feed.proto",
        include_str!("../../../proto/viewfeed/v1/feed.proto"),
    ),
    (
        "viewfeed/v1/change.proto",
        include_str!("../../../proto/viewfeed/v1/change.proto"),
    ),
];
