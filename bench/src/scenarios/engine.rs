//! The zone by itself.

use std::fs;

use super::{JWT, progress};
use crate::jwt;
use crate::report::Report;
use crate::settings::{Settings, workspace};
use crate::stats::median;
use crate::zone;

const MIB: usize = 1 << 20;

/// What `make bench` has measured before, by a program of its own.
pub(super) fn steps(_: &Settings, report: &mut Report) -> Result<(), String> {
    let path = workspace().join("build/bench/steps.txt");
    let Ok(text) = fs::read_to_string(path) else {
        progress("not measured: `make bench` does that");
        return Ok(());
    };
    report.say("### Single steps of the engine");
    report.say(
        "What stands indented is the length of the JWT in bytes, the number of entries in the worker's \
         cache, or the algorithm (RSA with 2048 bits). An answer is read and JWTs are signed on a thread of \
         the pool, the other steps run on the event loop.",
    );
    report.say(&format!("```text\n{}\n```", text.trim_end()));
    Ok(())
}

/// Look-ups by size and contention, and bytes per token.
pub(super) fn zone(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### The zone");
    let jwt = jwt::of_length(JWT);

    let mut rows = Vec::new();
    for size in [1, 4, 16, 64, 256, 1024] {
        progress(&format!("a zone of {size} MB"));
        let sized = zone::of_size(size * MIB, jwt.as_bytes(), settings.pairs.min(3));
        rows.push(vec![
            format!("{size} MB"),
            sized.tokens.to_string(),
            format!("{:.0}", sized.bytes as f64 / f64::from(sized.tokens)),
            format!("{:.1} %", 100.0 * sized.used),
            format!("{:.0}", sized.lookup_ns),
            format!("{:.0}", sized.insert_ns),
        ]);
    }
    report.say(&format!(
        "A full zone of JWTs of {} bytes. The time of a look-up of a random token includes copying the \
         JWT out and checking it; that of an insertion, driving out the least recently used one.",
        jwt.len()
    ));
    report.table(
        &["zone", "tokens", "bytes per token", "in use", "look-up, ns", "insertion, ns"],
        &rows,
    );
    report.chart("zone-size");

    let mut rows = Vec::new();
    for bytes in [256, 512, 1024, 2048, 4096, 8192, 16384] {
        let jwt = jwt::of_length(bytes);
        let zone = zone::Zone::new(10 * MIB);
        let tokens = zone.view(1).fill(jwt.as_bytes());
        let each = (10 * MIB) as f64 / f64::from(tokens);
        rows.push(vec![jwt.len().to_string(), tokens.to_string(), format!("{each:.0}")]);
    }
    report.table(&["JWT, bytes", "tokens in 10 MB", "bytes of zone per token"], &rows);
    report.chart("zone-bytes");

    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut cells = Vec::new();
    for processes in [1, 2, 4, 8, 16] {
        progress(&format!("{processes} processes on one zone"));
        let more = if processes > cores { ", more than there are cores" } else { "" };
        let mut row = vec![format!("{processes}{more}")];
        let mut failed = 0;
        for stores in [0, 1] {
            let mut times = Vec::new();
            for _ in 0..settings.pairs.min(3) {
                let duration = settings.duration / 4;
                let seen = zone::contended(processes, stores, jwt.as_bytes(), duration);
                times.push(seen.step_ns);
                failed += seen.failed;
            }
            row.push(format!("{:.0}", median(&times)));
        }
        row.push(failed.to_string());
        cells.push(row);
    }
    report.say(
        "Processes that do nothing but use one zone of 16 MB; nanoseconds between two steps done, all \
         together, where all look up and where one step in ten stores an answer:",
    );
    report.table(
        &["processes", "ns per look-up", "one in ten stores", "without the lock in 100 ms"],
        &cells,
    );
    report.chart("zone-processes");
    Ok(())
}
