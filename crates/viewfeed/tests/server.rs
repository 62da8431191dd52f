//! What the other tests start and ask: the binary as server and as tool.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use viewfeed_testbed::Viewfeed;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_viewfeed");

/// A folder of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A server on an empty folder.
pub(crate) fn start(dir: &Path) -> Viewfeed {
    Viewfeed::start(PROGRAM, dir, &[])
}

/// Runs a tool against the server.
pub(crate) fn tool(server: &Viewfeed, command: &str, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args([command, "--server", &server.address().to_string(), "--json"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a script, which must succeed, and gives its rows.
pub(crate) fn sql(server: &Viewfeed, script: &str) -> Vec<Value> {
    let output = tool(server, "sql", &[script]);
    assert!(output.status.success(), "{script}\n{}", text(&output));
    json_lines(&output)
}

/// Runs a script, which must fail, and gives what it said.
pub(crate) fn sql_error(server: &Viewfeed, script: &str) -> String {
    let output = tool(server, "sql", &[script]);
    assert!(!output.status.success(), "{script} succeeded");
    text(&output)
}

/// Calls an rpc, which must succeed, and gives its responses.
pub(crate) fn call(server: &Viewfeed, arguments: &[&str]) -> Vec<Value> {
    let output = tool(server, "call", arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", text(&output));
    json_lines(&output)
}

pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Everything a tool printed.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A tool that goes on running, read line by line.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(server: &Viewfeed, command: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args([command, "--server", &server.address().to_string(), "--json"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line of its output; None when it has ended.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).unwrap();
        (count > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    /// The next frame of a feed that is of this kind.
    pub(crate) fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let value = self
                .next()
                .unwrap_or_else(|| panic!("the feed ended before {kind}"));
            if value["kind"] == kind {
                return value;
            }
        }
    }

    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Closes its stdin.
    pub(crate) fn finish(&mut self) {
        drop(self.child.stdin.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
