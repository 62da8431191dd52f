//! The viewfeed binary as a server process.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How long a log line may take.
const LOG_WAIT: Duration = Duration::from_secs(60);

/// What a server has logged, and a bell that rings at each line.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// A running server. Killed when dropped; its folders belong to whoever made them.
pub struct Viewfeed {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
}

impl Viewfeed {
    /// Starts `program serve` on a free port, with `dir/data` and `dir/modules`, and waits until it says that it is ready.
    ///
    /// # Panics
    /// If it stops instead; the message holds its log.
    pub fn start(program: impl AsRef<Path>, dir: &Path, more: &[&str]) -> Self {
        Self::try_start(program, dir, more).unwrap_or_else(|log| panic!("viewfeed did not start:\n{log}"))
    }

    /// Like [`Viewfeed::start`], but gives the log of a server that stopped.
    ///
    /// # Errors
    /// The log, if the server stopped before it was ready.
    pub fn try_start(program: impl AsRef<Path>, dir: &Path, more: &[&str]) -> Result<Self, String> {
        Self::run(Command::new(program.as_ref()), dir, more)
    }

    /// Like [`Viewfeed::start`], but no file may grow past `bytes`: a write beyond fails, as on a full disk.
    ///
    /// # Panics
    /// If it stops instead; the message holds its log.
    pub fn start_with_file_limit(program: impl AsRef<Path>, dir: &Path, bytes: u64) -> Self {
        // Ignored, the signal becomes an error of the write. POSIX counts in blocks of 512 bytes.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(program.as_ref());
        Self::run(shell, dir, &[]).unwrap_or_else(|log| panic!("viewfeed did not start:\n{log}"))
    }

    fn run(mut command: Command, dir: &Path, more: &[&str]) -> Result<Self, String> {
        let address = free_address();
        let mut child = command
            .arg("serve")
            .args(["--listen", &address.to_string()])
            .args([
                Path::new("--data"),
                &dir.join("data"),
                Path::new("--modules"),
                &dir.join("modules"),
            ])
            .args(more)
            .env("VIEWFEED_LOG", "info")
            .env("VIEWFEED_LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program exists and can be started");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Log::default());
        let mut server = Self {
            child,
            address,
            log: log.clone(),
        };
        if wait_until_ready(stderr, log) {
            return Ok(server);
        }
        // Its output has ended, so it has stopped or is about to.
        let _ = server.child.wait();
        Err(server.log())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lines.lock().expect("no reader panics").join("\n")
    }

    /// Returns when it has logged so many lines with `text`.
    ///
    /// # Panics
    /// If it has not after a minute; the message holds its log.
    pub fn wait_for_log(&self, text: &str, times: usize) {
        let lines = self.log.lines.lock().expect("no reader panics");
        let missing =
            |lines: &mut Vec<String>| lines.iter().filter(|line| line.contains(text)).count() < times;
        let waited = self.log.grown.wait_timeout_while(lines, LOG_WAIT, missing);
        let (lines, waited) = waited.expect("no reader panics");
        assert!(!waited.timed_out(), "no {text:?} in:\n{}", lines.join("\n"));
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no goodbye, no flush.
    pub fn kill(mut self) {
        self.child.kill().expect("a running child can be killed");
        self.child.wait().expect("a killed child can be waited for");
    }

    /// Sends a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill exists").success(), "the server is gone");
    }

    /// Waits until it has stopped by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Viewfeed {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log until the server is ready (true) or has stopped; goes on reading behind.
fn wait_until_ready(stderr: ChildStderr, log: Arc<Log>) -> bool {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.contains("viewfeed is ready") {
                // Nobody waits any more after the first time.
                let _ = sender.send(());
            }
            log.lines.lock().expect("no reader panics").push(line);
            log.grown.notify_all();
        }
    });
    receiver.recv().is_ok()
}

/// An address nobody listens on at the moment.
///
/// # Panics
/// If the machine has no free port.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// A copy of `from` at `to`, for modules that a test changes.
pub fn copy_dir(from: &Path, to: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(to.to_owned())
}
