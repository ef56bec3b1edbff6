//! NGINX as it runs in production: a daemon, the child of no one here.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Builder, command, log, on_free_ports, read};
use crate::client::{Client, Response};
use crate::process::{self, alive, wait_for, wait_until};

/// A running NGINX daemon. Dropping it ends it, and reads its error log as a
/// [`Gateway`](super::Gateway)'s is read.
pub struct Daemon {
    prefix: TempDir,
    port: u16,
    builder: Builder,
    masters: Vec<u32>,
}

impl Daemon {
    pub(super) fn start(builder: Builder) -> Self {
        let started = on_free_ports(&builder, |prefix, _| {
            let status = command(prefix).status().expect("starts NGINX");
            if status.success() { Ok(()) } else { Err(read(&prefix.join("error.log"))) }
        });
        let (prefix, ports, ()) =
            started.unwrap_or_else(|log| panic!("NGINX does not start:\n{log}"));
        let mut daemon = Self { prefix, port: ports.port, builder, masters: Vec::new() };
        let master = daemon.wait_for_pid("nginx.pid", 0);
        daemon.masters.push(master);
        daemon
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        *self.masters.last().expect("a master")
    }

    /// The process ids of a master's workers that take connections.
    pub fn workers_of(&self, master: u32) -> Vec<u32> {
        super::workers_of(master)
    }

    /// A connection to whichever worker takes it.
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// GET with an access token, on a connection of its own.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn get_as(&self, target: &str, token: &str) -> Response {
        self.client().get_as(target, token)
    }

    /// Starts a new binary beside the running one (SIGUSR2), and waits until it has workers. Both
    /// take connections from then on. Gives the old master and the new one.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn upgrade(&mut self) -> (u32, u32) {
        let old = self.pid();
        // Until then, a signal may be noted and not acted on before the next one.
        wait_until("the workers", || !self.workers_of(old).is_empty());
        process::signal(old, libc::SIGUSR2).expect("a running NGINX");
        let new = self.wait_for_pid("nginx.pid", old);
        self.masters.push(new);
        wait_until("the new binary's workers", || !self.workers_of(new).is_empty());
        (old, new)
    }

    /// Has a master's workers end once they have finished (SIGWINCH), and waits until none takes
    /// connections. [`Daemon::recall`] takes it back.
    ///
    /// # Panics
    /// Where they go on.
    pub fn retire(&self, master: u32) {
        process::signal(master, libc::SIGWINCH).expect("a running NGINX");
        wait_until("the end of a master's workers", || self.workers_of(master).is_empty());
    }

    /// Has a master that was retired start workers again (SIGHUP).
    ///
    /// # Panics
    /// Where it does not.
    pub fn recall(&self, master: u32) {
        process::signal(master, libc::SIGHUP).expect("a running NGINX");
        wait_until("workers of a retired master", || !self.workers_of(master).is_empty());
    }

    /// Tells a master and its workers to end once they have finished, and waits for that.
    ///
    /// # Panics
    /// Where they go on.
    pub fn quit(&mut self, master: u32) {
        process::signal(master, libc::SIGQUIT).expect("a running NGINX");
        wait_until("a master's end", || !alive(master));
        self.masters.retain(|&pid| pid != master);
    }

    /// What stands in the error log by now.
    pub fn error_log(&self) -> String {
        read(&self.prefix.path().join("error.log"))
    }

    /// The prefix directory.
    pub fn prefix(&self) -> &Path {
        self.prefix.path()
    }

    /// The process id in a file, once it is another than `but`.
    fn wait_for_pid(&self, file: &str, but: u32) -> u32 {
        wait_for("a master's process id", || {
            let text = read(&self.prefix.path().join(file));
            text.trim().parse().ok().filter(|&pid| pid != but && alive(pid))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let told_at = self.error_log().len();
        let tell = |master: &u32| drop(process::signal(*master, libc::SIGTERM));
        self.masters.iter().for_each(tell);
        if std::thread::panicking() {
            eprintln!("the daemon's error log ends with:\n{}", log::tail(&self.error_log(), 40));
            return;
        }
        let mut told = Instant::now();
        wait_until("the daemon's end", || {
            // NGINX without a master misses a signal that comes before it waits for one.
            if told.elapsed() > Duration::from_secs(5) {
                self.masters.iter().filter(|master| alive(**master)).for_each(tell);
                told = Instant::now();
            }
            self.masters.iter().all(|&master| !alive(master))
        });
        let secrets: Vec<_> = self.builder.sources.iter().flat_map(|source| source()).collect();
        let complaints =
            log::complaints(&self.error_log(), told_at, &self.builder.allowed, &secrets);
        assert!(complaints.is_empty(), "in the error log:\n{}", complaints.join("\n"));
    }
}
