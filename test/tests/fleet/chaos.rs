//! Everything that a store can do wrong, one fault after the other. Each time: no wrong answer, hits as
//! ever, no request that waits longer than it may, a counter and a line in the log that name it; and all
//! is shared again once it is over, by itself. `docs/fleet.md` has the table.

use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::fleet::{assert_passes, outcome, pass};
use phantom_token_test::process::wait_until;
use phantom_token_test::random::setting;
use phantom_token_test::store::Fault;
use phantom_token_test::tls::{Authority, Identity};
use phantom_token_test::{Fleet, Gateway, Metrics, Mint, Store, port};

use crate::support::*;

/// What a question may take in these tests.
const TIMEOUT: &str = "timeout 300ms; lock_timeout 300ms;";

/// Far more than a request may wait, for slow machines; far less than each endless answer would take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One fault.
struct Row {
    /// As the table in `docs/fleet.md` names it.
    name: &'static str,
    /// What is counted: a metric's name and a label.
    counted: (&'static str, &'static str),
    /// Words of a line in the log; empty: none is written, since nothing is wrong.
    said: &'static str,
    begin: fn(&Fleet),
    end: fn(&Fleet),
}

const ERRORS: &str = "store_errors_total{";
const GAPS: &str = "store_gaps_total{";

/// A fault of what the store says.
macro_rules! spoilt {
    ($name:literal, $fault:expr, $reason:literal, $said:literal) => {
        Row {
            name: $name,
            counted: (ERRORS, concat!("\"", $reason, "\"")),
            said: $said,
            begin: |fleet| fleet.proxy().spoil($fault),
            end: |fleet| fleet.proxy().spoil(Fault::None),
        }
    };
}

/// A fault of the store itself, which is made and undone by commands.
macro_rules! told {
    ($name:literal, $counted:expr, $said:literal, $begin:expr, $end:expr) => {
        Row { name: $name, counted: $counted, said: $said, begin: $begin, end: $end }
    };
}

fn guide() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fleet.md");
    std::fs::read_to_string(path).unwrap()
}

/// Lets a fleet go through faults, one after the other.
fn endure(fleet: &Fleet, rows: &[Row]) {
    let guide = guide();
    for row in rows {
        assert!(guide.contains(&format!("| {} |", row.name)), "docs/fleet.md lacks {}", row.name);
        let started = Instant::now();
        let known = fleet.server.mint(Mint::new());
        warm(fleet, &known);
        let purged = revoked(fleet);
        let rose = |now: &Metrics, before: &Metrics| {
            let of = |metrics: &Metrics| metrics.sum(row.counted.0, row.counted.1);
            of(now) > of(before)
        };
        let before: Vec<Metrics> = fleet.gateways.iter().map(|gateway| gateway.metrics()).collect();
        let mut longest = Duration::ZERO;
        (row.begin)(fleet);
        wait_until(row.name, || {
            for gateway in [0, 1] {
                // Another's answer, or one's own; never nobody's, never another token's.
                let fresh = fleet.server.issue();
                let began = Instant::now();
                fleet.pass(gateway, &fresh);
                longest = longest.max(began.elapsed());
                let began = Instant::now();
                let response = fleet.gateways[gateway].get_as("/shown", &known.token);
                assert_passes(&response, &known);
                if row.counted.0 == ERRORS {
                    assert_eq!(outcome(&response), "HIT", "{}", row.name);
                }
                longest = longest.max(began.elapsed());
                assert!(!fleet.admits(gateway, &purged), "{}: a purged token", row.name);
            }
            let counted =
                |(gateway, before): (&Gateway, &Metrics)| rose(&gateway.metrics(), before);
            fleet.gateways.iter().zip(&before).any(counted)
        });
        // Whatever the store makes of it, it holds at once where it is sent.
        fleet.server.revoke(&known.token);
        let began = Instant::now();
        let status = fleet.purge(0, &form(&known));
        longest = longest.max(began.elapsed());
        assert!(status == 204 || status == 503, "{}: {status}", row.name);
        assert!(!fleet.admits(0, &known), "{}", row.name);
        assert!(longest < PATIENCE, "{}: {longest:?}", row.name);
        if !row.said.is_empty() {
            wait_until(row.said, || {
                let lines = fleet.gateways.iter().flat_map(|gateway| gateway.module_lines());
                lines.into_iter().any(|line| line.contains("store") && line.contains(row.said))
            });
        }
        (row.end)(fleet);
        wait_until("the purge to be taken", || fleet.purge(0, &form(&known)) == 204);
        wait_until_refused(fleet, 1, &known);
        fleet.wait_until_shared();
        for gateway in [0, 1] {
            assert!(!fleet.admits(gateway, &purged), "{}: a purged token", row.name);
        }
        eprintln!("{}: at most {} ms; {:?}", row.name, longest.as_millis(), started.elapsed());
    }
}

