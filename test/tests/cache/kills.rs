//! Workers killed at any instant, under load with writes: the others serve on, nobody is ever given
//! another token's JWT, and the zone works when it is over.
//!
//! `PHANTOM_TOKEN_KILLS` says how many workers are killed in all, 60 as it comes.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::load::Over;
use phantom_token_test::process::{self, PATIENCE, wait_until};
use phantom_token_test::random::Random;
use phantom_token_test::{Client, Mint, Rig};

use crate::support::*;

const WORKERS: usize = 4;
const TOKENS: usize = 120;

/// A zone too small for all tokens, lives of milliseconds, and workers that keep nothing near: every
/// other request writes.
fn stressed() -> Rig {
    rig(WORKERS, |builder| {
        builder
            .log_level("notice")
            .http("include zone.conf;\nphantom_token_cache small;")
            .file("zone.conf", zone(128))
            .http("phantom_token_worker_cache 0;\nphantom_token_cache_valid 30ms;")
            .http("phantom_token_cache_inactive_valid 5ms;")
            .location("/long", &shown("phantom_token_cache_valid 300s;"))
            .location("/unkept", &shown("phantom_token_cache_valid 0;"))
            .allow("exited on signal 9")
            .allow("was locked by")
    })
}

fn zone(kilobytes: usize) -> String {
    format!("phantom_token_cache_zone zone=small:{kilobytes}k;\n")
}

fn kills() -> usize {
    std::env::var("PHANTOM_TOKEN_KILLS").map_or(60, |kills| kills.parse().expect("a number"))
}

/// What a load has seen.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    /// Requests whose worker died under them.
    lost: AtomicUsize,
    over: AtomicBool,
}

