//! The product's documented example for a server, made to run here: other hosts and ports, and what
//! a case changes.

use std::fs;
use std::path::Path;

use crate::nginx::{Builder, Gateway};
use crate::port;

/// Which addresses the examples use.
const LISTENS: &str = "127.0.0.1:8080";
const API: &str = "http://127.0.0.1:3000";
/// The secret's file beside the example.
const SECRET_FILE: &str = "phantom-token.secret";
/// The line that turns the module on in every example.
const ON: &str = "phantom_token on;";

/// An example and what was changed in it.
#[derive(Clone)]
pub struct Example {
    config: String,
    files: Vec<(String, String)>,
}

impl Example {
    /// Reads one of `nginx-conf/`.
    ///
    /// # Panics
    /// Where it is not there.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx-conf").join(name);
        let config = fs::read_to_string(&path);
        let config = config.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let config = config
            .replace("error_log logs/", "error_log ")
            .replace("access_log logs/", "access_log ");
        Self { config, files: Vec::new() }
    }

    /// Exchanges a text, which must be there: so example and test stay together.
    ///
    /// # Panics
    /// Where it is not there.
    #[must_use]
    pub fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.config.contains(from), "the example has {from:?}:\n{}", self.config);
        self.config = self.config.replace(from, to);
        self
    }

    /// Passes requests to this API.
    #[must_use]
    pub fn passes_to(self, api: &str) -> Self {
        self.replace(API, api)
    }

    /// Puts a file beside the configuration.
    #[must_use]
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// The client's secret.
    #[must_use]
    pub fn secret(self, secret: &str) -> Self {
        self.file(SECRET_FILE, &format!("{secret}\n"))
    }

    /// Says `directive value;` in place of what the example says, or beside `phantom_token on`.
    #[must_use]
    pub fn set(mut self, directive: &str, value: &str) -> Self {
        let wanted = format!("{directive} {value};");
        let is_it = |line: &str| {
            line.trim_start().strip_prefix(directive).is_some_and(|rest| rest.starts_with(' '))
        };
        if self.config.lines().any(is_it) {
            let lines = self.config.lines();
            let lines: Vec<_> =
                lines.map(|line| if is_it(line) { &*wanted } else { line }).collect();
            self.config = lines.join("\n") + "\n";
            self
        } else {
            self.beside(&wanted)
        }
    }

    /// Takes a directive out, if it is there.
    #[must_use]
    pub fn without(mut self, directive: &str) -> Self {
        let start = format!("{directive} ");
        let lines = self.config.lines().filter(|line| !line.trim_start().starts_with(&start));
        self.config = lines.collect::<Vec<_>>().join("\n") + "\n";
        self
    }

    /// Adds directives beside each `phantom_token on`.
    #[must_use]
    pub fn beside(self, directives: &str) -> Self {
        self.replace(ON, &format!("{ON}\n{directives}"))
    }

    /// Adds a location to the server, before its first.
    #[must_use]
    pub fn location(mut self, location: &str) -> Self {
        self.config = self.config.replacen("location ", &format!("{location}\nlocation "), 1);
        self
    }

    /// Connects to this port of 127.0.0.1, whatever the endpoint's URL says.
    #[must_use]
    pub fn connects_to(mut self, port: u16) -> Self {
        let directive = "phantom_token_introspection_endpoint ";
        let lines =
            self.config.lines().map(|line| match line.trim_start().starts_with(directive) {
                true => line.replacen(';', &format!(" connect=127.0.0.1:{port};"), 1),
                false => line.to_owned(),
            });
        self.config = lines.collect::<Vec<_>>().join("\n") + "\n";
        self
    }

    /// Starts the gateway.
    ///
    /// # Panics
    /// Where NGINX does not start.
    pub fn start(self) -> Gateway {
        let port = port::free();
        let config = self.replace(LISTENS, &format!("127.0.0.1:{port}"));
        let mut builder: Builder = Gateway::builder().verbatim(&config.config, port);
        for (name, content) in &config.files {
            builder = builder.file(name, content.as_bytes());
        }
        builder.start()
    }
}
