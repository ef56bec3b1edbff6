//! Runs the cases at each server, and counts.

use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

use super::bench::Bench;
use super::matrix::{Column, table};
use super::{CASES, Home, Server, all};

/// Servers that run at a time: most of their time is waiting.
const AT_A_TIME: usize = 3;

/// What became of a server.
enum Done {
    Ran(Column),
    /// It cannot be had on this machine, and why.
    Lacking(String),
    /// It is here, and could not be tried.
    Failed(String),
}

fn run(server: &'static dyn Server) -> Done {
    if let Some(lack) = server.lacks() {
        return Done::Lacking(lack);
    }
    let home = Home::of(server.name());
    let begun = Instant::now();
    if let Err(error) = server.install(&home) {
        return Done::Lacking(format!("cannot be had: {error}"));
    }
    let install_seconds = begun.elapsed().as_secs_f32();
    println!("{}: installed in {install_seconds:.1} s", server.name());
    match cases(server, &home) {
        Ok(column) => Done::Ran(Column { install_seconds, ..column }),
        Err(error) => Done::Failed(error),
    }
}

fn cases(server: &'static dyn Server, home: &Home) -> Result<Column, String> {
    let begun = Instant::now();
    let profile = server.profile();
    let mut bench = Bench::start(server, home, &profile, false)?;
    let name = server.name();
    let mut column = Column { name, version: server.version(home), ..Column::default() };
    let picked = std::env::var("CASE").unwrap_or_default();
    for case in CASES.iter().chain(profile.own).filter(|case| case.name.contains(&picked)) {
        let told = catch_unwind(AssertUnwindSafe(|| (case.run)(&mut bench)));
        let got = told.unwrap_or_else(|panic| format!("panic: {}", words(&*panic)));
        let named = profile.expect.iter().find(|(name, _)| *name == case.name);
        let expected = named.map_or(case.usual, |(_, expected)| expected);
        if got != expected {
            column.wrong.push(format!("{name}: {}: {got}, not {expected}", case.name));
        }
        column.outcomes.push((case.name, got));
    }
    if !column.wrong.is_empty() {
        write(&format!("{name}.log"), &bench.running.process().tail(1000));
    }
    drop(bench);
    column.seconds = begun.elapsed().as_secs_f32();
    Ok(column)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned()
}

/// Runs what `SERVERS` picks, or all that can be had, prints the matrix, and counts. Whether all
/// that ran was as expected.
pub fn main() -> bool {
    let picked = std::env::var("SERVERS").unwrap_or_default();
    let picked: Vec<&str> = picked.split_whitespace().collect();
    let servers = all();
    if let Some(unknown) = picked.iter().find(|name| servers.iter().all(|s| s.name() != **name)) {
        let names: Vec<_> = servers.iter().map(|server| server.name()).collect();
        eprintln!("SERVERS names {unknown}; there are: {}", names.join(" "));
        return false;
    }
    let is_picked = |server: &dyn Server| picked.contains(&server.name());
    let wanted = |server: &&'static dyn Server| {
        is_picked(*server) || picked.is_empty() && !server.only_when_picked()
    };
    let todo: Vec<_> = servers.into_iter().filter(wanted).collect();

    // What a case says when it panics is in the matrix and below it.
    panic::set_hook(Box::new(|_| {}));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    // The last ones take longest, so they are the first to begin.
                    let begun = next.fetch_add(1, Ordering::Relaxed) + 1;
                    let Some(place) = todo.len().checked_sub(begun) else { return };
                    let server = todo[place];
                    let what = catch_unwind(AssertUnwindSafe(|| run(server)));
                    let what = what
                        .unwrap_or_else(|panic| Done::Failed(format!("panic: {}", words(&*panic))));
                    if let Done::Ran(column) = &what {
                        let verdict = if column.wrong.is_empty() { "as" } else { "NOT as" };
                        println!("{}: {verdict} expected, {:.0} s", column.name, column.seconds);
                    }
                    done.lock().push((place, what));
                }
            });
        }
    });

    let mut done = done.into_inner();
    done.sort_by_key(|(place, _)| *place);
    let (mut columns, mut failed, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (place, what) in done {
        let server = todo[place];
        match what {
            Done::Ran(column) => columns.push(column),
            Done::Lacking(why) if !is_picked(server) => {
                skipped.push(format!("{}: {why}", server.name()));
            }
            Done::Lacking(why) | Done::Failed(why) => {
                failed.push(format!("{}: {why}", server.name()));
            }
        }
    }
    let matrix = table(&columns);
    write("matrix.md", &matrix);
    println!("\n{matrix}");
    for line in columns.iter().flat_map(|column| &column.wrong).chain(&failed) {
        println!("FAILED {line}");
    }
    for line in &skipped {
        println!("skipped {line}");
    }
    let right = columns.iter().filter(|column| column.wrong.is_empty()).count();
    let wrong = columns.len() - right + failed.len();
    println!("{right} passed, {wrong} failed, {} skipped", skipped.len());
    wrong == 0 && right > 0
}

/// Leaves a text in `build/servers`.
fn write(name: &str, text: &str) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../build/servers");
    let written =
        fs::create_dir_all(&directory).and_then(|()| fs::write(directory.join(name), text));
    if let Err(error) = written {
        eprintln!("{}: {error}", directory.display());
    }
}
