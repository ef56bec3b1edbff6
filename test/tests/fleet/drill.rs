//! Incidents with a store, each made for real. What the metrics and the log say of it must stand in its
//! section of `docs/runbook.md`, word for word.

use phantom_token_test::fleet::{Builder, purge};
use phantom_token_test::process::wait_until;
use phantom_token_test::store::Store;
use phantom_token_test::tls::Authority;
use phantom_token_test::{Fleet, Gateway, Metrics};

use crate::support::*;

/// How the runbook names the store.
const EXAMPLE: &str = "rediss://valkey.internal:6379";

/// One incident's section of the runbook, and the fleet it happens to.
struct Drill<'a> {
    section: String,
    fleet: &'a Fleet,
    gateway: &'a Gateway,
    before: Metrics,
}

impl<'a> Drill<'a> {
    fn begin(heading: &str, fleet: &'a Fleet, gateway: &'a Gateway) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md");
        let runbook = std::fs::read_to_string(path).unwrap();
        let (_, rest) = runbook.split_once(&format!("\n## {heading}\n")).expect(heading);
        let section = rest.split("\n## ").next().unwrap().to_owned();
        Self { section, fleet, gateway, before: gateway.metrics() }
    }

    #[track_caller]
    fn quoted(&self, text: &str) {
        let section = &self.section;
        assert!(section.contains(text), "the section lacks:\n{text}\n\nit is:\n{section}");
    }

    /// A line of the log with these words stands in the runbook as it is, but for the store.
    #[track_caller]
    fn logged(&self, words: &[&str]) {
        let line = self.gateway.wait_for_log(&[&["phantom token"], words].concat());
        let (head, said) = line.split_once("phantom token: ").unwrap();
        let said = said.split(", client: ").next().unwrap();
        let said = said.replace(&self.fleet.store_url(), EXAMPLE);
        let level = head.split(['[', ']']).nth(1).unwrap();
        self.quoted(&format!("[{level}] phantom token: {said}"));
    }

    /// This metric rose, and the runbook names it.
    #[track_caller]
    fn rose(&self, sample: &str) {
        self.quoted(&format!("phantom_token_{sample}"));
        self.gateway.wait_for_metrics(&format!("a rise of {sample}"), |now| {
            now.get(sample) > self.before.get(sample)
        });
    }

    /// This metric has this value, and the runbook says so.
    #[track_caller]
    fn is(&self, sample: &str, value: f64) {
        self.quoted(&format!("phantom_token_{sample} {value}"));
        self.gateway.wait_for_metrics(sample, |now| now.0.get(sample) == Some(&value));
    }

    /// Asks for new tokens, which all get in, until `enough`.
    fn ask_until(&self, enough: impl Fn(&Metrics) -> bool) {
        wait_until("the store's failures to be counted", || {
            let token = self.fleet.server.issue();
            phantom_token_test::fleet::pass(self.gateway, &token);
            enough(&self.gateway.metrics())
        });
    }

    /// As [`Self::ask_until`] this metric rises.
    #[track_caller]
    fn asked_rose(&self, sample: &str) {
        self.ask_until(|now| now.get(sample) > self.before.get(sample));
        self.rose(sample);
    }
}

/// A fleet's store as the runbook has it: over TLS.
fn over_tls() -> Builder {
    let authority = Authority::generate();
    let identity = authority.server(&["localhost"]);
    Fleet::builder()
        .store(Store::builder().tls(&identity, None))
        .block("timeout 300ms; lock_timeout 300ms; ssl_trusted_certificate store-ca.pem;")
        .each(move |builder| builder.file("store-ca.pem", authority.certificate.as_str()))
}

fn fleet() -> Fleet {
    over_tls().start_in_sync(2)
}

