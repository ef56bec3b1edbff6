//! A hot token whose answer ends again and again: who waits for that, and how many calls it takes.

use std::time::Duration;

use super::progress;
use super::stage::{Programs, Stage};
use crate::load;
use crate::recipes;
use crate::report::Report;
use crate::settings::Settings;
use crate::stats::{Spread, percentile};

/// For how long an answer is kept, and that it stands for five minutes.
const KEPT: Duration = Duration::from_secs(2);
const STANDS_FOR: Duration = Duration::from_secs(300);

/// So many answers end in an hour.
const ENDS: u32 = 12;

/// How long the authorization server takes.
const CALL: Duration = Duration::from_millis(20);

/// Requests a second.
const RATE: f64 = 1_000.0;

/// Latency and calls over an hour of ends, which are made to come sooner.
pub(super) fn run(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### A hot token whose answer ends");
    let mut stage = Stage::set(settings, super::stage::THREADS)?;
    let Programs { nginx, module, .. } = Programs::find();
    let server = stage.server.port();
    let kept = KEPT.as_millis();
    let ahead = kept / 5;
    let ways = [
        ("never ends", "phantom_token_cache_valid 1h;".to_owned()),
        ("ends", format!("phantom_token_cache_valid {kept}ms;")),
        (
            "ends, renewed ahead",
            format!(
                "phantom_token_cache_valid {kept}ms; phantom_token_cache_refresh_ahead {ahead}ms;"
            ),
        ),
    ];
    let first = stage.gateways.len();
    for (name, directives) in &ways {
        let mut recipe = recipes::module(&nginx, &module, server, 4);
        recipe.name = name;
        recipe.http = recipe.http.replace("phantom_token_cache_valid 1h;", directives);
        stage.add(&recipe)?;
    }
    stage.server.set_delay(CALL);
    let token = load::token(0);
    let (mut halves, mut tails, mut most) = (vec![vec![]; 3], vec![vec![]; 3], vec![vec![]; 3]);
    let mut calls = vec![vec![]; 3];
    for round in 0..settings.pairs {
        for (n, gateway) in stage.gateways[first..].iter().enumerate() {
            load::paced(gateway, &token, RATE, 4, Duration::from_millis(200))?;
            let before = stage.server.calls();
            let took = load::paced(gateway, &token, RATE, 4, KEPT * ENDS)?;
            calls[n].push((stage.server.calls() - before) as f64);
            halves[n].push(percentile(&took, 0.50));
            tails[n].push(percentile(&took, 0.99));
            most[n].push(percentile(&took, 0.999));
        }
        progress(&format!("round {}: p99 {:.2?}, calls {calls:.0?}", round + 1, tails));
    }
    report.say(&format!(
        "One token, {RATE:.0} requests a second for {} s in a round, {} rounds; the authorization server takes {} ms. \
         An answer is kept for {} s, which stands for {} s: {ENDS} of them are an hour. A call so makes up {:.1} % \
         of an answer's life here, and {:.3} % of one of five minutes. Milliseconds from when each request was due: \
         median of the rounds, least and most. Renewed ahead in the last fifth of its life.",
        (KEPT * ENDS).as_secs(),
        settings.pairs,
        CALL.as_millis(),
        KEPT.as_secs(),
        STANDS_FOR.as_secs(),
        100.0 * CALL.as_secs_f64() / KEPT.as_secs_f64(),
        100.0 * CALL.as_secs_f64() / STANDS_FOR.as_secs_f64(),
    ));
    let rows = ways.iter().enumerate().map(|(n, (name, _))| {
        vec![
            (*name).to_owned(),
            Spread::of(&halves[n]).show(2),
            Spread::of(&tails[n]).show(2),
            Spread::of(&most[n]).show(2),
            Spread::of(&calls[n]).show(0),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    report.table(&["the answer", "p50, ms", "p99, ms", "p99.9, ms", "calls an hour"], &rows);
    Ok(())
}
