//! The zone by itself.

use super::{JWT, progress};
use crate::chart::{self, Series};
use crate::jwt;
use crate::report::Report;
use crate::settings::Settings;
use crate::zone;

const MIB: usize = 1 << 20;

/// Look-ups by size and contention, and bytes per token.
pub(super) fn zone(settings: &Settings, report: &mut Report) -> Result<(), String> {
    report.say("### The zone");
    let jwt = jwt::of_length(JWT);

    let mut rows = Vec::new();
    let (mut lookups, mut inserts) = (Vec::new(), Vec::new());
    for size in [1, 4, 16, 64, 256, 1024] {
        progress(&format!("a zone of {size} MB"));
        let sized = zone::of_size(size * MIB, jwt.as_bytes());
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
        points.push((bytes as f64, each / jwt.len() as f64));
        rows.push(vec![jwt.len().to_string(), tokens.to_string(), format!("{each:.0}")]);
    }
    report.table(&["JWT, bytes", "tokens in 10 MB", "bytes of zone per token"], &rows);
    let rows: Vec<(String, f64)> = points
        .iter()
        .map(|(bytes, overhead)| (format!("a JWT of {bytes:.0} bytes"), *overhead))
        .collect();
    let title = "Bytes of zone per byte of JWT";
    report.chart("zone-bytes", title, chart::bars(title, "", 1.0, &rows));

    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut rows = Vec::new();
    let mut cells = Vec::new();
    for processes in [1, 2, 4, 8, 16] {
        progress(&format!("{processes} processes on one zone"));
        let seen: Vec<zone::Contended> = (0..settings.pairs.min(3))
            .map(|_| zone::contended(processes, jwt.as_bytes(), settings.duration / 4))
            .collect();
        let times: Vec<f64> = seen.iter().map(|seen| seen.lookup_ns).collect();
        let ns = crate::stats::median(&times);
        let failed: u64 = seen.iter().map(|seen| seen.failed).sum();
        let more = if processes > cores { ", more than there are cores" } else { "" };
        cells.push(vec![format!("{processes}{more}"), format!("{ns:.0}"), failed.to_string()]);
        rows.push((format!("{processes}{more}"), ns));
    }
    report.say(
        "Processes that do nothing but look tokens up in one zone of 16 MB; the time between two \
         look-ups answered, all together:",
    );
    report.table(&["processes", "ns per look-up", "without the lock in 100 ms"], &cells);
    let title = "Nanoseconds per look-up, by processes that contend";
    report.chart("zone-processes", title, chart::bars(title, " ns", 0.0, &rows));
    Ok(())
}
