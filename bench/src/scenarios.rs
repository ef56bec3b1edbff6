//! What is measured, in the order of the tables.

mod engine;
mod gateways;
mod misses;

use crate::report::Report;
use crate::settings::Settings;

/// About as long as most servers' access tokens are, in bytes.
const JWT: usize = 1024;

/// Runs all that is wanted.
pub(crate) fn run(settings: &Settings, report: &mut Report) -> Result<(), String> {
    type Scenario = fn(&Settings, &mut Report) -> Result<(), String>;
    let all: [(&str, Scenario); 8] = [
        ("warm", gateways::warm),
        ("latency", gateways::latency),
        ("cold", misses::cold),
        ("burst", misses::burst),
        ("threads", misses::threads),
        ("zone", engine::zone),
        ("start", gateways::start),
        ("memory", gateways::memory),
    ];
    for (name, scenario) in all {
        if settings.wants(name) {
            eprintln!("bench: {name}");
            scenario(settings, report)?;
        }
    }
    Ok(())
}

/// Shows how far a measurement is.
fn progress(text: &str) {
    eprintln!("bench:   {text}");
}
