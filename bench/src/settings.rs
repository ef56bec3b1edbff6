//! What the environment says of a run, and what it runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long and how often is measured.
pub(crate) struct Settings {
    /// One measurement of one gateway (`BENCH_SECONDS`, 2 as it comes).
    pub(crate) duration: Duration,
    /// Rounds, in each of which every gateway takes its turn (`BENCH_PAIRS`, 6 as it comes).
    pub(crate) pairs: usize,
    /// Requests of the part that watches memory (`BENCH_REQUESTS`, ten million as it comes).
    pub(crate) requests: u32,
    /// Only the parts named, separated by commas (`BENCH_ONLY`); all as it comes.
    only: Option<String>,
    /// A gateway of the user's own (`PEER_URL`) and its worker's process (`PEER_PID`).
    pub(crate) peer: Option<(String, u32)>,
}

impl Settings {
    /// Reads the environment.
    pub(crate) fn read() -> Result<Self, String> {
        let number = |name: &str, default: f64| match std::env::var(name) {
            Ok(text) => text
                .parse::<f64>()
                .ok()
                .filter(|number| *number > 0.0)
                .ok_or(format!("{name}={text} is no number")),
            Err(_) => Ok(default),
        };
        let peer = match (std::env::var("PEER_URL"), std::env::var("PEER_PID")) {
            (Ok(url), Ok(pid)) => {
                Some((url, pid.parse().map_err(|_| format!("PEER_PID={pid} is no process id"))?))
            }
            (Ok(_), Err(_)) => return Err("PEER_URL needs PEER_PID, its worker's id".to_owned()),
            _ => None,
        };
        Ok(Self {
            duration: Duration::from_secs_f64(number("BENCH_SECONDS", 2.0)?),
            pairs: number("BENCH_PAIRS", 6.0)?.max(1.0) as usize,
            requests: number("BENCH_REQUESTS", 1e7)? as u32,
            only: std::env::var("BENCH_ONLY").ok(),
            peer,
        })
    }

    /// Whether all parts are wanted.
    pub(crate) fn is_whole(&self) -> bool {
        self.only.is_none()
    }

    /// Whether this part is wanted.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|name| name.trim() == part))
    }
}

/// The repository.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
}

/// The distribution's NGINX, installed or unpacked by `make setup`.
pub(crate) fn debian_nginx() -> Option<PathBuf> {
    [PathBuf::from("/usr/sbin/nginx"), workspace().join("build/tools/debian/usr/sbin/nginx")]
        .into_iter()
        .find(|path| path.exists())
}

/// Where `make setup` has unpacked the distribution's NGINX modules.
pub(crate) fn debian_modules() -> Option<PathBuf> {
    Some(workspace().join("build/tools/bench")).filter(|path| path.exists())
}

/// Processor, cores, kernel, and the versions of what is measured, one line each.
pub(crate) fn machine() -> Vec<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let first = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
    };
    let nginx = |path: &Path| {
        let line = first(path.to_str()?, &["-v"])?;
        Some(line.trim_start_matches("nginx version: ").to_owned())
    };
    // Behind the version stand a builder's own words.
    let release = first("uname", &["-r"]).unwrap_or_default();
    let mut lines = vec![
        format!("{model}, {cores} cores"),
        format!("Linux {}", release.split('-').next().unwrap_or_default()),
        format!(
            "{} (the module, plain, auth_request)",
            nginx(&phantom_token_test::nginx::binary()).unwrap_or_default()
        ),
    ];
    if let Some(debian) = debian_nginx() {
        lines
            .push(format!("{} of the distribution (njs, Lua)", nginx(&debian).unwrap_or_default()));
    }
    lines.extend(
        first("wrk", &["-v"]).map(|line| line.split(" [").next().unwrap_or_default().to_owned()),
    );
    lines.extend(first("rustc", &["--version"]));
    lines
}
