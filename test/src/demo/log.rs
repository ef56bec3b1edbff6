//! Shows NGINX's log files as they grow.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Shows the logs while it lives, and what is left of them at its end.
pub(super) struct Follower {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Follows `logs/error.log` and `logs/access.log` of an NGINX prefix.
pub(super) fn follow(prefix: &Path) -> Follower {
    let ending = Arc::new(AtomicBool::new(false));
    let mut logs: Vec<Log> = ["logs/error.log", "logs/access.log"]
        .map(|name| Log { path: prefix.join(name), reader: None, line: Vec::new() })
        .into();
    let thread = thread::spawn({
        let ending = ending.clone();
        move || {
            loop {
                let last = ending.load(Ordering::Relaxed);
                logs.iter_mut().for_each(Log::show);
                if last {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    Follower { ending, thread: Some(thread) }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Log {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    line: Vec<u8>,
}

impl Log {
    /// Shows the lines that are whole by now.
    fn show(&mut self) {
        if self.reader.is_none() {
            self.reader = File::open(&self.path).ok().map(BufReader::new);
        }
        let Some(reader) = &mut self.reader else { return };
        while matches!(reader.read_until(b'\n', &mut self.line), Ok(1..)) {
            if self.line.last() == Some(&b'\n') {
                print!("{}", String::from_utf8_lossy(&self.line));
                self.line.clear();
            }
        }
    }
}
