//! A server's process.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{self, wait_until};

/// How long a server may take to start: a Java one on a busy machine takes its time.
const START: Duration = Duration::from_secs(180);

/// A server's process, with its children in a process group of its own. Dropping it ends them.
pub struct Process {
    command: Box<dyn Fn() -> Command>,
    ready: Box<dyn Fn() -> bool>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts what `command` makes and waits until it is `ready`. Its output goes to the file `log`.
    ///
    /// # Errors
    /// Where it ends, or is not ready in time, with the end of its output.
    pub fn start(
        log: &Path,
        command: impl Fn() -> Command + 'static,
        ready: impl Fn() -> bool + 'static,
    ) -> Result<Self, String> {
        let mut process = Self {
            command: Box::new(command),
            ready: Box::new(ready),
            log: log.to_owned(),
            child: None,
        };
        process.run()?;
        Ok(process)
    }

    /// Starts it again after [`Self::stop`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn run(&mut self) -> Result<(), String> {
        let log = fs::File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| format!("{}: {error}", self.log.display()))?;
        let mut command = (self.command)();
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        process::bind_to_starter(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
        self.child = Some(child);
        let end = Instant::now() + START;
        while !(self.ready)() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                let how = status.signal().map_or(format!("{status}"), |n| format!("signal {n}"));
                return Err(format!("{program} ended ({how}):\n{}", self.tail(30)));
            }
            if Instant::now() > end {
                return Err(format!("{program} is not ready in time:\n{}", self.tail(30)));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends it, as an operator would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let group = child.id();
            process::end(&mut child, libc::SIGTERM);
            // What it started and left behind.
            let _ = signal_group(group, libc::SIGKILL);
        }
    }

    /// Halts it and its children: it takes connections and answers nothing.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn halt(&self) {
        self.signal_all(libc::SIGSTOP);
        // On a busy machine that takes a while: other threads than the one that is told go on.
        let child = self.child.as_ref().expect("a running server").id();
        wait_until("all of it to halt", || {
            process::halted(child) && process::children(child).into_iter().all(process::halted)
        });
    }

    /// Lets it go on after [`Self::halt`].
    pub fn go_on(&self) {
        self.signal_all(libc::SIGCONT);
    }

    /// Sends the process itself a signal, and not its children.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn signal(&self, signal: i32) {
        let child = self.child.as_ref().expect("a running server");
        process::signal(child.id(), signal).expect("a running server");
    }

    fn signal_all(&self, signal: i32) {
        let child = self.child.as_ref().expect("a running server");
        assert!(signal_group(child.id(), signal), "a running server");
    }

    /// The last lines of what it said, so many at most.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.go_on();
        }
        self.stop();
    }
}

/// The last lines of a file, so many at most.
pub(super) fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn signal_group(group: u32, signal: i32) -> bool {
    // SAFETY: kill() takes two numbers; the group is one this process made.
    unsafe { libc::kill(-(group as libc::pid_t), signal) == 0 }
}
