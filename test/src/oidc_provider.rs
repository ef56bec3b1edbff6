//! npm's `oidc-provider`, a certified OpenID provider no one here wrote, as authorization server.
//!
//! `make setup` installs it into `test/oidc-provider`, whose `server.js` says which clients it has.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::process::{self, wait_for};

/// The secret of all its clients but the one named `introspection:client`.
pub const SECRET: &str = "Password1";

/// A running `oidc-provider`. Dropping it ends it.
pub struct OidcProvider {
    port: u16,
    child: Child,
    directory: TempDir,
    /// It ends with its standard input.
    _stdin: Option<ChildStdin>,
}

impl OidcProvider {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc-provider");
        assert!(
            source.join("node_modules").exists(),
            "{} has no node_modules: `make setup` installs them",
            source.display()
        );
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str| fs::File::create(directory.path().join(name)).expect("a file");
        let port = crate::port::free();
        let mut command = Command::new("node");
        command.arg(source.join("server.js")).arg(port.to_string()).stdin(Stdio::piped());
        command.stdout(file("stdout")).stderr(file("stderr"));
        process::bind_to_starter(&mut command);
        let mut child = command.spawn().expect("node is installed");
        let stdin = child.stdin.take();
        let mut provider = Self { port, child, directory, _stdin: stdin };
        wait_for("oidc-provider to listen", || {
            let ended = !matches!(provider.child.try_wait(), Ok(None));
            assert!(!ended, "oidc-provider does not start:\n{}", provider.output("stderr"));
            provider.output("stdout").contains("ready").then_some(())
        });
        provider
    }

    fn output(&self, name: &str) -> String {
        let mut text = String::new();
        let file = fs::File::open(self.directory.path().join(name));
        file.and_then(|mut file| file.read_to_string(&mut text)).expect("text");
        text
    }

    /// Scheme, host and port: its issuer.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL to introspect at.
    pub fn introspection_url(&self) -> String {
        format!("{}/token/introspection", self.url())
    }

    /// An access token of the client's own (RFC 6749 §4.4).
    ///
    /// # Panics
    /// Where there is none.
    pub fn token(&self, client: &str, scope: &str) -> String {
        let form = format!("grant_type=client_credentials&scope={}", scope.replace(' ', "+"));
        let response = self.post(client, "/token", &form);
        assert_eq!(response.status, 200, "{}", response.text());
        let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
        answer["access_token"].as_str().expect("an access token").to_owned()
    }

    /// A refresh token of `test-client`.
    ///
    /// # Panics
    /// Where there is none.
    pub fn refresh_token(&self) -> String {
        let response = Client::connect(self.port).get("/refresh-token", &[]);
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    }

    /// Revokes an access token of this client (RFC 7009).
    ///
    /// # Panics
    /// Where it does not.
    pub fn revoke(&self, client: &str, token: &str) {
        let response = self.post(client, "/token/revocation", &format!("token={token}"));
        assert_eq!(response.status, 200, "{}", response.text());
    }

    fn post(&self, client: &str, path: &str, form: &str) -> Response {
        let basic = format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")));
        let headers =
            [("Authorization", &*basic), ("Content-Type", "application/x-www-form-urlencoded")];
        let mut connection = Client::connect(self.port);
        connection.send_request("POST", path, &headers, form.as_bytes());
        connection.read()
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        process::end(&mut self.child, libc::SIGTERM);
    }
}
