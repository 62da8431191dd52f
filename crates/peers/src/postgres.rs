//! A Postgres server of its own for a comparison, with the settings it comes with: started in a folder of its own, reached
//! by a socket there, gone at the end. Spoken to through psql, which takes the times.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use viewfeed_change::{Error, ErrorKind, Result};

/// Where distributions put the programs that are not in PATH.
const INSTALLED: &str = "/usr/lib/postgresql";

/// A running server.
pub(crate) struct Postgres {
    programs: PathBuf,
    dir: TempDir,
    user: Option<(u32, u32)>,
}

impl Postgres {
    /// Starts one. Fails if Postgres is not installed, or does not run here; the reason is worth printing.
    pub(crate) fn start() -> Result<Self> {
        let programs = programs().ok_or_else(|| missing("it is not installed"))?;
        let dir = tempfile::tempdir()?;
        // The server refuses to run as root.
        let user = (fs::metadata("/proc/self")?.uid() == 0)
            .then(unprivileged)
            .transpose()?;
        if let Some((user, group)) = user {
            chown(dir.path(), Some(user), Some(group))?;
        }
        let server = Self { programs, dir, user };
        let data = server.data();
        let initdb = [
            "-D",
            &data,
            "-U",
            "bench",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ];
        server.program("initdb", &initdb)?;
        let (log, options) = (server.path("log"), format!("-k {} -h ''", server.path("")));
        server.program(
            "pg_ctl",
            &["-D", &data, "-w", "-l", &log, "-o", &options, "start"],
        )?;
        Ok(server)
    }

    /// Runs statements.
    pub(crate) fn run(&self, sql: &str) -> Result<()> {
        self.psql(sql).map(drop)
    }

    /// Runs statements; gives the sum of what psql says each took.
    pub(crate) fn time(&self, sql: &str) -> Result<Duration> {
        let said = self.psql(&format!("\\timing on\n{sql}"))?;
        let times = said.lines().filter_map(|line| line.strip_prefix("Time: "));
        let ms = times.filter_map(|time| time.split(' ').next()?.parse::<f64>().ok());
        Ok(Duration::from_secs_f64(ms.sum::<f64>() / 1e3))
    }

    fn psql(&self, sql: &str) -> Result<String> {
        let socket = self.path("");
        let arguments = [
            "-h",
            &socket,
            "-U",
            "bench",
            "-d",
            "postgres",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
        ];
        let mut command = self.command("psql", &arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child
            .stdin
            .take()
            .ok_or_else(|| Error::internal("psql has no input"))?;
        input.write_all(sql.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(missing("psql failed")),
        }
    }

    fn program(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let status = self.command(name, arguments).stdout(Stdio::null()).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(missing(&format!("{name} failed"))),
        }
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.args(arguments).current_dir(self.dir.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> String {
        self.path("data")
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Only a server that never started cannot be stopped.
        let _ = self.program("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
    }
}

/// The folder with the server's programs: the newest that is installed.
fn programs() -> Option<PathBuf> {
    let has_all = |dir: &PathBuf| {
        ["initdb", "pg_ctl", "psql"]
            .iter()
            .all(|name| dir.join(name).exists())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = fs::read_dir(INSTALLED)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    dirs.sort();
    dirs.into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .find(has_all)
}

/// The ids of somebody who may run a server.
fn unprivileged() -> Result<(u32, u32)> {
    let users = fs::read_to_string(Path::new("/etc/passwd"))?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres")
        .or_else(|| ids("nobody"))
        .ok_or_else(|| missing("it must not run as root, and there is nobody else"))
}

fn missing(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "NO_POSTGRES", why.to_owned())
        .hint("install Postgres to have it measured")
}