/// A token that was purged, and whose purge everybody heard.
fn revoked(fleet: &Fleet) -> Token {
    let token = fleet.server.issue();
    warm(fleet, &token);
    fleet.server.revoke(&token.token);
    assert_eq!(fleet.purge(0, &form(&token)), 204);
    wait_until_refused(fleet, 1, &token);
    token
}

fn through_proxy() -> Fleet {
    Fleet::builder().through_proxy().block(TIMEOUT).start_in_sync(2)
}

fn plain() -> Fleet {
    Fleet::builder().block(TIMEOUT).start_in_sync(2)
}

#[test]
fn a_store_that_is_slow() {
    endure(
        &through_proxy(),
        &[
            spoilt!("answers nothing", Fault::Silent, "timeout", "timed out"),
            spoilt!("answers late", Fault::Slow(Duration::from_secs(1)), "timeout", "timed out"),
            spoilt!(
                "sends a byte at a time",
                Fault::Drip(Duration::from_millis(100)),
                "timeout",
                "timed out"
            ),
        ],
    );
}

#[test]
fn a_store_that_breaks_off() {
    endure(
        &through_proxy(),
        &[
            spoilt!("closes instead of answering", Fault::Closed, "connect", "closed"),
            spoilt!("dies in the middle of an answer", Fault::Half, "connect", "closed"),
        ],
    );
}

#[test]
fn a_store_that_announces_too_much() {
    endure(
        &through_proxy(),
        &[
            spoilt!("announces 400 MB", Fault::LongBulk, "protocol", "store"),
            spoilt!("sends 400 MB slowly", Fault::EndlessBulk, "protocol", "store"),
            spoilt!("announces 2,147,483,647 answers", Fault::EndlessArray, "protocol", "store"),
        ],
    );
}

#[test]
fn a_store_that_is_none() {
    endure(
        &through_proxy(),
        &[
            spoilt!("nests 200 deep", Fault::Nested, "protocol", "store"),
            spoilt!("sends a line without an end", Fault::EndlessLine, "protocol", "store"),
            spoilt!("is another kind of server", Fault::Garbage, "protocol", "store"),
        ],
    );
}

#[test]
fn a_store_whose_answers_are_not_the_questions() {
    endure(
        &through_proxy(),
        &[
            spoilt!("answers once too often", Fault::Surplus, "protocol", "store"),
            spoilt!("answers in another order", Fault::Swapped, "protocol", "store"),
            spoilt!("answers the first question again", Fault::Repeated, "protocol", "store"),
        ],
    );
}

#[test]
fn a_store_that_says_it_cannot() {
    endure(
        &through_proxy(),
        &[
            spoilt!("answers numbers", Fault::Numbers, "protocol", "store"),
            spoilt!("is loading", Fault::Error("LOADING wait"), "loading", "loading"),
            spoilt!("cannot save (MISCONF)", Fault::Error("MISCONF disk"), "full", "save"),
            spoilt!("is a Cluster's node", Fault::Error("MOVED 1 127.0.0.1:1"), "moved", "cluster"),
        ],
    );
}

