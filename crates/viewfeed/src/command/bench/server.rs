//! The server that is measured: a process of its own, on a scratch folder below the working directory (so that the disk is
//! the one the user means).

use crate::client;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_wire::v1;
use viewfeed_wire::v1::viewfeed_client::ViewfeedClient;

/// How long a server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long to wait before asking again whether it answers.
const ASK_AGAIN: Duration = Duration::from_millis(2);
/// A unit of the times in /proc: Linux says 100 a second to programs, whatever it counts itself.
const TICK_MS: u64 = 10;
/// Where the user time is in /proc/PID/stat, counted from the field behind the name.
const USER_TIME_FIELD: usize = 11;

/// A running server. Killed and removed with its folder when dropped.
pub(super) struct BenchServer {
    child: Child,
    address: String,
    dir: tempfile::TempDir,
}

impl BenchServer {
    /// Starts a server on an empty folder.
    pub(super) async fn start() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("viewfeed-bench-")
            .tempdir_in(".")?;
        let address = free_address()?;
        let child = spawn(dir.path(), &address)?;
        let mut server = Self { child, address, dir };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Kills the server (SIGKILL) and starts it again on the same folder; returns when it answers.
    pub(super) async fn kill_and_restart(&mut self) -> Result<()> {
        self.kill()?;
        self.start_again().await
    }

    /// Kills the server (SIGKILL).
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts a killed server on the same folder; returns when it answers.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        self.child = spawn(self.dir.path(), &self.address)?;
        self.wait_until_ready().await
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(super) async fn client(&self) -> Result<ViewfeedClient<Channel>> {
        client::generic(&self.address).await
    }

    /// A connection of its own.
    pub(super) async fn channel(&self) -> Result<Channel> {
        client::connect(&self.address).await
    }

    /// Runs a script and returns its rows as text.
    pub(super) async fn sql(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        execute(&mut self.client().await?, sql).await
    }

    /// Resident memory of the process, in bytes.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        self.memory_bytes("VmRSS:")
    }

    /// The most that was resident of the process since it started, in bytes.
    pub(super) fn peak_resident_bytes(&self) -> Result<u64> {
        self.memory_bytes("VmHWM:")
    }

    /// The time that the process has had on processors since it started.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold anything; behind it are the state and then numbers (proc_pid_stat(5)).
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
        let ticks: Option<Vec<u64>> = fields.map(|fields| {
            let of_process = fields.skip(USER_TIME_FIELD).take(2);
            of_process.filter_map(|ticks| ticks.parse().ok()).collect()
        });
        match ticks.as_deref() {
            Some([user, system]) => Ok(Duration::from_millis((user + system) * TICK_MS)),
            _ => Err(Error::internal(
                "this system does not tell the time on processors",
            )),
        }
    }

    fn memory_bytes(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib << 10)
            .ok_or_else(|| Error::internal("this system does not tell the resident memory"))
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let since = Instant::now();
        while since.elapsed() < START_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                return Err(Error::internal(format!("the server stopped with {status}")));
            }
            if client::connect(&self.address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "SERVER",
            "the server did not answer in time",
        ))
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        // It may have stopped by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script and returns its rows as text.
pub(super) async fn execute(client: &mut ViewfeedClient<Channel>, sql: &str) -> Result<Vec<Vec<String>>> {
    let request = v1::ExecuteRequest {
        sql: sql.to_owned(),
        schema: String::new(),
        min_version: 0,
    };
    let mut responses = client
        .execute(request)
        .await
        .map_err(client::failure)?
        .into_inner();
    let mut rows = Vec::new();
    while let Some(response) = responses.next().await {
        let response = response.map_err(client::failure)?;
        rows.extend(
            response
                .rows
                .iter()
                .map(|row| row.values.iter().map(crate::output::text).collect()),
        );
    }
    Ok(rows)
}

fn spawn(dir: &Path, address: &str) -> Result<Child> {
    let log = std::fs::File::create(dir.join("log"))?;
    let program = std::env::current_exe()?;
    let child = Command::new(program)
        .args(["serve", "--listen", address, "--data"])
        .arg(dir.join("data"))
        .arg("--modules")
        .arg(dir.join("modules"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(child)
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Bytes of all files below `dir`.
pub(super) fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
