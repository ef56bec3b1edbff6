//! The client's reading of HTTP, fed from a socket whose other end plays a server (`crate::fuzz`). What
//! an input looks like, `crate::fuzz::input::answers` says.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ureq::unversioned::transport::{ConnectionDetails, Connector};
use zeroize::Zeroizing;

use super::agent::Agent;
use super::socket::Socket;
use super::stream::Stream;
use super::transport::{Exchange, Failure, Link};
use super::{Call, Common, Connections, Endpoint, Servers, Tls, TlsOptions};
use crate::answer::Forward;
use crate::fuzz::input::answers;
use crate::fuzz::introspection;
use crate::http::cache_control::{self, CacheControl, Caching};
use crate::http::response::{MAX_BODY, Response};

mod plain;

use plain::{Plain, plainly};

/// What a connection is answered that is made where the first was not used again.
const FRESH: &[u8] = b"HTTP/1.1 204 No Content\r\nAge: 77\r\n\r\n";

/// An answer that a plain reader understands is read as it reads it; one that is cut off or too
/// long is an error; and what stands behind an answer is never taken for the next one.
pub fn http(input: &[u8]) {
    let (pieces, first, second) = answers(input);

    let (ours, mut theirs) = socket_pair();
    let sent = send(&mut theirs, &first, &pieces);
    let plain = plainly(&first[..sent]);
    let stays = matches!(&plain, Plain::Whole { stays: true, .. });
    if !stays {
        theirs.shutdown(Shutdown::Write).expect("a socket");
    }

    let first_call = call();
    let made = Arc::new(Mutex::new(Made { first: Some(ours), others: Vec::new() }));
    let mut agent = prepared(&first_call, &made);
    let answer = agent.run(&first_call, &mut |_| {});
    judge(&plain, &first[..sent], &answer);

    if answer.is_ok() && stays {
        let mut request = [0; 4096];
        // An end closed with something unread in it says so first.
        let read = theirs.read(&mut request).or_else(|_| theirs.read(&mut request));
        assert!(read.is_ok_and(|read| read > 0), "no request was sent");
        let (mut serving, second, pieces) =
            (theirs.try_clone().expect("a socket"), &second, &pieces);
        let (answer, sent) = thread::scope(|scope| {
            let server = scope.spawn(move || {
                let asked = serving.read(&mut [0; 4096]).is_ok_and(|read| read > 0);
                let sent = if asked { send(&mut serving, second, pieces) } else { 0 };
                let _ = serving.shutdown(Shutdown::Write);
                sent
            });
            let second_call = call();
            if !agent.rest() || !agent.is_fit(Instant::now()) {
                agent = prepared(&second_call, &made);
            }
            let answer = agent.run(&second_call, &mut |_| {});
            let _ = theirs.shutdown(Shutdown::Both);
            (answer, server.join().expect("the server"))
        });
        let reused = made.lock().others.is_empty();
        let nothing_left = matches!(&plain, Plain::Whole { surplus: 0, .. });
        assert_eq!(reused, nothing_left, "the connection's second use");
        if reused {
            judge(&plainly(&second[..sent]), &second[..sent], &answer);
        } else {
            let answer = answer.expect("the fresh connection's answer");
            assert_eq!((answer.status, answer.caching.age), (204, 77));
        }
    }
}

