//! Whole gateways whose cache is warm.

use std::process::Command;
use std::time::{Duration, Instant};

use super::progress;
use super::stage::{CONNECTIONS, Programs, Stage, THREADS};
use crate::gateway::{Kind, Recipe, configuration};
use crate::load::{self, Tokens};
use crate::recipes;
use crate::report::{Report, Short};
use crate::settings::Settings;
use crate::stats::{Spread, median, percentile};

/// CPU per request with a warm cache.
pub(super) fn warm(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Warm cache: CPU of the gateway's worker per request");
    report.say(
        "Microseconds, and in parentheses in proportion to plain NGINX of the same round, whose client \
         sends the JWT itself: the median of the rounds' ratios, the least and the most.",
    );
    let stage = Stage::set(settings, THREADS)?.with_others(settings)?;
    progress(&stage.gateways.iter().map(|gateway| gateway.name).collect::<Vec<_>>().join(", "));
    for gateway in stage.swapping() {
        load::preload(gateway, 5_000)?;
    }
    progress("one token");
    let one = stage.compare(settings, |_| Tokens::Of(1))?;
    progress("5,000 tokens");
    let some = stage.compare(settings, |_| Tokens::Of(5_000))?;
    report.table(
        &["gateway", "one token", "5,000 tokens"],
        &stage.rows(&[one.clone(), some.clone()]),
    );
    report.chart("warm-one");
    report.chart("warm-many");
    stage.short(report, Short::OneToken, &one);
    stage.short(report, Short::ManyTokens, &some);
    drop(stage);

    progress("200,000 tokens");
    let stage = Stage::set(settings, THREADS)?;
    load::preload(stage.module(), 200_000)?;
    let calls = stage.server.calls();
    let before = stage.module().private_bytes();
    let many = stage.compare(settings, |_| Tokens::Of(200_000))?;
    let after = stage.module().private_bytes();
    report.table(&["gateway", "200,000 tokens in a zone of 256 MB"], &stage.rows(&[many]));
    report.say(&format!(
        "Of these requests {} caused a call. The worker's own memory was {:.1} MB before and {:.1} MB \
         after them.",
        stage.server.calls() - calls,
        before as f64 / 1e6,
        after as f64 / 1e6
    ));
    Ok(())
}

/// Latency under the same load, below what the machine can do.
pub(super) fn latency(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const RATES: [u32; 2] = [2_000, 8_000];
    report.say("### Latency added");
    let mut stage = Stage::set(settings, THREADS)?;
    // What differs between these two is noise.
    let nginx = Programs::find().nginx;
    stage.add(&Recipe { name: "plain, once more", ..recipes::plain(&nginx) })?;
    let token = load::token(0);
    let mut rows = Vec::new();
    for rate in RATES {
        let mut halves = vec![Vec::new(); stage.gateways.len()];
        let mut tails = halves.clone();
        for round in 0..settings.pairs {
            for (n, gateway) in stage.gateways.iter().enumerate() {
                let bearer = if gateway.kind == Kind::Passes { &stage.jwt } else { &token };
                let took = load::paced(gateway, bearer, f64::from(rate), 16, settings.duration)?;
                halves[n].push(percentile(&took, 0.50));
                tails[n].push(percentile(&took, 0.99));
            }
            progress(&format!("{rate} a second, round {}", round + 1));
        }
        for (n, gateway) in stage.gateways.iter().enumerate() {
            rows.push(vec![
                gateway.name.to_owned(),
                rate.to_string(),
                Spread::of(&halves[n]).show(3),
                Spread::of(&tails[n]).show(3),
            ]);
        }
    }
    report.say(
        "One token, requests at a fixed rate; milliseconds from when each request was due, so that one \
         slow answer does not hide those behind it: median of the rounds, least and most.",
    );
    report.table(&["gateway", "requests a second", "p50, ms", "p99, ms"], &rows);
    Ok(())
}

/// `nginx -t` and reload with the module and without.
pub(super) fn start(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Start");
    let programs = Programs::find();
    let Programs { nginx, module, .. } = &programs;
    let mut trusting = recipes::module(nginx, module, 9, 32);
    trusting.name = "phantom token, https and the system's roots";
    trusting.http = trusting.http.replace("http://127.0.0.1", "https://localhost");
    let all = [recipes::plain(nginx), recipes::module(nginx, module, 9, 32), trusting];
    let rounds = settings.pairs.max(5);
    let mut times = vec![Vec::new(); all.len()];
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    for _ in 0..rounds {
        for (n, recipe) in all.iter().enumerate() {
            let path = directory.path().join("nginx.conf");
            let text = configuration(recipe, directory.path(), 1, 9, "");
            std::fs::write(&path, text).map_err(|error| error.to_string())?;
            let begun = Instant::now();
            let output = Command::new(recipe.binary)
                .arg("-p")
                .arg(directory.path())
                .args(["-t", "-q", "-e", "stderr", "-c", "nginx.conf"])
                .output()
                .map_err(|error| error.to_string())?;
            times[n].push(begun.elapsed().as_secs_f64() * 1e3);
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
    }
    let mut stage = Stage::set(settings, THREADS)?;
    stage.add(&all[2])?;
    let mut reloads = vec![Vec::new(); stage.gateways.len()];
    for round in 0..rounds {
        for (gateway, reloads) in stage.gateways.iter_mut().zip(&mut reloads) {
            reloads.push(gateway.reload()?.as_secs_f64() * 1e3);
        }
        progress(&format!("reload {}", round + 1));
    }
    let rows: Vec<Vec<String>> = stage
        .gateways
        .iter()
        .zip(times.iter().zip(&reloads))
        .map(|(gateway, (times, reloads))| {
            let cell = |times| format!("{:.1}", median(times));
            vec![gateway.name.to_owned(), cell(times), cell(reloads)]
        })
        .collect();
    report.table(&["gateway", "nginx -t, ms", "reload until the new worker works, ms"], &rows);
    Ok(())
}

/// The worker's memory over many requests.
pub(super) fn memory(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const PARTS: u32 = 10;
    report.say("### Memory of the worker");
    let stage = Stage::set(settings, THREADS)?;
    load::preload(stage.module(), 5_000)?;
    let mut rows = Vec::new();
    let (mut hits, mut misses) = (0.0, 0.0);
    for part in 1..=PARTS {
        let enough = f64::from(settings.requests) * f64::from(part) / f64::from(PARTS);
        while hits < enough {
            let seconds = Duration::from_secs(5);
            hits +=
                stage.wrk.run(stage.module(), Tokens::Of(5_000), CONNECTIONS, seconds)?.requests;
        }
        let run = Tokens::Fresh(2_000 + part);
        misses += stage.wrk.run(stage.module(), run, CONNECTIONS, Duration::from_secs(1))?.requests;
        let bytes = stage.module().private_bytes();
        rows.push(vec![
            format!("{:.1}", hits / 1e6),
            format!("{:.3}", misses / 1e6),
            format!("{:.2}", bytes as f64 / 1e6),
        ]);
        progress(&format!("{:.1} million requests: {:.2} MB", hits / 1e6, bytes as f64 / 1e6));
    }
    report.say(
        "What one worker has for itself (`RssAnon`), shared memory left out, while it answers requests of \
         5,000 tokens and after each tenth of them a second of nothing but new tokens.",
    );
    report.table(&["hits, millions", "misses, millions", "memory, MB"], &rows);
    Ok(())
}
