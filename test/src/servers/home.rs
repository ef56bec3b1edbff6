//! Where what is fetched and built for a server is kept: in the user's cache, so that a fresh clone
//! on the same machine is quick.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::tail;

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
        Self::at(cache.join("ngx-phantom-token/servers").join(name))
    }

    fn at(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("a directory in the user's cache");
        let log = directory.join("install.log");
        Self { directory, log }
    }

    /// The place itself.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// A place in it, with work of its own to do once.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn part(&self, name: &str) -> Self {
        Self::at(self.directory.join(name))
    }

    /// A file or directory in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Does `work` unless it was done before, to its end, for these very `words` (names and
    /// versions of what is installed). Of several processes that come at once, one does it.
    ///
    /// # Errors
    /// Those of the work.
    pub fn once(
        &self,
        words: &str,
        work: impl FnOnce(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let _one_at_a_time = lock(&self.join("lock"))?;
        let stamp = self.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|done| done == words) {
            return Ok(());
        }
        let _ = (fs::remove_file(&stamp), fs::remove_file(&self.log));
        work(self)?;
        fs::write(&stamp, words).map_err(|error| format!("{}: {error}", stamp.display()))
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// Where it fails, with the end of its output.
    pub fn run(&self, command: &mut Command) -> Result<(), String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| format!("{}: {error}", self.log.display()))?;
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let status = command.status().map_err(|error| format!("cannot run {program}: {error}"))?;
        if status.success() {
            return Ok(());
        }
        Err(format!("{program} failed ({status}):\n{}", tail(&self.log, 15)))
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
    /// installed, and no service starts. Their versions are those of the system's lists.
    ///
    /// # Errors
    /// Where apt-get or dpkg fails.
    pub fn unpack(&self, packages: &[&str]) -> Result<(), String> {
        self.once(&packages.join(" "), |home| {
            let _one_at_a_time = lock(&home.directory.with_file_name("apt.lock"))?;
            let script = r#"
                set -eu
                cd "$1"; shift
                rm -rf debs root; mkdir debs root
                # Those named, be they installed or not, and what they need besides: no upgrades,
                # whose lines name the old version first.
                list() {
                    local told
                    told=$(apt-get -s install --no-install-recommends "$@") || return
                    { printf '%s\n' "$@"; sed -n 's/^Inst \([^ ]*\) (.*/\1/p' <<<"$told"; } | sort -u
                }
                download() { cd debs && apt-get -q -o APT::Sandbox::User=root download $1; }
                # The lists may be missing or old; only root can renew them.
                { wanted=$(list "$@") && (download "$wanted"); } || {
                    apt-get -q update || sudo -n apt-get -q update
                    wanted=$(list "$@")
                    (download "$wanted")
                }
                for deb in debs/*.deb; do dpkg -x "$deb" root; done
                for deb in debs/*.deb; do dpkg-deb -W "$deb"; done >versions
                rm -rf debs
            "#;
            let mut bash = Command::new("bash");
            home.run(bash.args(["-c", script, "bash"]).arg(home.path()).args(packages))
        })
    }

    /// Where the libraries of unpacked packages are: for `LD_LIBRARY_PATH`.
    pub fn libraries(&self) -> PathBuf {
        self.join("root/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH))
    }

    /// Where the Perl modules of unpacked packages are, for `PERL5LIB`: Perl's own too, where the
    /// system has but the least of it.
    ///
    /// # Panics
    /// Where the place's name has a colon.
    pub fn perl_modules(&self) -> OsString {
        let libraries = self.libraries();
        let versions = fs::read_dir(libraries.join("perl5")).into_iter().flatten().flatten();
        let version = versions.map(|entry| entry.file_name()).next().unwrap_or_default();
        let share = self.join("root/usr/share");
        std::env::join_paths([
            share.join("perl5"),
            libraries.join("perl5").join(&version),
            share.join("perl").join(&version),
            libraries.join("perl").join(&version),
        ])
        .expect("no colon in it")
    }

    /// A command that finds the libraries of unpacked packages.
    pub fn unpacked(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", self.libraries());
        command
    }

    /// The upstream version of a package that [`Self::unpack`] unpacked, without the distribution's
    /// part.
    pub fn unpacked_version(&self, package: &str) -> String {
        let versions = fs::read_to_string(self.join("versions")).unwrap_or_default();
        let line = versions.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix('\t'));
        let upstream = |version: &'_ str| -> Option<String> {
            let version = version.rsplit(':').next()?;
            Some(version.split(['-', '+']).next()?.to_owned())
        };
        line.and_then(upstream).unwrap_or_else(|| "?".to_owned())
    }
}

/// Waits for a lock that ends with what is returned, or with this process.
fn lock(file: &Path) -> Result<File, String> {
    let told = |error: io::Error| format!("{}: {error}", file.display());
    let lock = File::options().create(true).append(true).open(file).map_err(told)?;
    // SAFETY: flock() takes two numbers; the descriptor is open.
    match unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(lock),
        _ => Err(told(io::Error::last_os_error())),
    }
}

/// Whether a command is on the PATH.
pub fn has(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(command).is_file())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_was_done_to_its_end_is_done_once_for_the_same_words() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("server"));
        let done = Cell::new(0);
        let counted = |words: &str, fails: bool| {
            home.once(words, |_| {
                done.set(done.get() + 1);
                if fails { Err("in vain".to_owned()) } else { Ok(()) }
            })
        };
        assert_eq!(counted("a 1", true), Err("in vain".to_owned()));
        assert_eq!(counted("a 1", false), Ok(()));
        assert_eq!(counted("a 1", true), Ok(()), "not done again");
        assert_eq!(done.get(), 2);
        assert!(counted("a 2", true).is_err());
        assert_eq!(counted("a 1", false), Ok(()), "anew: the other one left it half done");
        assert_eq!(done.get(), 4);
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("server"));
        assert_eq!(home.run(&mut Command::new("true")), Ok(()));
        let error = home.run(Command::new("bash").args(["-c", "echo so; exit 3"])).unwrap_err();
        assert!(error.contains("exit status: 3") && error.ends_with("so"), "{error}");
        assert!(home.run(&mut Command::new("no-such-command")).is_err());
    }

    #[test]
    fn versions_are_told_without_the_distributions_part() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("server"));
        fs::write(home.join("versions"), "ruby-a\t1.0-1\nruby\t1:3.1\nx\t2.16.1+ds-deb12u10\n")
            .unwrap();
        assert_eq!(home.unpacked_version("ruby-a"), "1.0");
        assert_eq!(home.unpacked_version("ruby"), "3.1");
        assert_eq!(home.unpacked_version("x"), "2.16.1");
        assert_eq!(home.unpacked_version("y"), "?");
    }
}
