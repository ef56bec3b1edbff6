//! A PostgreSQL for a server whose database is to go away: the system's, or one unpacked.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Home, Process};
use crate::port;

/// Whom it runs as where root starts it, which it refuses to be.
const NOBODY: u32 = 65534;
const INSTALLED: &str = "/usr/lib/postgresql";

/// A running one, on a free port of 127.0.0.1. Dropping it ends it, once nobody is connected.
pub(super) struct Postgres {
    process: Process,
    port: u16,
    _directory: TempDir,
}

impl Postgres {
    /// Makes an empty database and starts it.
    ///
    /// # Errors
    /// Where PostgreSQL cannot be had, or does not start.
    pub(super) fn start(home: &Home) -> Result<Self, String> {
        let directory = TempDir::new().map_err(|error| error.to_string())?;
        let path = directory.path().to_owned();
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(told)?;
        let programs = match programs(Path::new(INSTALLED)) {
            Some(programs) => programs,
            None => unpacked(home, &path)?,
        };
        let libraries =
            path.join("root/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
        let command = move |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.env("LD_LIBRARY_PATH", &libraries).current_dir("/");
            if is_root() {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data = path.join("data");
        fs::create_dir(&data).map_err(told)?;
        if is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).map_err(told)?;
        }
        let mut initdb = command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=server", "--no-instructions"]);
        home.run(initdb.arg("--pgdata").arg(&data))?;

        let port = port::free();
        let ready = {
            let command = command.clone();
            move || {
                let mut probe = command("pg_isready");
                let output =
                    probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).output();
                output.is_ok_and(|output| output.status.success())
            }
        };
        let process = Process::start(
            &path.join("log"),
            move || {
                let mut postgres = command("postgres");
                postgres.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "fsync=off"]);
                postgres.args(["-c", "listen_addresses=127.0.0.1"]);
                postgres.args(["-c", "unix_socket_directories="]);
                postgres
            },
            ready,
        )?;
        Ok(Self { process, port, _directory: directory })
    }

    /// Its data source's name.
    pub(super) fn url(&self) -> String {
        format!("postgres://server@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Ends it at once, whoever is connected.
    pub(super) fn stop(&mut self) {
        // By SIGTERM, which comes next, it would wait for them.
        self.process.signal(libc::SIGINT);
        self.process.stop();
    }

    /// Starts it again.
    ///
    /// # Errors
    /// Those of [`Process::run`].
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.process.run()
    }
}

fn is_root() -> bool {
    // SAFETY: geteuid() takes nothing and always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// Where the programs of the newest version are below such a directory; `None` where there are none.
fn programs(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let versions = entries.filter_map(|entry| {
        let programs = entry.path().join("bin");
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        programs.join("initdb").is_file().then_some((version, programs))
    });
    versions.max().map(|(_, programs)| programs)
}

/// A copy, in a directory that everybody may read, of what was unpacked into the user's cache.
fn unpacked(home: &Home, directory: &Path) -> Result<PathBuf, String> {
    let part = home.part("postgresql");
    part.unpack(&["postgresql"])?;
    home.run(Command::new("cp").args(["-a", "--"]).arg(part.join("root")).arg(directory))?;
    let root = directory.join("root/usr/lib/postgresql");
    programs(&root).ok_or_else(|| format!("{}: no PostgreSQL in it", root.display()))
}
