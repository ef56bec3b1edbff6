//! What the tests of the cache share: a location that shows what it would send on, workers chosen
//! by connection, crowds of clients, and the gateway's own numbers.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::{self, wait_until};
use phantom_token_test::{AuthorizationServer, Client, Gateway, Response, Rig};
use serde_json::Value;

pub(crate) use phantom_token_test::rig::shown;

/// A rig with `/shown`, `/status`, `/purge` and `/worker`.
pub(crate) fn rig(workers: usize, change: impl FnOnce(Builder) -> Builder) -> Rig {
    rig_with(AuthorizationServer::start(), workers, |builder, _| change(builder))
}

/// As [`rig`], with this authorization server.
pub(crate) fn rig_with(
    server: AuthorizationServer,
    workers: usize,
    change: impl FnOnce(Builder, &AuthorizationServer) -> Builder,
) -> Rig {
    Rig::with(server, |builder, server| {
        let builder = builder
            .workers(workers)
            .events("worker_connections 4096;")
            .location("/shown", &shown(""))
            .location("/status", "phantom_token_status json;")
            .location("/purge", "phantom_token_purge local;")
            .location("/worker", "add_header Worker $pid;\nreturn 204;");
        change(builder, server)
    })
}

/// A response is the gateway's yes to this token, with no other token's JWT.
#[track_caller]
pub(crate) fn assert_passes(response: &Response, token: &Token) {
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(response.header("sent"), Some(token.phantom().as_str()));
}

/// Asks a location for a token: the response must be a yes. How the module came to it.
#[track_caller]
pub(crate) fn pass(gateway: &Gateway, target: &str, token: &Token) -> String {
    let response = gateway.get_as(target, &token.token);
    assert_passes(&response, token);
    outcome(&response)
}

/// `$phantom_token_status`.
pub(crate) fn outcome(response: &Response) -> String {
    response.header("outcome").unwrap_or_default().to_owned()
}

/// The numbers of `phantom_token_status`.
pub(crate) fn numbers(gateway: &Gateway) -> Value {
    serde_json::from_slice(&gateway.get("/status", &[]).body).expect("JSON")
}

/// Waits until so many requests wait for an answer, in all workers.
pub(crate) fn wait_for_waiting(gateway: &Gateway, count: usize) {
    let waiting = || numbers(gateway)["requests_waiting"].as_u64();
    wait_until(&format!("{count} waiting requests"), || waiting() == Some(count as u64));
}

/// Active and inactive entries in the first zone.
pub(crate) fn entries(gateway: &Gateway) -> (u64, u64) {
    let numbers = numbers(gateway);
    let entries = &numbers["caches"][0]["entries"];
    (entries["active"].as_u64().expect("a number"), entries["inactive"].as_u64().expect("a number"))
}

/// Sends a purge; its status.
pub(crate) fn purge(gateway: &Gateway, form: &str) -> u16 {
    let mut client = gateway.client();
    client.send_request("POST", "/purge", &[], form.as_bytes());
    client.read().status
}

/// A connection to each worker, by its process id.
pub(crate) fn client_of_each_worker(gateway: &Gateway) -> Vec<(u32, Client)> {
    let mut clients: Vec<(u32, Client)> = Vec::new();
    let workers = gateway.workers();
    wait_until("a connection to each worker", || {
        let mut client = gateway.client();
        let worker = worker(&client.get("/worker", &[]));
        if workers.contains(&worker) && clients.iter().all(|(known, _)| *known != worker) {
            clients.push((worker, client));
        }
        clients.len() == workers.len()
    });
    clients
}

/// The worker that answered.
pub(crate) fn worker(response: &Response) -> u32 {
    response.header("worker").and_then(|pid| pid.parse().ok()).expect("a worker's process id")
}

/// Sends a request without waiting for its response.
pub(crate) fn send(client: &mut Client, target: &str, token: &str) {
    client.send_request("GET", target, &[("Authorization", &format!("Bearer {token}"))], b"");
}

/// Many clients that ask at once.
pub(crate) struct Crowd {
    clients: Vec<Client>,
    began: Instant,
}

impl Crowd {
    /// Connects.
    pub(crate) fn connect(gateway: &Gateway, count: usize) -> Self {
        let clients = (0..count).map(|_| gateway.client()).collect();
        Self { clients, began: Instant::now() }
    }

    /// All ask.
    pub(crate) fn send(&mut self, target: &str, token: &str) {
        self.began = Instant::now();
        for client in &mut self.clients {
            send(client, target, token);
        }
    }

    /// What each got, and how long after the first question the last answer was read.
    pub(crate) fn read(&mut self) -> (Vec<Response>, Duration) {
        let responses = self.clients.iter_mut().map(Client::read).collect();
        (responses, self.began.elapsed())
    }
}

/// Workers whose master is dead. This process takes its place and waits for none of them: those that
/// are killed stay zombies, as they do under a first process that is slow to wait.
#[derive(Default)]
pub(crate) struct Orphans(Vec<u32>);

impl Orphans {
    /// Kills the master.
    pub(crate) fn of(gateway: &Gateway) -> Self {
        // SAFETY: the option takes plain numbers.
        let adopts = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        assert_eq!(adopts, 0);
        let orphans = Self(gateway.workers());
        gateway.signal(libc::SIGKILL);
        gateway.wait_exit();
        orphans
    }

    /// Those that run.
    pub(crate) fn pids(&self) -> &[u32] {
        &self.0
    }

    /// Kills one of them.
    pub(crate) fn kill(&mut self, pid: u32) {
        process::signal(pid, libc::SIGKILL).expect("a living worker");
        wait_until("its end", || !process::alive(pid));
        self.0.retain(|&other| other != pid);
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        for &pid in &self.0 {
            let _ = process::signal(pid, libc::SIGKILL);
        }
        wait_until("the orphans' end", || self.0.iter().all(|&pid| !process::alive(pid)));
    }
}

/// The lock of a zone, held by this process: no worker gets it in time.
pub(crate) struct HeldLock {
    memory: File,
    at: u64,
}

impl HeldLock {
    /// Takes the lock of the zone of so many kilobytes, the only one of that size. No worker may be
    /// about to use it.
    pub(crate) fn of(gateway: &Gateway, kilobytes: u64) -> Self {
        let pid = gateway.workers()[0];
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a running process");
        let shared = maps.lines().filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let address = |text| u64::from_str_radix(text, 16).ok();
            let (start, end) = (address(start)?, address(end)?);
            (rest.starts_with("rw-s") && end - start == kilobytes * 1024).then_some(start)
        });
        let found: Vec<u64> = shared.collect();
        let [at] = found[..] else { panic!("one zone of {kilobytes} KB: {found:?}\n{maps}") };
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .expect("the right to write to a child");
        let held = Self { memory, at };
        // NGINX's slab pool begins with it: the owner's process id, or 0.
        wait_until("the lock to be free", || held.owner() == 0);
        held.set(u64::from(std::process::id()));
        held
    }

    fn owner(&self) -> u64 {
        let mut word = [0; 8];
        self.memory.read_exact_at(&mut word, self.at).expect("shared memory");
        u64::from_ne_bytes(word)
    }

    fn set(&self, owner: u64) {
        self.memory.write_all_at(&owner.to_ne_bytes(), self.at).expect("shared memory");
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.set(0);
    }
}
