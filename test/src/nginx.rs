//! The gateway under test: the real NGINX with the built module.
//!
//! `NGINX_BINARY` and `NGINX_MODULE` say which ones; as they come, `make build`'s. A [`Gateway`] has
//! a prefix directory and a port of its own; with `PHANTOM_TOKEN_KEEP` set the directories stay and their
//! names are printed. When it is dropped, NGINX is ended and its error log
//! read: an alert, a process that died by a signal, a panic, or a secret in a line of the module
//! fails the test.

mod check;
mod config;
mod daemon;
mod directives;
mod installed;
mod log;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::process::{self, PATIENCE, wait_for, wait_until};

pub use check::{Check, assert_at, assert_good};
pub use config::Builder;
pub use daemon::Daemon;
pub use directives::directives;
pub use installed::{
    binary, configured_with, injected_module, is_only_unpacked, module, release, single_process,
    skip, version,
};

/// Holds how far ahead NGINX's wall clock is: seconds, an `i64` ([`Gateway::set_clock`]).
const WALL_CLOCK: &str = "wall-clock";

/// Is as many bytes long as NGINX's monotonic clocks are milliseconds ahead ([`Gateway::pass_time`]).
const MONOTONIC_CLOCK: &str = "monotonic-clock";

/// A running gateway. It must be dropped by the thread that started it, or before that one ends.
pub struct Gateway {
    builder: Builder,
    prefix: TempDir,
    ports: Ports,
    child: Mutex<Child>,
    allowed: Mutex<Vec<String>>,
    secrets: Mutex<Vec<String>>,
}

