//! Gateways under load while their store, their workers and they themselves come and go. Nobody may get in
//! with a token more than a second after its purge was acknowledged, and nobody with another's JWT.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use phantom_token_test::authorization_server::Token;
use phantom_token_test::process;
use phantom_token_test::random::{Random, setting};
use phantom_token_test::{AuthorizationServer, Client, Fleet, Gateway, Mint};

const GATEWAYS: usize = 3;
const TOKENS: usize = 24;
/// How long after an acknowledged purge an answer from before may still come.
const LATE: Duration = Duration::from_secs(1);

/// A token, and when its purge was acknowledged.
struct Place {
    token: Token,
    purged: Option<Instant>,
}

#[derive(Default)]
struct Counts {
    own: AtomicU64,
    store: AtomicU64,
    calls: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    acknowledged: AtomicU64,
    unacknowledged: AtomicU64,
}

struct Field<'a> {
    server: &'a AuthorizationServer,
    places: Vec<RwLock<Place>>,
    /// Where gateways listen; 0 while one is away.
    ports: Vec<RwLock<u16>>,
    ending: AtomicBool,
    counts: Counts,
    wrong: Mutex<Vec<String>>,
}

/// Runs for so long.
pub(crate) fn run(length: Duration) {
    let seed = setting("FLEET_CHAOS_SEED", 1);
    let store = phantom_token_test::Store::builder().memory("4mb", "allkeys-random");
    let mut fleet = Fleet::builder()
        .store(store)
        .block("timeout 100ms; lock_timeout 500ms;")
        .each(|builder| {
            builder
                .workers(2)
                .http("phantom_token_cache_valid 4s; phantom_token_cache_inactive_valid 0;")
                .allow("exited on signal 9")
                .allow("was locked by")
        })
        .start(GATEWAYS);
    let mut gateways = std::mem::take(&mut fleet.gateways);
    let server = &fleet.server;
    server.set_delay(Duration::from_millis(2));
    let mint = || Place { token: server.mint(Mint::new().jwt_size(4_000)), purged: None };
    let places = (0..TOKENS).map(|_| RwLock::new(mint())).collect();
    let ports = gateways.iter().map(|gateway| RwLock::new(gateway.port())).collect();
    let field = Field {
        server,
        places,
        ports,
        ending: AtomicBool::new(false),
        counts: Counts::default(),
        wrong: Mutex::default(),
    };
    let mut told = Vec::new();
    thread::scope(|scope| {
        for client in 0..GATEWAYS * 2 {
            let field = &field;
            scope.spawn(move || visit(field, client % GATEWAYS, seed + client as u64));
        }
        let field = &field;
        scope.spawn(move || purge(field, seed + 100));
        told = disturb(&fleet, &mut gateways, field, length, seed + 200);
        field.ending.store(true, Ordering::Release);
    });
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = &field.counts;
    println!(
        "chaos of {} s: served from own caches {}, from the store {}, by calls {}; refused {}, failed {}, \
         connections lost {}; purges acknowledged {}, not {}; {}",
        length.as_secs(),
        of(&counts.own),
        of(&counts.store),
        of(&counts.calls),
        of(&counts.refused),
        of(&counts.failed),
        of(&counts.lost),
        of(&counts.acknowledged),
        of(&counts.unacknowledged),
        told.join(", ")
    );
    let wrong = field.wrong.lock();
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    assert!(of(&counts.store) > 0 && of(&counts.acknowledged) > 0);
    fleet.gateways = gateways;
}

