//! gRPC's own library for Node.js, as a server and as a client.
//!
//! `make setup` installs it into `test/grpc`, whose `peer.js` says what they say to each other.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use crate::process;

/// A gRPC server that answers each message with itself and the `authorization` it was sent.
/// Dropping it ends it.
pub struct GrpcServer {
    port: u16,
    child: Child,
    /// It ends with its standard input.
    _stdin: Option<ChildStdin>,
}

impl GrpcServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start() -> Self {
        let mut command = peer(&["serve"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        process::bind_to_starter(&mut command);
        let mut child = command.spawn().expect("node is installed");
        let stdin = child.stdin.take();
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("the gRPC server tells its port");
        Self { port, child, _stdin: stdin }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        process::end(&mut self.child, libc::SIGTERM);
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// gRPC's status code: 0 is OK.
    pub code: u64,
    /// The messages that came back.
    pub replies: Vec<String>,
}

/// Calls what listens on `port` with an access token, or without one where it is empty: one unary
/// call, and one with three messages each way, each sent when the last was answered.
///
/// # Panics
/// Where the client is not installed, or gives up.
pub fn call(port: u16, token: &str) -> [Called; 2] {
    let output = peer(&["call", &port.to_string(), token]).output().expect("node is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    ["unary", "stream"].map(|kind| {
        let replies = told[kind]["replies"].as_array().expect("replies");
        let replies = replies.iter().map(|reply| reply.as_str().expect("text").to_owned());
        Called { code: told[kind]["code"].as_u64().expect("a code"), replies: replies.collect() }
    })
}

fn peer(arguments: &[&str]) -> Command {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("grpc");
    assert!(
        directory.join("node_modules").exists(),
        "{} has no node_modules: `make setup` installs them",
        directory.display()
    );
    let mut command = Command::new("node");
    command.arg(directory.join("peer.js")).args(arguments).env_remove("http_proxy");
    command.env_remove("grpc_proxy").stderr(Stdio::piped());
    command
}
