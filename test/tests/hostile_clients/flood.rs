//! A flood of invented tokens against a slow authorization server.

use std::fmt;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::Rig;
use phantom_token_test::authorization_server::Token;
use phantom_token_test::random::setting;

use crate::support::*;

/// How many requests with cached tokens are made in a second.
const RATE: u32 = 200;

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

/// Asks for cached tokens at a fixed rate. A request that is late because the one before it was
/// still under way counts from when it was due.
fn probe(rig: &Rig, tokens: &[Token], goes_on: &mut dyn FnMut() -> bool) -> Latencies {
    let mut client = rig.gateway.client();
    let begin = Instant::now();
    let mut latencies = Vec::new();
    for (nth, token) in (0..).zip(tokens.iter().cycle()) {
        if !goes_on() {
            break;
        }
        let due = begin + Duration::from_secs(1) * nth / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        assert_hit(&client.get_as("/shown", &token.token), token);
        latencies.push(due.elapsed());
    }
    latencies.sort();
    Latencies(latencies)
}

/// A load program that asks for one invented token after the other, as fast as it can: several
/// processes, each with tokens of its own and a hundred requests under way.
struct Flood(Vec<Child>);

/// More than may be pending, so that the rest is turned away at once.
const FLOODING: usize = 16;

impl Flood {
    fn start(rig: &Rig, seconds: u64) -> Self {
        let start = |nth| {
            let targets = rig.gateway.prefix().join(format!("targets-{nth}"));
            let url = rig.gateway.url();
            let lines: String =
                (0..20_000).map(|n| format!("{url}/q?t=made-up-{nth}-{n}\n")).collect();
            fs::write(&targets, lines).expect("writes a file");
            let mut command = Command::new("h2load");
            command.args(["-c", "1", "-m", "100", "-D", &seconds.to_string(), "-i"]).arg(targets);
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            command.spawn().expect("h2load is installed")
        };
        Self((0..FLOODING).map(start).collect())
    }

    fn goes_on(&mut self) -> bool {
        self.0.iter_mut().any(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How many requests were answered with 2xx, 3xx, 4xx and 5xx.
    fn answers(self) -> [u64; 4] {
        let mut sum = [0; 4];
        for child in self.0 {
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

#[test]
fn cached_tokens_are_served_through_a_flood_of_invented_ones() {
    let seconds = setting("PHANTOM_TOKEN_FLOOD_SECONDS", 3);
    let rig = rig(|builder| {
        builder.http2().log_level("error").location(
            "/q",
            "phantom_token on token=$arg_t;\naccess_log off;\ntry_files /none =204;",
        )
    });
    let tokens: Vec<_> = (0..50).map(|_| cached_token(&rig)).collect();
    rig.server.set_delay(Duration::from_millis(100));

    let end = Instant::now() + Duration::from_secs(seconds);
    let without = probe(&rig, &tokens, &mut || Instant::now() < end);
    let before = rig.gateway.metrics();
    let mut flood = Flood::start(&rig, seconds);
    let begin = Instant::now();
    let with = probe(&rig, &tokens, &mut || flood.goes_on());
    let took = begin.elapsed();
    let [passed, elsewhere, denied, refused] = flood.answers();
    wait_for_calm(&rig);
    let changes = rig.gateway.metrics().since(&before);
    let calls = rig.server.introspections() - tokens.len() as u64;

    println!("without a flood: {without}");
    println!(
        "with a flood:    {with}; {} invented tokens in {took:.1?}: {calls} asked for, {denied} \
         answered 401, {refused} answered 503",
        denied + refused
    );
    assert_eq!((passed, elsewhere), (0, 0), "nobody got in");
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
    // The recipe of docs/robustness.md: so many new tokens in a second from one address.
    let rig = rig(|builder| {
        builder
            .log_level("crit")
            .http("limit_req_zone $binary_remote_addr zone=clients:1m rate=20r/s;")
            .http("limit_req_status 429;")
            .location("/limited", &format!("limit_req zone=clients burst=10 nodelay;\n{SHOWN}"))
    });
    let token = cached_token(&rig);
    let before = rig.server.introspections();
    let begin = Instant::now();
    let mut client = rig.gateway.client();
    let mut limited = 0;
    for n in 0..500 {
        match client.get_as("/limited", &format!("made-up-{n}")).status {
            429 => limited += 1,
            status => assert_eq!(status, 401),
        }
    }
    let calls = rig.server.introspections() - before;
    assert_eq!(calls + limited, 500);
    let most = 11 + 20 * begin.elapsed().as_secs() + 20;
    assert!(calls <= most, "{calls} calls");
    // Elsewhere, and from elsewhere, nothing is limited.
    hit(&rig, &token);
}
