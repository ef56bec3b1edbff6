//! A gateway to measure: an NGINX of one worker, and what its worker has cost.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use phantom_token_test::client::Client;
use phantom_token_test::process;
use tempfile::TempDir;

use crate::settings::Peer;

/// What makes one kind of gateway.
pub(crate) struct Recipe<'a> {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    pub(crate) binary: &'a Path,
    /// Searched for shared libraries that are not installed.
    pub(crate) libraries: Option<&'a str>,
    /// Before `events`.
    pub(crate) main: String,
    /// In `http`.
    pub(crate) http: String,
    /// Behind the address in `listen`.
    pub(crate) listen: &'static str,
    /// In the `server` that is asked.
    pub(crate) server: String,
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) kind: Kind,
}

/// What a gateway does with the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passes on what the client sends, which is the JWT itself.
    Passes,
    /// Puts in the same JWT, whatever the client sends.
    Constant,
    /// Asks for the JWT, and keeps it.
    Swaps,
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) kind: Kind,
    /// Its worker, or the processes of a gateway of the user's own.
    pids: Vec<u32>,
    /// Ended with it; `None` for a gateway of the user's own.
    own: Option<(Child, TempDir)>,
}

impl Gateway {
    /// Starts one; `affinity` says on which core its worker runs, where on one.
    pub(crate) fn start(recipe: &Recipe<'_>, api: u16, affinity: &str) -> Result<Self, String> {
        Self::start_at(recipe, phantom_token_test::port::free(), api, affinity)
    }

    /// Starts one at a port.
    pub(crate) fn start_at(
        recipe: &Recipe<'_>,
        port: u16,
        api: u16,
        affinity: &str,
    ) -> Result<Self, String> {
        Self::launch(recipe, port, api, affinity, &[], |master| {
            let workers = process::children(master);
            workers.into_iter().find(|&pid| process::title(pid).contains("worker"))
        })
    }

    /// Starts one as a single process, by the program and the arguments of `under`.
    pub(crate) fn start_under(
        recipe: &Recipe<'_>,
        api: u16,
        under: &[String],
    ) -> Result<Self, String> {
        let port = phantom_token_test::port::free();
        Self::launch(recipe, port, api, "master_process off;", under, Some)
    }

