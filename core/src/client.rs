//! Asking the authorization server: a blocking HTTP client for NGINX's pool threads.
//!
//! [`introspect`] sends one [`Call`] and returns the [`Response`], whatever its status, or a
//! [`CallError`] that names the cause in fixed words. `ureq` speaks HTTP; names, sockets, TLS,
//! deadlines and the judgement whether a connection may be used again are here.
//!
//! - A thread keeps one idle connection per endpoint and TLS setting for its own use, and closes it
//!   at five minutes of age. A connection serves another call only where the last answer was read
//!   to its end, nothing came behind it, and the peer has not closed it: an answer must never be
//!   taken for another token's.
//! - The deadline bounds everything: name, connect, TLS, request, answer.
//! - A kept connection that turns out closed before any byte of an answer is replaced by a fresh
//!   one, once. Nothing else is tried again here.
//! - No redirects, no proxies, no compression, no cookies; interim answers are skipped.

mod agent;
mod buffer;
mod dial;
mod endpoint;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod request;
mod resolve;
mod session;
mod socket;
mod stats;
mod tls;
mod transport;
mod verify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

pub use self::endpoint::{Endpoint, EndpointError};
pub use self::error::{AnswerCause, CallError, ConnectCause, Phase, RequestCause, TlsCause};
pub use self::request::Common;
pub use self::stats::{Stats, stats};
pub use self::tls::{Tls, TlsConfigError, TlsOptions};

use self::agent::AGENTS;
use self::transport::Failure;
use crate::answer::Response;

/// The most content an answer may have, in bytes.
pub const MAX_BODY: usize = 65_536;

/// One introspection request (RFC 7662 §2.1), complete but for what HTTP itself needs.
pub struct Call {
    /// Where to ask.
    pub endpoint: Arc<Endpoint>,
    /// How, where the endpoint is an `https://` one.
    pub tls: Tls,
    /// The headers every call of the location has.
    pub common: Common,
    /// Further headers, sent in this order. Credentials may be among them.
    pub headers: Vec<(Arc<str>, Zeroizing<Vec<u8>>)>,
    /// The form (`application/x-www-form-urlencoded`).
    pub body: Zeroizing<Vec<u8>>,
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
/// is closed.
pub fn introspect(call: &Call) -> Result<Response, CallError> {
    let closed = CallError::Answer(AnswerCause::Closed);
    match attempt(call) {
        Err(Failure::Stale) => attempt(call),
        outcome => outcome,
    }
    .map_err(|failure| match failure {
        Failure::Call(error) => error,
        Failure::Stale => closed,
    })
}

/// Closes the connections this thread keeps: to be called after a panic was caught in it.
pub fn forget_connections() {
    drop(AGENTS.take());
}

/// Sends `call` on the connection this thread keeps for it, or on a fresh one.
///
/// The agent is taken out of the thread's keeping meanwhile and put back only after a whole answer,
/// so an error or a panic closes the connection.
fn attempt(call: &Call) -> Result<Response, Failure> {
    let now = Instant::now();
    if call.deadline <= now {
        return Err(CallError::Timeout(Phase::Start).into());
    }
    let agent = AGENTS.with_borrow_mut(|agents| agents.take(call, now));
    let response = agent.run(call)?;
    AGENTS.with_borrow_mut(|agents| agents.keep(agent, now));
    Ok(response)
}
