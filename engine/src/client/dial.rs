//! How a connection is made: name, TCP, TLS, all before one instant.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use socket2::SockAddr;
use ureq::unversioned::transport::{ConnectionDetails, Connector};

use super::endpoint::Host;
use super::error::{CallError, ConnectCause, Phase, TlsCause};
use super::resolve;
use super::session::{self, Session};
use super::socket::{Halt, Socket};
use super::stream::Stream;
use super::tls::Tls;
use super::transport::{Exchange, Failure, Link};

/// Dials for `ureq`: name, TCP, TLS.
pub(super) struct Dialler {
    exchange: Arc<Mutex<Exchange>>,
}

impl Dialler {
    pub(super) fn new(exchange: Arc<Mutex<Exchange>>) -> Self {
        Dialler { exchange }
    }

    fn dial(&self) -> Result<Link, CallError> {
        #[cfg(feature = "testing")]
        super::stats::count_dialled();
        let (endpoint, tls, deadline) = {
            let exchange = self.exchange.lock();
            let deadline = Instant::now()
                .checked_add(exchange.connect_timeout)
                .map_or(exchange.deadline, |limit| limit.min(exchange.deadline));
            (exchange.endpoint.clone(), exchange.tls.clone(), deadline)
        };
        let (host, port) = endpoint.dial_target();
        let tls = endpoint.is_https().then(|| (&tls, endpoint.server_name()));
        let stream = Place::Host(host, port).dial(tls, deadline)?;
        Ok(Link::new(self.exchange.clone(), stream))
    }
}

/// Where a server is.
pub(crate) enum Place<'a> {
    /// A host and a port.
    Host(&'a Host, u16),
    /// A socket on this machine.
    Path(&'a Path),
}

impl Place<'_> {
    /// Connects, with TLS for a server of that name where it is wanted, before `deadline`.
    pub(crate) fn dial(
        &self,
        tls: Option<(&Tls, &ServerName<'static>)>,
        deadline: Instant,
    ) -> Result<Stream, CallError> {
        let mut socket = match self {
            Place::Host(Host::Address(address), port) => connect(&[*address], *port, deadline)?,
            Place::Host(Host::Name(name), port) => {
                connect(&resolve::SYSTEM.resolve(name, deadline)?, *port, deadline)?
            }
            Place::Path(path) => {
                let address = SockAddr::unix(path);
                attempt(&address.map_err(|error| failure(&error))?, left_until(deadline)?)?
            }
        };
        let session = match tls {
            None => None,
            Some((tls, name)) => {
                let session = Session::handshake(name, tls, &mut socket, deadline);
                Some(Box::new(session.map_err(handshake_failure)?))
            }
        };
        Ok(Stream::new(socket, session))
    }
}

fn left_until(deadline: Instant) -> Result<Duration, CallError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(CallError::Timeout(Phase::Connect)) } else { Ok(left) }
}

fn attempt(address: &SockAddr, within: Duration) -> Result<Socket, CallError> {
    Socket::connect(address, within).map_err(|error| failure(&error))
}

fn failure(error: &io::Error) -> CallError {
    match error.kind() {
        io::ErrorKind::TimedOut => CallError::Timeout(Phase::Connect),
        _ => CallError::Connect(ConnectCause::from(error)),
    }
}

/// Tries one address after the other, each with its share of the time left.
fn connect(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<Socket, CallError> {
    let mut failed: Option<CallError> = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = match left_until(deadline) {
            Ok(left) => left,
            Err(expired) => return Err(failed.unwrap_or(expired)),
        };
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let address = SocketAddr::new(*address, port).into();
        let error = match attempt(&address, share.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        // An address family this host has no route for says less than another address' answer.
        let unreachable = CallError::Connect(ConnectCause::Unreachable);
        if failed.is_none_or(|failed| failed == unreachable) {
            failed = Some(error);
        }
    }
    Err(failed.unwrap_or(CallError::Connect(ConnectCause::HostNotFound)))
}

fn handshake_failure(failure: session::Failure) -> CallError {
    match failure {
        session::Failure::Tls(cause) => CallError::Tls(cause),
        session::Failure::Socket(Halt::Expired) => CallError::Timeout(Phase::Tls),
        session::Failure::Socket(Halt::Closed | Halt::Io(_)) => CallError::Tls(TlsCause::Closed),
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialler")
    }
}

impl Connector for Dialler {
    type Out = Link;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Link>, ureq::Error> {
        match self.dial() {
            Ok(link) => Ok(Some(link)),
            Err(error) => Err(Failure::Call(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn an_address_that_refuses_does_not_hide_the_next() {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(connect(&[THERE, HERE], port, late()).is_ok());
        let refused = CallError::Connect(ConnectCause::Refused);
        assert_eq!(connect(&[THERE, THERE], port, late()).unwrap_err(), refused);
    }

    #[test]
    fn an_address_that_says_nothing_leaves_time_for_the_next() {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let Ok(black_hole) = TcpListener::bind((THERE, port)) else {
            return; // somebody else's port on that address
        };
        // SAFETY: listening again on an open listening socket changes the length of its queue.
        assert_eq!(unsafe { libc::listen(black_hole.as_raw_fd(), 0) }, 0);
        let mut fill = Vec::new();
        let wait = Duration::from_millis(100);
        while let Ok(socket) = TcpStream::connect_timeout(&(THERE, port).into(), wait) {
            fill.push(socket);
            assert!(fill.len() < 100, "the queue does not fill up");
        }
        let within = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(connect(&[THERE, HERE], port, within(5)).is_ok());
        let timeout = CallError::Timeout(Phase::Connect);
        assert_eq!(connect(&[THERE, THERE], port, within(1)).unwrap_err(), timeout);
    }
}