#[test]
fn a_store_that_goes_and_comes() {
    endure(
        &plain(),
        &[
            told!(
                "is stopped (`SIGSTOP`)",
                (ERRORS, "\"timeout\""),
                "timed out",
                |fleet| fleet.store.stop(),
                |fleet| fleet.store.cont()
            ),
            told!(
                "sleeps (`DEBUG SLEEP`)",
                (ERRORS, "\"timeout\""),
                "timed out",
                |fleet| {
                    let mut sleeper = fleet.store.connect().expect("a connection");
                    std::thread::spawn(move || drop(sleeper.ask(&["DEBUG", "SLEEP", "2"])));
                },
                |_| ()
            ),
            told!(
                "is killed and restarted empty",
                (ERRORS, "\"connect\""),
                "refused",
                |fleet| fleet.store.kill(),
                |fleet| fleet.store.start_empty()
            ),
        ],
    );
}

#[test]
fn a_store_that_lets_nobody_in() {
    endure(
        &plain(),
        &[
            told!(
                "asks for a password",
                (ERRORS, "\"auth\""),
                "password",
                |fleet| {
                    fleet.store.ask(&["ACL", "SETUSER", "default", ">secret"]);
                    fleet.store.ask(&["ACL", "SETUSER", "default", "off"]);
                    fleet.store.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
                },
                |fleet| drop(fleet.store.ask(&["ACL", "SETUSER", "default", "on", "nopass"]))
            ),
            told!(
                "forbids a command",
                (ERRORS, "\"acl\""),
                "does not allow",
                |fleet| drop(fleet.store.ask(&["ACL", "SETUSER", "default", "-mget", "-xread"])),
                |fleet| drop(fleet.store.ask(&["ACL", "SETUSER", "default", "+@all"]))
            ),
            told!(
                "has too many clients",
                (ERRORS, "\"connect\""),
                "too many clients",
                |fleet| {
                    fleet.store.set("maxclients", "1");
                    fleet.store.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
                },
                |fleet| fleet.store.set("maxclients", "1000")
            ),
        ],
    );
}

#[test]
fn a_store_that_takes_nothing() {
    endure(
        &plain(),
        &[
            told!(
                "is full (`noeviction`)",
                (ERRORS, "\"full\""),
                "full",
                |fleet| {
                    fleet.store.set("maxmemory-policy", "noeviction");
                    fleet.store.set("maxmemory", "1");
                },
                |fleet| fleet.store.set("maxmemory", "0")
            ),
            told!(
                "is a read-only replica",
                (ERRORS, "\"readonly\""),
                "read-only",
                |fleet| drop(fleet.store.ask(&["REPLICAOF", "127.0.0.1", "1"])),
                |fleet| drop(fleet.store.ask(&["REPLICAOF", "NO", "ONE"]))
            ),
            told!(
                "is a replica without its master",
                (ERRORS, "\"readonly\""),
                "master",
                |fleet| {
                    fleet.store.set("replica-serve-stale-data", "no");
                    fleet.store.ask(&["REPLICAOF", "127.0.0.1", "1"]);
                },
                |fleet| drop(fleet.store.ask(&["REPLICAOF", "NO", "ONE"]))
            ),
        ],
    );
}

#[test]
fn a_store_that_closes_connections() {
    let fleet = plain();
    let quiet = |fleet: &Fleet, what: &str| {
        // A kept connection that turns out closed is no fault: another is made, and nobody notices.
        for _ in 0..5 {
            fleet.store.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
            let token = fleet.server.issue();
            fleet.pass(0, &token);
            let how = fleet.pass(1, &token);
            assert!(how == "STORE" || how == "MISS", "{what}: {how}");
        }
        fleet.wait_until_shared();
    };
    quiet(&fleet, "CLIENT KILL");
    fleet.store.set("timeout", "1");
    std::thread::sleep(Duration::from_millis(2_500));
    quiet(&fleet, "timeout 1");
    let gaps = fleet.gateways.iter().map(|gateway| gateway.metrics().sum(GAPS, ""));
    assert_eq!(gaps.sum::<f64>(), 0.0, "nothing was lost");
}

