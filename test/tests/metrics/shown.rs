//! The forms in which the numbers are shown, and by whom.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use phantom_token_test::{Rig, Script, tool};
use serde_json::Value;

use crate::rig;

/// Every sample the contract names but those of histograms' buckets, after one call.
fn promised(endpoint: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |name: &str, label: &str, words: &str| {
        for word in words.split('|') {
            names.insert(name.replace('*', &format!("{label}=\"{word}\"")));
        }
    };
    add("requests_total{*}", "outcome", "hit|miss|wait|stale|bypass|inactive|denied|error");
    let at = format!("endpoint=\"{endpoint}\"");
    add(&format!("introspections_total{{{at},*}}"), "result", "active|inactive|failed");
    add(
        &format!("failures_total{{{at},*}}"),
        "reason",
        "connect|tls|timeout|status|credentials|answer|resting|overflow",
    );
    add(
        "uncached_total{*}",
        "reason",
        "cache_off|cache_valid_zero|no_store|no_cache|private|max_age|expired|too_large|purged|neighbour|zone_locked|no_room",
    );
    add("refreshes_total{*}", "result", "active|inactive|failed|dropped");
    add("mints_total", "", "");
    for histogram in ["introspection_duration_seconds", "queue_duration_seconds"] {
        add(&format!("{histogram}_count"), "", "");
        add(&format!("{histogram}_sum"), "", "");
    }
    add(&format!("ended_early_total{{{at}}}"), "", "");
    add(&format!("connections{{{at},*}}"), "state", "idle|busy");
    add("introspections_pending", "", "");
    add("requests_waiting", "", "");
    add("cache_entries{zone=\"phantom_token\",*}", "kind", "active|inactive");
    for one in ["cache_used_bytes", "cache_size_bytes", "cache_evictions_total"] {
        add(&format!("{one}{{*}}"), "zone", "phantom_token");
    }
    add(&format!("own_calls_total{{endpoint=\"{endpoint}\",*}}"), "result", "good|refused|failed");
    add("endpoint_up{*}", "endpoint", endpoint);
    add("gate_shut{*}", "endpoint", endpoint);
    names
}

#[test]
fn every_name_and_label_is_as_promised() {
    let rig = rig(|builder| builder);
    rig.assert_passes(&rig.server.issue());
    let metrics = rig.gateway.metrics();
    let (buckets, rest): (Vec<_>, Vec<_>) =
        metrics.0.keys().cloned().partition(|name| name.contains("_bucket{"));
    let (build, rest): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|name| name.starts_with("build_info"));
    let rest: BTreeSet<_> = rest.into_iter().collect();
    assert_eq!(rest, promised(&rig.server.introspection_url()));
    assert!(buckets.iter().all(|name| name.contains("_duration_seconds_bucket{le=\"")));
    let [build] = &build[..] else { panic!("{build:?}") };
    let nginx = phantom_token_test::nginx::release();
    assert!(build.starts_with("build_info{version=\""), "{build}");
    assert!(build.ends_with(&format!(",nginx=\"{nginx}\"}}")), "{build}");
}

#[test]
fn all_workers_show_the_same_and_a_reload_keeps_it() {
    let mut rig = rig(|builder| {
        builder
            .workers(3)
            .listen("reuseport")
            .location("/who", "phantom_token_status json;\nadd_header X-Worker $pid;")
    });
    let tokens: Vec<_> = (0..5).map(|_| rig.server.issue()).collect();
    for round in 0..30 {
        assert_eq!(rig.get_as(&tokens[round % 5].token).status, 200);
        rig.gateway.get("/api", &[]);
    }
    let ask_all = |rig: &Rig| {
        let (mut workers, mut bodies) = (BTreeSet::new(), BTreeSet::new());
        while workers.len() < 3 {
            let response = rig.gateway.get("/who", &[]);
            workers.insert(response.header("x-worker").unwrap().to_owned());
            bodies.insert(response.text());
        }
        assert_eq!(bodies.len(), 1, "{bodies:#?}");
        let mut body: Value = serde_json::from_str(bodies.first().unwrap()).unwrap();
        // Those end with their worker.
        for endpoint in body["endpoints"].as_array_mut().unwrap() {
            endpoint["connections"].take();
        }
        (workers, body)
    };
    let (before_workers, before) = ask_all(&rig);
    let requests = before["requests"].as_object().unwrap().values();
    assert_eq!(requests.filter_map(Value::as_u64).sum::<u64>(), 60);
    assert_eq!(before["requests"]["denied"], 30);
    rig.gateway.reload_with(|builder| builder.http("# anything"));
    let (after_workers, after) = ask_all(&rig);
    assert!(before_workers.is_disjoint(&after_workers));
    assert_eq!(before, after);
    // Nor does a worker that is killed take its numbers along.
    rig.gateway.allow("exited on signal 9");
    let victim = rig.gateway.workers()[0];
    phantom_token_test::process::signal(victim, libc::SIGKILL).unwrap();
    phantom_token_test::process::wait_until("another worker", || {
        let workers = rig.gateway.workers();
        workers.len() == 3 && !workers.contains(&victim)
    });
    assert_eq!(ask_all(&rig).1, before);
}

