//! A Postgres server of our own, and psql as its client: no library of ours speaks its protocol. Found in the folder that
//! `VIEWFEED_POSTGRES_BIN` names, else where Debian puts it, else installed. It listens on a socket in its own folder and on
//! a free port of this machine, and goes with it.

mod standby;

use crate::free_address;
use fs2::FileExt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// The variable that chooses the programs, so that every version can be tested.
const PROGRAMS: &str = "VIEWFEED_POSTGRES_BIN";
/// Where Debian's packages put the programs, by version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Who runs the server if we are root, whom Postgres refuses: the package makes that user.
const SERVER_USER: &str = "postgres";
/// How often another free port is tried.
const START_ATTEMPTS: usize = 5;
/// The user and the owner inside of the database.
const DATABASE_USER: &str = "viewfeed";
/// Between the columns of a row that psql prints.
const SEPARATOR: char = '\u{1f}';
/// What psql prints for NULL.
const NULL: &str = "\\N";
/// What psql prints after every statement, before how it went.
const DONE: &str = "\u{1e}done";
/// What a server logs when it can be asked; the others are what a standby does, from version 14 on and before.
const READY: [&str; 3] = [
    "ready to accept connections",
    "ready to accept read-only connections",
    "ready to accept read only connections",
];
/// How it says that a statement went well.
const SUCCESS: &str = "00000";

/// A running server without any table. Stopped when dropped.
pub struct Postgres {
    /// None while it is stopped.
    child: Option<Child>,
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    settings: Vec<String>,
}

/// A connection.
pub struct Psql {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A row as text; None is NULL.
pub type TextRow = Vec<Option<String>>;

impl Postgres {
    /// Starts a server with UTF-8 text that is compared byte by byte. Nothing is made durable.
    ///
    /// # Panics
    /// If there is none and none can be installed, or it does not start: the message says what it said.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with settings, such as `wal_level=logical`.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn start_with(settings: &[&str]) -> Self {
        let programs = install();
        let folder = new_folder();
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("temporary files can be written");
        if is_root() {
            give_to_server(folder.path());
            give_to_server(&data);
        }
        let made = as_server(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", DATABASE_USER, "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C", "--no-sync"])
            .output();
        succeeded("initdb", &made.expect("initdb can be started"));
        let settings = settings.iter().map(ToString::to_string).collect();
        Self::made(folder, programs, settings)
    }

    /// Starts the server whose files are in `folder`.
    fn made(folder: tempfile::TempDir, programs: PathBuf, settings: Vec<String>) -> Self {
        let mut server = Self {
            child: None,
            folder,
            programs,
            port: free_address().port(),
            settings,
        };
        for _ in 1..START_ATTEMPTS {
            if server.launch().is_ok() {
                return server;
            }
            // Somebody else may have taken the port meanwhile.
            server.port = free_address().port();
        }
        server.resume();
        server
    }

    /// Starts it again after [`Postgres::crash`]; it recovers from its log.
    ///
    /// # Panics
    /// If it does not start.
    pub fn resume(&mut self) {
        if let Err(log) = self.launch() {
            panic!("Postgres did not start:\n{log}");
        }
    }

    fn launch(&mut self) -> Result<(), String> {
        let data = self.data();
        let mut command = as_server(&self.programs.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&data);
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "fsync=off", "-c", "jit=off"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server can be started");
        let stderr = child.stderr.take().expect("stderr is piped");
        if let Err(log) = wait_until_ready(BufReader::new(stderr)) {
            let _ = child.wait();
            return Err(log);
        }
        self.child = Some(child);
        Ok(())
    }

    /// Stops it at once, as a power cut would, without losing what the machine holds.
    pub fn crash(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // The server's own processes follow the first one, which stops at once at SIGQUIT.
        let stopped = Command::new("kill")
            .args(["-QUIT", &child.id().to_string()])
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = child.kill();
        }
        let _ = child.wait();
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How a client connects over TCP: to the database `postgres` as its owner, without a password.
    pub fn connection(&self) -> String {
        self.connection_by(self.port)
    }

    /// The same by another port of this machine, as of a [`Proxy`](crate::Proxy).
    pub fn connection_by(&self, port: u16) -> String {
        format!("host=127.0.0.1 port={port} user={DATABASE_USER} dbname=postgres")
    }

    /// The folder of the programs, such as `pg_recvlogical` and `pgbench`.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// A program of Postgres that will connect to it, to the database `postgres` as its owner.
    pub fn client(&self, program: &str) -> Command {
        let own = self.programs.join(program);
        // Not every version that is chosen by its folder has them all.
        let mut command = Command::new(if own.is_file() { own } else { program.into() });
        command
            .envs([
                ("PGHOST", "127.0.0.1"),
                ("PGUSER", DATABASE_USER),
                ("PGDATABASE", "postgres"),
            ])
            .env("PGPORT", self.port.to_string());
        command
    }

