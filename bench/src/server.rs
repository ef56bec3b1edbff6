//! The authorization server, in one thread: a gateway's cost depends on how soon it has the next
//! answer to work on, and where all share few processors a server that wakes a thread for each
//! answer holds it up.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode, Poller};

/// Where the server's answers have the JWT in the header `Phantom-Token`, and no body.
pub(crate) const IN_HEADER: &str = "/introspect-in-header";
/// Where the server's answers are JSON, without a JWT.
pub(crate) const JSON: &str = "/introspect-json";

/// What a user's token is, in the words of most servers.
const CLAIMS: &str = r#"{"active":true,"sub":"5f0e4c1d-8f0b-4b7e-9c39-2d6b1d7a9e11","client_id":"mobile-app","scope":"openid profile orders.read orders.write","iss":"https://login.example.com/oauth/v2","aud":["https://api.example.com"],"iat":1795900000,"exp":4102444800,"token_type":"Bearer"}"#;

/// In which form an answer is asked for.
#[derive(Clone, Copy)]
enum Form {
    Body,
    Header,
    Json,
}

/// An authorization server to which every token is active: one JWT for all of them, as the body of
/// an `application/jwt` answer, or one set of claims. It ends with the value.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // It looks up at the next connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    calls: AtomicU64,
    delay_us: AtomicU64,
}

impl Server {
    /// Starts one at `port`, or where there is room if that is 0.
    pub(crate) fn start(jwt: &str, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let mut serving = Serving {
            poller: Poller::new()?,
            listener,
            connections: HashMap::new(),
            due: VecDeque::new(),
            answers: [
                answer("application/jwt", "", jwt),
                answer("application/jwt", &format!("Phantom-Token: {jwt}\r\n"), ""),
                answer("application/json", "", CLAIMS),
            ],
            shared: shared.clone(),
        };
        serving.listen()?;
        let thread = thread::spawn(move || {
            if let Err(error) = serving.run() {
                eprintln!("bench: the authorization server: {error}");
            }
        });
        Ok(Self { port, shared, thread: Some(thread) })
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

/// An answer of this type, with this field and body besides what all have.
fn answer(content_type: &str, field: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         {field}Cache-Control: max-age=3600\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The listener's event; connections have the numbers from 1 on.
const LISTENER: usize = 0;

struct Serving {
    poller: Poller,
    listener: TcpListener,
    connections: HashMap<usize, (TcpStream, Vec<u8>)>,
    /// When to answer whom, and how: all calls take as long, so the first is due first.
    due: VecDeque<(Instant, usize, Form)>,
    /// In each form. That in the header is for `auth_request`, which reads no body.
    answers: [Vec<u8>; 3],
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

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::new();
        let mut accepted = LISTENER;
        while !self.shared.over.load(Ordering::Relaxed) {
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
            while let Some((connection, form)) = self.next_due(now) {
                self.answer(connection, form);
            }
        }
        Ok(())
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
        while let Some((length, form)) = request(input)? {
            input.drain(..length);
            self.shared.calls.fetch_add(1, Ordering::Relaxed);
            let delay = Duration::from_micros(self.shared.delay_us.load(Ordering::Relaxed));
            self.due.push_back((Instant::now() + delay, number, form));
        }
        Ok(())
    }

    /// Whom to answer by now, and how.
    fn next_due(&mut self, now: Instant) -> Option<(usize, Form)> {
        let &(due, number, form) = self.due.front()?;
        if due > now {
            return None;
        }
        self.due.pop_front();
        Some((number, form))
    }

    fn answer(&mut self, number: usize, form: Form) {
        let Some((stream, _)) = self.connections.get_mut(&number) else { return };
        let answer = &self.answers[form as usize];
        // There is room for it: nobody sends a second request before the first is answered.
        if stream.write_all(answer).is_err() {
            self.close(number);
        }
    }
}

/// The length of the request at the beginning of `input` and the form it asks for; `None` while it is
/// not whole.
fn request(input: &[u8]) -> io::Result<Option<(usize, Form)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ErrorKind::InvalidData.into()),
    };
    let form = match request.path {
        Some(IN_HEADER) => Form::Header,
        Some(JSON) => Form::Json,
        _ => Form::Body,
    };
    let length = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("Content-Length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok())
        .unwrap_or(0);
    Ok((input.len() >= head + length).then_some((head + length, form)))
}