#[test]
fn a_store_that_forgets() {
    endure(
        &plain(),
        &[
            told!(
                "is flushed",
                (GAPS, ""),
                "store",
                |fleet| drop(fleet.store.ask(&["FLUSHALL"])),
                |_| ()
            ),
            told!(
                "loses the epoch",
                (GAPS, ""),
                "store",
                |fleet| drop(fleet.store.ask(&["DEL", "{phantom_token:1}:e"])),
                |_| ()
            ),
            told!(
                "loses the list of purges",
                (GAPS, ""),
                "store",
                |fleet| drop(fleet.store.ask(&["DEL", "{phantom_token:1}:s"])),
                |_| ()
            ),
        ],
    );
}

#[test]
fn a_store_that_loses_a_part() {
    endure(
        &plain(),
        &[
            told!(
                "trims the list of purges",
                (GAPS, ""),
                "store",
                |fleet| drop(fleet.store.ask(&["XTRIM", "{phantom_token:1}:s", "MAXLEN", "0"])),
                |_| ()
            ),
            told!(
                "swaps its databases",
                (GAPS, ""),
                "store",
                |fleet| drop(fleet.store.ask(&["SWAPDB", "0", "1"])),
                |_| ()
            ),
        ],
    );
}

#[test]
fn a_store_that_is_somebody_else() {
    let authority = Authority::generate();
    let plain = Store::start();
    let somebody = [
        ("has an expired certificate", authority.expired_server(&["localhost"])),
        ("has another's certificate", authority.server(&["store.example.com"])),
        ("has a stranger's certificate", Identity::self_signed(&["localhost"])),
        ("speaks no TLS", authority.server(&["localhost"])),
    ];
    let guide = guide();
    for (name, identity) in somebody {
        assert!(guide.contains(&format!("| {name} |")), "docs/fleet.md lacks {name}");
        let trusted = authority.certificate.clone();
        let fleet = Fleet::builder()
            .store(Store::builder().tls(&identity, None))
            .block("ssl_trusted_certificate ca.pem;")
            .block(TIMEOUT)
            .each(move |builder| builder.file("ca.pem", trusted.as_bytes()))
            .start_none();
        let url = match name {
            "speaks no TLS" => format!("rediss://localhost:{}", plain.port()),
            _ => fleet.store_url(),
        };
        // Which of the two depends on the bytes that a client of TLS begins with.
        let reason = if name == "speaks no TLS" { "" } else { "\"tls\"" };
        assert_works_alone(fleet.launch_at(&url), &fleet, reason);
    }
}

#[test]
fn a_store_that_cannot_be_found() {
    let fleet = Fleet::builder().block(TIMEOUT).each(|builder| builder.count_calls()).start_none();
    let nowhere = port::free();
    for (name, url, reason) in [
        ("has a name that nobody knows", "redis://nobody.test:6379".to_owned(), "\"connect\""),
        ("has a name whose server hangs", "redis://hangs.test:6379".to_owned(), "\"timeout\""),
        ("is not there", format!("redis://127.0.0.1:{nowhere}"), "\"connect\""),
        ("has no such socket", "unix:/nowhere/socket".to_owned(), "\"connect\""),
    ] {
        assert!(guide().contains(&format!("| {name} |")), "docs/fleet.md lacks {name}");
        assert_works_alone(fleet.launch_at(&url), &fleet, reason);
    }
}

/// A gateway whose store is none works as without one, and counts why.
fn assert_works_alone(gateway: Gateway, fleet: &Fleet, reason: &str) {
    let counted = |now: &Metrics| now.sum(ERRORS, reason) >= 1.0;
    gateway.wait_for_metrics(reason, counted);
    gateway.wait_for_log(&["phantom token", "store"]);
    for _ in 0..3 {
        let (token, began) = (fleet.server.issue(), Instant::now());
        assert_eq!(pass(&gateway, &token), "MISS");
        assert_eq!(pass(&gateway, &token), "HIT");
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(gateway.metrics().get("store_in_sync"), 0.0);
}

/// Ten minutes of everything at once on real processes, where `FLEET_CHAOS_SECONDS=600` asks for them.
#[test]
fn chaos() {
    let seconds = setting("FLEET_CHAOS_SECONDS", 0);
    if seconds > 0 {
        crate::storm::run(Duration::from_secs(seconds));
    }
}