impl Gateway {
    /// A configuration to write.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn launch(mut builder: Builder) -> Result<Self, String> {
        let (prefix, ports, child) = on_free_ports(&builder, |prefix, ports| {
            let mut command = command(prefix);
            command.args(["-g", "daemon off;"]);
            set_environment(&mut command, &builder, prefix);
            let stderr = fs::File::create(prefix.join("stderr")).expect("a file");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
            process::bind_to_starter(&mut command);
            let mut child =
                command.spawn().map_err(|error| format!("cannot start NGINX: {error}"))?;
            let workers = if single_process() { 0 } else { builder.workers };
            match wait_listening(&mut child, ports.port, workers, prefix) {
                Ok(()) => Ok(child),
                Err(log) => {
                    process::end(&mut child, libc::SIGTERM);
                    Err(log)
                }
            }
        })?;
        Ok(Self {
            prefix,
            ports,
            child: Mutex::new(child),
            allowed: Mutex::new(std::mem::take(&mut builder.allowed)),
            secrets: Mutex::new(std::mem::take(&mut builder.secrets)),
            builder,
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.ports.port
    }

    /// The port on which it speaks HTTP/2, with [`Builder::http2`].
    pub fn http2_port(&self) -> u16 {
        self.ports.http2
    }

    /// Scheme, host and port, as in `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// As [`Self::url`], for HTTP/2.
    pub fn http2_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http2_port())
    }

    /// The prefix directory.
    pub fn prefix(&self) -> &Path {
        self.prefix.path()
    }

    /// A new connection to it.
    ///
    /// # Panics
    /// Where it does not listen.
    pub fn client(&self) -> Client {
        Client::connect(self.port())
    }

    /// GET on a connection of its own.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.client().get(target, headers)
    }

    /// GET with an access token, on a connection of its own.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn get_as(&self, target: &str, token: &str) -> Response {
        self.client().get_as(target, token)
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.child.lock().id()
    }

    /// The process ids of the workers that take connections, sorted.
    pub fn workers(&self) -> Vec<u32> {
        self.children(|title| title == "nginx: worker process")
    }

    /// The process ids of all workers, those too that only finish what they have begun.
    pub fn all_workers(&self) -> Vec<u32> {
        self.children(|title| title.starts_with("nginx: worker process"))
    }

    fn children(&self, wanted: impl Fn(&str) -> bool) -> Vec<u32> {
        if single_process() {
            return vec![self.pid()];
        }
        let mut pids = process::children(self.pid());
        pids.retain(|&pid| wanted(&process::title(pid)));
        pids.sort_unstable();
        pids
    }

    /// Sends the master a signal.
    ///
    /// # Panics
    /// Where it is gone.
    pub fn signal(&self, signal: i32) {
        process::signal(self.pid(), signal).expect("a running NGINX");
    }

    /// Reloads the configuration and waits until new workers have taken over. The old ones may still
    /// finish what they have begun.
    ///
    /// # Panics
    /// Where no new workers come.
    pub fn reload(&self) {
        let before = self.all_workers();
        self.signal(libc::SIGHUP);
        wait_until("new workers", || {
            let now = self.workers();
            now.len() >= self.builder.workers && now.iter().all(|pid| !before.contains(pid))
        });
    }

    /// Changes the configuration without reloading it.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn rewrite(&mut self, change: impl FnOnce(Builder) -> Builder) {
        let builder = std::mem::take(&mut self.builder);
        self.builder = change(builder);
        let text = self.builder.text(self.prefix.path(), self.ports);
        fs::write(self.prefix.path().join("nginx.conf"), text).expect("writes nginx.conf");
    }

    /// Changes the configuration and reloads it.
    ///
    /// # Panics
    /// Where no new workers come.
    pub fn reload_with(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.rewrite(change);
        self.reload();
    }

    /// Tells NGINX to end once it has finished what it has begun, without waiting for that.
    ///
    /// # Panics
    /// Where it is gone.
    pub fn quit(&self) {
        self.signal(libc::SIGQUIT);
    }

    /// Ends NGINX by this signal, which is sent again where it is missed: a process without a master
    /// may miss one.
    ///
    /// # Panics
    /// Where it goes on.
    pub fn end(&self, signal: i32) {
        assert!(process::end(&mut self.child.lock(), signal), "NGINX goes on");
    }

    /// Waits for NGINX to end.
    ///
    /// # Panics
    /// Where it goes on.
    pub fn wait_exit(&self) {
        let status = process::wait_exit(&mut self.child.lock(), PATIENCE).expect("a child");
        assert!(status.is_some(), "NGINX goes on after it was told to end");
    }

    /// What stands in the error log by now.
    pub fn error_log(&self) -> String {
        read(&self.prefix.path().join("error.log"))
    }

    /// The module's own lines in the error log: those that hold the words `phantom token`.
    pub fn module_lines(&self) -> Vec<String> {
        self.error_log().lines().filter(|line| log::is_own(line)).map(str::to_owned).collect()
    }

    /// Waits for a line of the error log that holds all of `texts`, and returns it.
    ///
    /// # Panics
    /// Where none comes.
    pub fn wait_for_log(&self, texts: &[&str]) -> String {
        wait_for(&format!("a log line with {texts:?}"), || {
            let log = self.error_log();
            log.lines().find(|line| texts.iter().all(|t| line.contains(t))).map(str::to_owned)
        })
    }

    /// The access log's lines.
    pub fn access_log(&self) -> Vec<String> {
        read(&self.prefix.path().join("access.log")).lines().map(str::to_owned).collect()
    }

    /// Waits for a line of the access log that holds `text`, and returns it. NGINX writes it once the
    /// response has been sent.
    ///
    /// # Panics
    /// Where none comes.
    pub fn wait_for_access(&self, text: &str) -> String {
        wait_for(&format!("an access log line with {text:?}"), || {
            self.access_log().into_iter().find(|line| line.contains(text))
        })
    }

    /// Allows lines of the error log that would fail the test, where they hold `text`.
    pub fn allow(&self, text: &str) {
        self.allowed.lock().push(text.to_owned());
    }

    /// Names one more thing no line of the module may hold.
    pub fn secret(&self, text: &str) {
        self.secrets.lock().push(text.to_owned());
    }

    /// How often the master and its workers have called a function since they started, with
    /// [`Builder::count_calls`]: `d` for `getaddrinfo()`, `t` for `pthread_create()`,
    /// `s` for `socket()`.
    pub fn calls(&self, letter: u8) -> usize {
        let calls = fs::read(self.prefix.path().join("calls")).unwrap_or_default();
        calls.iter().filter(|&&call| call == letter).count()
    }

    /// Sets NGINX's wall clock so many seconds ahead of the system's, back where negative, with
    /// [`Builder::own_clock`]. The monotonic clock goes on.
    ///
    /// # Panics
    /// Where it has no clock of its own.
    pub fn set_clock(&self, ahead: i64) {
        use std::os::unix::fs::FileExt as _;
        assert!(self.builder.own_clock, "no clock of its own");
        // Written in place: NGINX has it mapped.
        let file = fs::File::options().write(true).open(self.prefix().join(WALL_CLOCK));
        file.and_then(|file| file.write_all_at(&ahead.to_ne_bytes(), 0)).expect("writes a file");
    }

    /// Lets time pass in the master and its workers, with [`Builder::count_calls`]: monotonic clocks,
    /// by which timers and limits are kept, not the time of day. NGINX sees it at its next event.
    ///
    /// # Panics
    /// Where its clocks are the system's.
    pub fn pass_time(&self, time: Duration) {
        assert!(self.builder.count_calls, "no clocks of its own: see Builder::count_calls");
        let file = self.prefix().join(MONOTONIC_CLOCK);
        let clock = fs::File::options().create(true).append(true).open(file);
        let clock = clock.expect("a file");
        let ahead = clock.metadata().expect("a file").len();
        clock.set_len(ahead + time.as_millis() as u64).expect("a file");
    }

    /// What the error log holds that it must not.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints_of(usize::MAX)
    }

    fn complaints_of(&self, told_at: usize) -> Vec<String> {
        let mut secrets = self.secrets.lock().clone();
        secrets.extend(self.builder.sources.iter().flat_map(|source| source()));
        log::complaints(&self.error_log(), told_at, &self.allowed.lock(), &secrets)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let told_at = self.error_log().len();
        let ended = process::end(&mut self.child.lock(), libc::SIGTERM);
        let complaints = self.complaints_of(told_at);
        if std::thread::panicking() {
            eprintln!("the gateway's error log ends with:\n{}", log::tail(&self.error_log(), 40));
            return;
        }
        assert!(ended, "NGINX did not end when told to");
        assert!(complaints.is_empty(), "in the error log:\n{}", complaints.join("\n"));
    }
}

