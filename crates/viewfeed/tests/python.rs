//! An independent gRPC stack (grpcio, the C core) against the binary, knowing nothing but reflection.

use crate::server::{repository, start};
use std::path::Path;
use viewfeed_testbed::{PythonGrpc, copy_dir};

#[test]
fn grpcio_lists_describes_calls_subscribes_cancels_and_resumes() {
    let python = PythonGrpc::install();
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&repository("modules/chat"), &dir.path().join("modules/chat")).unwrap();
    copy_dir(
        &repository("examples/seed-chat"),
        &dir.path().join("modules/seed"),
    )
    .unwrap();
    let server = start(dir.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/reflection_client.py");
    let printed = python.run(&script, &[&server.address().to_string()]);
    assert!(printed.contains("all stories passed"), "{printed}");
}
