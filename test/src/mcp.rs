//! The Model Context Protocol's own library for Node.js, as a server and as a client.

use serde_json::Value;

use crate::peer::{self, PeerServer};

const PACKAGE: &str = "mcp";

/// A server with the tools `search`, `café` and `delete`. Dropping it ends it.
pub struct McpServer(PeerServer);

impl McpServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start() -> Self {
        Self(PeerServer::start(PACKAGE))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port())
    }
}

/// What a client met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The tools the server has.
    pub listed: Vec<String>,
    /// What each tool said, or the error.
    pub replies: Vec<String>,
    /// The scope of each token the client asked its authorization server for.
    pub scopes: Vec<String>,
}

/// Calls tools of the server at `url`, one after the other, as a client that finds the authorization
/// server by itself, and gives its credentials to nobody but `issuer`.
///
/// # Panics
/// Where the client is not installed, or is not let in.
pub fn call(url: &str, issuer: &str, tools: &[&str]) -> Called {
    let arguments = [&["call", url, issuer], tools].concat();
    let told = peer::run(PACKAGE, &arguments);
    let texts = |member: &str| {
        let texts = told[member].as_array().expect("a list").iter();
        texts.map(|text: &Value| text.as_str().expect("text").to_owned()).collect()
    };
    Called { listed: texts("listed"), replies: texts("replies"), scopes: texts("scopes") }
}