/// Compares what the client made of some bytes with what there is to be made of them.
fn judge(plain: &Plain, sent: &[u8], answer: &Result<Response, Failure>) {
    match (plain, answer) {
        (Plain::Whole { status, headers, body, .. }, Ok(answer)) => {
            assert_eq!((answer.status, &answer.body), (*status, body));
            let named = |name: &str| -> Vec<&[u8]> {
                let all = headers.iter().filter(|(known, _)| known == name);
                all.map(|(_, value)| &value[..]).collect()
            };
            let joined = |name| match named(name) {
                values if values.is_empty() => None,
                values => Some(values.join(&b", "[..])),
            };
            assert_eq!(answer.content_type, joined("content-type"));
            assert_eq!(answer.content_encoding, joined("content-encoding"));
            assert_eq!(answer.retry_after, joined("retry-after"));
            let control = CacheControl::parse(named("cache-control"));
            let age = cache_control::age(joined("age").as_deref());
            assert_eq!(answer.caching, Caching { control, age });
        }
        (Plain::Whole { .. }, Err(failure)) => panic!("a plain answer is refused: {failure}"),
        (Plain::Refused, answer) => assert!(answer.is_err(), "no whole answer is taken for one"),
        (Plain::Odd, Ok(answer)) => {
            // Line ends in front of it are let pass, as RFC 9112 §2.2 has servers do.
            assert!(sent.trim_ascii_start().starts_with(b"HTTP/1."));
            // Content is what was sent, in one piece but for chunks.
            let chunked = memchr::memmem::find(&sent.to_ascii_lowercase(), b"chunked").is_some();
            assert!(chunked || memchr::memmem::find(sent, &answer.body).is_some());
        }
        (Plain::Odd, Err(_)) => {}
    }
    if let Ok(answer) = answer {
        assert!(answer.body.len() <= MAX_BODY);
        introspection::check(answer, Forward::Jwt, None, 1_700_000_000);
    }
}

/// Sends in pieces, and what they leave in large ones; how many bytes there was room for.
fn send(to: &mut UnixStream, bytes: &[u8], pieces: &[usize]) -> usize {
    // No more than one read of the client's asks for.
    const PIECE: usize = 4096;
    let mut sent = 0;
    let mut pieces = pieces.iter().copied().filter(|size| *size > 0).take(64);
    to.set_nonblocking(true).expect("a socket");
    while sent < bytes.len() {
        let size = pieces.next().unwrap_or(PIECE).min(PIECE).min(bytes.len() - sent);
        match to.write(&bytes[sent..sent + size]) {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }
    to.set_nonblocking(false).expect("a socket");
    sent
}

/// Two connected ends that keep pieces apart.
fn socket_pair() -> (Socket, UnixStream) {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for the two descriptors that are written.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
    assert_eq!(made, 0, "no socket left");
    // SAFETY: both descriptors are new, open and nobody else's.
    let [ours, theirs] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let ours = Socket::connected(TcpStream::from(ours));
    (ours, UnixStream::from(theirs))
}

fn call() -> Call {
    static WHERE: OnceLock<(Arc<Endpoint>, Arc<Connections>)> = OnceLock::new();
    let (endpoint, connections) = WHERE.get_or_init(|| {
        let endpoint = Endpoint::parse("http://as.example/introspect", None).expect("an endpoint");
        let tls = Tls::new(TlsOptions { verify: false, ..TlsOptions::default() });
        let connections = Servers::default().connections(&endpoint, &tls.expect("settings"));
        (Arc::new(endpoint), connections)
    });
    Call {
        endpoint: endpoint.clone(),
        connections: connections.clone(),
        count: None,
        common: Common::new(None, b"application/jwt").expect("headers"),
        headers: Vec::new(),
        body: Zeroizing::new(b"token=opaque".to_vec()).into(),
        deadline: Instant::now() + Duration::from_secs(600),
        connect_timeout: Duration::from_secs(600),
    }
}

/// An agent with the prepared connection, where nobody has taken it yet.
fn prepared(call: &Call, made: &Arc<Mutex<Made>>) -> Agent {
    let exchange = Exchange::shared(call);
    let connector = Prepared { exchange: exchange.clone(), made: made.clone() };
    Agent::with_connector(exchange, connector)
}

/// The connections of one input.
struct Made {
    first: Option<Socket>,
    /// The servers' ends of the others.
    others: Vec<UnixStream>,
}

/// Gives the prepared connection first, then fresh ones.
struct Prepared {
    exchange: Arc<Mutex<Exchange>>,
    made: Arc<Mutex<Made>>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}

impl Connector for Prepared {
    type Out = Link;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Link>, ureq::Error> {
        let mut made = self.made.lock();
        let socket = made.first.take().unwrap_or_else(|| {
            let (ours, mut theirs) = socket_pair();
            send(&mut theirs, FRESH, &[]);
            theirs.shutdown(Shutdown::Write).expect("a socket");
            made.others.push(theirs);
            ours
        });
        Ok(Some(Link::new(self.exchange.clone(), Stream::new(socket, None))))
    }
}
