//! `ureq`, set up for introspection: what it is asked, what its answers and errors mean.

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use ureq::http::Version;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::response::Parts;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout};
use ureq_proto::Error as Protocol;

use super::dial::Dialler;
use super::error::{AnswerCause, CallError, RequestCause};
use super::stream::MAX_IDLE;
use super::transport::{Exchange, Failure, Standing};
use super::{Call, request};
use crate::http::cache_control::{self, CacheControl, Caching};
use crate::http::response::{MAX_BODY, Response};
use crate::memory;

/// What is shown the header of an answer.
pub type See<'a> = dyn FnMut(Head<'_>) + 'a;

/// The header of an answer: bytes of the server's, not for a log.
pub struct Head<'a>(&'a Parts);

impl Head<'_> {
    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.0.status.as_u16()
    }

    /// Returns a field's value, that of its first line; `None` where there is none.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.0.headers.get(name).map(HeaderValue::as_bytes)
    }
}

/// The most an answer's status line and header section may have, in bytes.
const MAX_HEADER: usize = 32 * 1024;

/// A `ureq` agent that serves one call at a time, and so has one connection at most.
pub(super) struct Agent {
    ureq: ureq::Agent,
    exchange: Arc<Mutex<Exchange>>,
    last_use: Instant,
}

impl Agent {
    /// An agent without a connection, for calls like `call`.
    pub(super) fn new(call: &Call) -> Self {
        let exchange = Exchange::shared(call);
        let dialler = Dialler::new(exchange.clone());
        Self::with_connector(exchange, dialler)
    }

    /// An agent whose connections `connector` makes.
    pub(super) fn with_connector(
        exchange: Arc<Mutex<Exchange>>,
        connector: impl Connector,
    ) -> Self {
        // Timeouts are unset here on purpose: the transport ends every wait at the deadline.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .accept_encoding("")
            .user_agent("")
            .max_response_header_size(MAX_HEADER)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE)
            .build();
        let ureq = ureq::Agent::with_parts(config, connector, Later);
        Agent { ureq, exchange, last_use: Instant::now() }
    }

    /// Rests from now on. Whether it has a connection that may serve another call.
    pub(super) fn rest(&mut self) -> bool {
        self.last_use = Instant::now();
        let mut exchange = self.exchange.lock();
        exchange.standing.as_mut().map(Standing::rest).is_some()
    }

    /// Whether its connection may serve now, after it has rested.
    pub(super) fn is_fit(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_use) <= MAX_IDLE
            && self.exchange.lock().standing.as_ref().is_some_and(|standing| standing.is_fit(now))
    }

    /// Sends `call` and reads the answer to its end.
    pub(super) fn run(&self, call: &Call, see: &mut See<'_>) -> Result<Response, Failure> {
        let own = call.body.of_attempt().map_err(CallError::Request)?;
        let form = own.as_ref().map_or(call.body.same(), |own| own);
        let request = request::build(call, form)?;
        {
            let mut exchange = self.exchange.lock();
            exchange.is_new = true;
            exchange.endpoint = call.endpoint.clone();
            exchange.deadline = call.deadline;
            exchange.connect_timeout = call.connect_timeout;
            exchange.request_size = request::size(&request);
            exchange.count = call.count;
            if let Some(standing) = &mut exchange.standing {
                standing.begin(call.count);
            }
            exchange.ends_with_connection = false;
        }
        let answer = self.ureq.run(request).map_err(failure)?;
        let (head, mut body) = answer.into_parts();
        see(Head(&head));
        if head.status.is_informational() {
            return Err(CallError::Answer(AnswerCause::Upgrade).into());
        }
        let length = length(head.version, &head.headers)?;
        self.exchange.lock().ends_with_connection = length == Length::Connection;
        if matches!(length, Length::Bytes(bytes) if bytes > MAX_BODY as u64) {
            return too_large(&head);
        }

        let capacity = if let Length::Bytes(bytes) = length { bytes as usize } else { 4096 };
        let no_memory = |_| CallError::Answer(AnswerCause::NoMemory);
        let mut content = memory::with_room(capacity + 1).map_err(no_memory)?;
        body.as_reader()
            .take(MAX_BODY as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|error| failure(ureq::Error::from(error)))?;
        if content.len() > MAX_BODY {
            return too_large(&head);
        }
        Ok(response(&head, content))
    }
}

