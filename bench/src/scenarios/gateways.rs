//! Whole gateways whose cache is warm.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use phantom_token_test::nginx;

use super::{JWT, progress};
use crate::affinity::{self, Apart};
use crate::chart;

use crate::gateway::{Gateway, Recipe};
use crate::jwt;
use crate::load::{self, Tokens, Wrk};
use crate::recipes;
use crate::report::Report;
use crate::server::Server;
use crate::settings::{self, Settings};
use crate::stats::{median, percentile};

/// Connections of the load.
const CONNECTIONS: usize = 64;

/// The neighbours, and the gateways of one comparison; the first is plain NGINX.
pub(super) struct Stage {
    pub(super) jwt: String,
    pub(super) server: Server,
    /// Ended with the stage.
    api: Gateway,
    apart: Option<Apart>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) wrk: Wrk,
}

/// The programs that are run.
pub(super) struct Programs {
    pub(super) nginx: PathBuf,
    pub(super) module: PathBuf,
    debian: Option<(PathBuf, PathBuf, String)>,
}

impl Programs {
    fn find() -> Self {
        let debian = settings::debian_nginx().zip(settings::debian_modules());
        Self {
            nginx: nginx::binary(),
            module: nginx::module(),
            debian: debian.map(|(binary, root)| {
                let libraries = recipes::library_path(&root);
                (binary, root, libraries)
            }),
        }
    }
}

impl Stage {
    /// Starts the neighbours and all gateways; `others` besides plain NGINX and the module.
    pub(super) fn set(settings: &Settings, threads: u32, others: bool) -> Result<Self, String> {
        let programs = Programs::find();
        let jwt = jwt::of_length(JWT);
        let apart = Apart::new();
        let affinity = if apart.is_some() { affinity::GATEWAY } else { "" };
        let server = Server::start(&jwt).map_err(|error| error.to_string())?;
        let api = Gateway::start(&recipes::api(&programs.nginx), 9, "")?;
        let mut all: Vec<Recipe<'_>> = vec![
            recipes::plain(&programs.nginx),
            recipes::module(&programs.nginx, &programs.module, server.port(), threads),
        ];
        if others {
            all.push(recipes::constant(&programs.nginx, &jwt));
            all.push(recipes::auth_request(&programs.nginx, server.port()));
            if let Some((binary, root, libraries)) = &programs.debian {
                all.push(recipes::plain_debian(binary));
                all.push(recipes::njs(binary, root, server.port()));
                all.push(recipes::lua(binary, root, libraries, server.port()));
            }
        }
        let mut gateways = Vec::new();
        for recipe in &all {
            gateways.push(Gateway::start(recipe, api.port(), affinity)?);
        }
        if others && let Some((url, pid)) = &settings.peer {
            gateways.push(Gateway::peer(url, *pid));
        }
        let wrk = Wrk::new(&jwt)?;
        Ok(Self { jwt, server, api, apart, gateways, wrk })
    }

    /// Starts one more gateway.
    pub(super) fn add(
        &mut self,
        recipe: impl FnOnce(&Programs, u16) -> Recipe<'_>,
    ) -> Result<(), String> {
        let programs = Programs::find();
        let recipe = recipe(&programs, self.server.port());
        let affinity = if self.apart.is_some() { affinity::GATEWAY } else { "" };
        self.gateways.push(Gateway::start(&recipe, self.api.port(), affinity)?);
        Ok(())
    }

    /// The module's gateway.
    pub(super) fn module(&self) -> &Gateway {
        &self.gateways[1]
    }

    /// CPU per request of every gateway, microseconds, and in proportion to the first one's of the
    /// same round: medians of all rounds.
    pub(super) fn compare(
        &self,
        settings: &Settings,
        tokens: impl Fn(usize) -> Tokens,
    ) -> Result<Vec<(f64, f64)>, String> {
        let mut costs = vec![Vec::new(); self.gateways.len()];
        for round in 0..settings.pairs {
            for (n, gateway) in self.gateways.iter().enumerate() {
                let tokens = tokens(round * self.gateways.len() + n);
                let run = self.wrk.run(gateway, tokens, CONNECTIONS, settings.duration)?;
                costs[n].push(run.cpu_us);
            }
            let shown: Vec<String> = costs.iter().map(|of| format!("{:.1}", of[round])).collect();
            progress(&format!("round {}: {} us", round + 1, shown.join(", ")));
        }
        let ratio = |of: &Vec<f64>| {
            median(&of.iter().zip(&costs[0]).map(|(one, plain)| one / plain).collect::<Vec<_>>())
        };
        Ok(costs.iter().map(|of| (median(of), ratio(of))).collect())
    }

    /// A bar for each gateway.
    pub(super) fn chart(
        &self,
        report: &mut Report,
        name: &'static str,
        title: &str,
        results: &[(f64, f64)],
    ) {
        let bar = |(gateway, result): (&Gateway, &(f64, f64))| (gateway.name.to_owned(), result.1);
        let bars: Vec<(String, f64)> = self.gateways.iter().zip(results).map(bar).collect();
        report.chart(name, title, chart::bars(title, "", 1.0, &bars));
    }

    /// A row for each gateway.
    pub(super) fn rows(&self, results: &[Vec<(f64, f64)>]) -> Vec<Vec<String>> {
        let cell = |(us, ratio): &(f64, f64)| format!("{us:.1} ({ratio:.2})");
        self.gateways
            .iter()
            .enumerate()
            .map(|(n, gateway)| {
                let cells = results.iter().map(|result| result.get(n).map_or("–".into(), cell));
                std::iter::once(gateway.name.to_owned()).chain(cells).collect()
            })
            .collect()
    }
}

