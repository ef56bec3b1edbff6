use std::collections::HashMap;
use std::env;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::*;
use crate::shared::counters::{
    CallResult, Counted, FailureReason, OwnResult, RefreshResult, RequestResult, StoreErrorReason,
    StoreGap, StorePeer, StorePurge, StoreResult, StoreWrite, UncachedReason,
};
use crate::shared::endpoint::EndpointId;
use crate::shared::health::{Availability, Health, Limits, OwnCall};
use crate::shared::state::State;
use crate::shared::state::testing::{at, in_children, state};

const ZONES: [ZoneFacts<'_>; 2] = [
    ZoneFacts {
        name: "phantom_token",
        entries: ZoneEntries { active: 10, inactive: 2 },
        used_bytes: 16_384,
        size_bytes: 10_420_224,
        evictions: 7,
    },
    ZoneFacts {
        name: "other",
        entries: ZoneEntries { active: 0, inactive: 0 },
        used_bytes: 0,
        size_bytes: 1 << 20,
        evictions: 0,
    },
];
const BUILD: Build<'_> = Build { version: "0.1.0", nginx: "1.28.0" };

const NODE: &str = "rediss://valkey.example:6379";

fn nobody(_: u32) -> bool {
    false
}

/// A state in which everything has happened.
fn busy() -> State {
    let state = state();
    for (times, outcome) in (1..).zip(RequestResult::ALL) {
        for slot in 0..times {
            state.shard(slot).count_request(*outcome);
        }
    }
    for (times, reason) in (1..).zip(UncachedReason::ALL) {
        (0..times).for_each(|slot| state.shard(slot).count_uncached(*reason));
    }
    for (times, result) in (1..).zip(RefreshResult::ALL) {
        (0..times).for_each(|slot| state.shard(slot).count_refresh(*result));
    }
    (0..3).for_each(|slot| state.shard(slot).count_mint());
    let up = state.endpoints().find("https://as.example:443/introspect", 0);
    let down = state.endpoints().find("http://[::1]:8443/a\"b\\c\nd", 0);
    for endpoint in [up, down, None] {
        for (times, result) in (1..).zip(CallResult::ALL) {
            (0..times).for_each(|_| state.calls(endpoint).count(*result));
        }
        for (times, reason) in (1..).zip(FailureReason::ALL) {
            (0..times).for_each(|_| state.calls(endpoint).count_failure(*reason));
        }
        (0..5).for_each(|_| state.calls(endpoint).count_ended_early());
        for (times, result) in (1..).zip(OwnResult::ALL) {
            (0..times).for_each(|_| state.calls(endpoint).count_own(*result));
        }
    }
    put_to_rest(&state, down.unwrap());
    state.gates().refused(1, up, NOW);
    for (slot, ms) in [0, 1, 3, 30, 300, 3000, 30_000].into_iter().enumerate() {
        state.shard(slot as u8).observe_call(Duration::from_millis(ms));
    }
    state.shard(0).observe_queue(Duration::from_micros(1001));
    let slot = state.slots().claim(at(1, 0, &|_| true)).unwrap();
    state.slots().pending_add(slot, 3);
    state.slots().waiting_add(slot, 4);
    // Leaked, and so open for as long as the state.
    let open = |endpoint, idle, busy| {
        for n in 0..idle + busy {
            let mut counted = Counted::busy(Some(state.slots().connections(slot, endpoint)));
            if n < idle {
                counted.idles();
            }
            std::mem::forget(counted);
        }
    };
    open(up, 2, 3);
    open(down, 0, 1);
    open(None, 4, 0);
    std::mem::forget(Counted::busy(Some(state.slots().store_connections(slot))));
    count_store(&state);
    state
}

/// All that there is to count of a store.
fn count_store(state: &State) {
    macro_rules! each {
        ($all:expr, $count:ident) => {
            for (times, one) in (1..).zip($all) {
                (0..times).for_each(|slot| state.shard(slot).$count(*one));
            }
        };
    }
    each!(StoreResult::ALL, count_store_request);
    each!(StoreErrorReason::ALL, count_store_error);
    each!(StoreWrite::ALL, count_store_write);
    each!(StorePurge::ALL, count_store_purge);
    each!(StoreGap::ALL, count_store_gap);
    for (count, peer) in (1..).zip(StorePeer::ALL) {
        state.store().set_peers(*peer, count);
    }
    for (slot, ms) in [1, 100, 101].into_iter().enumerate() {
        state.shard(slot as u8).observe_store(Duration::from_millis(ms));
    }
    state.store().heard(NOW - 250);
    state.store().set_in_sync(true);
}

