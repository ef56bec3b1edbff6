//! How many threads the pool should have, and what they cost.

use std::time::Duration;

use phantom_token_test::nginx;

use super::progress;
use super::stage::Stage;
use crate::load::Tokens;
use crate::report::Report;
use crate::settings::Settings;
use crate::stats::{Spread, median};

/// Threads of the pool, and clients that ask at once.
const SIZES: [(u32, usize); 4] = [(32, 64), (64, 64), (128, 64), (256, 512)];

/// What was seen of one gateway, round by round.
#[derive(Default)]
struct Seen {
    rates: Vec<f64>,
    half_ms: Vec<f64>,
    cpu_us: Vec<f64>,
}

/// Every request a new token, by threads of the pool; beside an earlier build, where there is one.
pub(super) fn pool(settings: &Settings, report: &mut Report) -> Result<(), String> {
    let delay = Duration::from_millis(5);
    report.say("### Threads of the pool");
    report.say(&format!(
        "Every request presents a new token; the authorization server answers in {} ms. Medians of the \
         rounds, in each of which every row takes its turn; CPU beside that of the first row in the same round. \
         Memory of the worker after that: resident without what it shares, and address space.",
        delay.as_millis()
    ));
    let mut stage = Stage::set(settings, SIZES[0].0)?;
    let module = nginx::module();
    for (threads, _) in &SIZES[1..] {
        stage.add_build("phantom token", &module, *threads)?;
    }
    let mut sizes = SIZES.to_vec();
    if let Some(before) = &settings.before {
        for size in [SIZES[0], SIZES[3]] {
            stage.add_build("earlier build", before, size.0)?;
            sizes.push(size);
        }
    }
    stage.server.set_delay(delay);

    // The first is plain NGINX.
    let gateways = &stage.gateways[1..];
    let mut seen: Vec<Seen> = sizes.iter().map(|_| Seen::default()).collect();
    let mut run = 2_000;
    for round in 0..settings.pairs {
        for ((gateway, (_, clients)), seen) in gateways.iter().zip(&sizes).zip(&mut seen) {
            run += 1;
            let result = stage.wrk.run(gateway, Tokens::Fresh(run), *clients, settings.duration)?;
            seen.rates.push(result.requests / result.seconds);
            seen.half_ms.push(result.half_ms);
            seen.cpu_us.push(result.cpu_us);
        }
        let shown: Vec<_> = seen.iter().map(|one| format!("{:.1}", one.cpu_us[round])).collect();
        progress(&format!("round {}: {} us", round + 1, shown.join(", ")));
    }
    let first = seen[0].cpu_us.clone();
    let rows: Vec<_> = gateways
        .iter()
        .zip(&sizes)
        .zip(&seen)
        .map(|((gateway, (threads, clients)), seen)| {
            let ratios: Vec<f64> =
                seen.cpu_us.iter().zip(&first).map(|(one, first)| one / first).collect();
            vec![
                gateway.name.to_owned(),
                threads.to_string(),
                clients.to_string(),
                format!("{:.0}", median(&seen.rates)),
                format!("{:.1}", median(&seen.half_ms)),
                format!("{:.1} ({})", median(&seen.cpu_us), Spread::of(&ratios).show(2)),
                format!("{:.1}", gateway.private_bytes() as f64 / 1e6),
                format!("{:.0}", gateway.virtual_bytes() as f64 / 1e6),
            ]
        })
        .collect();
    report.table(
        &[
            "module",
            "threads",
            "clients",
            "misses a second",
            "p50, ms",
            "CPU per miss, us",
            "resident, MB",
            "address space, MB",
        ],
        &rows,
    );
    Ok(())
}
