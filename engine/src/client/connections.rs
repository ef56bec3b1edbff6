//! The idle connections of a worker, shared by the threads of its pool.
//!
//! NGINX hands each call to another thread, so a connection that a thread kept for itself would lie
//! idle while other threads make theirs, and servers that have few workers, or a process for each
//! connection, would be kept busy by connections nobody uses.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::agent::Agent;
use super::endpoint::Endpoint;
use super::tls::Tls;

/// The idle connections to one server (scheme, host, port, and where to connect instead) under one
/// TLS setting.
///
/// The one used last goes first: there are never more than calls at a time, and those that are not
/// needed any more grow old and are closed. A connection in use is nobody's but its call's.
pub struct Connections {
    origin: String,
    tls: Tls,
    /// In the order they were used last.
    idle: Mutex<VecDeque<Agent>>,
}

impl Connections {
    /// None yet. Opens no socket.
    fn new(endpoint: &Endpoint, tls: &Tls) -> Self {
        let origin = endpoint.origin().to_owned();
        Connections { origin, tls: tls.clone(), idle: Mutex::default() }
    }

    /// The TLS setting, where they are connections of an `https://` endpoint.
    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Whether these are connections to the server of `endpoint`.
    fn lead_to(&self, endpoint: &Endpoint) -> bool {
        self.origin == endpoint.origin()
    }

    fn is_of(&self, endpoint: &Endpoint, tls: &Tls) -> bool {
        self.lead_to(endpoint) && (!endpoint.is_https() || self.tls.id() == tls.id())
    }

    /// Takes out the connection that was used last; those that have ended meanwhile are closed.
    pub(super) fn take(&self, endpoint: &Endpoint, now: Instant) -> Option<Agent> {
        if !self.lead_to(endpoint) {
            return None;
        }
        loop {
            // Not under the lock: asking the socket, closing it.
            let agent = self.idle.lock().pop_back()?;
            if agent.is_fit(now) {
                return Some(agent);
            }
        }
    }

    /// Keeps an agent that has served a call, where its connection may serve another.
    pub(super) fn keep(&self, mut agent: Agent, endpoint: &Endpoint) {
        if self.lead_to(endpoint) && agent.rest() {
            self.idle.lock().push_back(agent);
        }
    }

    /// Closes those that may not serve again: too old, unused for too long, or closed by the
    /// server. Returns how many are left.
    pub fn close_ended(&self, now: Instant) -> usize {
        let mut ended = Vec::new();
        let mut idle = self.idle.lock();
        for _ in 0..idle.len() {
            let Some(agent) = idle.pop_front() else { break };
            if agent.is_fit(now) {
                idle.push_back(agent);
            } else {
                ended.push(agent);
            }
        }
        let left = idle.len();
        drop(idle);
        // Only now: saying goodbye takes a system call or two each.
        drop(ended);
        left
    }