/// What an answer is whose body is longer than is read. Its connection is not used again.
fn too_large(head: &Parts) -> Result<Response, Failure> {
    match head.status.as_u16() {
        200 | 400 => Err(CallError::Answer(AnswerCause::BodyTooLarge).into()),
        // The status says it all: a proxy's error page may be of any size.
        _ => Ok(response(head, Vec::new())),
    }
}

fn response(head: &Parts, body: Vec<u8>) -> Response {
    let caching = Caching {
        control: CacheControl::parse(head.headers.get_all(header::CACHE_CONTROL)),
        age: cache_control::age(joined(&head.headers, header::AGE).as_deref()),
    };
    Response {
        status: head.status.as_u16(),
        content_type: joined(&head.headers, header::CONTENT_TYPE),
        caching,
        retry_after: joined(&head.headers, header::RETRY_AFTER),
        content_encoding: joined(&head.headers, header::CONTENT_ENCODING),
        body,
    }
}

/// Resolves nothing: `ureq` asks before it looks for an idle connection, the dialler only when it
/// needs an address.
#[derive(Debug)]
struct Later;

impl Resolver for Later {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// How an answer's content ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(u64),
    Chunks,
    Connection,
}

/// Judges the framing more strictly than `ureq`, which lets chunks win over a length and takes any
/// list of codings that has `chunked` in it.
fn length(version: Version, headers: &HeaderMap) -> Result<Length, CallError> {
    let ambiguous = CallError::Answer(AnswerCause::AmbiguousLength);
    // One length, or the same one again: in bytes, since "010" is not to everyone what "10" is.
    let values = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => Err(ambiguous),
        (None, None) => Ok(Length::Connection),
        (None, Some(coding)) => {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if chunked && codings.next().is_none() && version == Version::HTTP_11 {
                Ok(Length::Chunks)
            } else {
                Err(CallError::Answer(AnswerCause::TransferCoding))
            }
        }
        (Some(length), None) if lengths.all(|other| other == length) => std::str::from_utf8(length)
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Length::Bytes)
            .ok_or(ambiguous),
        (Some(_), None) => Err(ambiguous),
    }
}

/// A header's value. Several lines become one list, as RFC 9110 §5.3 has it, which for a header
/// that takes one value is then not understood: better than picking one.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut joined = values.next()?.as_bytes().to_vec();
    for value in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    Some(joined)
}

/// What an error of `ureq`'s means here. Its texts may quote the server, so none is kept.
fn failure(error: ureq::Error) -> Failure {
    let cause = match error {
        ureq::Error::Other(inner) => match inner.downcast::<Failure>() {
            Ok(failure) => return *failure,
            Err(_) => AnswerCause::NotHttp,
        },
        ureq::Error::Protocol(error) => match error {
            Protocol::TooManyContentLengthHeaders | Protocol::BadContentLengthHeader => {
                AnswerCause::AmbiguousLength
            }
            Protocol::ChunkLenNotAscii
            | Protocol::ChunkLenNotANumber
            | Protocol::ChunkExpectedCrLf => AnswerCause::TransferCoding,
            Protocol::HttpParseTooManyHeaders => AnswerCause::HeaderTooLarge,
            Protocol::OutputOverflow | Protocol::BadHeader(_) => {
                return CallError::Request(RequestCause::Refused).into();
            }
            _ => AnswerCause::NotHttp,
        },
        ureq::Error::LargeResponseHeader(..) => AnswerCause::HeaderTooLarge,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            AnswerCause::Closed
        }
        ureq::Error::Io(error) => AnswerCause::Io(error.kind()),
        ureq::Error::BodyStalled => AnswerCause::Closed,
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
            return CallError::Request(RequestCause::Refused).into();
        }
        _ => AnswerCause::NotHttp,
    };
    CallError::Answer(cause).into()
}
