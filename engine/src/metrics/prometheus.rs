//! Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{self, Write};

use super::{
    Build, Counts, EndpointSnapshot, HistogramSnapshot, ProviderEndpoint, Snapshot, StoreSnapshot,
};

impl Snapshot<'_> {
    /// The media type of [`Snapshot::prometheus`].
    pub const PROMETHEUS_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Writes the numbers in Prometheus' text format.
    pub fn prometheus(&self) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        let requests = self.requests.iter().map(|(word, count)| ([("outcome", word)], count));
        page.family("requests_total", "Requests that met the module, by outcome.", requests);
        if !self.endpoints.is_empty() {
            self.endpoints(&mut page);
        }
        let uncached = self.uncached.iter().map(|(word, count)| ([("reason", word)], count));
        page.family("uncached_total", "Active answers that were not kept, by reason.", uncached);
        let refreshes = self.refreshes.iter().map(|(word, count)| ([("result", word)], count));
        page.family(
            "refreshes_total",
            "Entries asked for anew before their end, by what came of it.",
            refreshes,
        );
        page.family("mints_total", "JWTs that the gateway signed.", [([], self.mints)]);
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
        let one = |count| [([], count)];
        let pending = one(self.introspections_pending);
        page.family("introspections_pending", "Calls queued or running.", pending);
        let waiting = one(self.requests_waiting);
        page.family("requests_waiting", "Requests that wait for an answer.", waiting);
        if !self.caches.is_empty() {
            self.caches(&mut page);
        }
        if !self.providers.is_empty() {
            let each = self.providers.iter().map(|ProviderEndpoint { provider, endpoint }| {
                ([("provider", *provider), ("endpoint", *endpoint)], 1)
            });
            page.family("provider_info", "The endpoints of servers that have a name.", each);
        }
        if let Some(store) = &self.store {
            self::store(store, &mut page);
        }
        if let Some(Build { version, nginx }) = self.build {
            let versions = [([("version", version), ("nginx", nginx)], 1)];
            page.family("build_info", "The versions that are running.", versions);
        }
        page.0
    }

    fn endpoints(&self, page: &mut Page) {
        let by = |label, counts: fn(&EndpointSnapshot) -> &Counts| {
            self.endpoints.iter().flat_map(move |one| {
                let labels = move |word| [("endpoint", one.endpoint.as_str()), (label, word)];
                counts(one).iter().map(move |(word, count)| (labels(word), count))
            })
        };
        let each = |value: fn(&EndpointSnapshot) -> u64| {
            self.endpoints.iter().map(move |one| ([("endpoint", &*one.endpoint)], value(one)))
        };
        // What failed without an endpoint is none.
        let is_known = |([(_, endpoint)], _): &([(&str, &str); 1], u64)| !endpoint.is_empty();
        page.family(
            "introspections_total",
            "Calls to the authorization server, by endpoint and result.",
            by("result", |one| &one.introspections),
        );
        page.family(
            "failures_total",
            "Calls that failed or could not be made, by endpoint and reason.",
            by("reason", |one| &one.failures),
        );
        page.family(
            "ended_early_total",
            "Tokens called inactive before their time, by endpoint.",
            each(|one| one.ended_early),
        );
        page.family(
            "own_calls_total",
            "Calls of the gateway's own, about a random token, by endpoint and result.",
            by("result", |one| &one.own_calls),
        );
        page.family(
            "connections",
            "Connections to the authorization server, by endpoint and state.",
            by("state", |one| &one.connections),
        );
        page.family(
            "endpoint_up",
            "Whether an endpoint may be called (1), or rests after failures (0).",
            each(|one| one.up.into()).filter(is_known),
        );
        page.family(
            "gate_shut",
            "Whether few calls go out (1) because the client's credentials are refused.",
            each(|one| one.gate_shut.into()).filter(is_known),
        );
    }

    fn caches(&self, page: &mut Page) {
        let zones = || self.caches.iter();
        let entries = zones().flat_map(|zone| {
            [("active", zone.entries.active), ("inactive", zone.entries.inactive)]
                .map(|(kind, count)| ([("zone", zone.name), ("kind", kind)], count))
        });
        page.family("cache_entries", "Entries in a cache zone, by kind.", entries);
        let used = zones().map(|zone| ([("zone", zone.name)], zone.used_bytes));
        page.family("cache_used_bytes", "Bytes in use in a cache zone.", used);
        let size = zones().map(|zone| ([("zone", zone.name)], zone.size_bytes));
        page.family("cache_size_bytes", "Bytes a cache zone has for entries.", size);
        let evictions = zones().map(|zone| ([("zone", zone.name)], zone.evictions));
        page.family("cache_evictions_total", "Entries pushed out of a cache zone.", evictions);
    }
}

fn store(store: &StoreSnapshot, page: &mut Page) {
    let mut by = |name, help, label, counts: &Counts| {
        page.family(name, help, counts.iter().map(|(word, count)| ([(label, word)], count)));
    };
    by(
        "store_requests_total",
        "Questions about a token at the fleet's store, by result.",
        "result",
        &store.requests,
    );
    by(
        "store_errors_total",
        "What the store, or what it holds, failed by.",
        "reason",
        &store.errors,
    );
    by(
        "store_writes_total",
        "Answers to be kept in the store, by result.",
        "result",
        &store.writes,
    );
    by(
        "store_purges_total",
        "Purges told to the store and heard from it.",
        "direction",
        &store.purges,
    );
    by(
        "store_gaps_total",
        "Times when purges may have been missed, by reason.",
        "reason",
        &store.gaps,
    );
    by(
        "store_peers",
        "Other gateways at the store, by how their configuration compares.",
        "state",
        &store.peers,
    );
    page.histogram(
        "store_duration_seconds",
        "Time questions at the store took.",
        &store.duration_seconds,
    );
    let connections = [([], store.connections)];
    page.family("store_connections", "Connections to the store.", connections);
    page.family(
        "store_up",
        "Whether a node of the store may be asked (1), or rests after failures (0).",
        store.nodes.iter().map(|one| ([("node", &*one.node)], one.up.into())),
    );
    page.family(
        "store_in_sync",
        "Whether all purges up to now are known (1), so that the store is asked.",
        [([], store.in_sync.into())],
    );
    let name = "store_heard_seconds";
    page.head(name, "gauge", "Time since the store was heard; +Inf: never.");
    match store.heard_seconds {
        Some(seconds) => page.sample(name, &[], format_args!("{seconds:.3}")),
        None => page.sample(name, &[], "+Inf"),
    }
}

/// The text while it grows. Writing to a string does not fail.
struct Page(String);

impl Page {
    /// Writes a family of counters, whose names end in `_total`, or of gauges: labels and value of
    /// each sample.
    fn family<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'a str, &'a str); LABELS], u64)>,
    ) {
        self.head(name, if name.ends_with("_total") { "counter" } else { "gauge" }, help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
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
        self.head(name, "histogram", help);
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