/// Asks for tokens of all kinds, purges some, until it is over. Every answer must be its token's.
fn load(port: u16, tokens: &[Token], seed: u64, seen: &Seen) {
    let mut random = Random::new(seed);
    let mut client = None;
    while !seen.over.load(Ordering::Relaxed) {
        let Some(connection) = &mut client else {
            client = Client::try_connect(port).ok();
            continue;
        };
        let token = &tokens[random.below(tokens.len())];
        let sent = match random.below(20) {
            0 => {
                let form = format!("token={}", token.token);
                purge_one(connection, &form)
            }
            1 | 2 => {
                let made_up = format!("Bearer made-up-{}", random.below(1_000));
                let headers = [("Authorization", made_up.as_str())];
                connection
                    .try_get("/shown", &headers)
                    .map(|refused| assert_eq!(refused.status, 401))
            }
            n => {
                let target = if n < 5 { "/unkept" } else { "/shown" };
                let headers = [("Authorization", &*token.bearer())];
                connection.try_get(target, &headers).map(|let_in| assert_passes(&let_in, token))
            }
        };
        match sent {
            Ok(()) => seen.answered.fetch_add(1, Ordering::Relaxed),
            // What a killed worker had open closes: it is never silent.
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("never answered"),
            Err(_) => {
                client = None;
                seen.lost.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Purges one token, and again while the zone's lock cannot be had: its owner may be without a
/// processor for a while, or dead.
fn purge_one(connection: &mut Client, form: &str) -> io::Result<()> {
    let purge = connection.request_bytes("POST", "/purge", &[], form.as_bytes());
    let end = Instant::now() + PATIENCE;
    loop {
        connection.try_send(&purge)?;
        match connection.try_read(false)?.status {
            503 if Instant::now() < end => {}
            status => break assert_eq!(status, 204),
        }
    }
    Ok(())
}

fn tokens(rig: &Rig) -> Vec<Token> {
    let mint = |n| Mint::new().jwt_size([0, 700, 1_500, 6_000][n % 4]);
    (0..TOKENS).map(|n| rig.server.mint(mint(n))).collect()
}

/// Runs a load of several clients while `work` does its worst.
fn under_load(rig: &Rig, tokens: &[Token], work: impl FnOnce(&Seen)) -> Seen {
    let (seen, port) = (Seen::default(), rig.gateway.port());
    thread::scope(|scope| {
        let over = Over(&seen.over);
        for seed in 1..=6u64 {
            let seen = &seen;
            scope.spawn(move || load(port, tokens, seed, seen));
        }
        work(&seen);
        drop(over);
    });
    seen
}

/// Waits until so many more requests have been answered.
fn wait_for_answers(seen: &Seen, count: usize) {
    let goal = seen.answered.load(Ordering::Relaxed) + count;
    wait_until("answers", || seen.answered.load(Ordering::Relaxed) >= goal);
}

/// Kills workers one after the other, at odd moments.
fn kill_workers(rig: &Rig, count: usize, seen: &Seen) {
    let mut random = Random::new(1);
    for _ in 0..count {
        wait_until("all workers", || rig.gateway.workers().len() == WORKERS);
        wait_for_answers(seen, 20);
        let moment = Instant::now() + Duration::from_micros(random.below(2_000) as u64);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        let workers = rig.gateway.workers();
        let _ = process::signal(workers[random.below(workers.len())], libc::SIGKILL);
    }
    wait_until("all workers", || rig.gateway.workers().len() == WORKERS);
    wait_for_answers(seen, 20);
}

/// A fresh token is asked for once, and all these workers find it.
fn assert_zone_works(rig: &Rig, workers: &[u32]) {
    let token = rig.server.issue();
    assert_eq!(pass(&rig.gateway, "/long", &token), "MISS");
    let mut found = Vec::new();
    wait_until("each worker's answer", || {
        let response = rig.gateway.get_as("/long", &token.token);
        assert_passes(&response, &token);
        assert_eq!(outcome(&response), "HIT");
        found.push(worker(&response));
        workers.iter().all(|pid| found.contains(pid))
    });
    assert_eq!(rig.server.introspections_of(&token.token), 1);
    let cache = &numbers(&rig.gateway)["caches"][0];
    assert!(cache["used_bytes"].as_u64() <= cache["size_bytes"].as_u64(), "{cache}");
    assert!(cache["entries"]["active"].as_u64() > Some(0), "{cache}");
}

fn report(what: &str, seen: &Seen) {
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{what}: {} requests answered, each with its own token's JWT; {} lost with their worker",
        count(&seen.answered),
        count(&seen.lost),
    );
}

#[test]
fn workers_are_killed_under_load() {
    let rig = stressed();
    let tokens = tokens(&rig);
    let seen = under_load(&rig, &tokens, |seen| kill_workers(&rig, kills(), seen));
    report(&format!("{} workers killed", kills()), &seen);
    assert_zone_works(&rig, &rig.gateway.workers());
}

#[test]
fn workers_are_killed_while_the_size_changes() {
    let rig = stressed();
    let tokens = tokens(&rig);
    let rounds = kills().div_ceil(10);
    let seen = under_load(&rig, &tokens, |seen| {
        for round in 0..rounds {
            let kilobytes = 96 + 32 * (round % 3);
            let file = rig.gateway.prefix().join("zone.conf");
            std::fs::write(file, zone(kilobytes)).expect("writes a file");
            let old = rig.gateway.workers();
            rig.gateway.signal(libc::SIGHUP);
            // Those that only finish what they have begun, and those that begin.
            let _ = process::signal(old[round % old.len()], libc::SIGKILL);
            wait_until("new workers", || {
                let now = rig.gateway.workers();
                now.len() == WORKERS && now.iter().all(|pid| !old.contains(pid))
            });
            kill_workers(&rig, 2, seen);
        }
    });
    report(&format!("{} sizes, {} workers killed", rounds, 3 * rounds), &seen);
    assert_zone_works(&rig, &rig.gateway.workers());
}

#[test]
fn workers_are_killed_when_the_master_is_dead_too() {
    for _ in 0..kills().div_ceil(20) {
        let rig = stressed();
        let tokens = tokens(&rig);
        let mut orphans = Orphans::default();
        under_load(&rig, &tokens, |seen| {
            wait_for_answers(seen, 100);
            orphans = Orphans::of(&rig.gateway);
            for _ in 0..WORKERS - 2 {
                wait_for_answers(seen, 100);
                orphans.kill(orphans.pids()[0]);
            }
            wait_for_answers(seen, 200);
        });
        assert_zone_works(&rig, orphans.pids());
    }
}
