//! Whether another process still runs, asked about the owners of what processes share.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};

/// The process that acts, the time, and how it asks about other processes.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    /// Its process id.
    pub pid: u32,
    /// Monotonic milliseconds, by the same clock in all processes.
    pub now_ms: u64,
    /// Says whether the process of an id still runs, as [`runs`] does.
    pub alive: &'a dyn Fn(u32) -> bool,
}

impl Here<'_> {
    /// Tells whether the process of this id still runs.
    pub fn runs(&self, pid: u32) -> bool {
        (self.alive)(pid)
    }
}

/// Tells whether a process of that id exists (`kill(pid, 0)`). One that belongs to another user
/// does, and so does one that was killed and that its parent has not waited for: see [`runs`].
pub fn exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return false;
    };
    if pid <= 0 {
        return false;
    }
    // SAFETY: signal 0 sends nothing; the call only checks that the process is there.
    let gone = unsafe { libc::kill(pid, 0) } != 0;
    !(gone && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH))
}

/// Tells whether a process of that id exists and is no zombie.
///
/// The master waits for its workers; but where it is dead too, a container's first process may not.
/// This reads files of /proc, some ten microseconds: where somebody asks often, [`exists`] is asked
/// first. Where /proc says nothing, what exists runs.
pub fn runs(pid: u32) -> bool {
    exists(pid) && !is_zombie(pid)
}

/// [`runs`] for many questions at one time, each process looked at once as a rule.
#[derive(Debug, Default)]
pub struct Running {
    /// What was found, by the last bits of the id; 0 is no process.
    found: [Cell<(u32, bool)>; 16],
}

impl Running {
    /// Tells whether the process ran when it was first asked about.
    pub fn has(&self, pid: u32) -> bool {
        let found = &self.found[pid as usize % self.found.len()];
        if found.get().0 != pid {
            found.set((pid, runs(pid)));
        }
        found.get().1
    }
}

fn is_zombie(pid: u32) -> bool {
    let me = std::process::id();
    // A /proc of another PID namespace counts otherwise, and tells of other processes.
    matches!(stat("self"), Some((id, _)) if id == me)
        && matches!(stat(pid), Some((id, b'Z' | b'X')) if id == pid)
}

/// The id and the state of a process, from its /proc/…/stat (proc_pid_stat(5)). Nothing is
/// allocated.
fn stat(pid: impl Display) -> Option<(u32, u8)> {
    let mut path = [0; 32];
    let mut rest = &mut path[..];
    write!(rest, "/proc/{pid}/stat").ok()?;
    let unused = rest.len();
    let path = str::from_utf8(&path[..path.len() - unused]).ok()?;
    // The name, in parentheses, has up to 64 bytes, parentheses among them.
    let mut line = [0; 128];
    let len = File::open(path).ok()?.read(&mut line).ok()?;
    let line = &line[..len];
    let id = line.split(|&byte| byte == b' ').next()?;
    let name_end = line.iter().rposition(|&byte| byte == b')')?;
    Some((str::from_utf8(id).ok()?.parse().ok()?, *line.get(name_end + 2)?))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn processes_are_told_apart_from_none() {
        for there in [exists, runs] {
            assert!(there(std::process::id()));
            assert!(there(1));
            assert!(!there(0));
            assert!(!there(u32::MAX));
            assert!(!there(i32::MAX as u32));
        }
    }

    #[test]
    fn a_zombie_exists_and_does_not_run() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, earlier) = (child.id(), Running::default());
        assert!(runs(pid));
        assert!(earlier.has(pid));

        child.kill().unwrap();
        // SAFETY: waits for a child of ours and leaves it a zombie; it is told nothing else.
        let waited = unsafe {
            libc::waitid(libc::P_PID, pid, std::ptr::null_mut(), libc::WEXITED | libc::WNOWAIT)
        };
        assert_eq!(waited, 0);
        assert!(exists(pid));
        assert!(!runs(pid));
        assert!(earlier.has(pid));
        assert!(!Running::default().has(pid));

        child.wait().unwrap();
        assert!(!exists(pid));
    }

    #[test]
    fn what_is_remembered_is_of_that_process() {
        let running = Running::default();
        let me = std::process::id();
        // Of the same place, and no process.
        let none = me % 16 + (i32::MAX as u32 & !15);
        for _ in 0..2 {
            assert!(running.has(me));
            assert!(!running.has(none));
        }
        assert!(!running.has(0));
    }
}
