//! Where what is fetched and built for a server is kept: in the user's cache, so that a fresh clone
//! on the same machine is quick.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server's place in the user's cache, and the tools that fill it.
pub struct Home {
    directory: PathBuf,
    log: PathBuf,
}

impl Home {
    /// The place of the server with this name: below `XDG_CACHE_HOME`, or `~/.cache`.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn of(name: &str) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
            PathBuf::from(variable("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache")
        });
        let directory = cache.join("ngx-phantom-token/servers").join(name);
        fs::create_dir_all(&directory).expect("a directory in the user's cache");
        let log = directory.join("install.log");
        let _ = fs::remove_file(&log);
        Self { directory, log }
    }

    /// The place itself.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// A file or directory in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Does `work` unless it was done before, to its end, for these very `words` (names and
    /// versions of what is installed).
    ///
    /// # Errors
    /// Those of the work.
    pub fn once(
        &self,
        words: &str,
        work: impl FnOnce(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let stamp = self.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|done| done == words) {
            return Ok(());
        }
        let _ = fs::remove_file(&stamp);
        work(self)?;
        fs::write(&stamp, words).map_err(|error| format!("{}: {error}", stamp.display()))
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// Where it fails, with the end of its output.
    pub fn run(&self, command: &mut Command) -> Result<(), String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = fs::File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| format!("{}: {error}", self.log.display()))?;
        command.stdin(std::process::Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let status = command.status().map_err(|error| format!("cannot run {program}: {error}"))?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(15)..].join("\n");
        Err(format!("{program} failed ({status}):\n{end}"))
    }

    /// Installs npm packages, `NAME@VERSION` each, into `node_modules`.
    ///
    /// # Errors
    /// Where npm fails.
    pub fn npm(&self, packages: &[&str]) -> Result<(), String> {
        self.once(&packages.join(" "), |home| {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]);
            home.run(npm.args(packages).current_dir(home.path()))
        })
    }

    /// Installs Python packages, `NAME==VERSION` each, into a virtual environment of their own.
    ///
    /// # Errors
    /// Where Python's `venv` or pip fails.
    pub fn pip(&self, packages: &[&str]) -> Result<(), String> {
        self.once(&packages.join(" "), |home| {
            let venv = home.join("venv");
            let _ = fs::remove_dir_all(&venv);
            home.run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let mut pip = Command::new(venv.join("bin/pip"));
            home.run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))
        })
    }

    /// Unpacks Debian packages and all they need that is not installed, into `root`: nothing is
    /// installed, and no service starts.
    ///
    /// # Errors
    /// Where apt-get or dpkg fails.
    pub fn unpack(&self, packages: &[&str]) -> Result<(), String> {
        self.once(&packages.join(" "), |home| {
            let script = r#"
                set -eu
                cd "$1"; shift
                rm -rf debs root; mkdir debs root
                list() { apt-get -s install --no-install-recommends "$@" | sed -n 's/^Inst \([^ ]*\) .*/\1/p'; }
                wanted=$(list "$@") && [ -n "$wanted" ] || { apt-get update -q; wanted=$(list "$@"); }
                cd debs
                apt-get -q -o APT::Sandbox::User=root download $wanted || {
                    apt-get update -q; apt-get -q -o APT::Sandbox::User=root download $wanted; }
                for deb in *.deb; do dpkg -x "$deb" ../root; done
                cd ..; rm -rf debs
            "#;
            let mut bash = Command::new("bash");
            home.run(bash.args(["-c", script, "bash"]).arg(home.path()).args(packages))
        })
    }
}

/// Whether a command is on the PATH.
pub fn has(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(command).is_file())
}
