//! Answers an honest authorization server would not give.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::process::wait_until;
use crate::server::{After, Exchange, head};

/// How introspections of a token are answered instead of truthfully.
#[derive(Clone)]
pub struct Script {
    act: Act,
    delay: Duration,
    after: Option<Arc<AtomicBool>>,
    late: Option<(Arc<AtomicBool>, Vec<u8>)>,
    delivered: Option<Arc<AtomicBool>>,
    close: bool,
    reset: bool,
    hang_up: bool,
    times: Option<usize>,
}

#[derive(Clone)]
enum Act {
    Answer(Answer),
    Raw(Vec<u8>),
    Hang,
    Close,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    surplus: Vec<u8>,
    drip: Option<(usize, Duration)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
}

impl Script {
    /// An answer with this status, no body and no headers of its own.
    pub fn status(status: u16) -> Self {
        Self::act(Act::Answer(Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length,
            surplus: Vec::new(),
            drip: None,
        }))
    }

    /// A 200 with this media type and body.
    pub fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).header("Content-Type", content_type).body(body)
    }

    /// A 200 with a JSON body.
    pub fn json(body: &Value) -> Self {
        Self::ok("application/json", body.to_string())
    }

    /// A 200 with a JWT.
    pub fn jwt(jwt: &str) -> Self {
        Self::ok("application/jwt", jwt)
    }

    /// These bytes, whatever they are; the connection then waits for the next request.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::act(Act::Raw(bytes.into()))
    }

    /// No answer until the client gives up.
    pub fn hang() -> Self {
        Self::act(Act::Hang)
    }

    /// No answer: the connection is closed.
    pub fn close() -> Self {
        Self::act(Act::Close)
    }

    fn act(act: Act) -> Self {
        Self {
            act,
            delay: Duration::ZERO,
            after: None,
            late: None,
            delivered: None,
            close: false,
            reset: false,
            hang_up: false,
            times: None,
        }
    }

    /// With a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Act::Answer(answer) = &mut self.act {
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        if let Act::Answer(answer) = &mut self.act {
            answer.body = body.into();
        }
        self
    }

    /// The body in chunks.
    pub fn chunked(mut self) -> Self {
        if let Act::Answer(answer) = &mut self.act {
            answer.framing = Framing::Chunked;
        }
        self
    }

    /// The body without a length: it ends with the connection.
    pub fn until_close(mut self) -> Self {
        if let Act::Answer(answer) = &mut self.act {
            answer.framing = Framing::UntilClose;
        }
        self
    }

    /// With bytes after the answer, in the same write: a second answer nobody asked for.
    pub fn surplus(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Act::Answer(answer) = &mut self.act {
            answer.surplus = bytes.into();
        }
        self
    }

    /// So many bytes at a time, this far apart, head included.
    pub fn drip(mut self, bytes: usize, every: Duration) -> Self {
        if let Act::Answer(answer) = &mut self.act {
            answer.drip = Some((bytes, every));
        }
        self
    }

    /// After this delay.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Once this is set.
    pub fn after(mut self, event: &Arc<AtomicBool>) -> Self {
        self.after = Some(event.clone());
        self
    }

    /// And these bytes, unasked, once this is set.
    pub fn then_raw(mut self, event: &Arc<AtomicBool>, bytes: impl Into<Vec<u8>>) -> Self {
        self.late = Some((event.clone(), bytes.into()));
        self
    }

    /// Sets this once all of it has arrived, or the gateway has closed the connection.
    pub fn delivered(mut self, event: &Arc<AtomicBool>) -> Self {
        self.delivered = Some(event.clone());
        self
    }

    /// And then closes the connection.
    pub fn then_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// And then resets the connection.
    pub fn then_reset(mut self) -> Self {
        self.reset = true;
        self
    }

    /// And then ends the connection, over TLS without its goodbye.
    pub fn then_hang_up(mut self) -> Self {
        self.hang_up = true;
        self
    }

    /// For the next `count` introspections only.
    pub fn times(mut self, count: usize) -> Self {
        self.times = Some(count);
        self
    }

    pub(super) fn play(&self, exchange: &mut Exchange<'_>) -> io::Result<After> {
        let played = self.perform(exchange);
        if let Some(event) = &self.delivered {
            exchange.wait_until_delivered();
            event.store(true, Ordering::Relaxed);
        }
        played
    }

    fn perform(&self, exchange: &mut Exchange<'_>) -> io::Result<After> {
        thread::sleep(self.delay);
        if let Some(event) = &self.after {
            wait_until("what a script waits for", || event.load(Ordering::Relaxed));
        }
        match &self.act {
            Act::Close => return Ok(After::Close),
            Act::Hang => {
                while !exchange.read_some()?.is_empty() {}
                return Ok(After::Close);
            }
            Act::Raw(bytes) => exchange.write(bytes)?,
            Act::Answer(answer) => {
                let bytes = answer.bytes();
                match answer.drip {
                    None => exchange.write(&bytes)?,
                    Some((size, every)) => {
                        for piece in bytes.chunks(size.max(1)) {
                            exchange.write(piece)?;
                            thread::sleep(every);
                        }
                    }
                }
                if answer.framing == Framing::UntilClose && !self.reset && !self.hang_up {
                    return Ok(After::Close);
                }
            }
        }
        if let Some((event, bytes)) = &self.late {
            wait_until("what a script waits for", || event.load(Ordering::Relaxed));
            exchange.write(bytes)?;
        }
        if self.reset {
            exchange.reset()?;
        }
        if self.hang_up {
            exchange.hang_up()?;
        }
        Ok(if self.close { After::Close } else { After::KeepAlive })
    }
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let headers = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let mut bytes = head(self.status, headers);
        match self.framing {
            Framing::Length if self.status == 204 => bytes.extend_from_slice(b"\r\n"),
            Framing::Length => {
                let length = format!("Content-Length: {}\r\n\r\n", self.body.len());
                bytes.extend_from_slice(length.as_bytes());
                bytes.extend_from_slice(&self.body);
            }
            Framing::Chunked => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in self.body.chunks(1000) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            Framing::UntilClose => {
                bytes.extend_from_slice(b"Connection: close\r\n\r\n");
                bytes.extend_from_slice(&self.body);
            }
        }
        bytes.extend_from_slice(&self.surplus);
        bytes
    }
}

/// Scripts by token; `None` is for every other token.
#[derive(Default)]
pub(super) struct Scripts(HashMap<Option<String>, Script>);

impl Scripts {
    pub(super) fn set(&mut self, token: Option<String>, script: Script) {
        self.0.insert(token, script);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The script for an introspection that may be scripted under these names, the first that is;
    /// used up where it was for a number of times.
    pub(super) fn next_of(&mut self, names: impl IntoIterator<Item = String>) -> Option<Script> {
        if self.0.is_empty() {
            return None;
        }
        names.into_iter().map(Some).chain([None]).find_map(|key| {
            let script = self.0.get_mut(&key)?;
            match &mut script.times {
                None => {}
                Some(0) => return None,
                Some(times) => *times -= 1,
            }
            Some(script.clone())
        })
    }
}