    /// Closes all of them, when their process is about to end.
    pub fn close_all(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The connections of one configuration: one [`Connections`] for each server and TLS setting.
///
/// Made while the configuration is read. The workers that are forked then each begin with none.
#[derive(Debug, Default)]
pub struct Servers(Vec<Arc<Connections>>);

impl Servers {
    /// Returns the connections that serve calls to `endpoint` under `tls`: the same ones for every
    /// path of a server, and, where it is not an `https://` one, for all TLS settings.
    pub fn connections(&mut self, endpoint: &Endpoint, tls: &Tls) -> Arc<Connections> {
        if let Some(known) = self.0.iter().find(|known| known.is_of(endpoint, tls)) {
            return known.clone();
        }
        let new = Arc::new(Connections::new(endpoint, tls));
        self.0.push(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use ureq::unversioned::transport::{
        Buffers, ConnectionDetails, Connector, NextTimeout, Transport,
    };

    use zeroize::Zeroizing;

    use super::*;
    use crate::client::dial::Dialler;
    use crate::client::stream::MAX_IDLE;
    use crate::client::transport::{Exchange, Link};
    use crate::client::{Call, Common, TlsOptions, introspect};
    use crate::shared::counters::{ConnectionCount, ConnectionState};

    /// A server that answers every request, and how many connections it has had.
    fn server() -> (SocketAddr, Arc<AtomicUsize>) {
        answering(|| ())
    }

    /// One that does something before each answer.
    fn answering(before: impl Fn() + Clone + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let (mut socket, before) = (socket.unwrap(), before.clone());
                thread::spawn(move || {
                    // A request is one segment, and so one read.
                    while socket.read(&mut [0; 4096]).is_ok_and(|amount| amount > 0) {
                        before();
                        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                    }
                });
            }
        });
        (address, accepted)
    }

    fn call(address: SocketAddr) -> Call {
        let endpoint = Arc::new(Endpoint::parse(&format!("http://{address}/"), None).unwrap());
        let tls = Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap();
        Call {
            connections: Servers::default().connections(&endpoint, &tls),
            count: None,
            endpoint,
            common: Common::new(None, b"application/jwt").unwrap(),
            headers: Vec::new(),
            body: Zeroizing::new(b"token=opaque".to_vec()).into(),
            deadline: Instant::now() + Duration::from_secs(20),
            connect_timeout: Duration::from_secs(20),
        }
    }

    #[test]
    fn a_server_and_tls_setting_has_its_connections_once() {
        let endpoint = |url: &str, connect| Endpoint::parse(url, connect).unwrap();
        let tls = || Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap();
        let (here, there) = (tls(), tls());
        let mut servers = Servers::default();
        let mut same = |a: (&Endpoint, &Tls), b: (&Endpoint, &Tls)| {
            Arc::ptr_eq(&servers.connections(a.0, a.1), &servers.connections(b.0, b.1))
        };
        let https = endpoint("https://as.example/one", None);
        assert!(same((&https, &here), (&endpoint("https://AS.example:443/two", None), &here)));
        assert!(!same((&https, &here), (&https, &there)));
        let http = endpoint("http://as.example/one", None);
        assert!(same((&http, &here), (&http, &there)));
        assert!(!same((&http, &here), (&https, &here)));
        assert!(!same((&http, &here), (&endpoint("http://as.example:81/one", None), &here)));
        let elsewhere = endpoint("http://as.example/one", Some("10.0.0.1:80"));
        assert!(!same((&http, &here), (&elsewhere, &here)));
    }

    #[test]
    fn a_connection_rests_for_a_minute_at_most() {
        let (address, accepted) = server();
        let call = call(address);
        introspect(&call).ok().unwrap();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let kept = || call.connections.close_ended(now + MAX_IDLE - second);
        assert_eq!(kept(), 1);
        assert_eq!(call.connections.close_ended(now + MAX_IDLE + second), 0);
        introspect(&call).ok().unwrap();
        assert_eq!((accepted.load(Ordering::SeqCst), kept()), (2, 1));
        assert!(call.connections.take(&call.endpoint, now + MAX_IDLE + second).is_none());
        introspect(&call).ok().unwrap();
        call.connections.close_all();
        assert_eq!(kept(), 0);
    }

    #[test]
    fn connections_are_counted_where_their_last_call_was() {
        static COUNTS: [ConnectionCount; 2] = [const { ConnectionCount::none() }; 2];
        let seen = || {
            COUNTS.each_ref().map(|count| {
                [ConnectionState::Idle, ConnectionState::Busy].map(|state| count.get(state))
            })
        };
        let (meanwhile, seen_meanwhile) = mpsc::channel();
        let (address, _) = answering(move || _ = meanwhile.send(seen()));
        let mut call = call(address);
        introspect(&call).ok().unwrap();
        assert_eq!((seen_meanwhile.recv().unwrap(), seen()), ([[0, 0]; 2], [[0, 0]; 2]));
        call.count = Some(&COUNTS[0]);
        introspect(&call).ok().unwrap();
        assert_eq!((seen_meanwhile.recv().unwrap(), seen()), ([[0, 1], [0, 0]], [[1, 0], [0, 0]]));
        call.count = Some(&COUNTS[1]);
        introspect(&call).ok().unwrap();
        assert_eq!((seen_meanwhile.recv().unwrap(), seen()), ([[0, 0], [0, 1]], [[0, 0], [1, 0]]));

        let agent = call.connections.take(&call.endpoint, Instant::now()).unwrap();
        call.deadline = Instant::now();
        assert!(agent.run(&call, &mut |_| {}).is_err());
        assert_eq!(seen(), [[0, 0]; 2], "a call that failed has closed it");
    }

    /// A connection whose second call panics.
    #[derive(Debug)]
    struct Panicking(Link, usize);

    impl Transport for Panicking {
        fn buffers(&mut self) -> &mut dyn Buffers {
            self.0.buffers()
        }

        fn transmit_output(&mut self, amount: usize, next: NextTimeout) -> Result<(), ureq::Error> {
            self.0.transmit_output(amount, next)
        }

        fn await_input(&mut self, next: NextTimeout) -> Result<bool, ureq::Error> {
            self.1 += 1;
            assert!(self.1 < 2, "a bug");
            self.0.await_input(next)
        }

        fn is_open(&mut self) -> bool {
            self.0.is_open()
        }
    }

    #[derive(Debug)]
    struct Dials(Dialler);

    impl Connector for Dials {
        type Out = Panicking;

        fn connect(
            &self,
            details: &ConnectionDetails<'_>,
            chained: Option<()>,
        ) -> Result<Option<Panicking>, ureq::Error> {
            Ok(self.0.connect(details, chained)?.map(|link| Panicking(link, 0)))
        }
    }

    #[test]
    fn a_panic_costs_the_connection_it_interrupted_and_no_other() {
        let (address, accepted) = server();
        let call = call(address);
        let kept = || call.connections.close_ended(Instant::now());
        introspect(&call).ok().unwrap();
        let exchange = Exchange::shared(&call);
        let dials = Dials(Dialler::new(exchange.clone()));
        let agent = Agent::with_connector(exchange, dials);
        agent.run(&call, &mut |_| {}).ok().unwrap();
        call.connections.keep(agent, &call.endpoint);
        assert_eq!((accepted.load(Ordering::SeqCst), kept()), (2, 2));

        let outcome = panic::catch_unwind(AssertUnwindSafe(|| introspect(&call)));
        assert!(outcome.is_err());
        assert_eq!(kept(), 1);
        introspect(&call).ok().unwrap();
        assert_eq!((accepted.load(Ordering::SeqCst), kept()), (2, 1));
    }
}
