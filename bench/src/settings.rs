//! What the environment says of a run, and what it runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::affinity::Apart;

/// How long and how often is measured.
pub(crate) struct Settings {
    /// One measurement of one gateway (`BENCH_SECONDS`, 2 as it comes).
    pub(crate) duration: Duration,
    /// Rounds, in each of which every gateway takes its turn (`BENCH_PAIRS`, 6 as it comes).
    pub(crate) pairs: usize,
    /// Requests of the part that watches memory (`BENCH_REQUESTS`, ten million as it comes).
    pub(crate) requests: u32,
    /// Only the parts named, separated by commas (`BENCH_ONLY`); all but `profile` as it comes.
    only: Option<String>,
    /// An earlier build of the module to compare this one with (`BENCH_BEFORE`).
    pub(crate) before: Option<PathBuf>,
    /// Whether the results go into the documentation (`BENCH_WRITE=1`).
    pub(crate) write: bool,
    /// Whether nothing is measured: the charts of what was published are drawn anew
    /// (`BENCH_DRAW=1`).
    pub(crate) draw: bool,
    /// A gateway of the user's own.
    pub(crate) peer: Option<Peer>,
}

/// A gateway of the user's own, which asks the benchmark's authorization server.
#[derive(Clone)]
pub(crate) struct Peer {
    /// What is asked there (`PEER_URL`), in clear.
    pub(crate) url: String,
    /// Its processes (`PEER_PID`), separated by commas.
    pub(crate) pids: Vec<u32>,
    /// Where the API and the authorization server are then (`PEER_API_PORT`, 3001 as it comes, and
    /// `PEER_SERVER_PORT`, 9091), so that it can be configured before.
    pub(crate) ports: (u16, u16),
}

fn number<T: std::str::FromStr + PartialOrd + Default>(
    name: &str,
    default: T,
) -> Result<T, String> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .ok()
            .filter(|number| *number > T::default())
            .ok_or(format!("{name}={text} is no number above 0")),
        Err(_) => Ok(default),
    }
}

fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value == "1")
}

impl Peer {
    fn read() -> Result<Option<Self>, String> {
        let (url, pids) = match (std::env::var("PEER_URL"), std::env::var("PEER_PID")) {
            (Ok(url), Ok(pids)) => (url, pids),
            (Ok(_), Err(_)) => return Err("PEER_URL needs PEER_PID, its worker's id".to_owned()),
            (Err(_), Ok(_)) => return Err("PEER_PID needs PEER_URL, what to ask there".to_owned()),
            (Err(_), Err(_)) => return Ok(None),
        };
        if !url.starts_with("http://") {
            return Err(format!("PEER_URL={url}: the load is in clear: say http://HOST:PORT/PATH"));
        }
        let pid = |text: &str| {
            let pid: Option<u32> = text.trim().parse().ok();
            pid.filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
                .ok_or(format!("PEER_PID={text} is no process"))
        };
        let pids = pids.split(',').map(pid).collect::<Result<_, _>>()?;
        let ports = (number("PEER_API_PORT", 3001)?, number("PEER_SERVER_PORT", 9091)?);
        Ok(Some(Self { url, pids, ports }))
    }
}

impl Settings {
    /// Reads the environment.
    pub(crate) fn read() -> Result<Self, String> {
        Ok(Self {
            duration: Duration::from_secs_f64(number("BENCH_SECONDS", 2.0)?),
            pairs: number("BENCH_PAIRS", 6)?,
            requests: number("BENCH_REQUESTS", 10_000_000)?,
            only: std::env::var("BENCH_ONLY").ok(),
            before: std::env::var_os("BENCH_BEFORE").map(PathBuf::from),
            write: is_set("BENCH_WRITE"),
            draw: is_set("BENCH_DRAW"),
            peer: Peer::read()?,
        })
    }

    /// Whether all parts are wanted.
    pub(crate) fn is_whole(&self) -> bool {
        self.only.is_none()
    }

    /// Whether this part is wanted; those that are not `usual` have to be named.
    pub(crate) fn wants(&self, part: &str, usual: bool) -> bool {
        let named = |only: &String| only.split(',').any(|name| name.trim() == part);
        self.only.as_ref().map_or(usual, named)
    }
}

/// The repository.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
}

/// The distribution's NGINX, installed or unpacked by `make setup`, as tools/setup tells it from
/// others.
pub(crate) fn debian_nginx() -> Option<PathBuf> {
    [PathBuf::from("/"), workspace().join("build/tools/debian")]
        .into_iter()
        .find(|root| root.join("usr/share/nginx/src/conf_flags").exists())
        .map(|root| root.join("usr/sbin/nginx"))
        .filter(|path| path.exists())
}

/// Where `make setup` has unpacked the distribution's NGINX modules.
pub(crate) fn debian_modules() -> Option<PathBuf> {
    Some(workspace().join("build/tools/bench")).filter(|path| path.exists())
}

/// The first line of what a program prints.
fn first(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).current_dir(workspace()).args(arguments).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
        .filter(|_| output.status.success() || program == "wrk")
}

/// The version of a package of the distribution, without the packager's part.
fn package(name: &str) -> String {
    let output = Command::new("apt-cache").args(["show", "--no-all-versions", name]).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or_default();
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    version.split('-').next().unwrap_or_default().to_owned()
}

/// Processor, cores, memory, kernel, and the versions of what is measured, one line each.
pub(crate) fn machine() -> Vec<String> {
    let line_of = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
        line.map(|line| line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let model = line_of("/proc/cpuinfo", "model name").unwrap_or("unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pinned = if Apart::new().is_some() {
        "the gateway's worker on one of its own"
    } else {
        "shared by all"
    };
    let memory: f64 = line_of("/proc/meminfo", "MemTotal")
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .unwrap_or(0.0);
    let nginx = |path: &Path| {
        let line = first(path.to_str()?, &["-v"])?;
        Some(line.trim_start_matches("nginx version: ").to_owned())
    };
    // Behind the version stand a builder's own words.
    let release = first("uname", &["-r"]).unwrap_or_default();
    let commit = first("git", &["rev-parse", "--short", "HEAD"]);
    let dirty = first("git", &["status", "--porcelain", "--untracked-files=no"]).is_some();
    let mut lines = vec![
        format!("{model}, {cores} cores, {pinned}, {:.0} GB", memory / 1e6),
        format!("Linux {}", release.split('-').next().unwrap_or_default()),
        format!(
            "the module {}{}",
            env!("CARGO_PKG_VERSION"),
            commit.map_or(String::new(), |commit| format!(
                " (commit {commit}{})",
                if dirty { " and changes" } else { "" }
            ))
        ),
        format!(
            "{} (the module, plain, auth_request)",
            nginx(&phantom_token_test::nginx::binary()).unwrap_or_default()
        ),
    ];
    if let Some(debian) = debian_nginx().filter(|_| debian_modules().is_some()) {
        lines.push(format!(
            "{} of the distribution with njs {} and the Lua module {}, LuaJIT {}",
            nginx(&debian).unwrap_or_default(),
            package("libnginx-mod-http-js"),
            package("libnginx-mod-http-lua"),
            package("libluajit2-5.1-2"),
        ));
    } else {
        lines.push("no njs and no Lua here: they are the distribution's of Debian".to_owned());
    }
    lines.extend(
        first("wrk", &["-v"]).map(|line| line.split(" [").next().unwrap_or_default().to_owned()),
    );
    lines.extend(first("rustc", &["--version"]));
    lines.extend(first("date", &["-u", "+%Y-%m-%d"]));
    lines
}