#[test]
fn the_store_is_away() {
    let fleet = fleet();
    let drill = Drill::begin("The store is away", &fleet, &fleet.gateways[0]);
    fleet.store.kill();
    drill.is("store_in_sync", 0.0);
    drill.asked_rose("store_requests_total{result=\"skipped\"}");
    drill.rose("store_errors_total{reason=\"connect\"}");
    drill.logged(&["cannot be heard"]);
    let refused = purge(drill.gateway, "sub=somebody");
    assert_eq!(refused.status, 503);
    drill.rose("store_purges_total{direction=\"refused\"}");
    fleet.store.start_empty();
    drill.logged(&["is heard again"]);
}

#[test]
fn the_store_is_slow() {
    // Over TLS, the time may run out in the handshake of one more connection.
    let fleet = Fleet::builder().block("timeout 300ms; lock_timeout 300ms;").start_in_sync(2);
    let drill = Drill::begin("The store is slow", &fleet, &fleet.gateways[0]);
    fleet.store.stop();
    drill.asked_rose("store_errors_total{reason=\"timeout\"}");
    drill.logged(&["failed", "timed out"]);
    drill.is("store_in_sync", 0.0);
    drill.logged(&["cannot be heard", "timed out"]);
    fleet.store.cont();
    drill.logged(&["is heard again"]);
}

#[test]
fn the_store_is_full() {
    let fleet = fleet();
    let drill = Drill::begin("The store is full", &fleet, &fleet.gateways[0]);
    fleet.store.set("maxmemory-policy", "noeviction");
    fleet.store.set("maxmemory", "1");
    drill.asked_rose("store_errors_total{reason=\"full\"}");
    drill.logged(&["failed", "full"]);
    assert_eq!(purge(drill.gateway, "sub=somebody").status, 503);
    fleet.store.set("maxmemory", "0");
    wait_until("a purge to be taken", || purge(drill.gateway, "sub=somebody").status == 204);
}

#[test]
fn the_store_was_emptied() {
    let fleet = fleet();
    let drill = Drill::begin("The store was emptied", &fleet, &fleet.gateways[0]);
    warm(&fleet, &fleet.server.issue());
    fleet.store.ask(&["FLUSHALL"]);
    drill.rose("store_gaps_total{reason=\"epoch\"}");
    drill.logged(&["purges may have been missed"]);
    fleet.wait_until_shared();
}

#[test]
fn the_store_refuses_the_gateway() {
    let fleet = fleet();
    let drill = Drill::begin("The store refuses the gateway", &fleet, &fleet.gateways[0]);
    fleet.store.ask(&["ACL", "SETUSER", "default", "off"]);
    fleet.store.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    drill.rose("store_errors_total{reason=\"auth\"}");
    drill.logged(&["cannot be heard", "password"]);
    drill.is("store_in_sync", 0.0);
    fleet.store.ask(&["ACL", "SETUSER", "default", "on", "-xread"]);
    drill.rose("store_errors_total{reason=\"acl\"}");
    drill.logged(&["cannot be heard", "allow"]);
}

#[test]
fn the_store_has_another_password() {
    let fleet = Fleet::builder()
        .block("timeout 300ms; lock_timeout 300ms; user default; password_file store-password;")
        .each(|builder| builder.file("store-password", "the-password-from-before\n"))
        .start_in_sync(1);
    let drill = Drill::begin("The store refuses the gateway", &fleet, &fleet.gateways[0]);
    fleet.store.ask(&["ACL", "SETUSER", "default", "resetpass", ">another-password"]);
    fleet.store.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    drill.rose("store_errors_total{reason=\"auth\"}");
    drill.logged(&["cannot be heard", "password"]);
    drill.is("store_in_sync", 0.0);
}

#[test]
fn two_keys_in_one_fleet() {
    let fleet = fleet();
    let stranger = fleet
        .configuration()
        .file("fleet.key", "another key of 32 bytes and more, which nobody else has\n")
        .start();
    let drill = Drill::begin("Two keys in one fleet", &fleet, &fleet.gateways[0]);
    drill.is("store_peers{state=\"other_key\"}", 1.0);
    assert_eq!(purge(&stranger, "sub=somebody").status, 204);
    drill.logged(&["do not open"]);
}
