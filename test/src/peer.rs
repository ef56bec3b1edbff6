//! Servers and clients of other people's Node.js packages.
//!
//! `make setup` installs each into `test/NAME`, whose `peer.js` says what they say to each other.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use crate::{process, tool};

/// A server that `peer.js serve` starts: it prints its port. Dropping it ends it.
pub(crate) struct PeerServer {
    port: u16,
    child: Child,
    /// It ends with its standard input.
    _stdin: Option<ChildStdin>,
}

impl PeerServer {
    /// Starts the server of `test/NAME`.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub(crate) fn start(name: &str) -> Self {
        let mut command = command(name, &["serve"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        process::bind_to_starter(&mut command);
        let mut child = command.spawn().expect("node is installed");
        let stdin = child.stdin.take();
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("the server tells its port");
        Self { port, child, _stdin: stdin }
    }

    /// The port of 127.0.0.1 it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        process::end(&mut self.child, libc::SIGTERM);
    }
}

/// Runs the client of `test/NAME`, and returns the JSON it prints.
///
/// # Panics
/// Where it is not installed, or gives up.
pub(crate) fn run(name: &str, arguments: &[&str]) -> Value {
    let output = command(name, arguments).output().expect("node is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
}

fn command(name: &str, arguments: &[&str]) -> Command {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    assert!(
        directory.join("node_modules").exists(),
        "{} has no node_modules: `make setup` installs them",
        directory.display()
    );
    let mut command = Command::new(tool::node());
    command.arg(directory.join("peer.js")).args(arguments).env_remove("http_proxy");
    command.env_remove("grpc_proxy").stderr(Stdio::piped());
    command
}
