//! Gaps: after one it is not known of earlier answers whether they were purged.
//!
//! They are not thrown away, or all would be asked for at once: each serves for a while, in which it is
//! asked for anew. What is not by then is worthless. Few gaps are kept, and each with its own time, so that
//! one that follows another puts off nothing.

use std::sync::atomic::AtomicU64;

use super::{Moment, Purges};
use crate::shared::atomic::Word;

/// For how long answers from before a gap serve, in milliseconds.
pub const DOUBTED_MS: u64 = 10_000;

/// As many are kept; more of them within the time take the oldest's time away.
const GAPS: usize = 4;

/// One gap. All zero is none.
#[repr(C)]
pub(super) struct Gap {
    /// What was asked for before this moment is in doubt; 0 while the other word changes.
    moment: AtomicU64,
    /// When it was, in monotonic milliseconds.
    since_ms: AtomicU64,
}

/// The last ones, in no order.
pub(super) type Gaps = [Gap; GAPS];

impl Purges {
    /// Puts in doubt all answers that were asked for before now, or before `wall_ms` (milliseconds since
    /// the Unix epoch) where that is later: purges may have been missed. They serve for [`DOUBTED_MS`] from
    /// `now_ms` on, in monotonic milliseconds.
    pub fn gap(&self, wall_ms: u64, now_ms: u64) {
        let moment = self.next(wall_ms);
        let Some(oldest) = self.0.gaps.iter().min_by_key(|gap| gap.moment.get()) else { return };
        // What it put in doubt has had its time, or loses what is left of it.
        let before = oldest.moment.get();
        if before != 0 {
            self.0.all.raise(before);
            oldest.moment.set(0);
        }
        oldest.since_ms.set(now_ms);
        oldest.moment.set(moment);
        self.is_done(moment);
    }

    /// When the first gap was since this moment, in monotonic milliseconds; `None`: there was none.
    pub(super) fn gap_since(&self, last: Moment, asked: Moment) -> Option<u64> {
        let mut first = None;
        for gap in &self.0.gaps {
            let moment = Moment(gap.moment.get());
            if moment <= asked {
                continue;
            }
            self.complete(last, moment);
            let since_ms = gap.since_ms.get();
            // Another has taken its place meanwhile, and its time away.
            let since_ms = if gap.moment.get() == moment.0 { since_ms } else { 0 };
            first = Some(first.map_or(since_ms, |first: u64| first.min(since_ms)));
        }
        first
    }
}
