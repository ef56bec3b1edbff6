//! The configuration of a gateway under test.

use std::path::{Path, PathBuf};

use crate::api::Api;
use crate::authorization_server::{AuthorizationServer, INTROSPECTION_CLIENT};
use crate::port;

use super::installed::compiled_in;
use super::{Check, Daemon, Gateway, Ports, configured_with, single_process, version};

/// From this version on NGINX speaks both versions of HTTP on one port without TLS.
const BOTH: (u32, u32, u32) = (1, 25, 1);

/// What an `nginx.conf` is made from. Snippets are NGINX's own language; those given twice add up.
pub struct Builder {
    main: String,
    last: String,
    events: String,
    http: String,
    server: String,
    locations: String,
    protected: Option<Protected>,
    directives: String,
    log_level: String,
    listen: String,
    verbatim: Option<String>,
    pub(super) workers: usize,
    pub(super) module: bool,
    pub(super) count_calls: bool,
    pub(super) own_clock: bool,
    pub(super) module_file: Option<PathBuf>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) fixed_port: Option<u16>,
    http2: bool,
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) allowed: Vec<String>,
    pub(super) secrets: Vec<String>,
    pub(super) sources: Vec<Source>,
}

/// Tells at the end what no line of the module may hold.
type Source = Box<dyn Fn() -> Vec<String> + Send + Sync>;

struct Protected {
    endpoints: Vec<String>,
    own_endpoints: bool,
    client: Option<(String, String)>,
    api: String,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            main: String::new(),
            last: String::new(),
            events: String::new(),
            http: String::new(),
            server: String::new(),
            locations: String::new(),
            protected: None,
            directives: String::new(),
            log_level: "info".to_owned(),
            listen: String::new(),
            verbatim: None,
            workers: 1,
            module: true,
            count_calls: false,
            own_clock: false,
            module_file: None,
            environment: Vec::new(),
            fixed_port: None,
            http2: false,
            files: Vec::new(),
            allowed: Vec::new(),
            secrets: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// The usual gateway: `/api` asks this authorization server and passes to this API. Endpoint and
    /// client stand in the `http` block, so that other locations need only `phantom_token on`, and so
    /// do long time limits, unless [`Self::http`] gives others.
    pub fn protect(mut self, server: &AuthorizationServer, api: &Api) -> Self {
        let (id, secret) = INTROSPECTION_CLIENT;
        self.sources.push(Box::new(server.secrets()));
        self.protected = Some(Protected {
            endpoints: vec![server.introspection_url()],
            own_endpoints: false,
            client: Some((id.to_owned(), secret.to_owned())),
            api: api.url(),
        });
        self
    }

    /// Asks this endpoint instead: a URL and parameters. Given twice, both.
    ///
    /// # Panics
    /// Before [`Self::protect`].
    pub fn endpoint(mut self, endpoint: &str) -> Self {
        let protected = self.protected.as_mut().expect("protect() comes first");
        if !std::mem::replace(&mut protected.own_endpoints, true) {
            protected.endpoints.clear();
        }
        protected.endpoints.push(endpoint.to_owned());
        self
    }

    /// Introspects as this client.
    ///
    /// # Panics
    /// Before [`Self::protect`].
    pub fn client(mut self, id: &str, secret: &str) -> Self {
        let protected = self.protected.as_mut().expect("protect() comes first");
        protected.client = Some((id.to_owned(), secret.to_owned()));
        self.secrets.push(secret.to_owned());
        self
    }

    /// Writes no client id and no secret.
    ///
    /// # Panics
    /// Before [`Self::protect`].
    pub fn without_client(mut self) -> Self {
        self.protected.as_mut().expect("protect() comes first").client = None;
        self
    }

    /// Adds directives to the location `/api`.
    pub fn directives(mut self, snippet: &str) -> Self {
        add(&mut self.directives, snippet);
        self
    }

    /// Adds to the main context, behind `http`.
    pub fn last(mut self, snippet: &str) -> Self {
        add(&mut self.last, snippet);
        self
    }

    /// Adds to the main context.
    pub fn main(mut self, snippet: &str) -> Self {
        add(&mut self.main, snippet);
        self
    }

    /// Adds to the `events` block.
    pub fn events(mut self, snippet: &str) -> Self {
        add(&mut self.events, snippet);
        self
    }

    /// Adds to the `http` block.
    pub fn http(mut self, snippet: &str) -> Self {
        add(&mut self.http, snippet);
        self
    }

    /// Adds to the `server` block.
    pub fn server(mut self, snippet: &str) -> Self {
        add(&mut self.server, snippet);
        self
    }

    /// Adds a location; `path` may begin with a modifier.
    pub fn location(mut self, path: &str, snippet: &str) -> Self {
        let block = format!("location {path} {{\n{snippet}\n}}");
        add(&mut self.locations, &block);
        self
    }

    /// Adds a parameter to the `listen` directive.
    pub fn listen(mut self, parameter: &str) -> Self {
        self.listen.push(' ');
        self.listen.push_str(parameter);
        self
    }

    /// Speaks HTTP/2 too: on the same port, or, where this version of NGINX cannot, on one of its
    /// own ([`Gateway::http2_port`]).
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The number of workers, 1 as it comes.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// The error log's level, `info` as it comes.
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Puts a file into the prefix directory; snippets name it by its bare name, which NGINX takes
    /// to be beside `nginx.conf`. Those named `*.secret` and `*.key` can be read by their owner alone.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Allows lines of the error log that would fail the test, where they hold `text`.
    pub fn allow(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    /// Names one more thing no line of the module may hold.
    pub fn secret(mut self, text: &str) -> Self {
        self.secrets.push(text.to_owned());
        self
    }

    /// Counts look-ups of host names and threads: see [`Gateway::calls`].
    ///
    /// It also knows `two-addresses.test` (127.0.0.2, then 127.0.0.1), `nobody.test` (no address)
    /// and `hangs.test` (never an answer). [`Gateway::pass_time`] sets its clock.
    pub fn count_calls(mut self) -> Self {
        self.count_calls = true;
        self
    }

    /// Gives NGINX a wall clock of its own: see [`Gateway::set_clock`].
    pub fn own_clock(mut self) -> Self {
        self.own_clock = true;
        self
    }

    /// Loads another build of the module.
    pub fn module_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.module_file = Some(path.into());
        self
    }

