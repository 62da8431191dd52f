//! Compiles `proto/viewfeed/v1` with protox, so that no `protoc` is needed.

use prost::Message;
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = ["feed", "options", "change", "viewfeed"].map(|name| format!("viewfeed/v1/{name}.proto"));
    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The bytes keep custom options, which a decoded descriptor would lose.
    fs::write(out.join("viewfeed.bin"), compiler.encode_file_descriptor_set())?;
    let set = prost_types(&compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().bytes(".").compile_fds(set)?;
    Ok(())
}

fn prost_types(bytes: &[u8]) -> Result<prost_types::FileDescriptorSet, prost::DecodeError> {
    prost_types::FileDescriptorSet::decode(bytes)
}