    /// Starts one; `worker` tells its worker by the process that was started.
    fn launch(
        recipe: &Recipe<'_>,
        port: u16,
        api: u16,
        more: &str,
        under: &[String],
        worker: impl Fn(u32) -> Option<u32>,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", recipe.name);
        // Where there is memory for them, what is cached in files is not at the mercy of a disk.
        let directory = tempfile::Builder::new().prefix("phantom-token-bench-").to_owned();
        let prefix = directory.tempdir_in("/dev/shm").or_else(|_| directory.tempdir());
        let prefix = prefix.map_err(failed)?;
        // Its workers may run as somebody else.
        fs::set_permissions(prefix.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
        for (name, text) in &recipe.files {
            fs::write(prefix.path().join(name), text).map_err(failed)?;
        }
        let text = configuration(recipe, prefix.path(), port, api, more);
        fs::write(prefix.path().join("nginx.conf"), text).map_err(failed)?;
        let log = fs::File::create(prefix.path().join("stderr")).map_err(failed)?;
        let mut command = match under.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(recipe.binary);
                command
            }
            None => Command::new(recipe.binary),
        };
        command.arg("-p").arg(prefix.path()).args(["-c", "nginx.conf", "-g", "daemon off;"]);
        command.args(["-e", "error.log"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(libraries) = recipe.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        process::bind_to_starter(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        for _ in 0..3000 {
            if !matches!(child.try_wait(), Ok(None)) {
                break;
            }
            if let Some(worker) = worker(child.id())
                && Client::try_connect(port).is_ok()
            {
                return Ok(Self {
                    name: recipe.name,
                    url: format!("http://127.0.0.1:{port}/"),
                    kind: recipe.kind,
                    pids: vec![worker],
                    own: Some((child, prefix)),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        process::end(&mut child, libc::SIGTERM);
        let words = |name| fs::read_to_string(prefix.path().join(name)).unwrap_or_default();
        Err(format!("{} does not start: {}{}", recipe.name, words("stderr"), words("error.log")))
    }

    /// A gateway of the user's own.
    pub(crate) fn peer(peer: &Peer) -> Self {
        let (url, pids) = (peer.url.clone(), peer.pids.clone());
        Self { name: "peer", url, kind: Kind::Swaps, pids, own: None }
    }

    /// User and system time of its processes, all threads, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.pids.iter().map(|&pid| cpu_us(pid)).sum()
    }

    /// Resident memory of its worker without what it shares, in bytes.
    pub(crate) fn private_bytes(&self) -> u64 {
        self.pids.iter().map(|&pid| process::own_memory(pid) * 1024).sum()
    }

    /// Address space of its worker, in bytes.
    pub(crate) fn virtual_bytes(&self) -> u64 {
        self.pids.iter().map(|&pid| process::virtual_memory(pid) * 1024).sum()
    }

    /// Has it read its configuration anew, and returns after how long the new worker was at work.
    pub(crate) fn reload(&mut self) -> Result<Duration, String> {
        let Some((child, _)) = &self.own else { return Err("not a gateway of ours".to_owned()) };
        let begun = Instant::now();
        process::signal(child.id(), libc::SIGHUP).map_err(|error| error.to_string())?;
        while begun.elapsed() < Duration::from_secs(20) {
            // Named only once everything that a worker begins with is done.
            let new = |&pid: &u32| {
                !self.pids.contains(&pid) && process::title(pid).ends_with("worker process")
            };
            if let Some(worker) = process::children(child.id()).into_iter().find(new) {
                let took = begun.elapsed();
                let old = std::mem::replace(&mut self.pids, vec![worker]);
                while process::children(child.id()).contains(&old[0])
                    && begun.elapsed() < Duration::from_secs(20)
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return Ok(took);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Err(format!("{} does not reload", self.name))
    }

    /// The process to speak to, of one.
    pub(crate) fn pid(&self) -> u32 {
        self.pids[0]
    }

    /// Where it is one of ours, its port.
    pub(crate) fn port(&self) -> u16 {
        let (authority, _) = self.target();
        authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80)
    }

    /// The host with the port, and the path, of what is asked there.
    pub(crate) fn target(&self) -> (String, String) {
        target(&self.url)
    }
}

fn target(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // Behind an IPv6 address's bracket, or the host's name.
    let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let port = if has_port { "" } else { ":80" };
    (format!("{authority}{port}"), format!("/{path}"))
}

/// User and system time of a process, all threads, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> f64 {
    cpu_ns(pid).unwrap_or_else(|| cpu_ticks(pid)) / 1e3
}

/// Nanoseconds on a processor, of all threads there are (Documentation/scheduler/sched-stats.rst of
/// Linux); `None` where the kernel does not say. A gateway's threads live as long as itself.
fn cpu_ns(pid: u32) -> Option<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split(' ').next()?.parse::<f64>().ok()?;
    }
    (sum > 0.0).then_some(sum)
}

/// The same from `/proc/PID/stat`, which counts hundredths of a second.
fn cpu_ticks(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in parentheses and may hold blanks; utime and stime are fields 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    // SAFETY: sysconf() takes a number.
    ticks * 1e9 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            process::end(child, libc::SIGTERM);
        }
    }
}

/// What NGINX is given: the recipe in what all have in common.
pub(crate) fn configuration(
    recipe: &Recipe<'_>,
    prefix: &Path,
    port: u16,
    api: u16,
    more: &str,
) -> String {
    let prefix = prefix.display();
    // SAFETY: geteuid() takes nothing and cannot fail.
    let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
    let Recipe { main, http, server, listen, .. } = recipe;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("    {name}_temp_path {prefix}/{name}_temp;\n"))
        .collect();
    format!(
        "{main}\n\
         {user}\n\
         worker_processes 1;\n\
         {more}\n\
         error_log error.log error;\n\
         pid nginx.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         {temporary}\
             access_log off;\n\
             keepalive_requests 1000000000;\n\
             upstream api {{ server 127.0.0.1:{api}; keepalive 256; }}\n\
             proxy_http_version 1.1;\n\
             {http}\n\
             server {{\n\
                 listen 127.0.0.1:{port}{listen};\n\
                 {server}\n\
             }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn targets_have_a_port_and_a_path() {
        for (url, authority, path) in [
            ("http://127.0.0.1:8080/", "127.0.0.1:8080", "/"),
            ("http://gateway.example.com", "gateway.example.com:80", "/"),
            ("http://gateway.example.com/api/x?y", "gateway.example.com:80", "/api/x?y"),
            ("http://[::1]/a", "[::1]:80", "/a"),
            ("http://[::1]:8080/a", "[::1]:8080", "/a"),
        ] {
            assert_eq!(super::target(url), (authority.to_owned(), path.to_owned()), "{url}");
        }
    }
}
