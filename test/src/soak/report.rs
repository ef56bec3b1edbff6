//! What a run came to.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::field::Field;
use super::processes::{Row, Samples};

/// What a run came to; [`fmt::Display`] makes the table.
pub struct Report {
    /// How long it took.
    pub length: Duration,
    /// What was counted, by name.
    pub counts: Vec<(&'static str, u64)>,
    /// Answers that were wrong, and requests not answered for no known reason.
    pub wrong: u64,
    /// The first of them.
    pub described: Vec<String>,
    /// The share of all answers that were excused, and the share of the time there was reason to.
    pub excused: (f64, f64),
    /// Memory, descriptors, threads.
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(field: &Field, samples: &Samples) -> Self {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &field.counts;
        let (wrong, described) = field.all_wrong();
        let length = field.begun.elapsed();
        Self {
            length,
            excused: (
                get(&counts.excused) as f64 / counts.answered() as f64,
                field.away().as_secs_f64() / length.as_secs_f64(),
            ),
            counts: vec![
                ("requests answered", counts.answered()),
                ("let in, each with its own JWT", get(&counts.passed)),
                ("refused", get(&counts.refused)),
                ("failed, the server's answer being odd", get(&counts.failed)),
                ("failed, the server being down or at rest", get(&counts.excused)),
                ("over HTTP/2", get(&counts.http2)),
                ("seen by the API", get(&counts.at_api)),
                ("revoked, purged and asked again", get(&counts.purged)),
                ("left by their clients", get(&counts.left)),
                ("sent again on a new connection", get(&counts.repeated)),
                ("lost with their worker", get(&counts.lost)),
                ("reloads", get(&counts.reloads)),
                ("workers killed", get(&counts.kills)),
                ("restarts of the authorization server", get(&counts.restarts)),
            ],
            wrong,
            described,
            rows: samples.rows(),
        }
    }

    /// Whether nothing was wrong, no more was excused than there was reason to, and everything is flat.
    pub fn is_clean(&self) -> bool {
        let (excused, reason) = self.excused;
        self.wrong == 0 && excused <= reason && self.rows.iter().all(Row::is_flat)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:44}{:>10.0}", "seconds", self.length.as_secs_f64())?;
        for (what, count) in &self.counts {
            writeln!(f, "{what:44}{count:>10}")?;
        }
        let (excused, reason) = self.excused;
        for (what, share) in
            [("down or at rest, of the time", reason), ("failed so, of all answers", excused)]
        {
            writeln!(f, "{what:44}{:>8.1} %", share * 100.0)?;
        }
        writeln!(f, "{:44}{:>10}\n", "wrong", self.wrong)?;
        for line in &self.described {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "{:34}{:>12}{:>12}{:>12}", "means", "middle", "last third", "allowed")?;
        for row in &self.rows {
            let flat = if row.is_flat() { "" } else { "  GROWS" };
            let Row { what, middle, last, allowed } = row;
            writeln!(f, "{what:34}{middle:>12.1}{last:>12.1}{allowed:>12.1}{flat}")?;
        }
        Ok(())
    }
}
