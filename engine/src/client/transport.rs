//! What `ureq` speaks HTTP over: sockets, TLS and buffers that know about the call under way.
//!
//! All waiting happens here and ends at the call's deadline, so `ureq`'s own timeouts stay unset.
//! What `ureq` writes is held back until it waits for the answer: head and body leave in one
//! write.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::Call;
use super::buffer::{Input, Output};
use super::endpoint::Endpoint;
use super::error::{AnswerCause, CallError, Phase};
use super::fold::unfold;
use super::session;
use super::socket::Halt;
use super::stream::{Stream, Watch};
use super::tls::Tls;
use crate::shared::counters::{ConnectionCount, Counted};

/// How much may be received for one answer, framing and interim answers included. Content and
/// header section have bounds of their own; this one ends what gets around them.
const MAX_RECEIVED: usize = 1024 * 1024;

/// The least room offered to one read.
const MIN_READ: usize = 4 * 1024;

/// The call under way, as far as the connection must know about it, and what the agent knows of the
/// connection. Shared by an agent, its connector and its connection.
pub(super) struct Exchange {
    /// Until the connection has taken the call up.
    pub(super) is_new: bool,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) tls: Tls,
    pub(super) deadline: Instant,
    pub(super) connect_timeout: Duration,
    /// Bytes of the request, an upper bound.
    pub(super) request_size: usize,
    /// Where the connection is counted for this call.
    pub(super) count: Option<&'static ConnectionCount>,
    /// Set once the header says that the connection's end is the answer's end (RFC 9112 §6.3).
    pub(super) ends_with_connection: bool,
    /// The connection, for as long as there is one.
    pub(super) standing: Option<Standing>,
}

/// A connection that stands, seen from outside.
pub(super) struct Standing {
    watch: Watch,
    counted: Counted,
}

impl Standing {
    /// Whether it may serve another call now, if it might when the last one ended: it is not too
    /// old, and the peer has neither closed it nor sent anything since.
    pub(super) fn is_fit(&self, now: Instant) -> bool {
        self.watch.is_young(now) && self.watch.is_quiet()
    }

    /// It serves another call, counted there.
    pub(super) fn begin(&mut self, count: Option<&'static ConnectionCount>) {
        self.counted.used(count);
    }

    /// It has served a call, and may serve another.
    pub(super) fn rest(&mut self) {
        self.counted.idles();
    }
}

impl Exchange {
    /// For an agent that has served no call yet; `call` is the first it will.
    pub(super) fn shared(call: &Call) -> Arc<Mutex<Exchange>> {
        Arc::new(Mutex::new(Exchange {
            is_new: true,
            endpoint: call.endpoint.clone(),
            tls: call.connections.tls().clone(),
            deadline: call.deadline,
            connect_timeout: call.connect_timeout,
            request_size: 0,
            count: call.count,
            ends_with_connection: false,
            standing: None,
        }))
    }
}

/// Our failures on their way through `ureq`.
#[derive(Debug, Clone, Copy, Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Call(#[from] CallError),
    /// A kept connection turned out closed before any byte of an answer.
    #[error("the kept connection was closed")]
    Stale,
}

impl From<Failure> for ureq::Error {
    fn from(failure: Failure) -> Self {
        ureq::Error::Other(Box::new(failure))
    }
}

/// A connection and what it knows about the call it serves.
pub(super) struct Link {
    exchange: Arc<Mutex<Exchange>>,
    stream: Stream,
    call: LinkCall,
    /// Cleared by whatever makes the state of the connection doubtful.
    reusable: bool,
    /// Whether it has served a call.
    served: bool,
    output: Output,
    input: Input,
}

/// One call as the connection sees it.
struct LinkCall {
    deadline: Instant,
    /// Whether the connection served another call before.
    reused: bool,
    received: usize,
    /// The answer's header section is there.
    has_head: bool,
}

impl LinkCall {
    fn none() -> Self {
        LinkCall { deadline: Instant::now(), reused: false, received: 0, has_head: false }
    }
}

impl Link {
    pub(super) fn new(exchange: Arc<Mutex<Exchange>>, stream: Stream) -> Self {
        {
            let mut exchange = exchange.lock();
            let counted = Counted::busy(exchange.count);
            exchange.standing = Some(Standing { watch: stream.watch(), counted });
        }
        Link {
            exchange,
            stream,
            call: LinkCall::none(),
            reusable: true,
            served: false,
            output: Output::default(),
            input: Input::default(),
        }
    }

    /// Takes up the call that is written in the exchange, where it is a new one.
    fn begin(&mut self) {
        let mut exchange = self.exchange.lock();
        if !std::mem::take(&mut exchange.is_new) {
            return;
        }
        self.call = LinkCall {
            deadline: exchange.deadline,
            reused: self.served,
            received: 0,
            has_head: false,
        };
        self.output.reserve(exchange.request_size);
        self.served = true;
        #[cfg(feature = "testing")]
        if self.call.reused {
            super::stats::count_reused();
        }
    }

