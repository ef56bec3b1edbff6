//! Saying what repeats itself a few times, and then how often it happened besides: an outage makes
//! one failure for each call, and a log of those hides everything else.
//!
//! A row of repetitions begins with its first and lasts [`PERIOD_MS`]. The first [`SAID`] are said
//! one by one; those that follow are counted, and summed up in one line when the period ends.

/// How long a row lasts, in milliseconds.
pub const PERIOD_MS: u64 = 60_000;

/// How many of a row are said one by one.
pub const SAID: u32 = 5;

/// Rows of what repeats itself: one row for each `K`, few enough to look through.
#[derive(Debug)]
pub struct Repeats<K>(Vec<Row<K>>);

#[derive(Debug)]
struct Row<K> {
    what: K,
    began_ms: u64,
    count: u32,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Repeats(Vec::new())
    }
}

impl<K: Clone + PartialEq> Repeats<K> {
    /// Counts that `what` happened at `now_ms` (monotonic milliseconds). Returns whether it is to
    /// be said now; else it is summed up later. Where there is no memory to count it in, it is
    /// said.
    pub fn happened(&mut self, what: &K, now_ms: u64) -> bool {
        if let Some(row) = self.0.iter_mut().find(|row| row.what == *what) {
            row.count = row.count.saturating_add(1);
            return row.count <= SAID;
        }
        if self.0.try_reserve(1).is_ok() {
            self.0.push(Row { what: what.clone(), began_ms: now_ms, count: 1 });
        }
        true
    }

    /// Ends the rows whose period is over at `now_ms`, all of them where `all`. Returns for each
    /// how often it happened without being said, where it did.
    pub fn ended(&mut self, now_ms: u64, all: bool) -> impl Iterator<Item = (K, u32)> {
        let over = move |row: &mut Row<K>| all || now_ms.saturating_sub(row.began_ms) >= PERIOD_MS;
        let ended = self.0.extract_if(.., over);
        ended.filter(|row| row.count > SAID).map(|row| (row.what, row.count - SAID))
    }

    /// Returns the milliseconds until the next row ends; `None` where there is none.
    pub fn next_end(&self, now_ms: u64) -> Option<u64> {
        let ends = self.0.iter().map(|row| row.began_ms.saturating_add(PERIOD_MS));
        ends.min().map(|end| end.saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended<'k>(repeats: &mut Repeats<&'k str>, now_ms: u64, all: bool) -> Vec<(&'k str, u32)> {
        repeats.ended(now_ms, all).collect()
    }

    #[test]
    fn the_first_are_said_and_the_rest_summed_up() {
        let mut repeats = Repeats::default();
        let said = (0..12).filter(|at| repeats.happened(&"a", 1000 + at)).count();
        assert_eq!(said, SAID as usize);
        assert_eq!(repeats.next_end(2000), Some(PERIOD_MS - 1000));
        assert_eq!(ended(&mut repeats, PERIOD_MS + 999, false), []);
        assert_eq!(ended(&mut repeats, PERIOD_MS + 1000, false), [("a", 7)]);
        // A new row begins as the first did.
        assert!(repeats.happened(&"a", PERIOD_MS + 1001));
    }

    #[test]
    fn few_need_no_summary_and_leave_nothing_behind() {
        let mut repeats = Repeats::default();
        assert!((0..SAID).all(|_| repeats.happened(&"a", 0)));
        assert_eq!(ended(&mut repeats, PERIOD_MS, false), []);
        assert_eq!(repeats.next_end(PERIOD_MS), None);
    }

    #[test]
    fn rows_are_told_apart_and_can_all_be_ended() {
        let mut repeats = Repeats::default();
        for _ in 0..=SAID {
            repeats.happened(&"a", 0);
            repeats.happened(&"b", 10);
        }
        assert!(repeats.happened(&"c", 20));
        assert_eq!(ended(&mut repeats, PERIOD_MS, false), [("a", 1)]);
        assert_eq!(ended(&mut repeats, PERIOD_MS, true), [("b", 1)]);
        assert_eq!(repeats.next_end(PERIOD_MS), None);
    }
}
