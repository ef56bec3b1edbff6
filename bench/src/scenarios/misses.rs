//! Requests whose token the gateway does not know yet.

use std::time::Duration;

use super::gateways::Stage;
use super::progress;
use crate::gateway::Recipe;
use crate::load::{self, Tokens};
use crate::recipes;
use crate::report::Report;
use crate::settings::Settings;
use crate::stats::percentile;

/// Every request a new token.
pub(super) fn cold(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Cold cache: CPU per miss");
    report.say(
        "Every request presents a new token; the authorization server answers in 5 ms. CPU of all threads \
         of the gateway's worker. The 64 clients share a pool of 32 threads, NGINX's default, or of 48.",
    );
    let mut stage = Stage::set(settings, 32, true)?;
    stage.add(|programs, server| Recipe {
        name: "phantom token, 48 threads",
        ..recipes::module(&programs.nginx, &programs.module, server, 48)
    })?;
    stage.server.set_delay(Duration::from_millis(5));
    let results = stage.compare(settings, |run| Tokens::Fresh(1 + run as u32))?;
    report.table(&["gateway", "us per request"], &stage.rows(std::slice::from_ref(&results)));
    stage.chart(report, "cold", "CPU per miss, plain NGINX = 1", &results);
    Ok(())
}

/// Many requests at once for one new token.
pub(super) fn burst(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const CLIENTS: usize = 500;
    let delay = Duration::from_millis(200);
    report.say("### Many at once for one new token");
    let stage = Stage::set(settings, 32, true)?;
    stage.server.set_delay(delay);
    let mut rows = Vec::new();
    for gateway in stage.gateways.iter().filter(|gateway| !gateway.client_sends_jwt) {
        if gateway.name == "constant header" {
            continue;
        }
        let calls = stage.server.calls();
        let took = load::burst(gateway.port(), CLIENTS, &load::token(77))?;
        let cell = |share: f64| format!("{:.0}", percentile(&took, share));
        rows.push(vec![
            gateway.name.to_owned(),
            (stage.server.calls() - calls).to_string(),
            cell(0.0),
            cell(0.5),
            cell(1.0),
        ]);
        progress(gateway.name);
    }
    report.say(&format!(
        "{CLIENTS} clients present one token nobody has seen, at once; the server answers in {} ms. \
         Milliseconds.",
        delay.as_millis()
    ));
    report.table(&["gateway", "calls to the server", "fastest", "p50", "slowest"], &rows);
    Ok(())
}

/// Misses a second, by threads of the pool and the server's delay.
pub(super) fn threads(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Misses a second");
    report.say(
        "What the thread pool allows is threads ÷ the server's delay; what the machine allows may be less.",
    );
    let mut rows = Vec::new();
    let mut run = 1000;
    for threads in [32u32, 256] {
        let stage = Stage::set(settings, threads, false)?;
        for delay in [1u64, 5, 50, 500] {
            stage.server.set_delay(Duration::from_millis(delay));
            run += 1;
            let connections = 2 * threads as usize;
            let duration = settings.duration.max(Duration::from_millis(4 * delay));
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
