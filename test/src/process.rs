//! Child processes and what `/proc` tells of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;

/// How long a test waits for what must happen: generous, since a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives something, for at most [`PATIENCE`].
///
/// # Panics
/// Where it never does; `what` says what was waited for.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        let waited = begun.elapsed();
        assert!(waited < PATIENCE, "waited in vain for {what}");
        // The longer it takes, the less a look more often would gain, and each takes time from others.
        thread::sleep((waited / 8).clamp(Duration::from_millis(2), Duration::from_millis(25)));
    }
}

/// Waits until `condition` holds, for at most [`PATIENCE`].
///
/// # Panics
/// Where it never does.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Makes a command's process end with the thread that starts it, and be the head of a process group
/// of its own, so that a terminal's Ctrl-C reaches the starter alone. An interrupt that is sent to it ends it,
/// even where a shell has started the tests in the background, which ignore interrupts then.
pub fn bind_to_starter(command: &mut Command) {
    command.process_group(0);
    // SAFETY: prctl() and signal() are async-signal-safe and touch nothing of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
}

/// Sends a signal to a process.
///
/// # Errors
/// Where there is no such process, or no right to signal it.
pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: kill() takes two numbers.
    match unsafe { libc::kill(pid as libc::pid_t, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for a child to end, for at most `limit`; `None` where it goes on.
///
/// # Errors
/// Those of waiting.
pub fn wait_exit(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Ends a child by `first`, and by SIGKILL where that does not help; `false`
/// where it had to be killed.
pub fn end(child: &mut Child, first: i32) -> bool {
    // Once it has been waited for, its id may be another process's.
    if let Ok(Some(_)) = child.try_wait() {
        return true;
    }
    // Again and again: NGINX misses a signal that reaches a thread of a pool while it starts.
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let _ = signal(child.id(), first);
        if let Ok(Some(_)) = wait_exit(child, Duration::from_secs(5)) {
            return true;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Kills a child and all of its process group ([`bind_to_starter`]), and waits until none is left.
pub fn kill_group(child: &mut Child) {
    let group = child.id();
    // SAFETY: kill() takes two numbers. The child has not been waited for: the number is its own.
    unsafe { libc::kill(-(group as libc::pid_t), libc::SIGKILL) };
    let _ = child.wait();
    let end = Instant::now() + PATIENCE;
    let is_left = || all().any(|(_, stat)| stat.group == group && stat.state != 'Z');
    while is_left() && Instant::now() < end {
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process is there and no zombie.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state != 'Z')
}

/// Whether a process is halted, by SIGSTOP.
pub fn halted(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state == 'T')
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let mine = all().filter(|(_, stat)| stat.parent == pid && stat.state != 'Z');
    mine.map(|(child, _)| child).collect()
}

/// A process's command line, arguments parted by spaces; for NGINX, its title.
pub fn title(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How much memory of its own a process has resident, in KiB: without what it shares with files and
/// other processes' shared memory.
pub fn own_memory(pid: u32) -> u64 {
    memory(pid, "RssAnon:")
}

/// How much address space a process has, in KiB.
pub fn virtual_memory(pid: u32) -> u64 {
    memory(pid, "VmSize:")
}

fn memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How often bytes occur in what a process may write to.
///
/// # Panics
/// Where there is no such process, or no right to look into it.
pub fn occurrences(pid: u32, bytes: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a running process");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("the right to look into a child");
    let ranges = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some((address(start)?, address(end)?))
    });
    let found = ranges.map(|(start, end)| {
        let mut copy = vec![0; (end - start) as usize];
        // Not all of it can be read: the kernel's own pages cannot.
        match memory.read_exact_at(&mut copy, start) {
            Ok(()) => memmem::find_iter(&copy, bytes).count(),
            Err(_) => 0,
        }
    });
    found.sum()
}

/// Asserts that a process's memory has grown by less than so many KiB. AddressSanitizer holds back
/// what is freed, so that its use is seen: under it memory grows, and nothing is asserted.
///
/// # Panics
/// Where it has grown by more.
#[track_caller]
pub fn assert_grown_less(grown: u64, than: u64) {
    let held_back = std::env::var_os("ASAN_OPTIONS").is_some();
    assert!(held_back || grown < than, "memory grew by {grown} KiB");
}

/// How much memory a process has written to and shares with no other, in KiB: what it costs beyond
/// the process it was forked from.
pub fn private_memory(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How much address space a process has taken, in bytes.
pub fn address_space(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_whitespace().next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // SAFETY: sysconf() takes a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * page as u64
}

/// Lets a process take no more address space than this, in bytes; `None` for any amount.
///
/// # Errors
/// Where there is no such process, or no right to it.
pub fn limit_address_space(pid: u32, bytes: Option<u64>) -> io::Result<()> {
    let most = bytes.unwrap_or(libc::RLIM_INFINITY);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is read during the call, and the old one is not asked for.
    let done =
        unsafe { libc::prlimit(pid as libc::pid_t, libc::RLIMIT_AS, &limit, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What `/proc` tells of a process: proc_pid_stat(5).
struct Stat {
    state: char,
    parent: u32,
    group: u32,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat { state, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

/// All processes.
fn all() -> impl Iterator<Item = (u32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(pid)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_and_ended() {
        let mut command = Command::new("sleep");
        command.arg("60");
        bind_to_starter(&mut command);
        let mut child = command.spawn().unwrap();
        wait_until("the child's title", || title(child.id()) == "sleep 60");
        assert!(children(std::process::id()).contains(&child.id()));
        assert!(alive(child.id()));
        assert_eq!(threads(child.id()), 1);
        assert!(end(&mut child, libc::SIGTERM));
        assert!(!alive(child.id()));
    }

    #[test]
    fn a_group_is_killed_whole() {
        let mut command = Command::new("sh");
        command.args(["-c", "sh -c 'sleep 61; sleep 1' & sleep 61; sleep 1"]);
        bind_to_starter(&mut command);
        let mut child = command.spawn().unwrap();
        let group = child.id();
        let members = || all().filter(|(_, stat)| stat.group == group && stat.state != 'Z').count();
        wait_until("a group of four", || members() == 4);
        kill_group(&mut child);
        assert_eq!(members(), 0);
    }
}
