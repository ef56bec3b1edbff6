//! The authorization server, in one thread: a gateway's cost depends on how soon it has the next
//! answer to work on, and where all share few processors a server that wakes a thread for each
//! answer holds it up.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode, Poller};

/// Where the server's answers have the JWT in the header `Phantom-Token` too.
pub(crate) const IN_HEADER: &str = "/introspect-in-header";

/// An authorization server to which every token is active: one JWT for all of them, as the body of
/// an `application/jwt` answer. It lives as long as the process.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: AtomicU64,
    delay_us: AtomicU64,
}

impl Server {
    pub(crate) fn start(jwt: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let mut serving = Serving {
            poller: Poller::new()?,
            listener,
            connections: HashMap::new(),
            due: VecDeque::new(),
            plain: answer(jwt, ""),
            repeated: answer(jwt, jwt),
            shared: shared.clone(),
        };
        serving.listen()?;
        thread::spawn(move || {
            let Err(error) = serving.run();
            eprintln!("bench: the authorization server: {error}");
        });
        Ok(Self { port, shared })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many calls have come.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// How long every call takes from now on.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.shared.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }
}

/// An answer whose body is `jwt`, and what its header `Phantom-Token` has, if it is there.
fn answer(jwt: &str, header: &str) -> Vec<u8> {
    let header =
        if header.is_empty() { String::new() } else { format!("Phantom-Token: {header}\r\n") };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: {}\r\n\
         {header}Cache-Control: max-age=3600\r\n\r\n{jwt}",
        jwt.len()
    )
    .into_bytes()
}

/// The listener's event; connections have the numbers from 1 on.
const LISTENER: usize = 0;

struct Serving {
    poller: Poller,
    listener: TcpListener,
    connections: HashMap<usize, (TcpStream, Vec<u8>)>,
    /// When to answer whom, and with the header: all calls take as long, so the first is due first.
    due: VecDeque<(Instant, usize, bool)>,
    plain: Vec<u8>,
    /// With the JWT in a header too: `auth_request` reads no body.
    repeated: Vec<u8>,
    shared: Arc<Shared>,
}

impl Serving {
    fn listen(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        // SAFETY: the listener lives as long as the poller.
        unsafe {
            self.poller.add_with_mode(&self.listener, Event::readable(LISTENER), PollMode::Level)
        }
    }

    fn run(&mut self) -> Result<std::convert::Infallible, io::Error> {
        let mut events = Events::new();
        let mut accepted = LISTENER;
        loop {
            let now = Instant::now();
            let wait = self.due.front().map(|(due, ..)| due.saturating_duration_since(now));
            events.clear();
            self.poller.wait(&mut events, wait)?;
            for event in events.iter() {
                if event.key == LISTENER {
                    accepted += 1;
                    self.accept(accepted)?;
                } else if self.read(event.key).is_err() {
                    self.close(event.key);
                }
            }
            let now = Instant::now();
            while let Some((connection, in_header)) = self.next_due(now) {
                self.answer(connection, in_header);
            }
        }
    }

    fn accept(&mut self, number: usize) -> io::Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            // It has gone again.
            Err(_) => return Ok(()),
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // SAFETY: `close` takes the connection out of the poller before it drops it.
        unsafe { self.poller.add_with_mode(&stream, Event::readable(number), PollMode::Level)? };
        self.connections.insert(number, (stream, Vec::new()));
        Ok(())
    }

    fn close(&mut self, number: usize) {
        if let Some((stream, _)) = self.connections.remove(&number) {
            // The descriptor is closed next, which takes it out as well.
            let _ = self.poller.delete(&stream);
        }
    }

    /// Takes in what came, and notes when to answer the requests that are whole.
    fn read(&mut self, number: usize) -> io::Result<()> {
        let Some((stream, input)) = self.connections.get_mut(&number) else { return Ok(()) };
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(amount) => input.extend_from_slice(&buffer[..amount]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some((length, in_header)) = request(input)? {
            input.drain(..length);
            self.shared.calls.fetch_add(1, Ordering::Relaxed);
            let delay = Duration::from_micros(self.shared.delay_us.load(Ordering::Relaxed));
            self.due.push_back((Instant::now() + delay, number, in_header));
        }
        Ok(())
    }

    /// Whom to answer by now, and how.
    fn next_due(&mut self, now: Instant) -> Option<(usize, bool)> {
        let &(due, number, in_header) = self.due.front()?;
        if due > now {
            return None;
        }
        self.due.pop_front();
        Some((number, in_header))
    }

    fn answer(&mut self, number: usize, in_header: bool) {
        let Some((stream, _)) = self.connections.get_mut(&number) else { return };
        let answer = if in_header { &self.repeated } else { &self.plain };
        // There is room for it: nobody sends a second request before the first is answered.
        if stream.write_all(answer).is_err() {
            self.close(number);
        }
    }
}

/// The length of the request at the beginning of `input` and whether it wants the JWT in a header
/// too; `None` while it is not whole.
fn request(input: &[u8]) -> io::Result<Option<(usize, bool)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ErrorKind::InvalidData.into()),
    };
    let in_header = request.path == Some(IN_HEADER);
    let length = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("Content-Length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok())
        .unwrap_or(0);
    Ok((input.len() >= head + length).then_some((head + length, in_header)))
}
