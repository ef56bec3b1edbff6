//! Asking the authorization server: a blocking HTTP client for NGINX's pool threads.
//!
//! [`introspect`] sends one [`Call`] and returns the [`Response`], whatever its status, or a
//! [`CallError`] that names the cause in fixed words. `ureq` speaks HTTP; names, sockets, TLS,
//! deadlines and the judgement whether a connection may be used again are here.
//!
//! - Idle connections are kept for each server and TLS setting ([`Connections`]) and taken by
//!   whichever thread calls, the one used last first; at five minutes of age they are closed. A
//!   connection serves another call only where the last answer was read to its end, nothing came
//!   behind it, and the peer has not closed it: an answer must never be taken for another token's.
//! - The deadline bounds everything: name, connect, TLS, request, answer.
//! - A kept connection that turns out closed before any byte of an answer is replaced by a fresh
//!   one, once. Nothing else is tried again here. Each attempt has a body of its own ([`Body`]).
//! - No redirects, no proxies, no compression, no cookies; interim answers are skipped.
//!
//! The store ([`crate::store`]) is spoken to over the same names, sockets, TLS and deadlines.

mod agent;
mod assertions;
mod authentication;
mod body;
mod buffer;
mod connections;
mod dial;
mod endpoint;
mod error;
mod fold;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod request;
mod resolve;
mod session;
mod socket;
#[cfg(feature = "testing")]
mod stats;
mod stop;
mod stream;
mod tls;
mod transport;
mod verify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

pub use self::agent::{Head, See};
pub use self::assertions::{assertion_params, assertions};
pub use self::authentication::ClientAuth;
pub use self::body::{Body, Once};
pub use self::connections::{Connections, Servers};
pub use self::endpoint::{Endpoint, EndpointError};
pub use self::error::{AnswerCause, CallError, ConnectCause, Phase, RequestCause, TlsCause};
pub use self::request::Common;
#[cfg(feature = "testing")]
pub use self::stats::{Stats, stats};
pub use self::stop::stop;
pub use self::tls::{Tls, TlsConfigError, TlsFile, TlsOptions};

pub(crate) use self::buffer::Input;
pub(crate) use self::dial::Place;
pub(crate) use self::endpoint::{Host, parse_port, split_port};
pub(crate) use self::session::Failure as SessionFailure;
pub(crate) use self::socket::Halt;
pub(crate) use self::stop::{Running, sleep};
pub(crate) use self::stream::{MAX_IDLE, Stream};

use self::agent::Agent;
use self::transport::Failure;
use crate::http::response::Response;
use crate::shared::counters::ConnectionCount;

/// One introspection request (RFC 7662 §2.1), complete but for what HTTP itself needs.
pub struct Call {
    /// Where to ask.
    pub endpoint: Arc<Endpoint>,
    /// The connections to it that are kept, and TLS for those to be made.
    pub connections: Arc<Connections>,
    /// Where its connection is counted, if anywhere.
    pub count: Option<&'static ConnectionCount>,
    /// The headers every call of the location has.
    pub common: Common,
    /// Further headers, sent in this order. Credentials may be among them.
    pub headers: Vec<(Arc<str>, Zeroizing<Vec<u8>>)>,
    /// The form.
    pub body: Body,
    /// When the whole call must be over.
    pub deadline: Instant,
    /// How long name, TCP and TLS may take together when a connection is made; the deadline ends
    /// them too.
    pub connect_timeout: Duration,
}

/// Sends `call` and waits for the answer. Blocks its thread until the call's deadline at most.
///
/// # Errors
/// See [`CallError`]; any status, 500 too, is an answer and no error. After an error the connection
/// is closed. After [`stop()`] every call's time is over.
pub fn introspect(call: &Call) -> Result<Response, CallError> {
    introspect_seeing(call, &mut |_| {})
}

/// Does as [`introspect`], and shows the header of the answer as soon as there is one, whatever becomes of
/// the rest.
///
/// # Errors
/// Those of [`introspect`].
pub fn introspect_seeing(call: &Call, see: &mut See<'_>) -> Result<Response, CallError> {
    let closed = CallError::Answer(AnswerCause::Closed);
    let _running = Running::begin().ok_or(CallError::Timeout(Phase::Start))?;
    match attempt(call, false, see) {
        Err(Failure::Stale) => attempt(call, true, see),
        outcome => outcome,
    }
    .map_err(|failure| match failure {
        Failure::Call(error) => error,
        Failure::Stale => closed,
    })
}

/// Sends `call` on the kept connection that was used last, where there is one and not `afresh`:
/// where one has turned out closed the others may be too.
///
/// The agent is kept only after a whole answer, so an error or a panic closes its connection.
fn attempt(call: &Call, afresh: bool, see: &mut See<'_>) -> Result<Response, Failure> {
    let now = Instant::now();
    if call.deadline <= now {
        return Err(CallError::Timeout(Phase::Start).into());
    }
    let kept = if afresh { None } else { call.connections.take(&call.endpoint, now) };
    let agent = kept.unwrap_or_else(|| Agent::new(call));
    let response = agent.run(call, see)?;
    call.connections.keep(agent, &call.endpoint);
    Ok(response)
}
