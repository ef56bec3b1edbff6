//! A new binary (USR2) begins with an empty cache and serves; the old one, called back, still has
//! its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use phantom_token_test::process::{self, wait_for, wait_until};
use phantom_token_test::{Rig, nginx};

use crate::support::*;

/// NGINX as a daemon, which takes USR2; it runs where a gateway of the rig has been.
struct Daemon {
    rig: Rig,
    prefix: PathBuf,
}

impl Daemon {
    fn start(rig: Rig) -> Self {
        rig.gateway.quit();
        rig.gateway.wait_exit();
        let prefix = rig.gateway.prefix().to_owned();
        let status = Command::new(nginx::binary())
            .arg("-p")
            .arg(&prefix)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .status()
            .expect("starts NGINX");
        assert!(status.success(), "{}", rig.gateway.error_log());
        let daemon = Self { rig, prefix };
        daemon.master("nginx.pid");
        daemon
    }

    /// The master whose process id a file holds.
    fn master(&self, file: &str) -> u32 {
        wait_for(file, || pid_in(&self.prefix.join(file)))
    }

    /// A new binary beside the old one: their masters.
    fn upgrade(&self) -> (u32, u32) {
        let old = self.master("nginx.pid");
        process::signal(old, libc::SIGUSR2).unwrap();
        let new = wait_for("the new master", || {
            pid_in(&self.prefix.join("nginx.pid")).filter(|&new| new != old)
        });
        wait_until("the new workers", || !workers(new).is_empty());
        (old, new)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for file in ["nginx.pid", "nginx.pid.oldbin"] {
            if let Some(pid) = pid_in(&self.prefix.join(file)) {
                let _ = process::signal(pid, libc::SIGTERM);
                wait_until("the daemon's end", || !process::alive(pid));
            }
        }
    }
}

fn pid_in(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|&pid| process::alive(pid))
}

fn workers(master: u32) -> Vec<u32> {
    let mut pids = process::children(master);
    pids.retain(|&pid| process::title(pid) == "nginx: worker process");
    pids
}

/// Ends a master's workers gracefully, and waits for that.
fn retire_workers(master: u32) {
    let workers = workers(master);
    process::signal(master, libc::SIGWINCH).unwrap();
    wait_until("the workers' end", || workers.iter().all(|&pid| !process::alive(pid)));
}

#[test]
fn the_new_binary_begins_empty_and_serves() {
    let daemon = Daemon::start(rig(1, |builder| builder));
    let gateway = &daemon.rig.gateway;
    let token = daemon.rig.server.issue();
    assert_eq!(pass(gateway, "/shown", &token), "MISS");
    assert_eq!(pass(gateway, "/shown", &token), "HIT");
    let (old, new) = daemon.upgrade();
    // Both generations serve, each from its own zone.
    for _ in 0..20 {
        pass(gateway, "/shown", &token);
    }
    assert!(daemon.rig.server.introspections() <= 2);
    process::signal(old, libc::SIGQUIT).unwrap();
    wait_until("the old master's end", || !process::alive(old));
    pass(gateway, "/shown", &token);
    assert_eq!(pass(gateway, "/shown", &token), "HIT");
    assert_eq!(daemon.rig.server.introspections(), 2, "the new zone was empty");
    assert!(process::alive(new));
}

#[test]
fn a_roll_back_finds_the_old_cache() {
    let daemon = Daemon::start(rig(1, |builder| builder));
    let gateway = &daemon.rig.gateway;
    let token = daemon.rig.server.issue();
    assert_eq!(pass(gateway, "/shown", &token), "MISS");
    let (old, new) = daemon.upgrade();
    retire_workers(old);
    assert_eq!(pass(gateway, "/shown", &token), "MISS");
    assert_eq!(pass(gateway, "/shown", &token), "HIT");
    // Back: the old master's workers again, and the new master goes.
    process::signal(old, libc::SIGHUP).unwrap();
    wait_until("workers of the old master", || !workers(old).is_empty());
    process::signal(new, libc::SIGQUIT).unwrap();
    wait_until("the new master's end", || !process::alive(new));
    for _ in 0..3 {
        assert_eq!(pass(gateway, "/shown", &token), "HIT", "its zone is as it was");
    }
    assert_eq!(daemon.rig.server.introspections(), 2);
}
