//! Host names, looked up by the system's resolver without letting it outlive a deadline.
//!
//! `getaddrinfo` blocks for as long as it likes, so it runs on a few helper threads. They are
//! started when a lookup needs one, and kept. Only workers look names up, so no fork loses them. A
//! name is looked up once at a time: whoever asks for it meanwhile waits for the same lookup, so a
//! resolver that hangs holds one thread per name and never more than [`MAX_THREADS`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::error::{CallError, ConnectCause, Phase};

/// How many lookups may run at once in a process.
const MAX_THREADS: usize = 8;

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 16;

/// The addresses of a name, in the resolver's order, or why there are none.
type Found = Result<Arc<[IpAddr]>, ConnectCause>;

/// The system's resolver, shared by all threads of the process.
pub(super) static SYSTEM: Resolver = Resolver::new(system_lookup);

/// Looks names up on helper threads.
pub(super) struct Resolver {
    lookup: fn(&str) -> io::Result<Vec<IpAddr>>,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    threads: usize,
    idle: usize,
    queue: VecDeque<String>,
    /// Created with the first lookup, since a `HashMap` cannot be made in a constant.
    lookups: Option<HashMap<String, Arc<Lookup>>>,
    /// Nobody waits for a lookup any more.
    stopped: bool,
}

impl State {
    const fn new() -> Self {
        let queue = VecDeque::new();
        State { threads: 0, idle: 0, queue, lookups: None, stopped: false }
    }
}

/// A lookup under way.
#[derive(Default)]
struct Lookup {
    found: Mutex<Option<Found>>,
    done: Condvar,
}

impl Resolver {
    const fn new(lookup: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Resolver { lookup, state: Mutex::new(State::new()), work: Condvar::new() }
    }

    /// The addresses of `name`, waited for until `deadline`.
    pub(super) fn resolve(
        &'static self,
        name: &str,
        deadline: Instant,
    ) -> Result<Arc<[IpAddr]>, CallError> {
        let lookup = self.join(name)?;
        let mut found = lookup.found.lock();
        while found.is_none() {
            if lookup.done.wait_until(&mut found, deadline).timed_out() && found.is_none() {
                return Err(CallError::Timeout(Phase::Resolve));
            }
        }
        let found = found.clone().unwrap_or(Err(ConnectCause::HostNotFound));
        found.map_err(CallError::Connect)
    }

    /// Joins the lookup of `name` under way, or starts one.
    fn join(&'static self, name: &str) -> Result<Arc<Lookup>, CallError> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err(CallError::Timeout(Phase::Resolve));
        }
        let lookups = state.lookups.get_or_insert_default();
        if let Some(lookup) = lookups.get(name) {
            return Ok(lookup.clone());
        }
        let lookup = Arc::new(Lookup::default());
        lookups.insert(name.to_owned(), lookup.clone());
        state.queue.push_back(name.to_owned());
        if state.queue.len() > state.idle && state.threads < MAX_THREADS {
            let builder = thread::Builder::new().name("phantom-resolve".to_owned());
            match builder.spawn(move || self.work()) {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads > 0 => {}
                Err(_) => {
                    state.queue.pop_back();
                    state.lookups.get_or_insert_default().remove(name);
                    return Err(CallError::Connect(ConnectCause::NoResolverThread));
                }
            }
        }
        self.work.notify_one();
        Ok(lookup)
    }

    /// Ends all waiting for good: the process is about to end. Its helper threads, one of which may
    /// hang in a lookup, end with it.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        for lookup in state.lookups.iter().flatten().map(|(_, lookup)| lookup) {
            lookup.found.lock().get_or_insert(Err(ConnectCause::HostNotFound));
            lookup.done.notify_all();
        }
    }

    /// A helper thread's life.
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            let Some(name) = state.queue.pop_front() else {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
                continue;
            };
            drop(state);
            #[cfg(feature = "testing")]
            super::stats::count_resolved();
            let found = match (self.lookup)(&name) {
                Ok(addresses) if addresses.is_empty() => Err(ConnectCause::HostNotFound),
                Ok(mut addresses) => {
                    addresses.truncate(MAX_ADDRESSES);
                    Ok(addresses.into())
                }
                Err(error) => Err(not_found(&error)),
            };
            state = self.state.lock();
            let lookup = state.lookups.as_mut().and_then(|lookups| lookups.remove(&name));
            if let Some(lookup) = lookup {
                *lookup.found.lock() = Some(found);
                lookup.done.notify_all();
            }
        }
    }
}

