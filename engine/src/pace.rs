//! How long an endpoint usually takes to answer.
//!
//! A moving average, to tell whether a call that has waited long for a thread has time enough left.

use std::time::Duration;

/// The share of one answer in the average: an eighth.
const WEIGHT: u32 = 8;

/// A moving average of how long an endpoint took to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Zero while none has come.
    typical: Duration,
    /// For how long a call has waited in vain since the last answer, at most.
    in_vain: Duration,
}

impl Pace {
    /// Returns the average after an answer that took `time`.
    #[must_use]
    pub fn answered(self, time: Duration) -> Pace {
        let typical = if self.typical.is_zero() { time } else { self.averaged(time) };
        Pace { typical, in_vain: Duration::ZERO }
    }

    /// Returns the average after a call that got no answer in `time`: else only quick answers would
    /// count.
    ///
    /// One such call may be the fault of its token, so that it no more than doubles the average.
    /// The second in a row is believed.
    #[must_use]
    pub fn timed_out(self, time: Duration) -> Pace {
        let typical = if !self.in_vain.is_zero() {
            self.typical.max(self.in_vain).max(time)
        } else if time > self.typical {
            self.averaged(time.min(self.typical * WEIGHT))
        } else {
            self.typical // It was given less time than it usually takes: that tells nothing.
        };
        Pace { typical, in_vain: self.in_vain.max(time) }
    }

    /// Returns how long an answer usually takes; zero where that is not known.
    pub fn typical_latency(self) -> Duration {
        self.typical
    }

    fn averaged(self, time: Duration) -> Duration {
        (self.typical * (WEIGHT - 1) + time) / WEIGHT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_timeout_among_quick_answers_changes_little() {
        let quick = Pace::default().answered(2 * MS);
        assert_eq!(quick.typical_latency(), 2 * MS);
        let after = quick.timed_out(6_000 * MS);
        assert!(
            after.typical_latency() > quick.typical_latency() && after.typical_latency() < 4 * MS,
            "{after:?}"
        );
        let again = (0..20).fold(after, |pace, _| pace.answered(2 * MS));
        assert!(again.typical_latency() < 3 * MS, "{again:?}");
    }

    #[test]
    fn timeouts_in_a_row_are_believed_until_answers_come() {
        for known in [Pace::default(), Pace::default().answered(2 * MS)] {
            let once = known.timed_out(1_000 * MS);
            assert!(once.typical_latency() < 4 * MS, "{once:?}");
            let twice = once.timed_out(100 * MS);
            assert_eq!(twice.typical_latency(), 1_000 * MS);
            assert_eq!(twice.timed_out(1_500 * MS).typical_latency(), 1_500 * MS);
            let quick = (0..60).fold(twice, |pace, _| pace.answered(2 * MS));
            assert!(quick.typical_latency() < 3 * MS, "{quick:?}");
        }
    }

    #[test]
    fn a_timeout_makes_nobody_quicker() {
        let slow = Pace::default().answered(1_000 * MS);
        let (once, twice) = (slow.timed_out(50 * MS), slow.timed_out(50 * MS).timed_out(50 * MS));
        assert_eq!([once.typical_latency(), twice.typical_latency()], [1_000 * MS; 2]);
    }

    #[test]
    fn answers_are_averaged() {
        let pace = Pace::default().answered(800 * MS);
        assert_eq!(pace.answered(1_600 * MS).typical_latency(), 900 * MS);
        assert_eq!(pace.answered(Duration::ZERO).typical_latency(), 700 * MS);
    }
}
