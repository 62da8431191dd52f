//! Python's grpcio: a gRPC stack that shares no code with ours (it is the C core), with reflection and protobuf.

use fs2::FileExt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What is installed. Changing this makes a new folder.
const PACKAGES: [&str; 3] = ["grpcio==1.76.0", "grpcio-reflection==1.76.0", "protobuf==6.33.0"];

/// A Python that can import grpc.
pub struct PythonGrpc {
    packages: PathBuf,
}

impl PythonGrpc {
    /// Installs the packages into a folder of the machine's temporary files, unless they are there already.
    ///
    /// # Panics
    /// If there is no python3 with pip, or the packages cannot be installed: the message says what pip said.
    pub fn install() -> Self {
        let root = std::env::temp_dir().join("viewfeed-testbed");
        fs::create_dir_all(&root).expect("temporary files can be written");
        // Test binaries run beside each other: one installs, the others wait.
        let lock = File::create(root.join("python.lock")).expect("temporary files can be written");
        lock.lock_exclusive().expect("a lock on an own file");
        let packages = root.join(format!("python-{}", PACKAGES.join("-").replace("==", "-")));
        if !packages.join("complete").exists() {
            install(&packages);
        }
        Self { packages }
    }

    /// Runs `script` with `arguments` and returns what it printed; its own assertions decide.
    ///
    /// # Panics
    /// If it fails: the message is its output.
    pub fn run(&self, script: &Path, arguments: &[&str]) -> String {
        let output = Command::new("python3")
            .arg(script)
            .args(arguments)
            .env("PYTHONPATH", &self.packages)
            .output()
            .expect("python3 can be started");
        assert!(
            output.status.success(),
            "{} {arguments:?} failed:\n{}",
            script.display(),
            both(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn install(packages: &Path) {
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
        .arg(packages)
        .args(PACKAGES)
        .output()
        .expect("python3 is on the PATH; install it with its pip");
    assert!(
        output.status.success(),
        "pip could not install {PACKAGES:?}:\n{}",
        both(&output)
    );
    File::create(packages.join("complete")).expect("temporary files can be written");
}

fn both(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