/// When the numbers are looked at.
const NOW: u64 = 1000;

/// The endpoint rests, now.
fn put_to_rest(state: &State, id: EndpointId) {
    let limits = Limits { max_fails: 1, fail_timeout_ms: 1 };
    assert_eq!(state.endpoints().failed(id, &limits, NOW, NOW), Availability::InDoubt);
    let call = OwnCall { said: Health::Failed, began_ms: NOW, counts_ms: 1000 };
    state.endpoints().own_call_ended(id, &limits, call, NOW);
}

/// All numbers, of endpoints that are all in use.
fn take<'a>(
    state: &State,
    zones: &'a [ZoneFacts<'a>],
    build: Option<Build<'a>>,
    alive: impl Fn(u32) -> bool,
) -> Snapshot<'a> {
    // All that may be left out goes together.
    let store = build.map(|_| NODE);
    Snapshot::take(state, zones, build, store, |_| true, at(1, NOW, &alive))
}

/// The samples of a page: name with labels, value.
fn samples(page: &str) -> HashMap<&str, &str> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let pairs: Vec<_> = lines.map(|line| line.rsplit_once(' ').unwrap()).collect();
    let map: HashMap<_, _> = pairs.iter().copied().collect();
    assert_eq!(map.len(), pairs.len(), "a series twice");
    map
}

