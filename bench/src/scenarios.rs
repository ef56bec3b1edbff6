//! What is measured, in the order of the tables.

mod ends;
mod engine;
mod fleet;
mod gateways;
mod misses;
mod pool;
mod profile;
mod stage;

use crate::report::Report;
use crate::settings::Settings;

/// About as long as most servers' access tokens are, in bytes.
const JWT: usize = 1024;

/// Runs all that is wanted.
pub(crate) fn run(settings: &Settings, report: &mut Report) -> Result<(), String> {
    type Scenario = fn(&Settings, &mut Report) -> Result<(), String>;
    let all: [(&str, bool, Scenario); 14] = [
        ("warm", true, gateways::warm),
        ("latency", true, gateways::latency),
        ("cold", true, misses::cold),
        ("burst", true, misses::burst),
        ("pool", true, pool::pool),
        ("threads", true, misses::threads),
        ("beside", true, misses::beside),
        ("steps", true, engine::steps),
        ("zone", true, engine::zone),
        ("start", true, gateways::start),
        ("memory", true, gateways::memory),
        ("ends", false, ends::run),
        ("profile", false, profile::run),
        ("fleet", false, fleet::run),
    ];
    for (name, usual, scenario) in all {
        if settings.wants(name, usual) {
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
