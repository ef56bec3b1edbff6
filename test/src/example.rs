//! The examples of `nginx-conf/` as tests drive them.

use std::path::Path;

use crate::{Api, AuthorizationServer, Gateway, port};

/// The secret of the examples' gateway.
pub const SECRET: &str = "Password1";

/// Where the authorization server of the tests introspects.
pub const INTROSPECTION_PATH: &str = "/oauth/v2/oauth-introspect";

/// An example, its addresses exchanged for those of a test.
pub struct Example {
    config: String,
    port: u16,
    files: Vec<(&'static str, String)>,
}

impl Example {
    /// Reads `nginx-conf/NAME`.
    ///
    /// # Panics
    /// Where there is none.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx-conf").join(name);
        let config = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let port = port::free();
        let files = vec![("phantom-token.secret", format!("{SECRET}\n"))];
        Self { config, port, files }
            .replace("error_log logs/", "error_log ")
            .replace("access_log logs/", "access_log ")
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
    }

    /// What is replaced must be there, so that the example and its test stay together.
    ///
    /// # Panics
    /// Where it is not.
    #[must_use]
    pub fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.config.contains(from) || from.contains("_log"), "the example has {from}");
        self.config = self.config.replace(from, to);
        self
    }

    /// Has the server in place of `url` asked.
    #[must_use]
    pub fn asks(self, url: &str, server: &AuthorizationServer) -> Self {
        self.replace(url, &server.introspection_url())
    }

    /// Names the server in place of `issuer`, as it calls itself in its tokens.
    #[must_use]
    pub fn issuer(self, issuer: &str, server: &AuthorizationServer) -> Self {
        self.replace(&format!("issuer {issuer};"), &format!("issuer {};", issuer_of(server)))
    }

    /// Sends requests on to this API.
    #[must_use]
    pub fn passes_to(self, api: &Api) -> Self {
        self.replace("http://127.0.0.1:3000", &api.url())
    }

    /// Puts a file beside the configuration.
    #[must_use]
    pub fn file(mut self, name: &'static str, content: &str) -> Self {
        self.files.push((name, content.to_owned()));
        self
    }

    /// The port of 127.0.0.1 in place of 8080.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the gateway.
    pub fn start(self) -> Gateway {
        let mut builder = Gateway::builder().verbatim(&self.config, self.port).secret(SECRET);
        for (name, content) in self.files {
            builder = builder.file(name, content);
        }
        builder.start()
    }
}

/// The usual endpoint of the examples.
pub fn endpoint() -> String {
    format!("https://login.example.com{INTROSPECTION_PATH}")
}

/// How a server of the tests calls itself.
pub fn issuer_of(server: &AuthorizationServer) -> String {
    format!("{}/oauth/v2/oauth-anonymous", server.url())
}

/// A server that knows the examples' gateway.
///
/// # Panics
/// Where it does not start.
pub fn server(client: &str) -> AuthorizationServer {
    AuthorizationServer::builder().introspection_client(client, SECRET).start().expect("a server")
}
