//! An authority of our own with certificates for servers and clients, made by the program `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Certificates that are valid for a day. They go when this is dropped.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new authority that nobody knows.
    ///
    /// # Panics
    /// If there is no `openssl`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary files can be written");
        let authority = Self { folder };
        openssl(
            authority.folder.path(),
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=authority",
                "-keyout",
                "authority.key",
                "-out",
                "authority.crt",
            ],
        );
        authority
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    /// The key of that, PEM.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("authority.key")
    }

    /// The files (PEM) of a certificate of somebody called `name`, which is a name of a host too, and of its key.
    ///
    /// # Panics
    /// If `openssl` says no.
    pub fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let file = |ending: &str| format!("{name}.{ending}");
        let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
        let folder = self.folder.path();
        let subject = format!("/CN={name}");
        openssl(
            folder,
            &[
                "req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &request,
            ],
        );
        fs::write(folder.join("names"), format!("subjectAltName=DNS:{name}\n"))
            .expect("temporary files can be written");
        openssl(
            folder,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-days",
                "1",
                "-CA",
                "authority.crt",
                "-CAkey",
                "authority.key",
                "-CAcreateserial",
                "-extfile",
                "names",
                "-out",
                &certificate,
            ],
        );
        (folder.join(certificate), folder.join(key))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = output.expect("the program `openssl` is needed to make certificates: install it");
    assert!(
        output.status.success(),
        "openssl failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
