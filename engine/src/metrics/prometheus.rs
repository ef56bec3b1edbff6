//! Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{self, Write};

use super::{HistogramSnapshot, Snapshot};

impl Snapshot<'_> {
    /// The media type of [`Snapshot::prometheus`].
    pub const PROMETHEUS_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Writes the numbers in Prometheus' text format.
    pub fn prometheus(&self) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        self.requests_and_calls(&mut page);
        self.durations(&mut page);
        self.caches(&mut page);
        if let Some(build) = self.build {
            page.family("build_info", "gauge", "The versions that are running.");
            page.sample("build_info", &[("version", build.version), ("nginx", build.nginx)], 1);
        }
        page.0
    }

    fn requests_and_calls(&self, page: &mut Page) {
        page.family("requests_total", "counter", "Requests that met the module, by outcome.");
        for (outcome, count) in self.requests.iter() {
            page.sample("requests_total", &[("outcome", outcome)], count);
        }
        if !self.endpoints.is_empty() {
            page.family(
                "introspections_total",
                "counter",
                "Calls to the authorization server, by endpoint and result.",
            );
            for one in &self.endpoints {
                for (result, count) in one.introspections.iter() {
                    let labels = [("endpoint", one.endpoint.as_str()), ("result", result)];
                    page.sample("introspections_total", &labels, count);
                }
            }
            page.family(
                "failures_total",
                "counter",
                "Calls that failed or could not be made, by endpoint and reason.",
            );
            for one in &self.endpoints {
                for (reason, count) in one.failures.iter() {
                    let labels = [("endpoint", one.endpoint.as_str()), ("reason", reason)];
                    page.sample("failures_total", &labels, count);
                }
            }
            page.family(
                "ended_early_total",
                "counter",
                "Tokens called inactive before their time, by endpoint.",
            );
            for one in &self.endpoints {
                page.sample("ended_early_total", &[("endpoint", &one.endpoint)], one.ended_early);
            }
            page.family(
                "own_calls_total",
                "counter",
                "Calls of the gateway's own, about a random token, by endpoint and result.",
            );
            for one in &self.endpoints {
                for (result, count) in one.own_calls.iter() {
                    let labels = [("endpoint", one.endpoint.as_str()), ("result", result)];
                    page.sample("own_calls_total", &labels, count);
                }
            }
            page.family(
                "connections",
                "gauge",
                "Connections to the authorization server, by endpoint and state.",
            );
            for one in &self.endpoints {
                for (state, count) in one.connections.iter() {
                    let labels = [("endpoint", one.endpoint.as_str()), ("state", state)];
                    page.sample("connections", &labels, count);
                }
            }
            page.family(
                "endpoint_up",
                "gauge",
                "Whether an endpoint may be called (1), or rests after failures (0).",
            );
            // What failed without an endpoint is none.
            for one in self.endpoints.iter().filter(|one| !one.endpoint.is_empty()) {
                page.sample("endpoint_up", &[("endpoint", &one.endpoint)], u64::from(one.up));
            }
            page.family(
                "gate_shut",
                "gauge",
                "Whether few calls go out (1) because the client's credentials are refused.",
            );
            for one in self.endpoints.iter().filter(|one| !one.endpoint.is_empty()) {
                page.sample("gate_shut", &[("endpoint", &one.endpoint)], u64::from(one.gate_shut));
            }
        }
        page.family("uncached_total", "counter", "Active answers that were not kept, by reason.");
        for (reason, count) in self.uncached.iter() {
            page.sample("uncached_total", &[("reason", reason)], count);
        }
    }

    fn durations(&self, page: &mut Page) {
        page.histogram(
            "introspection_duration_seconds",
            "Time calls to the authorization server took.",
            &self.introspection_duration_seconds,
        );
        page.histogram(
            "queue_duration_seconds",
            "Time calls waited for a thread of the pool.",
            &self.queue_duration_seconds,
        );
        page.family("introspections_pending", "gauge", "Calls queued or running.");
        page.sample("introspections_pending", &[], self.introspections_pending);
        page.family("requests_waiting", "gauge", "Requests that wait for an answer.");
        page.sample("requests_waiting", &[], self.requests_waiting);
    }

    fn caches(&self, page: &mut Page) {
        if self.caches.is_empty() {
            return;
        }
        page.family("cache_entries", "gauge", "Entries in a cache zone, by kind.");
        for zone in self.caches {
            for (kind, count) in
                [("active", zone.entries.active), ("inactive", zone.entries.inactive)]
            {
                page.sample("cache_entries", &[("zone", zone.name), ("kind", kind)], count);
            }
        }
        page.family("cache_used_bytes", "gauge", "Bytes in use in a cache zone.");
        for zone in self.caches {
            page.sample("cache_used_bytes", &[("zone", zone.name)], zone.used_bytes);
        }
        page.family("cache_size_bytes", "gauge", "Bytes a cache zone has for entries.");
        for zone in self.caches {
            page.sample("cache_size_bytes", &[("zone", zone.name)], zone.size_bytes);
        }
        page.family("cache_evictions_total", "counter", "Entries pushed out of a cache zone.");
        for zone in self.caches {
            page.sample("cache_evictions_total", &[("zone", zone.name)], zone.evictions);
        }
    }
}

/// The text while it grows. Writing to a string does not fail.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP phantom_token_{name} {help}");
        let _ = writeln!(self.0, "# TYPE phantom_token_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        let _ = write!(self.0, "phantom_token_{name}");
        let mut open = '{';
        for (label, text) in labels {
            let _ = write!(self.0, "{open}{label}=\"{}\"", Escaped(text));
            open = ',';
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &HistogramSnapshot) {
        self.family(name, "histogram", help);
        for (bound, count) in histogram.cumulative() {
            self.sample(&format!("{name}_bucket"), &[("le", bound)], count);
        }
        self.sample(&format!("{name}_sum"), &[], histogram.sum_seconds());
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }
}

/// A label's value with backslash, double quote and line feed escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
