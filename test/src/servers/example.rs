//! The product's documented example for a server, made to run here: other hosts and ports, and what
//! a case changes.

use std::fs;
use std::path::Path;

use crate::nginx::Gateway;
use crate::port;

/// Which addresses the examples use.
const LISTENS: &str = "127.0.0.1:8080";
const API: &str = "http://127.0.0.1:3000";
/// The secret's file beside the example.
const SECRET_FILE: &str = "phantom-token.secret";
/// The line that turns the module on in every example.
const ON: &str = "phantom_token on;";
/// As it is written flat, and in a block.
const ENDPOINTS: [&str; 2] = ["phantom_token_introspection_endpoint", "introspection_endpoint"];

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
        Self::of(&config.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn of(config: &str) -> Self {
        let config = config.replace("error_log logs/", "error_log ");
        Self { config: config.replace("access_log logs/", "access_log "), files: Vec::new() }
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

    /// What it says up to the end of its first location.
    pub(super) fn first_location(&self) -> &str {
        let config = &self.config;
        let mut locations = config.match_indices("\n        location ");
        locations.nth(1).map_or(config, |(end, _)| &config[..end])
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

    /// Says `directive value;` beside each `phantom_token on`, in place of all the example says of
    /// it, there or further out.
    #[must_use]
    pub fn set(self, directive: &str, value: &str) -> Self {
        self.without(directive).beside(&format!("{directive} {value};"))
    }

    /// Takes a directive out, if it is there.
    ///
    /// # Panics
    /// Where it goes on in a second line.
    #[must_use]
    pub fn without(self, directive: &str) -> Self {
        self.lines(|line| {
            let is_it = names(line, directive);
            assert!(!is_it || line.contains(';'), "one line: {line}");
            (!is_it).then(|| line.to_owned())
        })
    }

    /// Adds directives beside each `phantom_token on`.
    ///
    /// # Panics
    /// Where the example has none.
    #[must_use]
    pub fn beside(self, directives: &str) -> Self {
        assert!(self.config.lines().any(|line| line.trim() == ON), "{ON}:\n{}", self.config);
        self.lines(|line| {
            Some(if line.trim() == ON { format!("{line}\n{directives}") } else { line.to_owned() })
        })
    }

    /// Adds a location to the server, before its first.
    ///
    /// # Panics
    /// Where the example has none.
    #[must_use]
    pub fn location(self, location: &str) -> Self {
        let mut added = false;
        let example = self.lines(|line| {
            let first = names(line, "location") && !std::mem::replace(&mut added, true);
            Some(if first { format!("{location}\n{line}") } else { line.to_owned() })
        });
        assert!(added, "a location:\n{}", example.config);
        example
    }

    /// Connects to this port of 127.0.0.1, whatever the endpoint's URL says.
    #[must_use]
    pub fn connects_to(self, port: u16) -> Self {
        let connect = format!("connect=127.0.0.1:{port}");
        self.lines(|line| {
            let is_endpoint = ENDPOINTS.iter().any(|endpoint| names(line, endpoint));
            let Some((endpoint, rest)) = line.split_once(';').filter(|_| is_endpoint) else {
                return Some(line.to_owned());
            };
            let words = endpoint.split_whitespace().filter(|word| !word.starts_with("connect="));
            let words: Vec<_> = words.chain([&*connect]).collect();
            Some(format!("{};{rest}", words.join(" ")))
        })
    }

    /// Each line as `change` makes it; `None` takes it out.
    fn lines(mut self, change: impl FnMut(&str) -> Option<String>) -> Self {
        let lines: Vec<_> = self.config.lines().filter_map(change).collect();
        self.config = lines.join("\n") + "\n";
        self
    }

    /// Starts the gateway.
    ///
    /// # Panics
    /// Where NGINX does not start.
    pub fn start(self) -> Gateway {
        let port = port::free();
        let config = self.replace(LISTENS, &format!("127.0.0.1:{port}"));
        let mut builder = Gateway::builder().verbatim(&config.config, port);
        for (name, content) in &config.files {
            builder = builder.file(name, content.as_bytes());
        }
        builder.start()
    }
}

/// Whether a line begins with this directive.
fn names(line: &str, directive: &str) -> bool {
    line.trim_start()
        .strip_prefix(directive)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# phantom_token on; in every location
http {
    error_log logs/error.log info;
    phantom_token_introspection_endpoint https://a.example/introspect connect=b:1 max_fails=0; # one
    phantom_token_scope a;
    phantom_token_scope_x b;
    server {
        location /one {
            phantom_token on;
        }
        location /two {
            phantom_token on;
            phantom_token_scope c;
        }
    }
}
";

    fn lines(example: &Example) -> Vec<&str> {
        example.config.lines().map(str::trim).collect()
    }

    #[test]
    fn a_directive_is_set_in_every_protected_location_and_nowhere_else() {
        let example = Example::of(CONFIG).set("phantom_token_scope", "d");
        let lines = lines(&example);
        assert!(!lines.contains(&"phantom_token_scope a;"));
        assert!(!lines.contains(&"phantom_token_scope c;"));
        assert!(lines.contains(&"phantom_token_scope_x b;"), "another directive");
        let set: Vec<_> =
            (1..lines.len()).filter(|&n| lines[n] == "phantom_token_scope d;").collect();
        assert_eq!(set.len(), 2);
        assert!(set.iter().all(|n| lines[n - 1] == ON));
        assert_eq!(lines[0], "# phantom_token on; in every location", "a comment stays one");
        let twice = example.clone().set("phantom_token_scope", "d");
        assert_eq!(twice.config, example.config);
    }

    #[test]
    fn a_location_is_added_before_the_first_of_the_server() {
        let example = Example::of(CONFIG).location("location = /new { return 204; }");
        let lines = lines(&example);
        let new = lines.iter().position(|line| line.starts_with("location = /new")).unwrap();
        assert_eq!(lines[new + 1], "location /one {");
        assert_eq!(example.config.matches("/new").count(), 1);
    }

    #[test]
    fn endpoints_keep_their_parameters_and_connect_elsewhere() {
        let example = Example::of(CONFIG).connects_to(77);
        let endpoint = lines(&example)[3];
        let (words, comment) = endpoint.split_once(';').unwrap();
        assert_eq!(comment, " # one");
        let words: Vec<_> = words.split(' ').collect();
        assert_eq!(words[1], "https://a.example/introspect");
        assert_eq!(words[2..], ["max_fails=0", "connect=127.0.0.1:77"]);
    }

    #[test]
    fn what_is_exchanged_must_be_there() {
        let example = Example::of(CONFIG);
        assert!(example.config.contains("error_log error.log info;"));
        let absent = || example.clone().replace("https://b.example", "x");
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(absent)).is_err());
        let replaced = example.clone().replace("https://a.example", "http://127.0.0.1:9");
        assert!(replaced.config.contains("http://127.0.0.1:9/introspect"));
        let secrets = example.secret("a").secret("b").files;
        assert_eq!(secrets, [(SECRET_FILE.to_owned(), "b\n".to_owned())]);
    }
}
