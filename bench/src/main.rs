//! `make bench`: what the module costs, beside NGINX without it and beside other ways to the same
//! end.
//!
//! Every gateway is an NGINX with one worker. In each round every gateway takes its turn, and its
//! cost is put in proportion to plain NGINX's of the same round, so that a machine that gets slower
//! or faster meanwhile changes little; medians of all rounds are shown, and how far they lie apart.

mod affinity;
mod chart;
mod charts;
mod gateway;
mod jwt;
mod load;
mod recipes;
mod report;
mod scenarios;
mod server;
mod settings;
mod stats;
mod zone;

use std::process::ExitCode;

use report::Report;
use settings::Settings;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the results cannot be written: {error}");
    let settings = Settings::read()?;
    if settings.draw {
        return report::draw(&report::published()).map_err(failed);
    }
    if settings.write && !settings.is_whole() {
        return Err("BENCH_WRITE takes a whole run: leave BENCH_ONLY out".to_owned());
    }
    let mut report = Report::default();
    report.say(&format!(
        "Measured on: {}. {} rounds of {} s for each gateway.",
        settings::machine().join("; "),
        settings.pairs,
        settings.duration.as_secs_f64()
    ));
    scenarios::run(&settings, &mut report)?;
    let path = if settings.write { report.publish() } else { report.keep() }.map_err(failed)?;
    eprintln!("bench: the results are in {}", path.display());
    Ok(())
}