    /// Sends what `ureq` has written so far, in one write.
    fn send(&mut self) -> Result<(), Failure> {
        let request = self.output.written();
        if request.is_empty() {
            return Ok(());
        }
        let deadline = self.call.deadline;
        let sent = self.stream.write_all(request, deadline);
        self.output.clear();
        let failure = match sent {
            Ok(()) => return Ok(()),
            // The peer may have said why before it closed: a TLS alert, an early answer. Reading
            // finds it, or finds the connection closed.
            Err(session::Failure::Socket(Halt::Closed)) => {
                self.reusable = false;
                return Ok(());
            }
            Err(session::Failure::Socket(Halt::Expired)) => CallError::Timeout(Phase::Send),
            Err(session::Failure::Socket(Halt::Io(kind))) => {
                CallError::Answer(AnswerCause::Io(kind))
            }
            Err(session::Failure::Tls(cause)) => CallError::Tls(cause),
        };
        self.reusable = false;
        Err(failure.into())
    }

    /// Waits for more of the answer. False at its end, where the connection's end is that.
    fn receive(&mut self) -> Result<bool, Failure> {
        self.send()?;
        let deadline = self.call.deadline;
        let room = self.input.room(MIN_READ);
        let failure = match self.stream.read(room, deadline) {
            Ok(0) => {
                self.reusable = false;
                if self.exchange.lock().ends_with_connection {
                    return Ok(false);
                }
                self.closed()
            }
            Ok(amount) => {
                self.took(amount);
                // All that one record or flight brought, so that nothing stays behind unseen.
                loop {
                    let amount = self.stream.read_decrypted(self.input.room(MIN_READ));
                    if amount == 0 {
                        break;
                    }
                    self.took(amount);
                }
                if !self.call.has_head {
                    self.call.has_head = unfold(self.input.unread_mut());
                }
                if self.call.received <= MAX_RECEIVED {
                    return Ok(true);
                }
                CallError::Answer(AnswerCause::TooLong).into()
            }
            Err(session::Failure::Socket(Halt::Closed)) => self.closed(),
            Err(session::Failure::Socket(Halt::Expired)) => {
                let phase = if self.call.received == 0 { Phase::Wait } else { Phase::Read };
                CallError::Timeout(phase).into()
            }
            Err(session::Failure::Socket(Halt::Io(kind))) => {
                CallError::Answer(AnswerCause::Io(kind)).into()
            }
            Err(session::Failure::Tls(cause)) => CallError::Tls(cause).into(),
        };
        self.reusable = false;
        Err(failure)
    }

    fn took(&mut self, amount: usize) {
        self.input.filled(amount);
        self.call.received += amount;
    }

    /// What it means that the connection is closed: only a kept one, before any byte of an answer,
    /// may have been closed without having seen the request.
    fn closed(&self) -> Failure {
        if self.call.reused && self.call.received == 0 {
            Failure::Stale
        } else {
            CallError::Answer(AnswerCause::Closed).into()
        }
    }
}

impl Transport for Link {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.begin();
        self
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.output.wrote(amount);
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.receive().map_err(ureq::Error::from)
    }

    /// Whether the connection may serve another call; asked when one ends and before the next. What
    /// has happened in between, [`Standing::is_fit`] tells.
    fn is_open(&mut self) -> bool {
        self.reusable
            && self.output.written().is_empty()
            && self.input.unread().is_empty()
            && self.stream.is_reusable(Instant::now())
    }

    fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }
}

impl Buffers for Link {
    fn output(&mut self) -> &mut [u8] {
        self.output.free()
    }

    fn input(&self) -> &[u8] {
        self.input.unread()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.input.room(MIN_READ)
    }

    fn input_appended(&mut self, amount: usize) {
        self.input.filled(amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.input.consume(amount);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // The first is for bodies sent in chunks; ours have a length.
        (&mut [], self.output.free())
    }

    fn can_use_input(&self) -> bool {
        self.input.progress && !self.input.unread().is_empty()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.exchange.lock().standing = None;
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::dial::Place;
    use crate::client::endpoint::Host;
    use crate::client::stream::MAX_AGE;
    use crate::client::tls::TlsOptions;
    use std::net::TcpListener;

    #[test]
    fn a_connection_ends_at_five_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let exchange = Exchange {
            is_new: true,
            endpoint: Arc::new(Endpoint::parse(&format!("http://{address}/"), None).unwrap()),
            tls: Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap(),
            deadline: Instant::now(),
            connect_timeout: Duration::ZERO,
            request_size: 0,
            count: None,
            ends_with_connection: false,
            standing: None,
        };
        let host = Host::Address(address.ip());
        let late = Instant::now() + Duration::from_secs(20);
        let stream = Place::Host(&host, address.port()).dial(None, late).unwrap();
        let mut link = Link::new(Arc::new(Mutex::new(exchange)), stream);
        assert!(link.is_open());
        let exchange = link.exchange.clone();
        let now = Instant::now();
        let is_fit_at_age = |age| {
            let exchange = exchange.lock();
            exchange.standing.as_ref().is_some_and(|link| link.is_fit(now + age))
        };
        assert!(is_fit_at_age(MAX_AGE - Duration::from_secs(30)));
        assert!(!is_fit_at_age(MAX_AGE));
        drop(link);
        assert!(!is_fit_at_age(Duration::ZERO));
    }
}
