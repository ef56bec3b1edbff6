//! A small HTTP/1.1 server: one thread a connection, plain or TLS, on 127.0.0.1 unless told
//! otherwise.
//!
//! It persists connections, reads chunked bodies and answers `Expect: 100-continue`. What it serves
//! is a [`Service`]'s business, which may also write raw bytes to play a server that misbehaves.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::http::{RequestHead, Wire, reason};
use crate::port;
use crate::process::wait_until;

/// What answers the requests of a [`Server`].
pub trait Service: Send + Sync + 'static {
    /// Answers one request. The connection persists where both this says [`After::KeepAlive`] and
    /// the client lets it.
    ///
    /// # Errors
    /// Any error closes the connection.
    fn serve(&self, exchange: &mut Exchange<'_>) -> io::Result<After>;
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It waits for the next request.
    KeepAlive,
    /// It is closed.
    Close,
}

/// A connection's byte stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One request and the way to answer it.
pub struct Exchange<'a> {
    /// The request's head.
    pub head: RequestHead,
    /// The connection's number, counted from 1 by its server.
    pub connection: u64,
    wire: &'a mut Wire<Stream>,
    body_read: bool,
}

impl Exchange<'_> {
    /// Reads the whole body.
    ///
    /// # Errors
    /// Those of the connection, `InvalidData` for faulty framing.
    pub fn read_body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.read_body_with(|piece| body.extend_from_slice(piece))?;
        Ok(body)
    }

    /// Reads the body piece by piece, without keeping it.
    ///
    /// # Errors
    /// As [`Self::read_body`].
    pub fn read_body_with(&mut self, sink: impl FnMut(&[u8])) -> io::Result<()> {
        if self.head.headers.lists("expect", "100-continue") {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        self.body_read = true;
        self.wire.read_body(self.head.framing()?, sink)
    }

    /// Answers with a body of known length, in one write; to HEAD with the head alone.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn respond(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut answer = head(status, headers.iter().copied());
        if status != 204 && status / 100 != 1 {
            answer.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        answer.extend_from_slice(b"\r\n");
        if self.head.method != "HEAD" {
            answer.extend_from_slice(body);
        }
        self.write(&answer)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.wire.stream();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Waits until the peer's kernel has everything that was written, or the connection is gone.
    ///
    /// # Panics
    /// Where it takes longer than [`PATIENCE`](crate::process::PATIENCE).
    pub fn wait_until_delivered(&mut self) {
        wait_until("what was written to arrive", || is_delivered(self.socket()));
    }

    fn socket(&mut self) -> &TcpStream {
        match self.wire.stream() {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Resets the connection, as a server that crashes: no TLS goodbye, no end of the stream.
    ///
    /// # Errors
    /// Where the system will not.
    pub fn reset(&mut self) -> io::Result<()> {
        let socket = self.socket().as_raw_fd();
        // SAFETY: an address of no family is all zeros; it is valid for the length of the call.
        let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
        let length = size_of::<libc::sockaddr>() as libc::socklen_t;
        // SAFETY: an open socket; connecting a TCP socket to no address resets it, whoever else
        // holds a descriptor of it (connect(2), tcp(7)).
        match unsafe { libc::connect(socket, &nowhere, length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Ends the connection beneath TLS, which has no chance to say goodbye (RFC 8446 §6.1).
    ///
    /// # Errors
    /// Those of the connection.
    pub fn hang_up(&mut self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Both)
    }

    /// Reads what the client sends beyond the request; empty when it closes.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        self.wire.read_some()
    }
}

/// Whether the peer's kernel has everything that was written to this socket (tcp(7), SIOCOUTQ), or
/// will never take it.
pub(crate) fn is_delivered(socket: &TcpStream) -> bool {
    let mut unsent: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int through the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut unsent) };
    assert_eq!(done, 0, "an open socket");
    unsent == 0 || !matches!(socket.take_error(), Ok(None))
}

/// A status line and header fields, without the empty line.
pub fn head<'a>(status: u16, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.into_bytes()
}

struct Shared {
    service: Arc<dyn Service>,
    tls: Option<Arc<ServerConfig>>,
    stopping: AtomicBool,
    accepted: AtomicU64,
    open: Mutex<HashMap<u64, TcpStream>>,
}

/// A running server. Dropping it closes the port and every connection.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Listens on a port of 127.0.0.1 and serves; port 0 takes a free one.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn start(
        port: u16,
        tls: Option<Arc<ServerConfig>>,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        Self::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), tls, service)
    }

    /// Listens on this address and serves: in a container, the neighbours come from outside.
    ///
    /// # Errors
    /// Where the port is taken, or the address is none of this host's.
    pub fn listen(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        Self::serve(TcpListener::bind(address)?, tls, service)
    }

    /// Serves where this listens.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn serve(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            service,
            tls,
            stopping: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let acceptor =
            thread::Builder::new().name(format!("accept:{}", address.port())).spawn({
                let shared = shared.clone();
                move || accept(listener, &shared)
            })?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted since it started.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.lock().len()
    }

    /// Closes every connection, as a restarted server would, and goes on listening.
    pub fn close_connections(&self) {
        for stream in self.shared.open.lock().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes accept(); where it fails the listener is gone already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.close_connections();
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::Acquire) {
            return port::close(listener);
        }
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: let others finish first.
            thread::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        let id = shared.accepted.fetch_add(1, Ordering::AcqRel) + 1;
        let Ok(twin) = stream.try_clone() else { continue };
        shared.open.lock().insert(id, twin);
        let shared = shared.clone();
        // Small stacks: a load test opens hundreds of connections.
        let spawned = thread::Builder::new().stack_size(512 * 1024).spawn(move || {
            // An error here is a connection that broke; its peer notices.
            let _ = connection(stream, id, &shared);
            if let Some(stream) = shared.open.lock().remove(&id) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        drop(spawned);
    }
}

fn connection(stream: TcpStream, id: u64, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = match &shared.tls {
        None => Stream::Plain(stream),
        Some(config) => {
            let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            Stream::Tls(Box::new(StreamOwned::new(session, stream)))
        }
    };
    let mut wire = Wire::new(stream);
    while let Some(raw) = wire.read_head()? {
        let head = RequestHead::parse(raw)?;
        let keep_alive = head.keep_alive();
        let mut exchange = Exchange { head, connection: id, wire: &mut wire, body_read: false };
        let after = shared.service.serve(&mut exchange)?;
        let unread =
            !exchange.body_read && exchange.head.framing()? != crate::http::Framing::Length(0);
        if after == After::Close || !keep_alive || unread {
            break;
        }
    }
    if let Stream::Tls(stream) = wire.stream() {
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok(())
}
