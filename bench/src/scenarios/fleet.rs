//! Gateways that share a store: what that costs, what it spares, and how soon a purge is heard.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::client::Client;
use phantom_token_test::{Metrics, Store, nginx, process};

use super::progress;
use super::stage::{Stage, THREADS};
use crate::gateway::{Gateway, cpu_us};
use crate::load::{self, Connection};
use crate::recipes;
use crate::report::Report;
use crate::settings::Settings;
use crate::stats::{Spread, median, percentile};

/// How long a question to the store may take, in milliseconds; as it comes.
const TIMEOUT_MS: u64 = 100;

/// Starts gateways that share this store, behind those that are there, and waits until they do.
fn share(stage: &mut Stage, store: &Store, count: usize) -> Result<(), String> {
    for _ in 0..count {
        let (binary, module) = (nginx::binary(), nginx::module());
        let recipe = recipes::module(&binary, &module, stage.server.port(), THREADS);
        stage.add(&recipe.in_fleet(&store.url()))?;
    }
    let all = &stage.gateways[2..];
    // Nobody believes what was asked for before he began to listen, nor shortly after.
    for probe in 0..400_u32 {
        let token = load::token(4_000_000_000 + probe);
        let before = stage.server.calls();
        for gateway in all {
            Connection::open(gateway)?.get(&token)?;
        }
        if stage.server.calls() == before + 1 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err("the gateways do not share".to_owned())
}

pub(super) fn run(settings: &Settings, report: &mut Report) -> Result<(), String> {
    let store = Store::start();
    report.say("### A fleet");
    report.say(&format!(
        "Gateways of one worker that share {}, over loopback and in clear; JWTs of a kilobyte.",
        store.version()
    ));
    cost(settings, report, &store)?;
    together(settings, report)?;
    purges(settings, report)?;
    stopped(settings, report)
}

/// What a request costs whose token is new to the gateway.
fn cost(settings: &Settings, report: &mut Report, store: &Store) -> Result<(), String> {
    const TOKENS: u32 = 10_000;
    let mut stage = Stage::set(settings, THREADS)?;
    share(&mut stage, store, 2)?;
    stage.server.set_delay(Duration::from_millis(5));
    let [_, alone, asks, takes] = &stage.gateways[..] else { return Err("four".to_owned()) };
    let ways = [
        ("no store: a call", alone, 0, TOKENS),
        ("a store that does not know it either: look-up, call, write-back", asks, 1, TOKENS),
        ("a store that knows it", takes, 1, 0),
        ("no store: a hit of its own", alone, 0, 0),
    ];
    let mut costs = [const { Vec::new() }; 4];
    let mut of_store = Vec::new();
    for round in 0..settings.pairs as u32 {
        for ((name, gateway, range, calls), costs) in ways.iter().zip(&mut costs) {
            let first = 1_000_000 * (2 * round + 1 + range);
            let before = (gateway.cpu_us(), stage.server.calls(), cpu_us(store.pid()));
            load::present(gateway, first..first + TOKENS)?;
            let made = stage.server.calls() - before.1;
            if made.abs_diff(u64::from(*calls)) > u64::from(TOKENS) / 100 {
                return Err(format!("{name}: {made} calls"));
            }
            costs.push((gateway.cpu_us() - before.0) / f64::from(TOKENS));
            if *range == 1 && *calls == 0 {
                of_store.push((cpu_us(store.pid()) - before.2) / f64::from(TOKENS));
            }
        }
        let shown: Vec<String> =
            costs.iter().map(|of| format!("{:.1}", of[round as usize])).collect();
        progress(&format!("round {}: {} us", round + 1, shown.join(", ")));
    }
    report.say(&format!(
        "CPU of all threads of the worker for one request, {TOKENS} tokens a round; the authorization server \
         answers in 5 ms. In parentheses in proportion to a call without a store, of the same round. The store \
         itself takes {:.1} us for a look-up that it knows.",
        median(&of_store)
    ));
    let rows = ways.iter().zip(&costs).map(|((name, ..), of)| {
        let ratios: Vec<f64> = of.iter().zip(&costs[0]).map(|(one, call)| one / call).collect();
        vec![(*name).to_owned(), format!("{:.1} ({})", median(of), Spread::of(&ratios).show(2))]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    report.table(&["the token is new to the gateway, and there is", "us per request"], &rows);
    // What all have in common, taken away.
    let net = |which: usize| {
        let of = costs[which].iter().zip(&costs[0]).zip(&costs[3]);
        let ratios: Vec<f64> = of.map(|((one, call), hit)| (one - hit) / (call - hit)).collect();
        Spread::of(&ratios).show(2)
    };
    report.say(&format!(
        "Less what a hit of its own costs: what the store knows, {} of a call; what it does not, {}.",
        net(2),
        net(1)
    ));
    Ok(())
}

/// Ten gateways, one token that none knows.
fn together(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const GATEWAYS: usize = 10;
    const TOKENS: u32 = 50;
    let mut rows = Vec::new();
    for delay in [5, 50] {
        let store = Store::start();
        let mut stage = Stage::set(settings, THREADS)?;
        share(&mut stage, &store, GATEWAYS)?;
        stage.server.set_delay(Duration::from_millis(delay));
        // So that all know how long calls take.
        for gateway in &stage.gateways[2..] {
            let own = 3_900_000_000 + u32::from(gateway.port()) * 100;
            load::present(gateway, own..own + 50)?;
        }
        let before = stage.server.calls();
        let barrier = Barrier::new(GATEWAYS);
        let ask = |gateway: &Gateway| {
            let mut connection = Connection::open(gateway)?;
            let mut took = Vec::new();
            for n in 0..TOKENS {
                barrier.wait();
                let began = Instant::now();
                connection.get(&load::token(3_800_000_000 + n))?;
                took.push(began.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, String>(took)
        };
        let took: Vec<f64> = thread::scope(|scope| {
            let threads: Vec<_> =
                stage.gateways[2..].iter().map(|gateway| scope.spawn(|| ask(gateway))).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().map_err(|_| "a panic".to_owned())??);
            }
            Ok::<_, String>(all)
        })?;
        let calls = (stage.server.calls() - before) as f64 / f64::from(TOKENS);
        let [half, tail] = [0.5, 0.99].map(|share| format!("{:.1}", percentile(&took, share)));
        progress(&format!("{delay} ms: {calls:.2} calls for a token"));
        rows.push(vec![delay.to_string(), format!("{calls:.2}"), half, tail]);
    }
    report.say(&format!(
        "{GATEWAYS} gateways are asked at once for a token that none of them knows, {TOKENS} times."
    ));
    report.table(&["a call takes, ms", "calls for a token", "p50, ms", "p99, ms"], &rows);
    Ok(())
}

/// How soon another gateway knows of a purge.
fn purges(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const PURGES: u32 = 500;
    let store = Store::start();
    let mut stage = Stage::set(settings, THREADS)?;
    share(&mut stage, &store, 2)?;
    let [_, _, sender, hearer] = &stage.gateways[..] else { return Err("four".to_owned()) };
    let mut hearer = Connection::open(hearer)?;
    let (mut acknowledged, mut heard) = (Vec::new(), Vec::new());
    for n in 0..PURGES {
        let token = load::token(3_700_000_000 + n);
        hearer.get(&token)?;
        hearer.get(&token)?;
        let before = stage.server.calls();
        let mut client = Client::connect(sender.port());
        let form = format!("token={token}");
        let began = Instant::now();
        client.send_request("POST", "/purge", &[], form.as_bytes());
        // Until a request makes a call: what the gateway had was purged when that one began.
        let known = loop {
            let asked = began.elapsed();
            hearer.get(&token)?;
            if stage.server.calls() > before {
                break asked;
            }
            if asked > Duration::from_secs(5) {
                return Err("a purge is not heard".to_owned());
            }
        };
        let status = client.read().status;
        if status != 204 {
            return Err(format!("a purge: {status}"));
        }
        heard.push(known.as_secs_f64() * 1e3);
        // By itself, on another token: the loop above would be in the way.
        let began = Instant::now();
        client.send_request("POST", "/purge", &[], b"token=another");
        client.read();
        acknowledged.push(began.elapsed().as_secs_f64() * 1e3);
    }
    report.say(&format!(
        "{PURGES} purges at one gateway, one after the other, while another one is asked for the token all the \
         time: from when the purge was sent, until a request to the other finds nothing."
    ));
    let row = |name: &str, times: &[f64]| {
        let cells = [0.5, 0.99, 1.0].map(|share| format!("{:.2}", percentile(times, share)));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    let rows =
        [row("acknowledged to who purges", &acknowledged), row("heard by the other", &heard)];
    report.table(&["purge", "p50, ms", "p99, ms", "longest, ms"], &rows);
    Ok(())
}

/// Hits, and new tokens, while the store does not answer.
fn stopped(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const RATE: f64 = 500.0;
    const NEW: u32 = 60;
    let store = Store::start();
    let mut stage = Stage::set(settings, THREADS)?;
    share(&mut stage, &store, 2)?;
    let gateway = &stage.gateways[2];
    load::preload(gateway, 1)?;
    let hits = || load::paced(gateway, &load::token(0), RATE, 4, settings.duration);
    let (mut quiet, mut away, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..settings.pairs as u32 {
        quiet.push(percentile(&hits()?, 0.99));
        store.stop();
        let (tail, new) = thread::scope(|scope| {
            let hits = scope.spawn(hits);
            let mut connection = Connection::open(gateway)?;
            let mut new = Vec::new();
            for n in 0..NEW {
                let began = Instant::now();
                connection.get(&load::token(3_600_000_000 + round * NEW + n))?;
                new.push(began.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, String>((hits.join().map_err(|_| "a panic".to_owned())??, new))
        })?;
        away.push(percentile(&tail, 0.99));
        waits.push(new);
        store.cont();
        let in_sync = || {
            let text = Client::connect(gateway.port()).get("/metrics", &[]).text();
            Metrics::parse(&text).get("store_in_sync") == 1.0
        };
        process::wait_until("the gateway to hear the store again", in_sync);
        thread::sleep(Duration::from_secs(2));
    }
    let slow = TIMEOUT_MS as f64 / 2.0;
    let counts: Vec<f64> =
        waits.iter().map(|new| new.iter().filter(|took| **took > slow).count() as f64).collect();
    let longest: Vec<f64> = waits.iter().map(|new| percentile(new, 1.0)).collect();
    report.say(&format!(
        "A store that is stopped (`SIGSTOP`), and its `timeout` of {TIMEOUT_MS} ms: one cached token {RATE:.0} \
         times a second on four connections, and {NEW} new tokens one after the other; the authorization server \
         answers at once. Medians of the rounds, least and most."
    ));
    let rows = [
        vec!["hits: p99, ms, before".to_owned(), Spread::of(&quiet).show(2)],
        vec!["hits: p99, ms, stopped".to_owned(), Spread::of(&away).show(2)],
        vec!["new tokens: the longest, ms".to_owned(), Spread::of(&longest).show(1)],
        vec![format!("new tokens that waited more than {slow:.0} ms"), Spread::of(&counts).show(0)],
    ];
    report.table(&["", "stopped store"], &rows);
    Ok(())
}
