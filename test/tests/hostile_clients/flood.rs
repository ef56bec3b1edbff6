//! A flood of invented tokens against a slow authorization server.

use std::fmt;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::Rig;
use phantom_token_test::authorization_server::Token;
use phantom_token_test::load::Over;
use phantom_token_test::process::bind_to_starter;
use phantom_token_test::random::setting;

use crate::support::*;

/// How many requests with cached tokens are made in a second.
const RATE: u32 = 200;
/// By how many clients.
const CLIENTS: u32 = 20;

/// How long hits took, sorted.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, high, most) = (self.at(0.5), self.at(0.99), self.at(1.0));
        write!(f, "{} hits, p50 {half:.1?}, p99 {high:.1?}, most {most:.1?}", self.0.len())
    }
}

/// Asks for cached tokens at a fixed rate, on several connections. A request that is late because
/// the one before it was still under way counts from when it was due.
fn probe(rig: &Rig, tokens: &[Token], goes_on: &mut dyn FnMut() -> bool) -> Latencies {
    let over = AtomicBool::new(false);
    let client = |first: u32| {
        let mut client = rig.gateway.client();
        let begin = Instant::now();
        let mut latencies = Vec::new();
        for nth in (first..).step_by(CLIENTS as usize) {
            let due = begin + Duration::from_secs(1) * nth / RATE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if over.load(Ordering::Relaxed) {
                break;
            }
            let token = &tokens[nth as usize % tokens.len()];
            assert_hit(&client.get_as("/shown", &token.token), token);
            latencies.push(due.elapsed());
        }
        latencies
    };
    let mut latencies: Vec<Duration> = thread::scope(|scope| {
        let _over = Over(&over);
        let client = &client;
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || client(n))).collect();
        while goes_on() && clients.iter().all(|client| !client.is_finished()) {
            thread::sleep(Duration::from_millis(5));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("hits")).collect()
    });
    latencies.sort();
    Latencies(latencies)
}

/// A load program that asks for one invented token after the other, as fast as it can: several
/// processes, each with tokens of its own and a hundred requests under way.
struct Flood(Vec<Child>);

/// More than may be pending, so that the rest is turned away at once.
const FLOODING: usize = 16;

impl Flood {
    fn start(rig: &Rig, path: &str, seconds: u64) -> Self {
        let start = |nth| {
            let targets = rig.gateway.prefix().join(format!("targets-{nth}"));
            let url = rig.gateway.http2_url();
            let lines: String =
                (0..20_000).map(|n| format!("{url}{path}?t=made-up-{nth}-{n}\n")).collect();
            fs::write(&targets, lines).expect("writes a file");
            let mut command = Command::new("h2load");
            command.args(["-c", "1", "-m", "100", "-D", &seconds.to_string(), "-i"]).arg(targets);
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            bind_to_starter(&mut command);
            command.spawn().expect("h2load is installed")
        };
        Self((0..FLOODING).map(start).collect())
    }

    fn goes_on(&mut self) -> bool {
        self.0.iter_mut().any(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How many requests were answered with 2xx, 3xx, 4xx and 5xx.
    fn answers(mut self) -> [u64; 4] {
        let mut sum = [0; 4];
        // One by one: where a report is missing, the others are still ended.
        while let Some(child) = self.0.pop() {
            let output = child.wait_with_output().expect("a report");
            let output = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = output.lines().find_map(|line| line.strip_prefix("status codes: "));
            let counts = line.expect("a report").split(", ").map(|count| {
                let (number, _) = count.split_once(' ').expect("a number and a class");
                number.parse::<u64>().expect("a number")
            });
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        sum
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn cached_tokens_are_served_through_a_flood_of_invented_ones() {
    let seconds = setting("PHANTOM_TOKEN_FLOOD_SECONDS", 3);
    let rig = rig(|builder| {
        builder
            .http2()
            .log_level("error")
            // Few enough for clients that a busy machine starts one after the other.
            .http("phantom_token_max_pending 256;")
            .location(
                "/q",
                "phantom_token on token=$arg_t;\naccess_log off;\ntry_files /none =204;",
            )
            .location("/refused", "access_log off;\nreturn 503;")
    });
    let tokens: Vec<_> = (0..50).map(|_| cached_token(&rig)).collect();
    rig.server.set_delay(Duration::from_millis(100));

    let end = Instant::now() + Duration::from_secs(seconds);
    let without = probe(&rig, &tokens, &mut || Instant::now() < end);
    // The same flood where NGINX refuses it by itself: what it costs without the module.
    let mut flood = Flood::start(&rig, "/refused", seconds);
    let elsewhere = probe(&rig, &tokens, &mut || flood.goes_on());
    let [.., nginx_refused] = flood.answers();
    let before = rig.gateway.metrics();
    let mut flood = Flood::start(&rig, "/q", seconds);
    let begin = Instant::now();
    let with = probe(&rig, &tokens, &mut || flood.goes_on());
    let took = begin.elapsed();
    let [passed, redirected, denied, refused] = flood.answers();
    wait_for_calm(&rig);
    let changes = rig.gateway.metrics().since(&before);
    let calls = rig.server.introspections() - tokens.len() as u64;

    println!("without a flood: {without}");
    println!("with a flood that NGINX refuses: {elsewhere}; {nginx_refused} requests");
    println!(
        "with a flood of invented tokens: {with}; {} tokens in {took:.1?}: {calls} asked for, {denied} \
         answered 401, {refused} answered 503",
        denied + refused
    );
    assert_eq!((passed, redirected), (0, 0), "nobody got in");
    assert!(refused > 0, "more than may be pending");
    assert_eq!(changes.get("requests_total{outcome=\"hit\"}"), Some(&(with.0.len() as f64)));
    // What the flood took was room for calls, not the cache.
    assert!(changes.keys().all(|name| !name.starts_with("cache_evictions_total")), "{changes:?}");
    for token in &tokens {
        assert_eq!(rig.server.introspections_of(&token.token), 1, "never asked for again");
        hit(&rig, token);
    }
}

#[test]
fn a_limit_in_front_spares_the_authorization_server() {
    let rig = rig(|builder| {
        builder
            .log_level("crit")
            .http(&recipe())
            .location("/free", &format!("limit_req_dry_run on;\n{SHOWN}"))
    });
    let token = rig.server.issue();
    let begin = Instant::now();
    let mut client = rig.gateway.client();
    let mut limited = 0;
    for n in 0..600 {
        match client.get_as("/shown", &format!("made-up-{n}")).status {
            429 => limited += 1,
            status => assert_eq!(status, 401),
        }
    }
    let calls = rig.server.introspections();
    assert_eq!(calls + limited, 600);
    let most = 101 + 40 * (begin.elapsed().as_secs() + 1);
    assert!(calls <= most, "{calls} calls");
    // What has no limit goes on meanwhile.
    assert_eq!(client.get_as("/free", &token.token).status, 204);
    assert_hit(&client.get_as("/free", &token.token), &token);
}