    /// Adds a variable to the master's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Does not load the module.
    pub fn without_module(mut self) -> Self {
        self.module = false;
        self
    }

    /// Uses this whole configuration, which listens on `port` of 127.0.0.1 and finds the module as
    /// `modules/ngx_http_phantom_token_module.so`.
    pub fn verbatim(mut self, config: &str, port: u16) -> Self {
        self.verbatim = Some(config.to_owned());
        self.fixed_port = Some(port);
        self
    }

    /// Starts NGINX.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|log| panic!("NGINX does not start:\n{log}"))
    }

    /// Starts NGINX.
    ///
    /// # Errors
    /// What NGINX said where it does not start.
    pub fn try_start(self) -> Result<Gateway, String> {
        Gateway::launch(self)
    }

    /// Asks `nginx -t` about the configuration.
    pub fn check(&self) -> Check {
        super::check(self, "-t")
    }

    /// Asks `nginx -T`, which prints the configuration too.
    pub fn check_and_print(&self) -> Check {
        super::check(self, "-T")
    }

    /// Starts NGINX as a daemon.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start_daemon(self) -> Daemon {
        Daemon::start(self)
    }

    /// Ports to try.
    pub(super) fn ports(&self) -> Ports {
        let port = self.fixed_port.unwrap_or_else(port::free);
        let http2 = if self.http2 && version() < BOTH { port::free() } else { port };
        Ports { port, http2 }
    }

    /// The whole configuration.
    pub(super) fn text(&self, prefix: &Path, ports: Ports) -> String {
        if let Some(config) = &self.verbatim {
            if !lacks_directories() {
                return config.clone();
            }
            // On the same line: messages name lines.
            let mut paths = temporary_paths(prefix).replace('\n', " ");
            if !config.contains("access_log") {
                paths.push_str("access_log access.log;");
            }
            return config.replacen("http {", &format!("http {{ {paths}"), 1);
        }
        let mut text = String::new();
        if self.module {
            text.push_str("load_module modules/ngx_http_phantom_token_module.so;\n");
        }
        if single_process() && !self.main.contains("master_process") {
            text.push_str("master_process off;\n");
        }
        if runs_as_root() {
            text.push_str("user root;\n");
        }
        let Self {
            workers, log_level, main, events, http, server, locations, listen, last, ..
        } = self;
        let temporary = temporary_paths(prefix);
        let (asking, location) = match &self.protected {
            None => (String::new(), String::new()),
            Some(protected) => {
                (protected.asking() + &self.patience(), protected.location(&self.directives))
            }
        };
        let Ports { port, http2 } = ports;
        let http2 = match self.http2 {
            false => String::new(),
            true if http2 == port => "http2 on;\n".to_owned(),
            true => format!("listen 127.0.0.1:{http2}{listen} http2;\n"),
        };
        text.push_str(&format!(
            "worker_processes {workers};\n\
             error_log error.log {log_level};\n\
             pid nginx.pid;\n\
             {main}\
             events {{\n{events}}}\n\
             http {{\n\
             access_log access.log;\n\
             {temporary}{asking}{http}\
             server {{\n\
             listen 127.0.0.1:{port}{listen};\n\
             {http2}{server}{location}{locations}\
             }}\n\
             }}\n\
             {last}"
        ));
        text
    }

    /// Time limits for slow machines, where `http` has none of its own.
    fn patience(&self) -> String {
        [("phantom_token_timeout", "60s"), ("phantom_token_connect_timeout", "30s")]
            .into_iter()
            .filter(|(name, _)| !self.http.contains(&format!("{name} ")))
            .map(|(name, limit)| format!("{name} {limit};\n"))
            .collect()
    }
}

impl Protected {
    fn asking(&self) -> String {
        let mut text = String::new();
        for endpoint in &self.endpoints {
            text.push_str(&format!("phantom_token_introspection_endpoint {endpoint};\n"));
        }
        if let Some((id, secret)) = &self.client {
            text.push_str(&format!("phantom_token_client_id {};\n", quoted(id)));
            text.push_str(&format!("phantom_token_client_secret {};\n", quoted(secret)));
        }
        text
    }

    fn location(&self, directives: &str) -> String {
        let api = &self.api;
        format!("location /api {{\nphantom_token on;\n{directives}proxy_pass {api};\n}}\n")
    }
}

/// Where requests and answers are written that memory does not hold: below the prefix directory.
fn temporary_paths(prefix: &Path) -> String {
    let prefix = prefix.display();
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .filter(|name| !configured_with(&format!("--without-http_{name}_module")))
        .map(|name| format!("{name}_temp_path {prefix}/{name}_temp;\n"))
        .collect()
}

/// Whether this NGINX is a package's that is not installed: its directories for temporary files and
/// logs are not there.
fn lacks_directories() -> bool {
    compiled_in("--http-client-body-temp-path=")
        .and_then(|path| Path::new(path).parent())
        .is_some_and(|parent| parent.is_absolute() && !parent.exists())
}

fn add(to: &mut String, snippet: &str) {
    to.push_str(snippet);
    to.push('\n');
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn runs_as_root() -> bool {
    // SAFETY: geteuid() takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
