//! Stands before a server and counts its connections.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::port;

#[derive(Default)]
struct Count {
    total: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
    over: AtomicBool,
}

/// Passes bytes to a port of 127.0.0.1 and back, and counts connections. A connection that the
/// server does not take is closed at once, as the server's own would be.
pub struct Counter {
    address: SocketAddr,
    count: Arc<Count>,
}

impl Counter {
    /// Stands before this port.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn before(server: u16) -> Self {
        let listener = port::listen(Ipv4Addr::LOCALHOST.into()).expect("listens");
        let count = Arc::new(Count::default());
        let address = listener.local_addr().expect("an address");
        let counted = count.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if counted.over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), counted) = (client, counted.clone()) else { continue };
                thread::spawn(move || {
                    let _ = pass(client, server, &counted);
                });
            }
        });
        Self { address, count }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Counts anew. Connections that are still open count as open.
    pub fn begin(&self) {
        self.count.total.store(0, Ordering::Relaxed);
        self.count.most.store(self.count.open.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Connections made.
    pub fn total(&self) -> usize {
        self.count.total.load(Ordering::Relaxed)
    }

    /// The most that were open at a time.
    pub fn most(&self) -> usize {
        self.count.most.load(Ordering::Relaxed)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.count.over.store(true, Ordering::Relaxed);
        // The thread that waits for a connection gets one, sees that it is over, and ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn pass(client: TcpStream, server: u16, count: &Count) -> io::Result<()> {
    let upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    count.total.fetch_add(1, Ordering::Relaxed);
    let open = count.open.fetch_add(1, Ordering::Relaxed) + 1;
    count.most.fetch_max(open, Ordering::Relaxed);
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let back = {
        let (from, to) = (upstream.try_clone()?, client.try_clone()?);
        thread::spawn(move || copy(from, to))
    };
    copy(client, upstream);
    let _ = back.join();
    count.open.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

/// Copies until one of the two ends; the end is passed on too, both ways: a server that closes has
/// closed.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
