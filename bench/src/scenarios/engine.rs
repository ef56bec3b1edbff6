//! The zone by itself.

use std::fs;

use super::{JWT, progress};
use crate::chart::{self, Series};
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
    let (mut lookups, mut inserts) = (Vec::new(), Vec::new());
    for size in [1, 4, 16, 64, 256, 1024] {
        progress(&format!("a zone of {size} MB"));
        let sized = zone::of_size(size * MIB, jwt.as_bytes(), settings.pairs.min(3));
        lookups.push((size as f64, sized.lookup_ns));
        inserts.push((size as f64, sized.insert_ns));
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
    let series: Vec<Series> =
        vec![("look-up".to_owned(), lookups), ("insertion".to_owned(), inserts)];
    let title = "Time by size of the zone";
    let svg = chart::lines(title, "nanoseconds", |size| format!("{size} MB"), &series);
    report.chart("zone-size", title, svg);

    let mut rows = Vec::new();
    let mut points = Vec::new();
    for bytes in [256, 512, 1024, 2048, 4096, 8192, 16384] {
        let jwt = jwt::of_length(bytes);
        let zone = zone::Zone::new(10 * MIB);
        let tokens = zone.view(1).fill(jwt.as_bytes());
        let each = (10 * MIB) as f64 / f64::from(tokens);
        points.push((jwt.len() as f64, each));
        rows.push(vec![jwt.len().to_string(), tokens.to_string(), format!("{each:.0}")]);
    }
    report.table(&["JWT, bytes", "tokens in 10 MB", "bytes of zone per token"], &rows);
    let itself = points.iter().map(|(bytes, _)| (*bytes, *bytes)).collect();
    let series: Vec<Series> =
        vec![("in the zone".to_owned(), points), ("the JWT itself".to_owned(), itself)];
    let title = "Bytes of zone per token, by length of the JWT";
    let svg = chart::lines(title, "bytes", |bytes| format!("{bytes} bytes"), &series);
    report.chart("zone-bytes", title, svg);

    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut cells = Vec::new();
    let mut series: Vec<Series> = vec![
        ("look-ups alone".to_owned(), Vec::new()),
        ("one in ten stores".to_owned(), Vec::new()),
    ];
    for processes in [1, 2, 4, 8, 16] {
        progress(&format!("{processes} processes on one zone"));
        let more = if processes > cores { ", more than there are cores" } else { "" };
        let mut row = vec![format!("{processes}{more}")];
        let mut failed = 0;
        for (stores, (_, points)) in series.iter_mut().enumerate() {
            let mut times = Vec::new();
            for _ in 0..settings.pairs.min(3) {
                let duration = settings.duration / 4;
                let seen = zone::contended(processes, stores, jwt.as_bytes(), duration);
                times.push(seen.step_ns);
                failed += seen.failed;
            }
            let ns = median(&times);
            row.push(format!("{ns:.0}"));
            points.push((f64::from(processes), ns));
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
    let title = "Nanoseconds per step, by processes that contend";
    let svg = chart::lines(title, "nanoseconds", |processes| processes.to_string(), &series);
    report.chart("zone-processes", title, svg);
    Ok(())
}
