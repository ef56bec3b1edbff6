//! What the client did in this process, for tests and benchmarks (feature `testing`).

use std::sync::atomic::{AtomicU64, Ordering};

static DIALLED: AtomicU64 = AtomicU64::new(0);
static RESOLVED: AtomicU64 = AtomicU64::new(0);
static REUSED: AtomicU64 = AtomicU64::new(0);

/// Counts since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Connections that calls set out to make.
    pub dialled: u64,
    /// Lookups the system's resolver was asked for.
    pub resolved: u64,
    /// Requests that went out on a connection kept from an earlier call.
    pub reused: u64,
}

/// Returns what the client did so far in this process, all threads together.
pub fn stats() -> Stats {
    Stats {
        dialled: DIALLED.load(Ordering::Relaxed),
        resolved: RESOLVED.load(Ordering::Relaxed),
        reused: REUSED.load(Ordering::Relaxed),
    }
}

pub(super) fn count_dialled() {
    DIALLED.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn count_resolved() {
    RESOLVED.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn count_reused() {
    REUSED.fetch_add(1, Ordering::Relaxed);
}