/// A client of one gateway.
fn visit(field: &Field<'_>, gateway: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut client: Option<Client> = None;
    while !field.ending.load(Ordering::Acquire) {
        let nth = random.below(TOKENS);
        let token = field.places[nth].read().token.clone();
        let Some(connection) = &mut client else {
            let port = *field.ports[gateway].read();
            client = (port != 0).then(|| Client::try_connect(port).ok()).flatten();
            if client.is_none() {
                thread::sleep(Duration::from_millis(10));
            }
            continue;
        };
        let began = Instant::now();
        let authorization = format!("Bearer {}", token.token);
        let Ok(response) = connection.try_get("/shown", &[("Authorization", &authorization)])
        else {
            field.counts.lost.fetch_add(1, Ordering::Relaxed);
            client = None;
            continue;
        };
        let count = match response.status {
            401 => &field.counts.refused,
            204 => {
                if response.header("sent") != Some(token.phantom().as_str()) {
                    field.wrong.lock().push(format!("another's JWT: {response:?}"));
                }
                let place = field.places[nth].read();
                // Asked when all should have known. Whoever has its place by now came later still.
                let late = place.token.token == token.token
                    && place.purged.is_some_and(|purged| began > purged + LATE);
                if late {
                    let after = place.purged.map(|purged| began - purged);
                    let how = response.header("outcome").unwrap_or("-").to_owned();
                    field.wrong.lock().push(format!("gateway {gateway}: {how}, {after:?} after"));
                }
                match response.header("outcome") {
                    Some("STORE") => &field.counts.store,
                    Some("HIT") => &field.counts.own,
                    _ => &field.counts.calls,
                }
            }
            _ => &field.counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Revokes and purges tokens; each stays for two seconds more, so that who lets it in is seen.
fn purge(field: &Field<'_>, seed: u64) {
    let mut random = Random::new(seed);
    let mut waiting: Vec<(usize, Instant)> = Vec::new();
    while !field.ending.load(Ordering::Acquire) {
        waiting.retain(|&(nth, since)| {
            let over = since.elapsed() > LATE * 2;
            if over {
                let token = field.server.mint(Mint::new().jwt_size(4_000));
                *field.places[nth].write() = Place { token, purged: None };
            }
            !over
        });
        thread::sleep(Duration::from_millis(50));
        let nth = random.below(TOKENS);
        if waiting.iter().any(|&(other, _)| other == nth) || waiting.len() > TOKENS / 2 {
            continue;
        }
        let token = field.places[nth].read().token.clone();
        field.server.revoke(&token.token);
        let port = *field.ports[random.below(GATEWAYS)].read();
        let answered = Client::try_connect(port).and_then(|mut client| {
            let body = format!("token={}", token.token);
            client.try_send(&client.request_bytes("POST", "/purge", &[], body.as_bytes()))?;
            client.try_read(false)
        });
        let acknowledged = answered.is_ok_and(|response| response.status == 204);
        if acknowledged {
            field.places[nth].write().purged = Some(Instant::now());
            field.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            field.counts.unacknowledged.fetch_add(1, Ordering::Relaxed);
        }
        waiting.push((nth, Instant::now()));
    }
}

/// Makes everything fail, now this and now that; how often each.
fn disturb(
    fleet: &Fleet,
    gateways: &mut Vec<Gateway>,
    field: &Field<'_>,
    length: Duration,
    seed: u64,
) -> Vec<String> {
    const WAYS: [&str; 10] = [
        "flushed",
        "stopped",
        "clients dropped",
        "list lost",
        "epoch lost",
        "killed and restarted empty",
        "slept",
        "workers killed",
        "reloads",
        "gateways replaced",
    ];
    let (mut random, mut counts, end) =
        (Random::new(seed), [0; WAYS.len()], Instant::now() + length);
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(1_500 + random.below(1_500) as u64));
        let way = random.below(WAYS.len());
        counts[way] += 1;
        let store = &fleet.store;
        let gateway = random.below(GATEWAYS);
        match way {
            0 => drop(store.ask(&["FLUSHALL"])),
            1 => {
                store.stop();
                thread::sleep(Duration::from_millis(200 + random.below(2_000) as u64));
                store.cont();
            }
            2 => drop(store.ask(&["CLIENT", "KILL", "TYPE", "normal"])),
            3 => drop(store.ask(&["DEL", "{phantom_token:1}:s"])),
            4 => drop(store.ask(&["DEL", "{phantom_token:1}:e"])),
            5 => {
                store.kill();
                thread::sleep(Duration::from_millis(random.below(1_000) as u64));
                store.start_empty();
            }
            6 => drop(store.ask(&["DEBUG", "SLEEP", "0.5"])),
            7 => {
                let workers = gateways[gateway].workers();
                let victim = random.of(&workers);
                let _ = process::signal(victim, libc::SIGKILL);
            }
            8 => gateways[gateway].reload(),
            _ => {
                *field.ports[gateway].write() = 0;
                // Ended before the next one begins.
                drop(gateways.remove(gateway));
                let next = fleet.launch();
                *field.ports[gateway].write() = next.port();
                gateways.insert(gateway, next);
            }
        }
    }
    WAYS.iter().zip(counts).map(|(way, count)| format!("{way} {count}")).collect()
}
