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
    /// In the `server` that is asked.
    pub(crate) server: String,
    pub(crate) files: Vec<(&'static str, String)>,
    /// The client sends the JWT itself.
    pub(crate) client_sends_jwt: bool,
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) client_sends_jwt: bool,
    worker: u32,
    /// Ended with it; `None` for a gateway of the user's own.
    own: Option<(Child, TempDir)>,
}

impl Gateway {
    /// Starts one; `affinity` says on which core its worker runs, where on one.
    pub(crate) fn start(recipe: &Recipe<'_>, api: u16, affinity: &str) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", recipe.name);
        let prefix = tempfile::Builder::new().prefix("phantom-token-bench-").tempdir();
        let prefix = prefix.map_err(failed)?;
        // Its workers may run as somebody else.
        fs::set_permissions(prefix.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
        for (name, text) in &recipe.files {
            fs::write(prefix.path().join(name), text).map_err(failed)?;
        }
        let port = phantom_token_test::port::free();
        let text = configuration(recipe, prefix.path(), port, api, affinity);
        fs::write(prefix.path().join("nginx.conf"), text).map_err(failed)?;
        let log = fs::File::create(prefix.path().join("stderr")).map_err(failed)?;
        let mut command = Command::new(recipe.binary);
        command.arg("-p").arg(prefix.path()).args(["-c", "nginx.conf", "-g", "daemon off;"]);
        command.args(["-e", "error.log"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(libraries) = recipe.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        process::bind_to_starter(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        for _ in 0..1000 {
            if !matches!(child.try_wait(), Ok(None)) {
                break;
            }
            let workers = process::children(child.id());
            let worker = workers.iter().find(|&&pid| process::title(pid).contains("worker"));
            if let Some(&worker) = worker
                && Client::try_connect(port).is_ok()
            {
                return Ok(Self {
                    name: recipe.name,
                    url: format!("http://127.0.0.1:{port}/"),
                    client_sends_jwt: recipe.client_sends_jwt,
                    worker,
                    own: Some((child, prefix)),
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        process::end(&mut child, libc::SIGTERM);
        let words = |name| fs::read_to_string(prefix.path().join(name)).unwrap_or_default();
        Err(format!("{} does not start: {}{}", recipe.name, words("stderr"), words("error.log")))
    }

    /// A gateway of the user's own.
    pub(crate) fn peer(url: &str, worker: u32) -> Self {
        let url = url.to_owned();
        Self { name: "peer", url, client_sends_jwt: false, worker, own: None }
    }

    /// User and system time of its worker, all threads, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.worker)).unwrap_or_default();
        // The name stands in parentheses and may hold blanks; utime and stime are fields 14 and 15.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: f64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
        // SAFETY: sysconf() takes a number.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        ticks * 1e6 / per_second
    }

    /// Resident memory of its worker without what it shares, in bytes.
    pub(crate) fn private_bytes(&self) -> u64 {
        process::own_memory(self.worker) * 1024
    }

    /// Has it read its configuration anew, and returns after how long the new worker was at work.
    pub(crate) fn reload(&mut self) -> Result<Duration, String> {
        let Some((child, _)) = &self.own else { return Err("not a gateway of ours".to_owned()) };
        let begun = Instant::now();
        process::signal(child.id(), libc::SIGHUP).map_err(|error| error.to_string())?;
        while begun.elapsed() < Duration::from_secs(20) {
            // Named only once everything that a worker begins with is done.
            let new =
                |&pid: &u32| pid != self.worker && process::title(pid).ends_with("worker process");
            if let Some(worker) = process::children(child.id()).into_iter().find(new) {
                let took = begun.elapsed();
                let old = std::mem::replace(&mut self.worker, worker);
                while process::children(child.id()).contains(&old)
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

    /// Its port, where it is one of ours.
    pub(crate) fn port(&self) -> u16 {
        let host = self.url.trim_start_matches("http://").split('/').next().unwrap_or_default();
        host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            process::end(child, libc::SIGTERM);
        }
    }
}

fn configuration(
    recipe: &Recipe<'_>,
    prefix: &Path,
    port: u16,
    api: u16,
    affinity: &str,
) -> String {
    let prefix = prefix.display();
    // SAFETY: geteuid() takes nothing and cannot fail.
    let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
    let Recipe { main, http, server, .. } = recipe;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("    {name}_temp_path {prefix}/{name}_temp;\n"))
        .collect();
    format!(
        "{main}\n\
         {user}\n\
         worker_processes 1;\n\
         {affinity}\n\
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
                 listen 127.0.0.1:{port};\n\
                 {server}\n\
             }}\n\
         }}\n"
    )
}
