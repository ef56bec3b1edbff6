//! A store of answers: the real `redis-server`, or another program that takes its arguments.
//!
//! Each runs in a folder of its own, on a free port of 127.0.0.1 and a UNIX socket, as a child of the
//! test and never as a service. `STORE_SERVER=FILE` names another program, such as a `valkey-server`.
//! Tests speak to it over the socket as a user of their own, whatever is asked of gateways.

mod proxy;
mod resp;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::process::{self, PATIENCE, wait_for, wait_until};
use crate::tls::Identity;
use crate::{port, tool};

pub use proxy::{Fault, Proxy};
pub use resp::{Connection, Reply};

/// The tests' own user and its password.
const RIG: (&str, &str) = ("rig", "the rig's own");

/// How a store is set up before it starts.
#[derive(Default)]
pub struct Builder {
    settings: Vec<String>,
    tls: Option<(Identity, Option<String>)>,
}

/// A running store. Dropping it ends it.
pub struct Store {
    builder: Builder,
    directory: TempDir,
    port: u16,
    child: Mutex<Child>,
    own: Mutex<Option<Connection<UnixStream>>>,
}

impl Builder {
    /// Adds a line of `redis.conf`.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// Asks every client but the tests' own for this password, as the user `default`.
    pub fn password(self, password: &str) -> Self {
        self.setting(&format!("requirepass {password}"))
    }

    /// Knows this user, with the rules that `ACL SETUSER` takes, and lets nobody in without one.
    pub fn user(self, name: &str, password: &str, rules: &str) -> Self {
        self.setting("user default off").setting(&format!("user {name} on >{password} {rules}"))
    }

    /// Drops what it keeps above this size, by this policy.
    pub fn memory(self, limit: &str, policy: &str) -> Self {
        self.setting(&format!("maxmemory {limit}")).setting(&format!("maxmemory-policy {policy}"))
    }

    /// Speaks TLS on its port, as `localhost`; a client authority (PEM) makes it demand certificates.
    pub fn tls(mut self, identity: &Identity, client_authority: Option<&str>) -> Self {
        self.tls = Some((identity.clone(), client_authority.map(str::to_owned)));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start(self) -> Store {
        Store::launch(self)
    }

    /// Writes what it reads at its start; the path of the configuration.
    fn write(&self, directory: &Path, port: u16) -> PathBuf {
        let (user, password) = RIG;
        let shown = directory.display();
        // What a crash or a restart leaves is the test's to say; a dump is to be read as it is.
        let mut lines = vec![
            format!("bind 127.0.0.1\ndir {shown}\nunixsocket {shown}/socket\nlogfile {shown}/log"),
            "save \"\"\nappendonly no\nrdbcompression no\nloglevel notice".to_owned(),
            "enable-debug-command yes".to_owned(),
            format!("user {user} on \">{password}\" ~* &* +@all"),
        ];
        match &self.tls {
            None => lines.push(format!("port {port}")),
            Some((identity, authority)) => {
                let (certificate, key) = identity.write(directory, "server");
                let ca = directory.join("ca.pem");
                let trusted = authority.as_ref().unwrap_or(&identity.certificate);
                fs::write(&ca, trusted).expect("writes a file");
                let demanded = if authority.is_some() { "yes" } else { "no" };
                lines.push(format!(
                    "port 0\ntls-port {port}\ntls-cert-file {}\ntls-key-file {}\n\
                     tls-ca-cert-file {}\ntls-auth-clients {demanded}",
                    certificate.display(),
                    key.display(),
                    ca.display()
                ));
            }
        }
        lines.extend(self.settings.iter().cloned());
        let file = directory.join("store.conf");
        fs::write(&file, lines.join("\n") + "\n").expect("writes a file");
        file
    }
}

impl Store {
    /// What to set before it starts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts one that lets everybody in.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start() -> Self {
        Self::builder().start()
    }

    fn launch(builder: Builder) -> Self {
        for _ in 0..5 {
            let directory = tempfile::Builder::new().prefix("phantom-token-store-").tempdir();
            let (directory, port) = (directory.expect("a directory"), port::free());
            let file = builder.write(directory.path(), port);
            match spawn(&file, directory.path(), port) {
                Ok(child) => {
                    let (child, own) = (Mutex::new(child), Mutex::new(None));
                    return Self { builder, directory, port, child, own };
                }
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("the store does not start:\n{log}"),
            }
        }
        panic!("every port tried was taken")
    }

    /// The program under test, such as `redis-server 7.0.15`.
    ///
    /// # Panics
    /// Where it does not say.
    pub fn version(&self) -> String {
        let info = self.ask(&["INFO", "server"]).text();
        let told = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        let valkey = told("valkey_version:").map(|version| format!("valkey-server {version}"));
        let redis = || format!("redis-server {}", told("redis_version:").expect("a version"));
        valkey.unwrap_or_else(redis)
    }

    /// The URL that a gateway is given.
    pub fn url(&self) -> String {
        match self.builder.tls {
            None => format!("redis://127.0.0.1:{}", self.port),
            Some(_) => format!("rediss://localhost:{}", self.port),
        }
    }