#[test]
fn promtool_finds_no_fault() {
    let rig = rig(|builder| {
        builder
            .http("phantom_token_cache_zone zone=other:1m;\nphantom_token_key_file fleet.key;")
            .http("phantom_token_store {\nserver unix:/nowhere/store.sock;\n}")
            .file("fleet.key", [7; 32])
            .allow("/nowhere/store.sock")
    });
    rig.assert_passes(&rig.server.issue());
    rig.server.script_all(Script::status(500));
    rig.get_as("failing");
    let text = rig.gateway.get("/metrics", &[]).body;
    let mut child = Command::new(tool::path("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    assert_eq!(String::from_utf8_lossy(&said), "");
}

#[test]
fn only_get_and_head_and_never_cached() {
    let rig = rig(|builder| builder.location("/page", "phantom_token_status html;"));
    let types = [
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/metrics?format=prometheus", "text/plain; version=0.0.4; charset=utf-8"),
        ("/metrics?format=json", "application/json"),
        ("/metrics?format=html", "text/html; charset=utf-8"),
        ("/metrics?x=1&format=json&y", "application/json"),
        ("/page", "text/html; charset=utf-8"),
        ("/page?format=json", "application/json"),
        ("/page?format=prometheus", "text/plain; version=0.0.4; charset=utf-8"),
    ];
    let mut client = rig.gateway.client();
    for (target, media) in types {
        let response = client.get(target, &[]);
        assert_eq!(
            (response.status, response.header("content-type")),
            (200, Some(media)),
            "{target}"
        );
        assert_eq!(response.header("cache-control"), Some("no-store"), "{target}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{target}");
        let head = client.head(target, &[]);
        assert_eq!(head.fields(), response.fields(), "{target}");
        assert!(!response.body.is_empty() && head.body.is_empty());
    }
    assert_eq!(rig.gateway.get("/metrics?format=xml", &[]).status, 400);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let mut client = rig.gateway.client();
        client.send_request(method, "/metrics", &[], b"body=1");
        let response = client.read();
        assert_eq!(
            (response.status, response.header("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
    let policy = client.get("/page", &[]);
    let policy = policy.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
}

#[test]
fn json_holds_the_same_numbers() {
    let rig = rig(|builder| builder);
    rig.assert_passes(&rig.server.issue());
    rig.gateway.get("/api", &[]);
    rig.get_as("unknown");
    let metrics = rig.gateway.metrics();
    let json: Value =
        serde_json::from_slice(&rig.gateway.get("/metrics?format=json", &[]).body).unwrap();
    for (outcome, count) in json["requests"].as_object().unwrap() {
        assert_eq!(count.as_f64().unwrap(), metrics.requests(outcome));
    }
    let endpoint = &json["endpoints"][0];
    for (result, count) in endpoint["introspections"].as_object().unwrap() {
        assert_eq!(
            count.as_f64().unwrap(),
            metrics.sum("introspections_total", &format!("\"{result}\""))
        );
    }
    assert_eq!(endpoint["endpoint"], rig.server.introspection_url());
    assert_eq!(endpoint["up"], true);
    let zone = &json["caches"][0];
    assert_eq!(zone["entries"]["active"], 1);
    assert_eq!(zone["size_bytes"].as_f64().unwrap(), metrics.sum("cache_size_bytes", ""));
    let calls = &json["introspection_duration_seconds"];
    assert_eq!(calls["count"], 2);
    assert_eq!(calls["buckets"]["+Inf"], 2);
}

#[test]
fn server_tokens_off_hides_the_versions() {
    let rig = rig(|builder| builder.server("server_tokens off;"));
    assert_eq!(rig.gateway.metrics().sum("build_info", ""), 0.0);
    assert!(!rig.gateway.get("/metrics", &[]).text().contains("build_info"));
    assert!(!rig.gateway.get("/metrics?format=json", &[]).text().contains("build"));
}

#[test]
fn durations_add_up() {
    let rig = rig(|builder| builder);
    for delay in [0, 30, 120] {
        rig.server.set_delay(std::time::Duration::from_millis(delay));
        rig.assert_passes(&rig.server.issue());
    }
    let metrics = rig.gateway.metrics();
    let bucket = |bound: &str| {
        metrics.get(&format!("introspection_duration_seconds_bucket{{le=\"{bound}\"}}"))
    };
    assert_eq!(metrics.get("introspection_duration_seconds_count"), 3.0);
    assert_eq!(metrics.get("queue_duration_seconds_count"), 3.0);
    assert_eq!(bucket("+Inf"), 3.0);
    assert!(bucket("0.1") <= 2.0 && bucket("0.025") <= 1.0);
    assert!(metrics.get("introspection_duration_seconds_sum") >= 0.150);
    let mut last = 0.0;
    for bound in "0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf".split(' ') {
        assert!(
            metrics.0.contains_key(&format!("queue_duration_seconds_bucket{{le=\"{bound}\"}}"))
        );
        assert!(bucket(bound) >= last, "{bound}");
        last = bucket(bound);
    }
}
