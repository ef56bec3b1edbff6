//! Requests whose token the gateway does not know yet.

use std::thread;
use std::time::Duration;

use phantom_token_test::nginx;

use super::progress;
use super::stage::{CONNECTIONS, Stage, THREADS};
use crate::load::{self, Tokens};
use crate::report::{Report, Short};
use crate::settings::Settings;
use crate::stats::{Spread, median, percentile};

/// Every request a new token.
pub(super) fn cold(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Cold cache: CPU per miss");
    report.say(
        "Every request presents a new token; the authorization server answers in 5 ms. CPU of all threads \
         of the gateway's worker; figures as above. The 64 clients share a pool of as many threads, as the \
         module makes it, or of 32. Over *https* a call goes through an NGINX before the authorization \
         server. *Minting*, the answer is JSON, of which the gateway signs a JWT (ES256).",
    );
    let mut stage = Stage::set(settings, THREADS)?.with_others(settings)?;
    stage.add_build("phantom token, 32 threads", &nginx::module(), 32)?;
    stage.add_module_tls(THREADS)?;
    stage.add_module_minting(THREADS)?;
    stage.server.set_delay(Duration::from_millis(5));
    let results = stage.compare(settings, |run| Tokens::Fresh(1 + run as u32))?;
    report.table(&["gateway", "us per request"], &stage.rows(std::slice::from_ref(&results)));
    report.chart("cold");
    stage.short(report, Short::NewTokens, &results);
    Ok(())
}

/// Many requests at once for one new token.
pub(super) fn burst(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const CLIENTS: usize = 500;
    let delay = Duration::from_millis(200);
    report.say("### Many at once for one new token");
    let stage = Stage::set(settings, THREADS)?.with_others(settings)?;
    stage.server.set_delay(delay);
    let mut rows = Vec::new();
    for gateway in stage.swapping() {
        let mut calls = Vec::new();
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..settings.pairs {
            let before = stage.server.calls();
            let took = load::burst(gateway, CLIENTS, &load::token(u32::MAX - round as u32))?;
            calls.push((stage.server.calls() - before) as f64);
            for (times, share) in times.iter_mut().zip([0.0, 0.5, 1.0]) {
                times.push(percentile(&took, share));
            }
        }
        let Spread { median: count, most, .. } = Spread::of(&calls);
        // Who asks somebody else's server has asked, nevertheless.
        let calls = match count {
            0.0 => "–".to_owned(),
            _ if count == most => count.to_string(),
            _ => format!("{count}, at most {most}"),
        };
        report.short(gateway.name, Short::Calls, calls.clone());
        let cells = times.iter().map(|times| format!("{:.0}", median(times)));
        rows.push([gateway.name.to_owned(), calls].into_iter().chain(cells).collect());
        progress(gateway.name);
    }
    report.say(&format!(
        "{CLIENTS} clients present one token nobody has seen, at once; the server answers in {} ms. \
         Milliseconds, medians of the rounds.",
        delay.as_millis()
    ));
    report.table(&["gateway", "calls to the server", "fastest", "p50", "slowest"], &rows);
    Ok(())
}

/// Hits while misses come as fast as they can.
pub(super) fn beside(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const RATE: u32 = 500;
    report.say("### Hits beside misses");
    let mut rows = Vec::new();
    for threads in [32, THREADS] {
        let stage = Stage::set(settings, threads)?;
        let gateway = stage.module();
        load::preload(gateway, 1)?;
        let mut rates = Vec::new();
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..settings.pairs {
            let duration = settings.duration;
            let (run, took) = thread::scope(|scope| {
                let hits = scope
                    .spawn(|| load::paced(gateway, &load::token(0), f64::from(RATE), 4, duration));
                let fresh = Tokens::Fresh(3_000 + threads * 10 + round as u32);
                let misses = stage.wrk.run(gateway, fresh, CONNECTIONS, duration);
                (misses, hits.join().expect("no panic"))
            });
            let (run, took) = (run?, took?);
            rates.push(run.requests / run.seconds);
            for (times, share) in times.iter_mut().zip([0.5, 0.99]) {
                times.push(percentile(&took, share));
            }
        }
        progress(&format!("{threads} threads: {:.0} misses a second", median(&rates)));
        let [half, tail] = times.map(|times| Spread::of(&times).show(2));
        rows.push(vec![threads.to_string(), format!("{:.0}", median(&rates)), half, tail]);
    }
    report.say(&format!(
        "64 clients present nothing but new tokens to a server that answers at once, four others one cached \
         token {RATE} times a second: what these wait, in milliseconds, median of the rounds, least and most."
    ));
    report.table(&["threads", "misses a second", "hits: p50, ms", "hits: p99, ms"], &rows);
    Ok(())
}

/// Misses a second, by threads of the pool and the server's delay.
pub(super) fn threads(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Misses a second");
    report.say(
        "What the thread pool allows is threads ÷ the server's delay; what the machine allows may be less. \
         Each for as long as twenty calls take.",
    );
    let mut rows = Vec::new();
    let mut run = 1000;
    for threads in [32u32, 256] {
        let stage = Stage::set(settings, threads)?;
        for delay in [1u64, 5, 50, 500] {
            stage.server.set_delay(Duration::from_millis(delay));
            run += 1;
            let connections = 2 * threads as usize;
            let duration = settings.duration.max(Duration::from_millis(20 * delay));
            let tokens = Tokens::Fresh(run);
            let result = stage.wrk.run(stage.module(), tokens, connections, duration)?;
            let bound = f64::from(threads) * 1000.0 / delay as f64;
            let rate = result.requests / result.seconds;
            progress(&format!("{threads} threads, {delay} ms: {rate:.0} a second"));
            rows.push(vec![
                threads.to_string(),
                delay.to_string(),
                format!("{bound:.0}"),
                format!("{rate:.0}"),
                format!("{:.0} %", 100.0 * rate / bound),
                format!("{:.1}", result.cpu_us),
            ]);
        }
    }
    report.table(
        &[
            "threads",
            "delay, ms",
            "threads ÷ delay",
            "misses a second",
            "of that",
            "CPU per miss, us",
        ],
        &rows,
    );
    Ok(())
}