/// Whether the resolver says that there is no such name, or could not find out (`EAI_AGAIN`). The standard
/// library shows only the text of either: that of glibc, or of musl.
fn not_found(error: &io::Error) -> ConnectCause {
    let text = error.to_string();
    match ["Temporary failure in name resolution", "Try again"].iter().any(|t| text.ends_with(t)) {
        true => ConnectCause::NoResolver,
        false => ConnectCause::HostNotFound,
    }
}

/// `getaddrinfo`, through the standard library, each address once.
fn system_lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for address in (name, 0).to_socket_addrs()?.map(|socket: SocketAddr| socket.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn the_system_knows_localhost_and_no_impossible_name() {
        let addresses = SYSTEM.resolve("localhost", late()).unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback));
        // A label over 63 bytes (RFC 1035 §2.3.4) fails here and now, without asking anyone.
        let error = SYSTEM.resolve(&"x".repeat(64), late()).unwrap_err();
        assert_eq!(error, CallError::Connect(ConnectCause::HostNotFound));
    }

    #[test]
    fn a_hanging_resolver_cannot_outlive_the_deadline_nor_take_more_than_its_threads() {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        static HANGING: Resolver = Resolver::new(|_| {
            STARTED.fetch_add(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        });
        for round in 0..3 {
            for name in 0..MAX_THREADS + 4 {
                let error = HANGING.resolve(&format!("host-{name}"), soon()).unwrap_err();
                assert_eq!(error, CallError::Timeout(Phase::Resolve), "round {round}");
            }
        }
        assert_eq!(STARTED.load(Ordering::SeqCst), MAX_THREADS);
        assert_eq!(HANGING.state.lock().threads, MAX_THREADS);
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_resolver_that_hangs() {
        static HANGING: Resolver = Resolver::new(|_| {
            loop {
                thread::park();
            }
        });
        let hours = Instant::now() + Duration::from_secs(36_000);
        let (ended, is_ended) = std::sync::mpsc::channel();
        for name in ["one.example", "one.example", "other.example"] {
            let ended = ended.clone();
            thread::spawn(move || ended.send(HANGING.resolve(name, hours).is_err()));
        }
        // Both hold their lookup beside the table.
        let joined = |name| {
            let state = HANGING.state.lock();
            state.lookups.as_ref().and_then(|l| l.get(name)).map_or(0, Arc::strong_count)
        };
        while joined("one.example") < 3 || joined("other.example") < 2 {
            thread::yield_now();
        }
        HANGING.stop();
        for _ in 0..3 {
            assert!(is_ended.recv_timeout(Duration::from_secs(60)).expect("a wait goes on"));
        }
        let error = HANGING.resolve("late.example", hours).unwrap_err();
        assert_eq!(error, CallError::Timeout(Phase::Resolve));
    }

    #[test]
    fn a_name_is_looked_up_once_at_a_time() {
        static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        static GATED: Resolver = Resolver::new(|_| {
            LOOKUPS.fetch_add(1, Ordering::SeqCst);
            let mut open = GATE.0.lock();
            while !*open {
                GATE.1.wait(&mut open);
            }
            Ok(vec!["127.0.0.1".parse().unwrap()])
        });
        thread::scope(|scope| {
            let waiters: Vec<_> =
                (0..20).map(|_| scope.spawn(|| GATED.resolve("as.example", late()))).collect();
            // All twenty hold the lookup beside the table before it may end.
            let joined = || {
                let state = GATED.state.lock();
                let lookups = state.lookups.as_ref();
                lookups.and_then(|l| l.get("as.example")).map_or(0, Arc::strong_count)
            };
            while joined() < 21 {
                thread::yield_now();
            }
            *GATE.0.lock() = true;
            GATE.1.notify_all();
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap().unwrap().len(), 1);
            }
        });
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 1);
        // Nothing is kept: the next connection sees a change of the name.
        GATED.resolve("as.example", late()).unwrap();
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 2);
        assert_eq!(GATED.state.lock().threads, 1);
    }

    #[test]
    fn a_resolver_that_cannot_say_is_told_from_a_name_that_is_not_there() {
        for (text, cause) in [
            ("Name or service not known", ConnectCause::HostNotFound),
            ("No address associated with hostname", ConnectCause::HostNotFound),
            ("Name does not resolve", ConnectCause::HostNotFound),
            ("Temporary failure in name resolution", ConnectCause::NoResolver),
            ("Try again", ConnectCause::NoResolver),
        ] {
            let error = io::Error::other(format!("failed to lookup address information: {text}"));
            assert_eq!(not_found(&error), cause, "{text}");
        }
    }

    #[test]
    fn a_name_without_an_address_is_not_found() {
        static EMPTY: Resolver = Resolver::new(|_| Ok(Vec::new()));
        let error = EMPTY.resolve("as.example", late()).unwrap_err();
        assert_eq!(error, CallError::Connect(ConnectCause::HostNotFound));
    }
}
