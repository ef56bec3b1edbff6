//! The HTTP/2 client (RFC 9113): several streams at once on one connection, over plain TCP with
//! prior knowledge. It speaks as much of the protocol as NGINX answers with.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::authorization_server::Token;
use crate::client::Response;
use crate::http::Headers;

use super::Tokens;
use super::field::{Expected, Field, OPAQUE};
use super::traffic::{Random, Target, path};

/// Streams at once.
const STREAMS: usize = 8;
/// Rounds of streams on one connection.
const ROUNDS: usize = 6;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames (RFC 9113 §6), and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;
/// A window that no answer fills.
const WINDOW: u32 = 1 << 30;

/// Asks until it is over.
pub(super) fn visit(field: &Field, target: Target, tokens: &Tokens) {
    let mut random = Random(u64::from(target.port) | 1 << 40);
    while !field.is_over() {
        let start = Instant::now();
        match Connection::open(target.http2_port) {
            Ok(connection) => rounds(field, target, tokens, &mut random, connection),
            Err(_) => field.lost("an HTTP/2 connection", start, target.stormy),
        }
    }
}

fn rounds(
    field: &Field,
    target: Target,
    tokens: &Tokens,
    random: &mut Random,
    mut connection: Connection,
) {
    let what = format!("an HTTP/2 request at the {} gateway", target.name);
    for round in 0..ROUNDS {
        let asked: Vec<(String, String, Expected<'_>)> = (0..STREAMS)
            .map(|n| match n % 4 {
                3 => {
                    let dead = format!("{OPAQUE}dead-{}", random.below(40));
                    ("/api/none".to_owned(), dead, Expected::Inactive)
                }
                _ => {
                    let token: &Token = &tokens.standing[random.below(tokens.standing.len())];
                    (path(token), token.token.clone(), Expected::Pass(token))
                }
            })
            .collect();
        let start = Instant::now();
        let answers = connection.ask(asked.iter().map(|(path, token, _)| (&**path, &**token)));
        for (at, (_, _, expected)) in asked.iter().enumerate() {
            match answers.get(&at) {
                Some(response) => {
                    field.counts.http2.fetch_add(1, Ordering::Relaxed);
                    field.judge(&what, start, response, *expected);
                }
                // Sent before it was known that the worker ends, which says what it has not touched
                // (RFC 9113 §6.8), or has closed already.
                None if connection.is_leaving
                    || connection.broken && round > 0 && target.stormy =>
                {
                    field.counts.repeated.fetch_add(1, Ordering::Relaxed);
                }
                None => field.lost(&what, start, target.stormy),
            }
        }
        if connection.is_leaving || connection.broken || field.is_over() {
            return;
        }
    }
}

/// A connection.
struct Connection {
    stream: TcpStream,
    next: u32,
    /// The server takes no new streams.
    is_leaving: bool,
    /// Nothing more will come.
    broken: bool,
}

impl Connection {
    fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut connection = Self { stream, next: 1, is_leaving: false, broken: false };
        let window = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &WINDOW.to_be_bytes()].concat();
        let hello = [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &window),
            frame(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes()),
        ];
        connection.stream.write_all(&hello.concat())?;
        Ok(connection)
    }

    /// Sends a GET for each path and token in one go; the answers by their place. Those that are
    /// missing have not been answered.
    fn ask<'a>(
        &mut self,
        requests: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> HashMap<usize, Response> {
        let first = self.next;
        let mut bytes = Vec::new();
        for (path, token) in requests {
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, self.next, &head(path, token)));
            self.next += 2;
        }
        let mut open: HashSet<u32> = (first..self.next).step_by(2).collect();
        let mut answers = HashMap::new();
        let mut begun: HashMap<usize, Response> = HashMap::new();
        if self.stream.write_all(&bytes).is_err() {
            // What came before still stands to be read.
            self.broken = true;
        }
        while !open.is_empty() {
            let Ok((kind, flags, id, payload)) = self.read() else {
                self.broken = true;
                break;
            };
            let at = (id.saturating_sub(first) / 2) as usize;
            match kind {
                HEADERS => {
                    let (headers, raw_head) = (Headers::default(), Vec::new());
                    let (status, body) = (status(&payload), Vec::new());
                    begun.insert(at, Response { status, headers, body, raw_head });
                }
                DATA => {
                    if let Some(response) = begun.get_mut(&at) {
                        response.body.extend(payload);
                    }
                }
                RST_STREAM => {
                    open.remove(&id);
                }
                SETTINGS if flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, b"")),
                PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload)),
                GOAWAY => {
                    self.is_leaving = true;
                    let last = payload.first_chunk().map_or(0, |id| u32::from_be_bytes(*id));
                    open.retain(|id| *id <= last);
                }
                _ => {}
            }
            if matches!(kind, HEADERS | DATA)
                && flags & END_STREAM != 0
                && let Some(response) = begun.remove(&at)
            {
                answers.insert(at, response);
                open.remove(&id);
            }
        }
        answers
    }

    fn send(&mut self, bytes: &[u8]) {
        // Where it fails, reading will too.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads a frame: its kind, flags, stream and payload.
    fn read(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(id) & (u32::MAX >> 1), payload))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// The header section of a GET (RFC 7541): indexed fields, and literals that are not indexed.
fn head(path: &str, token: &str) -> Vec<u8> {
    /// `:method: GET` and `:scheme: http` in the static table.
    const GET_HTTP: [u8; 2] = [0x82, 0x86];
    let mut head = GET_HTTP.to_vec();
    // By the name's place in the static table: 4 is `:path`, 1 is `:authority`.
    for (name, value) in [(4, path), (1, "gateway")] {
        head.push(name);
        text(&mut head, value);
    }
    head.push(0);
    text(&mut head, "authorization");
    text(&mut head, &format!("Bearer {token}"));
    head
}

/// A string as it is, after its length (RFC 7541 §5.1, §5.2).
fn text(head: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..127 => head.push(length as u8),
        length => {
            head.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                head.push((rest % 128 + 128) as u8);
                rest /= 128;
            }
            head.push(rest as u8);
        }
    }
    head.extend_from_slice(text.as_bytes());
}

/// `:status`, which stands first: indexed (RFC 7541 Appendix A), or as three digits under the name's
/// index. 0 where it is neither.
fn status(head: &[u8]) -> u16 {
    // Changes of the dynamic table's size may come before (RFC 7541 §6.3).
    let updates = head.iter().take_while(|byte| **byte >> 5 == 1).count();
    match head[updates..] {
        [indexed @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
        }
        [0x08 | 0x48, 3, a, b, c, ..] => {
            let digits = [a, b, c];
            std::str::from_utf8(&digits).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
        }
        _ => 0,
    }
}