/// Where a gateway listens; one port twice where it speaks all on one.
#[derive(Clone, Copy)]
struct Ports {
    port: u16,
    http2: u16,
}

/// Starts NGINX in a directory of its own, on other ports where those tried were taken meanwhile;
/// what `start` gave. NGINX's words where it does not start.
fn on_free_ports<T>(
    builder: &Builder,
    mut start: impl FnMut(&Path, Ports) -> Result<T, String>,
) -> Result<(TempDir, Ports, T), String> {
    for _ in 0..5 {
        let (prefix, ports) = (prefix(builder), builder.ports());
        fs::write(prefix.path().join("nginx.conf"), builder.text(prefix.path(), ports))
            .expect("writes nginx.conf");
        match start(prefix.path(), ports) {
            Ok(started) => return Ok((prefix, ports, started)),
            Err(log) if log.contains("Address already in use") && builder.fixed_port.is_none() => {}
            Err(log) => return Err(log),
        }
    }
    Err("every port tried was taken".to_owned())
}

/// A directory for NGINX to run in, the module and the builder's files in it.
fn prefix(builder: &Builder) -> TempDir {
    let keep = std::env::var_os("PHANTOM_TOKEN_KEEP").is_some();
    let mut directory = tempfile::Builder::new();
    directory.prefix("phantom-token-test-").disable_cleanup(keep);
    let prefix = directory.tempdir().expect("a directory");
    if keep {
        println!("kept: {}", prefix.path().display());
    }
    // Workers of a master that runs as root may give its rights up and must still get in.
    fs::set_permissions(prefix.path(), fs::Permissions::from_mode(0o755)).expect("a directory");
    for name in ["logs", "modules"] {
        fs::create_dir(prefix.path().join(name)).expect("a directory");
    }
    if builder.module {
        let link = prefix.path().join("modules/ngx_http_phantom_token_module.so");
        std::os::unix::fs::symlink(builder.module_file.clone().unwrap_or_else(module), link)
            .expect("a link");
    }
    for (name, content) in &builder.files {
        let path = prefix.path().join(name);
        fs::write(&path, content).expect("writes a file");
        if name.ends_with(".secret") || name.ends_with(".key") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        }
    }
    prefix
}

