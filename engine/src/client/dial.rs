//! How a connection is made: name, TCP, TLS, all before one instant.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ureq::unversioned::transport::{ConnectionDetails, Connector};

use super::endpoint::Host;
use super::error::{CallError, ConnectCause, Phase, TlsCause};
use super::resolve;
use super::session::{self, Session};
use super::socket::{Halt, Socket};
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
        let mut socket = match host {
            Host::Address(address) => connect(&[*address], port, deadline)?,
            Host::Name(name) => connect(&resolve::SYSTEM.resolve(name, deadline)?, port, deadline)?,
        };
        let session = if endpoint.is_https() {
            let session = Session::handshake(&endpoint, &tls, &mut socket, deadline)
                .map_err(handshake_failure)?;
            Some(Box::new(session))
        } else {
            None
        };
        Ok(Link::new(self.exchange.clone(), socket, session))
    }
}

/// Tries one address after the other, each with its share of the time left.
fn connect(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<Socket, CallError> {
    let mut failure: Option<CallError> = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failure.unwrap_or(CallError::Timeout(Phase::Connect)));
        }
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let error = match Socket::connect(*address, port, share.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                CallError::Timeout(Phase::Connect)
            }
            Err(error) => CallError::Connect(ConnectCause::from(&error)),
        };
        // An address family this host has no route for says less than another address' answer.
        let unreachable = CallError::Connect(ConnectCause::Unreachable);
        if failure.is_none_or(|failure| failure == unreachable) {
            failure = Some(error);
        }
    }
    Err(failure.unwrap_or(CallError::Connect(ConnectCause::HostNotFound)))
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