#[test]
fn the_text_form_says_it_all() {
    let page = take(&busy(), &ZONES, Some(BUILD), |_| true).prometheus();
    let samples = samples(&page);
    let expected = [
        (r#"requests_total{outcome="hit"}"#, "1"),
        (r#"requests_total{outcome="store"}"#, "4"),
        (r#"requests_total{outcome="error"}"#, "9"),
        (
            r#"introspections_total{endpoint="https://as.example:443/introspect",result="failed"}"#,
            "3",
        ),
        (r#"introspections_total{endpoint="",result="active"}"#, "1"),
        (r#"failures_total{endpoint="http://[::1]:8443/a\"b\\c\nd",reason="overflow"}"#, "8"),
        (r#"ended_early_total{endpoint="https://as.example:443/introspect"}"#, "5"),
        (r#"ended_early_total{endpoint=""}"#, "5"),
        (r#"own_calls_total{endpoint="http://[::1]:8443/a\"b\\c\nd",result="refused"}"#, "2"),
        (r#"gate_shut{endpoint="https://as.example:443/introspect"}"#, "1"),
        (r#"gate_shut{endpoint="http://[::1]:8443/a\"b\\c\nd"}"#, "0"),
        (r#"connections{endpoint="https://as.example:443/introspect",state="idle"}"#, "2"),
        (r#"connections{endpoint="https://as.example:443/introspect",state="busy"}"#, "3"),
        (r#"connections{endpoint="http://[::1]:8443/a\"b\\c\nd",state="idle"}"#, "0"),
        (r#"connections{endpoint="",state="idle"}"#, "4"),
        (r#"endpoint_up{endpoint="https://as.example:443/introspect"}"#, "1"),
        (r#"endpoint_up{endpoint="http://[::1]:8443/a\"b\\c\nd"}"#, "0"),
        (r#"uncached_total{reason="cache_off"}"#, "1"),
        (r#"uncached_total{reason="no_room"}"#, "12"),
        (r#"refreshes_total{result="active"}"#, "1"),
        (r#"refreshes_total{result="dropped"}"#, "4"),
        ("mints_total", "3"),
        (r#"introspection_duration_seconds_bucket{le="0.001"}"#, "2"),
        (r#"introspection_duration_seconds_bucket{le="0.0025"}"#, "2"),
        (r#"introspection_duration_seconds_bucket{le="0.005"}"#, "3"),
        (r#"introspection_duration_seconds_bucket{le="10"}"#, "6"),
        (r#"introspection_duration_seconds_bucket{le="+Inf"}"#, "7"),
        ("introspection_duration_seconds_count", "7"),
        ("introspection_duration_seconds_sum", "33.334000"),
        (r#"queue_duration_seconds_bucket{le="0.001"}"#, "0"),
        ("queue_duration_seconds_sum", "0.001001"),
        ("introspections_pending", "3"),
        ("requests_waiting", "4"),
        (r#"cache_entries{zone="phantom_token",kind="active"}"#, "10"),
        (r#"cache_entries{zone="phantom_token",kind="inactive"}"#, "2"),
        (r#"cache_used_bytes{zone="phantom_token"}"#, "16384"),
        (r#"cache_size_bytes{zone="other"}"#, "1048576"),
        (r#"cache_evictions_total{zone="phantom_token"}"#, "7"),
        (r#"store_requests_total{result="hit"}"#, "1"),
        (r#"store_requests_total{result="failed"}"#, "7"),
        (r#"store_errors_total{reason="clock"}"#, "12"),
        (r#"store_writes_total{result="skipped"}"#, "4"),
        (r#"store_purges_total{direction="refused"}"#, "3"),
        (r#"store_gaps_total{reason="missing"}"#, "4"),
        (r#"store_peers{state="other_key"}"#, "3"),
        (r#"store_duration_seconds_bucket{le="0.1"}"#, "2"),
        ("store_duration_seconds_sum", "0.202000"),
        ("store_connections", "1"),
        (r#"store_up{node="rediss://valkey.example:6379"}"#, "1"),
        ("store_in_sync", "1"),
        ("store_heard_seconds", "0.250"),
        (r#"build_info{version="0.1.0",nginx="1.28.0"}"#, "1"),
    ];
    for (name, value) in expected {
        let full = format!("phantom_token_{name}");
        assert_eq!(samples.get(full.as_str()), Some(&value), "{name}");
    }
    assert!(!samples.contains_key(r#"phantom_token_endpoint_up{endpoint=""}"#), "no endpoint");
    assert!(page.ends_with('\n') && !page.contains("\n\n"));
    for line in page.lines().filter(|line| line.starts_with("# TYPE ")) {
        let help = line.replace("# TYPE ", "# HELP ");
        let name = help.rsplit_once(' ').unwrap().0;
        assert_eq!(page.matches(&format!("{line}\n")).count(), 1, "{line}");
        assert_eq!(page.matches(&format!("{name} ")).count(), 1, "{name}");
    }
}

#[test]
fn what_there_is_not_is_left_out() {
    let page = take(&state(), &[], None, nobody).prometheus();
    for absent in ["build_info", "cache_", "endpoint", "version", "store_"] {
        assert!(!page.contains(&format!("phantom_token_{absent}")), "{absent}");
    }
    let requests = |outcome| format!("phantom_token_requests_total{{outcome=\"{outcome}\"}}");
    assert_eq!(samples(&page).get(&*requests("hit")), Some(&"0"));
    assert!(!samples(&page).contains_key(&*requests("store")));
    // What was counted before a reload stays.
    let state = state();
    state.shard(0).count_request(RequestResult::Store);
    let page = take(&state, &[], None, nobody).prometheus();
    assert_eq!(samples(&page).get(&*requests("store")), Some(&"1"));
}

#[test]
fn both_forms_have_the_same_numbers() {
    let state = busy();
    let mut snapshot = take(&state, &ZONES, Some(BUILD), |_| true);
    snapshot.providers.push(ProviderEndpoint { provider: "tenant", endpoint: "https://a:443/" });
    let page = snapshot.prometheus();
    let json: serde_json::Value = serde_json::from_str(&snapshot.json()).unwrap();
    let mut numbers = HashMap::new();
    let number = |value: &serde_json::Value| value.as_u64().unwrap().to_string();
    let counts = |value: &serde_json::Value| -> Vec<(String, String)> {
        let object = value.as_object().unwrap();
        object.iter().map(|(word, count)| (word.clone(), number(count))).collect()
    };
    for (outcome, count) in counts(&json["requests"]) {
        numbers.insert(format!("requests_total{{outcome=\"{outcome}\"}}"), count);
    }
    for (reason, count) in counts(&json["uncached"]) {
        numbers.insert(format!("uncached_total{{reason=\"{reason}\"}}"), count);
    }
    for (result, count) in counts(&json["refreshes"]) {
        numbers.insert(format!("refreshes_total{{result=\"{result}\"}}"), count);
    }
    numbers.insert("mints_total".to_owned(), number(&json["mints"]));
    for one in json["endpoints"].as_array().unwrap() {
        // A JSON string escapes what the text form does, in the same way.
        let label = one["endpoint"].to_string();
        for (result, count) in counts(&one["introspections"]) {
            let name = format!("introspections_total{{endpoint={label},result=\"{result}\"}}");
            numbers.insert(name, count);
        }
        for (reason, count) in counts(&one["failures"]) {
            numbers
                .insert(format!("failures_total{{endpoint={label},reason=\"{reason}\"}}"), count);
        }
        for (state, count) in counts(&one["connections"]) {
            let name = format!("connections{{endpoint={label},state=\"{state}\"}}");
            numbers.insert(name, count);
        }
        let ended = number(&one["ended_early"]);
        numbers.insert(format!("ended_early_total{{endpoint={label}}}"), ended);
        for (result, count) in counts(&one["own_calls"]) {
            let name = format!("own_calls_total{{endpoint={label},result=\"{result}\"}}");
            numbers.insert(name, count);
        }
        if one["endpoint"] != "" {
            for (metric, member) in [("endpoint_up", "up"), ("gate_shut", "gate_shut")] {
                let value = u8::from(one[member].as_bool().unwrap()).to_string();
                numbers.insert(format!("{metric}{{endpoint={label}}}"), value);
            }
        }
    }
    for (name, histogram) in [
        ("introspection_duration_seconds", &json["introspection_duration_seconds"]),
        ("queue_duration_seconds", &json["queue_duration_seconds"]),
        ("store_duration_seconds", &json["store"]["duration_seconds"]),
    ] {
        for (bound, count) in counts(&histogram["buckets"]) {
            numbers.insert(format!("{name}_bucket{{le=\"{bound}\"}}"), count);
        }
        numbers.insert(format!("{name}_count"), number(&histogram["count"]));
        let sum = format!("{:.6}", histogram["sum"].as_f64().unwrap());
        numbers.insert(format!("{name}_sum"), sum);
    }
    for name in ["introspections_pending", "requests_waiting"] {
        numbers.insert(name.to_owned(), number(&json[name]));
    }
    for zone in json["caches"].as_array().unwrap() {
        let name = &zone["zone"];
        for (kind, count) in counts(&zone["entries"]) {
            numbers.insert(format!("cache_entries{{zone={name},kind=\"{kind}\"}}"), count);
        }
        for (metric, member) in [
            ("cache_used_bytes", "used_bytes"),
            ("cache_size_bytes", "size_bytes"),
            ("cache_evictions_total", "evictions"),
        ] {
            numbers.insert(format!("{metric}{{zone={name}}}"), number(&zone[member]));
        }
    }
    let store = &json["store"];
    for (metric, label, member) in [
        ("requests_total", "result", "requests"),
        ("errors_total", "reason", "errors"),
        ("writes_total", "result", "writes"),
        ("purges_total", "direction", "purges"),
        ("gaps_total", "reason", "gaps"),
        ("peers", "state", "peers"),
    ] {
        for (word, count) in counts(&store[member]) {
            numbers.insert(format!("store_{metric}{{{label}=\"{word}\"}}"), count);
        }
    }
    numbers.insert("store_connections".to_owned(), number(&store["connections"]));
    for one in store["nodes"].as_array().unwrap() {
        let up = u8::from(one["up"].as_bool().unwrap()).to_string();
        numbers.insert(format!("store_up{{node={}}}", one["node"]), up);
    }
    let in_sync = u8::from(store["in_sync"].as_bool().unwrap()).to_string();
    numbers.insert("store_in_sync".to_owned(), in_sync);
    let heard = format!("{:.3}", store["heard_seconds"].as_f64().unwrap());
    numbers.insert("store_heard_seconds".to_owned(), heard);
    for one in json["providers"].as_array().unwrap() {
        let labels = format!("provider={},endpoint={}", one["provider"], one["endpoint"]);
        numbers.insert(format!("provider_info{{{labels}}}"), "1".to_owned());
    }
    let [version, nginx] = ["version", "nginx"].map(|name| json["build"][name].to_string());
    numbers.insert(format!("build_info{{version={version},nginx={nginx}}}"), "1".to_owned());

    let numbers: HashMap<_, _> =
        numbers.into_iter().map(|(name, value)| (format!("phantom_token_{name}"), value)).collect();
    let text: HashMap<_, _> = samples(&page)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(numbers, text);
}

#[test]
fn json_leaves_the_build_out_too() {
    let json = take(&state(), &[], None, nobody).json();
    assert!(json.starts_with("{\"requests\":{\"hit\":0,\"miss\":0,"), "{json}");
    assert!(json.ends_with("\"caches\":[],\"providers\":[]}\n"));
}

#[test]
fn a_store_that_rests_or_was_never_heard_is_told() {
    let state = state();
    let take = |now| StoreSnapshot::take(&state, NODE, at(1, now, &nobody));
    let never = take(NOW);
    assert!(never.nodes[0].up && !never.in_sync);
    assert_eq!(never.heard_seconds, None);
    let mut whole = super::tests::take(&state, &[], Some(BUILD), nobody);
    assert_eq!(samples(&whole.prometheus())["phantom_token_store_heard_seconds"], "+Inf");
    count_store(&state);
    assert!(take(NOW).in_sync && !take(NOW + 1500).in_sync);
    assert!(state.store().rest(NOW));
    whole.store = Some(take(NOW));
    let page = whole.prometheus();
    let up = format!("phantom_token_store_up{{node=\"{NODE}\"}}");
    assert_eq!(samples(&page).get(&*up), Some(&"0"), "{page}");
    assert_eq!(take(NOW).connections, 0, "nobody runs");
}

#[test]
fn the_endpoints_of_servers_with_names_are_told() {
    let (state, alive) = (state(), nobody);
    let mut snapshot = take(&state, &[], None, alive);
    assert!(!snapshot.prometheus().contains("provider_info"));
    snapshot.providers = vec![
        ProviderEndpoint { provider: "a", endpoint: "https://a:443/" },
        ProviderEndpoint { provider: "b", endpoint: "https://a:443/" },
    ];
    let page = snapshot.prometheus();
    for name in ["a", "b"] {
        let sample = format!(
            "phantom_token_provider_info{{provider=\"{name}\",endpoint=\"https://a:443/\"}}"
        );
        assert_eq!(samples(&page).get(&*sample), Some(&"1"), "{page}");
    }
    let json: serde_json::Value = serde_json::from_str(&snapshot.json()).unwrap();
    assert_eq!(json["providers"][1]["provider"], "b");
    assert_eq!(json["providers"][1]["endpoint"], "https://a:443/");
}

#[test]
fn addresses_behind_one_url_are_one_series() {
    let state = state();
    let label = "https://as.example:443/";
    let ids = [1, 2].map(|kind| state.endpoints().find(label, kind).unwrap());
    for id in ids {
        state.calls(id).count(CallResult::Failed);
    }
    let up = |state| {
        let page = take(state, &[], None, nobody).prometheus();
        let labels = format!("{{endpoint=\"{label}\",result=\"failed\"}}");
        let name = format!("phantom_token_introspections_total{labels}");
        assert_eq!(samples(&page)[name.as_str()], "2");
        samples(&page)[format!("phantom_token_endpoint_up{{endpoint=\"{label}\"}}").as_str()]
            .to_owned()
    };
    assert_eq!(up(&state), "1");
    put_to_rest(&state, ids[0]);
    assert_eq!(up(&state), "1", "the other address is there");
    put_to_rest(&state, ids[1]);
    assert_eq!(up(&state), "0");
}

#[test]
fn json_says_of_an_endpoint_at_rest_when_it_last_answered() {
    let state = state();
    let ids = [1, 2].map(|kind| state.endpoints().find("https://as.example:443/", kind).unwrap());
    let said = || {
        let json = take(&state, &[], None, nobody).json();
        let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["endpoints"][0].as_object_mut().unwrap().remove("answered_seconds")
    };
    put_to_rest(&state, ids[1]);
    assert_eq!(said(), None, "the other address is there");
    put_to_rest(&state, ids[0]);
    assert_eq!(said(), Some(serde_json::Value::Null), "neither has ever answered");
    for (id, at) in [(ids[0], NOW - 900), (ids[1], NOW - 250)] {
        state.endpoints().answered(id, at);
        put_to_rest(&state, id);
    }
    assert_eq!(said(), Some(0.25.into()), "the last of them");
}

#[test]
fn what_nobody_asks_any_more_is_counted_and_says_nothing() {
    let state = state();
    let label = "https://as.example:443/";
    let [old, new] = [1, 2].map(|kind| state.endpoints().find(label, kind).unwrap());
    state.endpoints().find("https://gone.example:443/", 0).unwrap();
    for id in [old, new] {
        state.calls(id).count(CallResult::Active);
        state.gates().refused(1, old, NOW);
    }
    put_to_rest(&state, new);
    let snapshot = Snapshot::take(&state, &[], None, None, |id| id == new, at(1, NOW, &nobody));
    let [only] = &snapshot.endpoints[..] else { panic!("{:?}", snapshot.endpoints) };
    assert_eq!((only.endpoint.as_str(), only.introspections.total()), (label, 2));
    assert!(!only.up, "the old one's word does not count");
    assert!(!only.gate_shut);
}

#[test]
fn nothing_is_lost_between_workers() {
    let state = state();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for worker in 0..4 {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for step in 0..1_000_000_u64 {
                    // Two workers without a slot of their own share one.
                    state.shard(worker / 2).count_request(RequestResult::Hit);
                    state.shard(worker).observe_queue(Duration::from_micros(step % 3000));
                }
            });
        }
    });
    let codes = in_children(4, |worker| {
        for _ in 0..10_000 {
            state.shard(worker as u8).count_request(RequestResult::Hit);
            state.calls(None).count(CallResult::Active);
        }
        0
    });
    assert_eq!(codes, [0; 4]);
    let snapshot = take(&state, &[], None, nobody);
    assert_eq!(snapshot.requests.iter().next(), Some(("hit", 4_040_000)));
    assert_eq!(snapshot.endpoints[0].introspections.total(), 40_000);
    assert_eq!(snapshot.queue_duration_seconds.count(), 4_000_000);
}

#[test]
fn totals_outlive_the_worker_that_counted_them() {
    let state = state();
    let slot = state.slots().claim(at(1, 0, &|_| true)).unwrap();
    state.shard(slot).count_request(RequestResult::Miss);
    state.shard(slot).observe_queue(Duration::from_secs(1));
    assert_eq!(state.slots().claim(at(2, 0, &nobody)), Some(slot));
    let snapshot = take(&state, &[], None, nobody);
    assert_eq!(snapshot.requests.total(), 1);
    assert_eq!(snapshot.queue_duration_seconds.count(), 1);
}

#[test]
fn a_bound_belongs_to_its_bucket() {
    let state = state();
    for us in [0, 1000, 10_000_000] {
        state.shard(0).observe_queue(Duration::from_micros(us));
    }
    state.shard(0).observe_queue(Duration::from_nanos(1_000_001));
    state.shard(0).observe_queue(Duration::MAX);
    let histogram = take(&state, &[], None, nobody).queue_duration_seconds;
    let cumulative: Vec<_> = histogram.cumulative().collect();
    assert_eq!(cumulative[0], ("0.001", 2));
    assert_eq!(cumulative[1], ("0.0025", 3));
    assert_eq!(cumulative[12], ("10", 4));
    assert_eq!(cumulative[13], ("+Inf", 5));
}

#[test]
fn words_stand_for_what_they_say() {
    for outcome in RequestResult::ALL {
        assert_eq!(outcome.status().to_lowercase(), outcome.word());
    }
    for (number, reason) in UncachedReason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, number);
    }
}

/// Prometheus' own linter, where it is installed (`PROMTOOL` names another one).
#[test]
fn promtool_finds_nothing_to_complain_about() {
    let promtool = env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let full = take(&busy(), &ZONES, Some(BUILD), |_| true).prometheus();
    let empty = take(&state(), &[], None, nobody).prometheus();
    for page in [full, empty] {
        let spawned = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else {
            eprintln!("{promtool} is not installed: the text form was not linted");
            return;
        };
        child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn connections_end_with_their_worker() {
    let state = state();
    let url = "https://as.example:443/introspect";
    let id = state.endpoints().find(url, 1);
    let [first, second] = [1, 2].map(|pid| state.slots().claim(at(pid, 0, &|_| true)).unwrap());
    let open = |slot| Counted::busy(Some(state.slots().connections(slot, id)));
    let shown = |alive: fn(u32) -> bool| {
        let snapshot = Snapshot::take(&state, &[], None, None, |_| true, at(1, NOW, &alive));
        let one = snapshot.endpoints.into_iter().find(|one| one.endpoint == url).unwrap();
        one.connections.iter().map(|(_, count)| count).collect::<Vec<_>>()
    };
    let (mut kept, serving) = (open(first), open(second));
    kept.idles();
    assert_eq!(shown(|_| true), [1, 1]);
    // The second has died: not counted any more, even before its slot is taken by another.
    assert_eq!(shown(|pid| pid != 2), [1, 0]);
    assert_eq!(state.slots().claim(at(3, 0, &|pid| pid == 1)), Some(second));
    assert_eq!(shown(|_| true), [1, 0]);
    // What closes late, in a worker that has given its slot back, is never a huge number.
    drop(serving);
    assert_eq!(shown(|_| true), [1, 0]);
    state.slots().release(first, 1);
    assert_eq!(shown(|_| true), [0, 0]);
}
