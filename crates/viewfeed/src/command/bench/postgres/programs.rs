//! Postgres' own programs, beside which we are measured: `pg_recvlogical` and `psql`. They may be missing.

use super::database::{Database, NAME, PEER_SLOT};
use crate::output;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use viewfeed_change::{Error, Result};

/// Where Debian's packages put the programs, by version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Where they are.
pub(super) struct Programs {
    /// None: in the PATH.
    folder: Option<PathBuf>,
}

impl Programs {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder: folder.or_else(newest),
        }
    }

    /// How long `pg_recvlogical` takes to read the log from the beginning of the slot for others to here, from start to exit; None
    /// if there is no such program.
    pub(super) async fn receive(&self, database: &Database) -> Result<Option<Duration>> {
        let (options, end) = (database.peer_options(), database.position().await?);
        let mut command = self.command("pg_recvlogical");
        command.args(["--start", "--no-loop", "--file", "/dev/null", "--slot", PEER_SLOT]);
        command.args(["--dbname", database.connection(), "--endpos", &end.to_string()]);
        command.args(["--option", &format!("proto_version={}", options.protocol_version)]);
        command.args(["--option", &format!("publication_names={NAME}")]);
        for (is_wanted, option) in [
            (options.streams_running, "streaming=on"),
            (options.is_binary, "binary=true"),
            (options.has_messages, "messages=true"),
        ] {
            if is_wanted {
                command.args(["--option", option]);
            }
        }
        timed(command).await
    }

    /// How long `psql` takes to write the orders to nowhere, as text.
    pub(super) async fn copy(&self, database: &Database) -> Result<Option<Duration>> {
        let mut command = self.command("psql");
        let copy = format!("COPY {NAME}.orders TO STDOUT");
        command.args([
            "--no-psqlrc",
            "--dbname",
            database.connection(),
            "--command",
            &copy,
        ]);
        timed(command).await
    }

    fn command(&self, program: &str) -> Command {
        let found = self.folder.as_ref().map(|folder| folder.join(program));
        Command::new(
            found
                .filter(|path| path.is_file())
                .unwrap_or_else(|| program.into()),
        )
    }
}

fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir(Path::new(VERSIONS)).ok()?.flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    versions
        .filter(|folder| folder.join("pg_recvlogical").is_file())
        .max()
}

async fn timed(mut command: Command) -> Result<Option<Duration>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let start = Instant::now();
    let status = match command.status().await {
        Ok(status) => status,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let program = command.as_std().get_program().to_string_lossy().into_owned();
            output::note(&format!("{program} is not here: name its folder with --programs"));
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    match status.success() {
        true => Ok(Some(start.elapsed())),
        false => Err(
            Error::internal(format!("a program of Postgres stopped with {status}")).hint("it says why above"),
        ),
    }
}