    /// The URL of its UNIX socket.
    pub fn socket_url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The file of its UNIX socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The port of 127.0.0.1 it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.lock().id()
    }

    /// Sends a command, and waits for the reply.
    ///
    /// # Panics
    /// Where none comes.
    pub fn ask<A: AsRef<[u8]>>(&self, command: &[A]) -> Reply {
        self.try_ask(command).expect("the store answers")
    }

    /// Sends a command, and waits for the reply.
    ///
    /// # Errors
    /// Where none comes, or one that is none.
    pub fn try_ask<A: AsRef<[u8]>>(&self, command: &[A]) -> io::Result<Reply> {
        let mut own = self.own.lock();
        // A connection that was kept may have been closed meanwhile: by the server's own `timeout`,
        // by a restart.
        if let Some(connection) = &mut *own
            && let Ok(reply) = connection.ask(command)
        {
            return Ok(reply);
        }
        let mut connection = self.connect()?;
        let reply = connection.ask(command);
        *own = reply.is_ok().then_some(connection);
        reply
    }

    /// A connection of the tests' own user.
    ///
    /// # Errors
    /// Where there is no server.
    pub fn connect(&self) -> io::Result<Connection<UnixStream>> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Connection::new(stream);
        match connection.ask(&["AUTH", RIG.0, RIG.1])? {
            Reply::Simple(_) => Ok(connection),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// All keys that match a pattern, sorted.
    ///
    /// # Panics
    /// Where the server does not tell.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> =
            self.ask(&["KEYS", pattern]).array().iter().map(Reply::text).collect();
        keys.sort();
        keys
    }

    /// Changes one of its settings.
    ///
    /// # Panics
    /// Where it refuses.
    pub fn set(&self, name: &str, value: &str) {
        let reply = self.ask(&["CONFIG", "SET", name, value]);
        assert_eq!(reply, Reply::Simple("OK".to_owned()));
    }

    /// Everything it keeps, as a thief of its disk would find it: its dump, uncompressed.
    ///
    /// # Panics
    /// Where it writes none.
    pub fn dump(&self) -> Vec<u8> {
        assert_eq!(self.ask(&["SAVE"]), Reply::Simple("OK".to_owned()));
        fs::read(self.directory.path().join("dump.rdb")).expect("a dump")
    }

    /// Listens to every command that it is sent, until the watcher is told to stop.
    ///
    /// # Panics
    /// Where it does not let the tests listen.
    pub fn monitor(&self) -> Monitor {
        let mut connection = self.connect().expect("a connection");
        assert_eq!(connection.ask(&["MONITOR"]).expect("a reply"), Reply::Simple("OK".to_owned()));
        let stream = connection.stream().try_clone().expect("a socket");
        let listener = thread::spawn(move || {
            let mut lines = Vec::new();
            while let Ok(Reply::Simple(line)) = connection.read() {
                lines.push(line);
            }
            lines
        });
        Monitor { stream, listener }
    }

    /// What stands in its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Halts it: its connections stay open, and nothing is answered.
    ///
    /// # Panics
    /// Where it is gone.
    pub fn stop(&self) {
        let pid = self.pid();
        process::signal(pid, libc::SIGSTOP).expect("a running store");
        wait_until("the store to halt", || process::halted(pid));
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// Where it is gone.
    pub fn cont(&self) {
        process::signal(self.pid(), libc::SIGCONT).expect("a halted store");
    }

    /// Kills it, as a power cut would.
    ///
    /// # Panics
    /// Where it goes on.
    pub fn kill(&self) {
        let mut child = self.child.lock();
        let _ = child.kill();
        child.wait().expect("its end");
        *self.own.lock() = None;
    }

    /// Starts it again, where it was killed: on the same port, with what it has on disk, which is
    /// nothing but what [`Self::dump`] wrote.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start_again(&self) {
        let directory = self.directory.path();
        let _ = fs::remove_file(self.socket());
        let child = spawn(&directory.join("store.conf"), directory, self.port);
        *self.child.lock() = child.unwrap_or_else(|log| panic!("the store does not start:\n{log}"));
    }

    /// Starts it again empty.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start_empty(&self) {
        let _ = fs::remove_file(self.directory.path().join("dump.rdb"));
        self.start_again();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        // One that is halted takes no other signal.
        let _ = child.kill();
        let _ = child.wait();
        if thread::panicking() {
            eprintln!("the store's log:\n{}", self.log());
        }
    }
}

/// Listens to a store's commands.
pub struct Monitor {
    stream: UnixStream,
    listener: thread::JoinHandle<Vec<String>>,
}

impl Monitor {
    /// All commands seen, one a line as `MONITOR` shows them.
    ///
    /// # Panics
    /// Where the listener did.
    pub fn stop(self) -> Vec<String> {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.listener.join().expect("a listener")
    }
}

/// The program to run.
///
/// # Panics
/// Where there is none.
pub fn program() -> PathBuf {
    match std::env::var_os("STORE_SERVER") {
        None => tool::path("redis-server"),
        Some(file) => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
            let file = workspace.join::<OsString>(file);
            assert!(file.is_file(), "STORE_SERVER is no file: {}", file.display());
            file
        }
    }
}

/// Starts the program and waits until it answers; its log where it ends instead.
fn spawn(file: &Path, directory: &Path, port: u16) -> Result<Child, String> {
    let mut command = Command::new(program());
    command.arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    let said = directory.join("stderr");
    command.stderr(fs::File::create(&said).expect("a file"));
    process::bind_to_starter(&mut command);
    let mut child = command.spawn().map_err(|error| format!("{error}"))?;
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    wait_for("the store to listen", || {
        if !matches!(child.try_wait(), Ok(None)) {
            return Some(Err(read("log") + &read("stderr")));
        }
        // The socket is opened last.
        let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            && UnixStream::connect(directory.join("socket")).is_ok();
        listens.then_some(Ok(()))
    })?;
    Ok(child)
}
