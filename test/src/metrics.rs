//! The gateway's own numbers, read as Prometheus reads them.

use std::collections::BTreeMap;

use crate::nginx::Gateway;
use crate::process::wait_for;

/// All samples at one moment, by name and labels as in the text, the prefix `phantom_token_` left
/// out: `requests_total{outcome="hit"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(pub BTreeMap<String, f64>);

impl Metrics {
    /// Reads Prometheus' text format.
    ///
    /// # Panics
    /// Where a line is neither a comment nor a sample of ours.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let name = name.strip_prefix("phantom_token_").expect("a metric of ours");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self(samples.collect())
    }

    /// One sample; 0 where it is not there.
    pub fn get(&self, sample: &str) -> f64 {
        self.0.get(sample).copied().unwrap_or(0.0)
    }

    /// Requests that came out so.
    pub fn requests(&self, outcome: &str) -> f64 {
        self.get(&format!("requests_total{{outcome=\"{outcome}\"}}"))
    }

    /// Failures for this reason at all endpoints together.
    pub fn failures(&self, reason: &str) -> f64 {
        self.sum("failures_total{", &format!("reason=\"{reason}\""))
    }

    /// Connections to all endpoints that are in this state, `idle` or `busy`.
    pub fn connections(&self, state: &str) -> f64 {
        self.sum("connections{", &format!("state=\"{state}\""))
    }

    /// Active answers not kept for this reason.
    pub fn uncached(&self, reason: &str) -> f64 {
        self.get(&format!("uncached_total{{reason=\"{reason}\"}}"))
    }

    /// The sum of all samples that begin with `start` and hold `label`.
    pub fn sum(&self, start: &str, label: &str) -> f64 {
        let samples = self.0.iter();
        samples
            .filter(|(name, _)| name.starts_with(start) && name.contains(label))
            .map(|(_, v)| v)
            .sum()
    }

    /// The samples that have changed since, and by how much. Durations, bytes in use and connections,
    /// which no test foresees, are left out.
    pub fn since(&self, before: &Metrics) -> BTreeMap<String, f64> {
        let varies = |name: &str| {
            ["_duration_seconds", "_bytes", "connections{"].iter().any(|of| name.contains(of))
        };
        let samples = self.0.iter().filter(|(name, _)| !varies(name));
        let changes = samples.map(|(name, value)| (name.clone(), value - before.get(name)));
        changes.filter(|(_, change)| *change != 0.0).collect()
    }
}

impl Gateway {
    /// The numbers at `/metrics`, where the configuration shows them.
    ///
    /// # Panics
    /// Where it does not.
    pub fn metrics(&self) -> Metrics {
        let response = self.get("/metrics", &[]);
        assert_eq!(response.status, 200, "{response:?}");
        Metrics::parse(&response.text())
    }

    /// Waits until the numbers are so, and returns them.
    ///
    /// # Panics
    /// Where they never are; `what` says what was waited for.
    pub fn wait_for_metrics(&self, what: &str, are_so: impl Fn(&Metrics) -> bool) -> Metrics {
        wait_for(what, || Some(self.metrics()).filter(|metrics| are_so(metrics)))
    }
}
