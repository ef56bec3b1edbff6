//! What befalls the gateways, and what is looked at meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::authorization_server::AuthorizationServer;
use crate::client::Client;
use crate::metrics::Metrics;
use crate::nginx::Gateway;
use crate::process;
use crate::random::Random;

use super::Plan;
use super::field::{Counts, Field};
use super::processes::{Role, Samples};

const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Something that happens again and again.
struct Timer {
    every: Duration,
    next: Instant,
}

impl Timer {
    fn new(every: Duration) -> Self {
        Self { every, next: Instant::now() + every }
    }

    fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.next;
        if due {
            self.next = Instant::now() + self.every;
        }
        due
    }
}

/// Reloads, kills and restarts until the plan's time is over.
pub(super) fn rage(
    plan: &Plan,
    field: &Field,
    server: &AuthorizationServer,
    stormy: &Gateway,
    steady: &Gateway,
    samples: &mut Samples,
) {
    let mut random = Random::new(1);
    let mut reload = Timer::new(plan.reload_every);
    let mut kill = Timer::new(plan.kill_every);
    let mut restart = Timer::new(plan.restart_every);
    let mut sample = Timer::new(SAMPLE_EVERY);
    let mut progress = Timer::new(plan.progress_every);
    let mut back: Option<Instant> = None;
    let end = field.begun + plan.length;
    while Instant::now() < end && !field.is_over() {
        if reload.is_due() {
            stormy.signal(libc::SIGHUP);
            count(&field.counts.reloads);
        }
        if kill.is_due() {
            let workers = stormy.all_workers();
            if !workers.is_empty() {
                field.kills();
                let victim = workers[random.below(workers.len())];
                // One that has just ended by itself cannot be killed.
                if process::signal(victim, libc::SIGKILL).is_ok() {
                    count(&field.counts.kills);
                }
                field.kills();
            }
        }
        see_recoveries(field, [stormy, steady]);
        // Not before all is well after the last one.
        if back.is_none() && field.is_ill_for().is_none() && restart.is_due() {
            field.goes_down();
            server.stop();
            back = Some(Instant::now() + plan.down);
        }
        if back.is_some_and(|back| Instant::now() >= back) {
            come_back(server);
            field.is_up();
            count(&field.counts.restarts);
            back = None;
        }
        if sample.is_due() {
            look(samples, field, stormy, [Role::StormyMaster, Role::StormyWorker]);
            look(samples, field, steady, [Role::SteadyMaster, Role::SteadyWorker]);
        }
        if progress.is_due() {
            println!("{}", line(field, samples));
        }
        check_health(field);
        thread::sleep(Duration::from_millis(20));
    }
    if back.is_some() {
        come_back(server);
        field.is_up();
    }
    while !field.is_over() && field.is_ill_for().is_some() {
        see_recoveries(field, [stormy, steady]);
        check_health(field);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks the gateways whether their endpoint is up, where they have not said so since it is back.
fn see_recoveries(field: &Field, gateways: [&Gateway; 2]) {
    for (at, gateway) in gateways.into_iter().enumerate() {
        // A worker that is killed answers nobody.
        if field.is_to_recover(at)
            && let Ok(mut client) = Client::try_connect(gateway.port())
            && let Ok(response) = client.try_get("/metrics", &[])
            && Metrics::parse(&response.text()).sum("endpoint_up", "http://") == 1.0
        {
            field.recovers(at);
        }
    }
}

/// Ends the run where a gateway does not recover.
fn check_health(field: &Field) {
    if field.is_ill_for().is_some_and(|time| time > process::PATIENCE) {
        field.wrong("a gateway lets nobody in though the server is back".to_owned());
        field.end();
    }
}

/// Another process may have its port for a moment.
fn come_back(server: &AuthorizationServer) {
    process::wait_until("the server's port", || server.resume().is_ok());
}

fn look(samples: &mut Samples, field: &Field, gateway: &Gateway, [master, worker]: [Role; 2]) {
    let at = field.begun.elapsed();
    samples.take(at, master, gateway.pid());
    let workers = gateway.all_workers();
    samples.count(at, worker, workers.len());
    for pid in workers {
        samples.take(at, worker, pid);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How it goes.
fn line(field: &Field, samples: &Samples) -> String {
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let Counts { passed, refused, excused, lost, reloads, kills, restarts, .. } = &field.counts;
    let seconds = field.begun.elapsed().as_secs_f64();
    format!(
        "{seconds:6.0} s: {} answered, wrong {}; {} let in, {} refused, {} failed while the server was \
         down or rested, {} lost with their worker; {} reloads, {} kills, {} restarts; master {} KiB, workers {} KiB",
        field.counts.answered(),
        field.all_wrong().0,
        get(passed),
        get(refused),
        get(excused),
        get(lost),
        get(reloads),
        get(kills),
        get(restarts),
        samples.last_memory(Role::StormyMaster),
        samples.last_memory(Role::SteadyWorker),
    )
}
