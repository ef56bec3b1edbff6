//! Runs the cases at each server and draws the matrix.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::{CASES, Case, Counter, Example, Grant, Home, Profile, Running, Server, Site, all};
use crate::api::Api;
use crate::nginx::Gateway;
use crate::port;
use crate::tls::Identity;

/// Servers that run at a time: most of their time is waiting.
const AT_A_TIME: usize = 3;

/// A server that runs, and what stands before and behind the gateways that ask it.
pub struct Bench<'a> {
    /// The server's own facts.
    pub profile: &'a Profile,
    /// The server.
    pub running: Box<dyn Running>,
    /// Where it runs.
    pub site: Site,
    /// Counts the connections the gateways make to it.
    pub counter: Counter,
    /// What the gateways protect.
    pub api: Api,
    server: &'static dyn Server,
    home: &'a Home,
    _directory: TempDir,
}

impl<'a> Bench<'a> {
    fn start(
        server: &'static dyn Server,
        home: &'a Home,
        profile: &'a Profile,
        identity: Option<&Identity>,
    ) -> Result<Self, String> {
        let directory = TempDir::new().map_err(|error| error.to_string())?;
        let tls = identity.map(|identity| identity.write(directory.path(), "server"));
        let site = Site { port: port::free(), directory: directory.path().to_owned(), tls };
        let running = server.start(home, &site)?;
        let counter = Counter::before(site.port);
        Ok(Self {
            profile,
            running,
            counter,
            api: Api::start(),
            site,
            server,
            home,
            _directory: directory,
        })
    }

    /// Another one of the same server, with HTTPS of its own.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn with_tls(&self, identity: &Identity) -> Bench<'a> {
        Self::start(self.server, self.home, self.profile, Some(identity))
            .unwrap_or_else(|error| panic!("with TLS: {error}"))
    }

    /// The example for this server, with its client's secret; each reply says its reason.
    pub fn example(&self) -> Example {
        let Profile { example, url, secret, .. } = self.profile;
        Example::read(example)
            .replace(url, &self.site.url())
            .passes_to(&self.api.url())
            .secret(secret)
            .connects_to(self.counter.port())
            .beside("add_header X-Reason $phantom_token_reason always;")
            .beside("add_header X-Cache $phantom_token_status always;")
    }

    /// A token.
    ///
    /// # Panics
    /// Where the server has none of this kind.
    pub fn token(&mut self, what: Grant) -> String {
        self.running.grant(what).unwrap_or_else(|| panic!("a token: {what:?}"))
    }
}

/// What the gateway makes of a token: the status, and the reason where it refuses.
pub fn outcome(gateway: &Gateway, token: &str) -> String {
    gateway.secret(token);
    let response = gateway.get_as("/api/echo", token);
    match (response.status, response.header("x-reason")) {
        (200, _) | (_, None | Some("")) => response.status.to_string(),
        (status, Some(reason)) => format!("{status} {reason}"),
    }
}

/// One server's column of the matrix.
struct Column {
    name: &'static str,
    version: String,
    seconds: f32,
    install_seconds: f32,
    outcomes: BTreeMap<String, String>,
    wrong: Vec<String>,
}

fn column(server: &'static dyn Server) -> Result<Column, String> {
    let home = Home::of(server.name());
    let begun = Instant::now();
    server.install(&home).map_err(|error| format!("cannot be had: {error}"))?;
    let install_seconds = begun.elapsed().as_secs_f32();
    let begun = Instant::now();
    let profile = server.profile();
    let mut bench = Bench::start(server, &home, &profile, None)?;
    let mut column = Column {
        name: server.name(),
        version: server.version(),
        seconds: 0.0,
        install_seconds,
        outcomes: BTreeMap::new(),
        wrong: Vec::new(),
    };
    let own = profile.own.iter().map(|&(name, run, usual)| Case { name, run, usual });
    for case in CASES.iter().copied().chain(own) {
        let told = catch_unwind(AssertUnwindSafe(|| (case.run)(&mut bench)));
        let got = told.unwrap_or_else(|panic| format!("panic: {}", words(&*panic)));
        let named = profile.expect.iter().find(|(name, _)| *name == case.name);
        let expected = named.map_or(case.usual, |(_, expected)| expected);
        if got != expected {
            column.wrong.push(format!("{}: {}: {got}, not {expected}", column.name, case.name));
        }
        column.outcomes.insert(case.name.to_owned(), got);
    }
    for (name, _) in profile.expect {
        assert!(CASES.iter().any(|case| case.name == *name), "no case is named {name}");
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
    let (mut skipped, mut todo) = (Vec::new(), Vec::new());
    for server in servers {
        let is_picked = picked.contains(&server.name());
        if !(is_picked || picked.is_empty() && !server.only_when_picked()) {
            continue;
        }
        match server.lacks() {
            Some(lack) if !is_picked => skipped.push(format!("{}: {lack}", server.name())),
            Some(lack) => todo.push((server, Some(lack))),
            None => todo.push((server, None)),
        }
    }

    let next = AtomicUsize::new(0);
    let columns = Mutex::new(Vec::new());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((server, lack)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    println!("{}: begins", server.name());
                    let done = match lack {
                        Some(lack) => Err(lack.clone()),
                        None => catch_unwind(AssertUnwindSafe(|| column(*server))).unwrap_or_else(|panic| {
                            Err(format!("panic: {}", words(&*panic)))
                        }),
                    };
                    match done {
                        Ok(column) => {
                            let Column { name, seconds, install_seconds, wrong, .. } = &column;
                            let verdict = if wrong.is_empty() { "as expected" } else { "NOT as expected" };
                            println!(
                                "{name}: {verdict}, {seconds:.0} s after {install_seconds:.0} s of installing"
                            );
                            columns.lock().push(column);
                        }
                        Err(why) => failed.lock().push(format!("{}: {why}", server.name())),
                    }
                }
            });
        }
    });

    let (mut columns, failed) = (columns.into_inner(), failed.into_inner());
    let place = |name| todo.iter().position(|(server, _)| server.name() == name);
    columns.sort_by_key(|column| place(column.name));
    println!("\n{}", matrix(&columns));
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

/// A table of Markdown: a row a case, a column a server.
fn matrix(columns: &[Column]) -> String {
    let mut text = String::from("| case |");
    for column in columns {
        let _ = write!(text, " {} |", column.version);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(columns.len()));
    let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    for name in columns.iter().flat_map(|column| column.outcomes.keys()) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    for name in names {
        let _ = write!(text, "\n| {name} |");
        for column in columns {
            let _ = write!(text, " {} |", column.outcomes.get(name).map_or("", |got| got));
        }
    }
    text.push('\n');
    text
}
