//! What the processes hold over time, and whether that is flat.

use std::collections::HashMap;
use std::time::Duration;

use crate::process;

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    StormyMaster,
    StormyWorker,
    SteadyMaster,
    SteadyWorker,
}

/// How old workers of the stormy gateway must be to be compared: younger ones still grow.
const GROWN: Duration = Duration::from_secs(1);

/// One look at one process.
struct Sample {
    at: Duration,
    role: Role,
    age: Duration,
    /// Private memory, in KiB.
    memory: f64,
    descriptors: f64,
    threads: f64,
}

/// All that was looked at.
#[derive(Default)]
pub(super) struct Samples {
    samples: Vec<Sample>,
    /// When a process was first seen.
    known: HashMap<u32, Duration>,
    /// How many processes there were.
    counts: Vec<(Duration, Role, f64)>,
}

/// One thing compared: the mean of the middle third of the time, and of the last.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// The mean of the middle third.
    pub middle: f64,
    /// The mean of the last third.
    pub last: f64,
    /// The most that counts as flat.
    pub allowed: f64,
}

impl Row {
    /// Whether it is flat.
    pub fn is_flat(&self) -> bool {
        self.last <= self.allowed
    }
}

impl Samples {
    pub(super) fn take(&mut self, at: Duration, role: Role, pid: u32) {
        let first = *self.known.entry(pid).or_insert(at);
        let sample = Sample {
            at,
            role,
            age: at - first,
            memory: process::private_memory(pid) as f64,
            descriptors: process::descriptors(pid) as f64,
            threads: process::threads(pid) as f64,
        };
        // One that has ended meanwhile shows nothing.
        if sample.memory > 0.0 && sample.threads > 0.0 {
            self.samples.push(sample);
        }
    }

    pub(super) fn count(&mut self, at: Duration, role: Role, count: usize) {
        self.counts.push((at, role, count as f64));
    }

    /// The mean of the last look, in KiB.
    pub(super) fn last_memory(&self, role: Role) -> u64 {
        let last = self.samples.iter().rev().find(|sample| sample.role == role);
        let Some(at) = last.map(|sample| sample.at) else { return 0 };
        let of = self.samples.iter().filter(|sample| sample.role == role && sample.at == at);
        mean(of.map(|sample| sample.memory)) as u64
    }

    /// What is compared at the end.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (role, name) in [
            (Role::StormyMaster, "master, reloaded"),
            (Role::StormyWorker, "workers, replaced"),
            (Role::SteadyMaster, "master, left alone"),
            (Role::SteadyWorker, "workers, left alone"),
        ] {
            let grown = if role == Role::StormyWorker { GROWN } else { Duration::ZERO };
            let of = |value: fn(&Sample) -> f64| {
                let samples = self.samples.iter();
                let of = samples.filter(move |s| s.role == role && s.age >= grown);
                of.map(|sample| (sample.at, value(sample))).collect::<Vec<_>>()
            };
            // An allocator settles; a leak of every request or reload is far beyond this.
            rows.push(self.row(&format!("{name}: KiB"), &of(|s| s.memory), 512.0, 0.05));
            rows.push(self.row(&format!("{name}: descriptors"), &of(|s| s.descriptors), 4.0, 0.0));
            rows.push(self.row(&format!("{name}: threads"), &of(|s| s.threads), 1.0, 0.0));
        }
        let counts = self.counts.iter().filter(|(_, role, _)| *role == Role::StormyWorker);
        let counts: Vec<_> = counts.map(|(at, _, count)| (*at, *count)).collect();
        rows.push(self.row("workers, replaced: processes", &counts, 2.0, 0.0));
        rows
    }

    fn row(&self, what: &str, series: &[(Duration, f64)], slack: f64, share: f64) -> Row {
        let end = self.samples.last().map_or(Duration::ZERO, |sample| sample.at);
        let between = |from: Duration, to: Duration| {
            let of = series.iter().filter(move |(at, _)| *at > from && *at <= to);
            mean(of.map(|(_, value)| *value))
        };
        let (middle, last) = (between(end / 3, end * 2 / 3), between(end * 2 / 3, end));
        Row { what: what.to_owned(), middle, last, allowed: middle * (1.0 + share) + slack }
    }
}

/// Not a number, and so never flat, where there is nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: impl Iterator<Item = f64>) -> Row {
        let series: Vec<_> =
            values.enumerate().map(|(n, v)| (Duration::from_secs(n as u64), v)).collect();
        let sample = |&(at, memory): &(Duration, f64)| Sample {
            at,
            role: Role::SteadyWorker,
            age: at,
            memory,
            descriptors: 1.0,
            threads: 1.0,
        };
        let samples =
            Samples { samples: series.iter().map(sample).collect(), ..Default::default() };
        samples.row("memory", &series, 10.0, 0.05)
    }

    #[test]
    fn what_grows_is_told_from_what_settles() {
        let settles = |n: f64| 1_000.0 - 900.0 / (n + 1.0);
        assert!(row((0..60).map(|n| settles(f64::from(n)))).is_flat());
        assert!(row((0..60).map(|n| 1_000.0 + f64::from(n % 7))).is_flat());
        assert!(!row((0..60).map(|n| 1_000.0 + 10.0 * f64::from(n))).is_flat());
        assert!(!row(std::iter::empty()).is_flat(), "nothing seen is nothing shown");
    }
}