fn command(prefix: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("-p").arg(prefix).args(["-c", "nginx.conf", "-e", "error.log"]);
    command
}

fn set_environment(command: &mut Command, builder: &Builder, prefix: &Path) {
    command.envs(builder.environment.iter().map(|(name, value)| (name, value)));
    let mut libraries = Vec::new();
    // In front of the other, which asks the system itself.
    if builder.own_clock {
        libraries.push(preloaded(prefix, "shift_clock"));
        let file = prefix.join(WALL_CLOCK);
        fs::write(&file, 0_i64.to_ne_bytes()).expect("writes a file");
        command.env("CLOCK_SHIFT", file);
    }
    if builder.count_calls {
        libraries.push(preloaded(prefix, "count_calls"));
        command.env("COUNT_CALLS", prefix.join("calls"));
        command.env("CLOCK_AHEAD", prefix.join(MONOTONIC_CLOCK));
    }
    if !libraries.is_empty() {
        command.env("LD_PRELOAD", libraries.join(":"));
    }
}

fn check(builder: &Builder, option: &str) -> Check {
    let prefix = prefix(builder);
    let config = builder.text(prefix.path(), builder.ports());
    fs::write(prefix.path().join("nginx.conf"), &config).expect("writes nginx.conf");
    let mut command = command(prefix.path());
    set_environment(&mut command, builder, prefix.path());
    let output = command.arg(option).output().expect("starts NGINX");
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    let calls = fs::read(prefix.path().join("calls")).unwrap_or_default();
    for line in messages.lines().filter(|line| line.contains("[warn] phantom token: ")) {
        assert!(check::names_place(line), "a warning without its place: {line}");
    }
    let (ok, code) = (output.status.success(), output.status.code());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = read(&prefix.path().join("error.log"));
    Check { ok, code, messages, log, printed, calls, config }
}

/// The process ids of a master's workers that take connections.
fn workers_of(master: u32) -> Vec<u32> {
    let mut pids = process::children(master);
    pids.retain(|&pid| process::title(pid) == "nginx: worker process");
    pids
}

/// Waits until NGINX has so many workers and listens; its last words where it ends instead.
fn wait_listening(
    child: &mut Child,
    port: u16,
    workers: usize,
    prefix: &Path,
) -> Result<(), String> {
    let words = || read(&prefix.join("error.log")) + &read(&prefix.join("stderr"));
    let mut listens = false;
    wait_for("NGINX to listen", || {
        if !matches!(child.try_wait(), Ok(None)) {
            return Some(Err(words()));
        }
        // NGINX tries for seconds; another port is found faster.
        if words().contains("Address already in use") {
            return Some(Err(words()));
        }
        listens = listens || Client::try_connect(port).is_ok();
        // Another process may be the one that listens: NGINX starts workers when it does so itself.
        (listens && workers_of(child.id()).len() >= workers).then_some(Ok(()))
    })
}

/// Builds one of the libraries in `preload/`, to be loaded before all others.
fn preloaded(directory: &Path, name: &str) -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = manifest.join("preload").join(name).with_extension("c");
    let library = directory.join(name).with_extension("so");
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    let status = compiler.arg("-ldl").status().expect("a C compiler is installed");
    assert!(status.success(), "cannot build {name}.c");
    library.display().to_string()
}

fn read(path: &Path) -> String {
    fs::read(path).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
