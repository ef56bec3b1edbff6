//! gRPC's own library for Node.js, as a server and as a client.

use crate::peer::{self, PeerServer};

const PACKAGE: &str = "grpc";

/// A gRPC server that answers each message with itself and the `authorization` it was sent.
/// Dropping it ends it.
pub struct GrpcServer(PeerServer);

impl GrpcServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start() -> Self {
        Self(PeerServer::start(PACKAGE))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.0.port()
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
    let told = peer::run(PACKAGE, &["call", &port.to_string(), token]);
    ["unary", "stream"].map(|kind| {
        let replies = told[kind]["replies"].as_array().expect("replies");
        let replies = replies.iter().map(|reply| reply.as_str().expect("text").to_owned());
        Called { code: told[kind]["code"].as_u64().expect("a code"), replies: replies.collect() }
    })
}
