//! A server that does what a test's script says, each connection in a thread of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection};

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    /// The values of a header, in order.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }
}

/// The server's side of a connection.
pub(crate) struct Peer {
    /// Which connection this is, from 0.
    pub(crate) number: usize,
    pub(crate) socket: TcpStream,
    pub(crate) tls: Option<ServerConnection>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Peer {
    /// The next request, or `None` where the client has closed the connection.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let mut bytes = Vec::new();
        loop {
            let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = head_end {
                let head = String::from_utf8(bytes[..end + 2].to_vec()).unwrap();
                let mut request = Request { head, body: String::new() };
                let length: usize = request.header("content-length")[0].parse().unwrap();
                if bytes.len() - end - 4 == length {
                    request.body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
                    self.requests.lock().push(request.clone());
                    return Some(request);
                }
                assert!(bytes.len() - end - 4 < length, "bytes behind the request");
            }
            let mut buffer = [0; 64 * 1024];
            match self.read(&mut buffer) {
                0 => return None,
                amount => bytes.extend_from_slice(&buffer[..amount]),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let read = match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => rustls::Stream::new(tls, &mut self.socket).read(buffer),
        };
        read.unwrap_or(0)
    }

    /// Sends bytes, in one write where they are plain. False once the client is gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        match &mut self.tls {
            None => self.socket.write_all(bytes).is_ok(),
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls, &mut self.socket);
                stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
            }
        }
    }

    /// Sends a whole answer with this content.
    pub(crate) fn answer(&mut self, content: &str) -> bool {
        self.send(ok(content))
    }

    /// Waits until the client's kernel has everything that was sent.
    pub(crate) fn wait_until_delivered(&self) {
        loop {
            let mut unsent: libc::c_int = 0;
            // SAFETY: SIOCOUTQ writes one int through the pointer, which is valid for it; the
            // descriptor is open.
            let outcome =
                unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &mut unsent) };
            assert_eq!(outcome, 0);
            // One that is gone takes nothing more.
            if unsent == 0 || !matches!(self.socket.take_error(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the client has closed the connection.
    pub(crate) fn wait_for_end(&mut self) {
        while self.read(&mut [0; 1024]) > 0 {}
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option's value is a `linger` of the size given; the descriptor is open.
        let outcome = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of_val(&linger) as libc::socklen_t,
            )
        };
        assert_eq!(outcome, 0);
    }
}

/// A whole answer with status 200 and this content.
pub(crate) fn ok(content: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    )
}

/// A listening server. It runs for as long as the test process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Speaks plain HTTP.
    pub(crate) fn start(script: impl Fn(Peer) + Send + Sync + 'static) -> Server {
        Server::launch("127.0.0.1:0", None, script)
    }

    /// Speaks TLS; the script begins after the handshake and never where it fails.
    pub(crate) fn start_tls(
        config: Arc<ServerConfig>,
        script: impl Fn(Peer) + Send + Sync + 'static,
    ) -> Server {
        Server::launch("127.0.0.1:0", Some(config), script)
    }

    /// Answers every request with the same bytes and ends each connection after it.
    pub(crate) fn answering(bytes: impl Into<Vec<u8>>) -> Server {
        let bytes = bytes.into();
        Server::start(move |mut peer| {
            peer.request();
            peer.send(&bytes);
        })
    }

    pub(crate) fn launch(
        address: &str,
        config: Option<Arc<ServerConfig>>,
        script: impl Fn(Peer) + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let server = Server { address, accepted: accepted.clone(), requests: requests.clone() };
        let script = Arc::new(script);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                let (script, requests, config) = (script.clone(), requests.clone(), config.clone());
                thread::spawn(move || {
                    // No script waits for ever, whatever the client does.
                    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    socket.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
                    socket.set_nodelay(true).unwrap();
                    let mut tls = config.map(|config| ServerConnection::new(config).unwrap());
                    if let Some(tls) = &mut tls {
                        while tls.is_handshaking() {
                            if tls.complete_io(&mut socket).is_err() {
                                return;
                            }
                        }
                    }
                    script(Peer { number, socket, tls, requests });
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/introspect", self.address)
    }

    /// How many connections came.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The whole requests that came, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }
}