    /// The data folder of the server, which may be written while it runs (`pg_hba.conf`, certificates).
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file of the data folder, such as `pg_hba.conf`, that only the server may read. It reads it when it starts.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.data().join(name);
        fs::write(&path, content).expect("the data folder can be written");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, private).expect("a file of our own");
        if is_root() {
            give_to_server(&path);
        }
    }

    /// A new connection.
    ///
    /// # Panics
    /// If psql cannot be started.
    pub fn connect(&self) -> Psql {
        let mut child = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .arg(format!("--field-separator={SEPARATOR}"))
            .arg(format!("--pset=null={NULL}"))
            .arg("-h")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(["-U", DATABASE_USER, "-d", "postgres"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What went wrong is asked for; see `query`.
            .stderr(Stdio::null())
            .spawn()
            .expect("psql can be started");
        let input = child.stdin.take().expect("stdin is piped");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Psql { child, input, output }
    }
}

impl Psql {
    /// Runs one statement, without a semicolon, whose values hold no line ends; gives the rows it returns.
    ///
    /// # Errors
    /// What Postgres says against it.
    ///
    /// # Panics
    /// If the connection is lost.
    pub fn query(&mut self, sql: &str) -> Result<Vec<TextRow>, String> {
        self.attempt(sql).expect("psql has not stopped")
    }

    /// The same; None once the connection is lost, and then always.
    ///
    /// # Errors
    /// What Postgres says against it.
    pub fn attempt(&mut self, sql: &str) -> Option<Result<Vec<TextRow>, String>> {
        writeln!(self.input, "{sql};\n\\echo {DONE} :SQLSTATE :LAST_ERROR_MESSAGE").ok()?;
        self.input.flush().ok()?;
        let mut rows = Vec::new();
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let line = line.trim_end_matches('\n');
            if let Some(outcome) = line.strip_prefix(DONE) {
                return Some(match outcome.trim().strip_prefix(SUCCESS) {
                    Some(_) => Ok(rows),
                    None => Err(outcome.trim().to_owned()),
                });
            }
            let value = |text: &str| (text != NULL).then(|| text.to_owned());
            rows.push(line.split(SEPARATOR).map(value).collect());
        }
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The folder of the programs; installs them if there is none.
fn install() -> PathBuf {
    // Test binaries run beside each other: one installs, the others wait.
    let root = std::env::temp_dir().join("viewfeed-testbed");
    fs::create_dir_all(&root).expect("temporary files can be written");
    let lock = File::create(root.join("postgres.lock")).expect("temporary files can be written");
    lock.lock_exclusive().expect("a lock on an own file");
    if let Some(programs) = find() {
        return programs;
    }
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends", "postgresql"],
    ] {
        let output = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output();
        succeeded(
            "apt-get",
            &output.expect("there is no Postgres: install it (postgresql) with initdb in the PATH"),
        );
    }
    find().expect("apt-get has installed Postgres")
}

/// The newest version that is there.
fn find() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os(PROGRAMS) {
        return Some(PathBuf::from(chosen));
    }
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    let mut folders = versions.into_iter().rev().chain(std::env::split_paths(&in_path));
    folders.find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// `program` run by somebody Postgres accepts.
fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = format!("--reuid={SERVER_USER}");
    command
        .args([&user, "--regid", SERVER_USER, "--clear-groups", "--"])
        .arg(program);
    // Where we are may be closed to the server.
    command.current_dir("/");
    command
}

fn give_to_server(folder: &Path) {
    let output = Command::new("chown").arg(SERVER_USER).arg(folder).output();
    succeeded("chown", &output.expect("chown can be started"));
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// The path of a socket may be no longer than about a hundred bytes, so not every temporary folder will do.
fn new_folder() -> tempfile::TempDir {
    let made = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp");
    made.or_else(|_| tempfile::tempdir())
        .expect("a temporary folder can be made")
}

/// Reads what the server logs until it is ready; goes on reading behind. Else gives what it logged.
fn wait_until_ready(mut log: BufReader<std::process::ChildStderr>) -> Result<(), String> {
    let mut lines = String::new();
    loop {
        let from = lines.len();
        match log.read_line(&mut lines) {
            Ok(0) | Err(_) => return Err(lines),
            Ok(_) if READY.iter().any(|ready| lines[from..].contains(ready)) => break,
            Ok(_) => {}
        }
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok(())
}

fn succeeded(program: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{program} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