/// CPU per request with a warm cache.
pub(super) fn warm(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Warm cache: CPU of the gateway's worker per request");
    report.say(
        "Microseconds, and in parentheses in proportion to plain NGINX of the same round, whose client \
         sends the JWT itself.",
    );
    let stage = Stage::set(settings, 32, true)?;
    progress(&stage.gateways.iter().map(|gateway| gateway.name).collect::<Vec<_>>().join(", "));
    for gateway in stage.gateways.iter().filter(|gateway| !gateway.client_sends_jwt) {
        load::preload(gateway.port(), 5_000)?;
    }
    progress("one token");
    let one = stage.compare(settings, |_| Tokens::Of(1))?;
    progress("5,000 tokens");
    let some = stage.compare(settings, |_| Tokens::Of(5_000))?;
    report.table(
        &["gateway", "one token", "5,000 tokens"],
        &stage.rows(&[one.clone(), some.clone()]),
    );
    for (name, title, results) in [
        ("warm-one", "CPU per request, one token, plain NGINX = 1", one),
        ("warm-many", "CPU per request, 5,000 tokens, plain NGINX = 1", some),
    ] {
        stage.chart(report, name, title, &results);
    }
    drop(stage);

    progress("200,000 tokens");
    let stage = Stage::set(settings, 32, false)?;
    load::preload(stage.module().port(), 200_000)?;
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

/// Latency under the same load, well below what the machine can do.
pub(super) fn latency(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const RATE: f64 = 2_000.0;
    report.say("### Latency added");
    let stage = Stage::set(settings, 32, false)?;
    let token = load::token(0);
    let mut halves = vec![Vec::new(); 2];
    let mut tails = vec![Vec::new(); 2];
    for round in 0..settings.pairs {
        for (n, gateway) in stage.gateways.iter().enumerate() {
            let bearer = if gateway.client_sends_jwt { &stage.jwt } else { &token };
            let took = load::paced(gateway.port(), bearer, RATE, 16, settings.duration)?;
            halves[n].push(percentile(&took, 0.50));
            tails[n].push(percentile(&took, 0.99));
        }
        progress(&format!("round {}", round + 1));
    }
    report.say(&format!(
        "{RATE} requests a second, one token; milliseconds from when each request was due, so that \
         one slow answer does not hide those behind it."
    ));
    let rows: Vec<Vec<String>> = stage
        .gateways
        .iter()
        .enumerate()
        .map(|(n, gateway)| {
            let cell = |of: &[f64]| format!("{:.3}", median(of));
            vec![gateway.name.to_owned(), cell(&halves[n]), cell(&tails[n])]
        })
        .collect();
    report.table(&["gateway", "p50, ms", "p99, ms"], &rows);
    Ok(())
}

/// `nginx -t` with the module and without.
pub(super) fn start(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### Start");
    let programs = Programs::find();
    let all = [
        recipes::plain(&programs.nginx),
        recipes::module(&programs.nginx, &programs.module, 9, 32),
    ];
    let mut times = vec![Vec::new(); all.len()];
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    for _ in 0..settings.pairs.max(5) {
        for (n, recipe) in all.iter().enumerate() {
            let text = format!(
                "pid nginx.pid;\n{}\nevents {{}}\nhttp {{\naccess_log off;\nupstream api {{ server 127.0.0.1:9; }}\n{}\nserver {{ listen \
                 127.0.0.1:1; {} }}\n}}\n",
                recipe.main, recipe.http, recipe.server
            );
            let path = directory.path().join("nginx.conf");
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
    let mut reloads = vec![Vec::new(); all.len()];
    let mut stage = Stage::set(settings, 32, false)?;
    for round in 0..settings.pairs.max(5) {
        for (gateway, reloads) in stage.gateways.iter_mut().zip(&mut reloads) {
            reloads.push(gateway.reload()?.as_secs_f64() * 1e3);
        }
        progress(&format!("reload {}", round + 1));
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .zip(times.iter().zip(&reloads))
        .map(|(recipe, (times, reloads))| {
            let cell = |times| format!("{:.1}", median(times));
            vec![recipe.name.to_owned(), cell(times), cell(reloads)]
        })
        .collect();
    report.table(&["gateway", "nginx -t, ms", "reload until the new worker works, ms"], &rows);
    Ok(())
}

/// The worker's memory over many requests.
pub(super) fn memory(settings: &Settings, report: &mut Report) -> Result<(), String> {
    const PARTS: u32 = 10;
    report.say("### Memory of the worker");
    let stage = Stage::set(settings, 32, false)?;
    load::preload(stage.module().port(), 5_000)?;
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
        "What one worker has for itself, shared memory left out, while it answers requests of 5,000 tokens \
         and after each tenth of them a second of nothing but new tokens.",
    );
    report.table(&["hits, millions", "misses, millions", "memory, MB"], &rows);
    Ok(())
}
