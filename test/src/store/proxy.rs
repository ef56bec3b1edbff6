//! A store that misbehaves: the real one behind a proxy that spoils what it says.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::port;

use super::{Store, resp};

/// How what the store says is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    None,
    /// Nothing is answered.
    Silent,
    /// Each reply takes this long.
    Slow(Duration),
    /// One byte comes each time.
    Drip(Duration),
    /// The connection ends instead of a reply.
    Closed,
    /// The connection ends in the middle of a reply.
    Half,
    /// A string of 400 MB is announced, and sent as fast as it is taken.
    LongBulk,
    /// The same, and it comes a kilobyte at a time, without end.
    EndlessBulk,
    /// A list of two thousand million replies.
    EndlessArray,
    /// Lists in lists, 200 deep.
    Nested,
    /// A line without an end.
    EndlessLine,
    /// What another kind of server says.
    Garbage,
    /// A reply too many behind each.
    Surplus,
    /// The replies that come together, in the other order.
    Swapped,
    /// The first reply that this connection gave, again and again.
    Repeated,
    /// Numbers, whatever was asked.
    Numbers,
    /// This error, whatever was asked: its code and text.
    Error(&'static str),
}

struct Shared {
    target: u16,
    fault: Mutex<Fault>,
    stopping: AtomicBool,
    accepted: AtomicU64,
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

/// Stands in front of a store. Dropping it closes its port and its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Stands in front of this store's TCP port.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start(store: &Store) -> Self {
        let listener = port::listen(Ipv4Addr::LOCALHOST.into()).expect("a free port");
        let address = listener.local_addr().expect("a listener");
        let shared = Arc::new(Shared {
            target: store.port(),
            fault: Mutex::new(Fault::None),
            stopping: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || accept(listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// The URL that a gateway is given.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Spoils from now on, on connections that are open too.
    pub fn spoil(&self, fault: Fault) {
        *self.shared.fault.lock() = fault;
    }

    /// Closes every connection.
    pub fn close_connections(&self) {
        for [client, _] in self.shared.open.lock().values() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// How many connections it has accepted since it started.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes accept().
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.close_connections();
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopping.load(Ordering::Acquire) {
            return port::close(listener);
        }
        let Ok(client) = client else { continue };
        let id = shared.accepted.fetch_add(1, Ordering::AcqRel) + 1;
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)) else {
            let _ = client.shutdown(Shutdown::Both);
            continue;
        };
        let twins = [&client, &client, &server, &server].map(TcpStream::try_clone);
        let [Ok(asking), Ok(told), Ok(asked), Ok(telling)] = twins else { continue };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        shared.open.lock().insert(id, [client, server]);
        thread::spawn({
            let shared = shared.clone();
            move || {
                let _ = copy(asking, asked);
                shared.close(id);
            }
        });
        thread::spawn({
            let shared = shared.clone();
            move || {
                let _ = answer(telling, told, &shared);
                shared.close(id);
            }
        });
    }
}

impl Shared {
    fn close(&self, id: u64) {
        for stream in self.open.lock().remove(&id).iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn fault(&self) -> Fault {
        *self.fault.lock()
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to).map(drop)
}

/// Hands replies on as they come, spoilt. An error ends the connection.
fn answer(mut from: TcpStream, mut to: TcpStream, shared: &Shared) -> io::Result<()> {
    let (mut arrived, mut first) = (Vec::new(), None);
    loop {
        let mut buffer = [0; 64 * 1024];
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        arrived.extend_from_slice(&buffer[..length]);
        let mut replies = Vec::new();
        while let Some((_, length)) = resp::parse(&arrived)? {
            replies.push(arrived.drain(..length).collect::<Vec<u8>>());
        }
        if let Some(reply) = replies.first() {
            let first = first.get_or_insert_with(|| reply.clone());
            spoil(&mut to, replies, first, shared)?;
        }
    }
}

fn spoil(
    to: &mut TcpStream,
    mut replies: Vec<Vec<u8>>,
    first: &[u8],
    shared: &Shared,
) -> io::Result<()> {
    let fault = shared.fault();
    let goes_on = || shared.fault() == fault && !shared.stopping.load(Ordering::Acquire);
    let each = |bytes: &[u8]| bytes.repeat(replies.len());
    match fault {
        Fault::None => to.write_all(&replies.concat()),
        Fault::Silent => Ok(()),
        Fault::Slow(time) => {
            thread::sleep(time);
            to.write_all(&replies.concat())
        }
        Fault::Drip(time) => {
            for byte in replies.concat() {
                thread::sleep(time);
                to.write_all(&[byte])?;
            }
            Ok(())
        }
        Fault::Closed => Err(io::ErrorKind::ConnectionAborted.into()),
        Fault::Half => {
            let whole = replies.concat();
            to.write_all(&whole[..whole.len() / 2])?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Fault::LongBulk => {
            to.write_all(b"$419430400\r\n")?;
            for _ in 0..419_430_400 / 65_536 {
                to.write_all(&[b'x'; 65_536])?;
            }
            Ok(())
        }
        Fault::EndlessBulk => {
            to.write_all(b"$419430400\r\n")?;
            while goes_on() {
                to.write_all(&[b'x'; 1_024])?;
                thread::sleep(Duration::from_millis(20));
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Fault::EndlessArray => {
            to.write_all(b"*2147483647\r\n")?;
            while goes_on() {
                to.write_all(b":1\r\n")?;
                thread::sleep(Duration::from_millis(5));
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Fault::Nested => to.write_all(&b"*1\r\n".repeat(200)),
        Fault::EndlessLine => {
            to.write_all(b"+")?;
            while goes_on() {
                to.write_all(&[b'x'; 4_096])?;
                thread::sleep(Duration::from_millis(5));
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Fault::Garbage => to.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        Fault::Surplus => {
            replies.push(b"$5\r\nWRONG\r\n".to_vec());
            to.write_all(&replies.concat())
        }
        Fault::Swapped => {
            replies.reverse();
            to.write_all(&replies.concat())
        }
        Fault::Repeated => to.write_all(&each(first)),
        Fault::Numbers => to.write_all(&each(b":1\r\n")),
        Fault::Error(text) => to.write_all(&each(format!("-{text}\r\n").as_bytes())),
    }
}
