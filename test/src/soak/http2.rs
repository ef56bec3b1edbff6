//! The HTTP/2 client (RFC 9113): several streams at once on one connection, over plain TCP with
//! prior knowledge.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::authorization_server::Token;
use crate::client::Response;
use crate::http::Headers;
use crate::http2::{END_STREAM, Http2, get, kind};
use crate::random::Random;

use super::Tokens;
use super::field::{Expected, Field, OPAQUE};
use super::traffic::{Target, path};

/// Streams at once.
const STREAMS: usize = 8;
/// Rounds of streams on one connection.
const ROUNDS: usize = 6;

/// Asks until it is over.
pub(super) fn visit(field: &Field, target: Target, tokens: &Tokens) {
    let mut random = Random::new(u64::from(target.port));
    while !field.is_over() {
        let start = Instant::now();
        match Connection::open(target.http2_port) {
            Ok(connection) => rounds(field, target, tokens, &mut random, connection),
            Err(error) => {
                field.lost("an HTTP/2 connection", start, target.stormy, error.kind());
            }
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
                    field.judge(&what, target.at(), start, response, *expected);
                }
                // Sent before it was known that the worker ends, which says what it has not touched
                // (RFC 9113 §6.8), or has closed already. One that is silent has done neither.
                None if connection.broken != Some(ErrorKind::WouldBlock)
                    && (connection.is_leaving
                        || connection.broken.is_some() && round > 0 && target.stormy) =>
                {
                    field.counts.repeated.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    // Where the connection goes on, the stream alone was reset.
                    let why = connection.broken.unwrap_or(ErrorKind::ConnectionReset);
                    field.lost(&what, start, target.stormy, why);
                }
            }
        }
        if connection.is_leaving || connection.broken.is_some() || field.is_over() {
            return;
        }
    }
}

/// A connection.
struct Connection {
    http2: Http2,
    /// The server takes no new streams.
    is_leaving: bool,
    /// Why nothing more will come.
    broken: Option<ErrorKind>,
}

impl Connection {
    fn open(port: u16) -> io::Result<Self> {
        Ok(Self { http2: Http2::connect(port)?, is_leaving: false, broken: None })
    }

    /// Sends a GET for each path and token in one go; the answers by their place. Those that are
    /// missing have not been answered.
    fn ask<'a>(
        &mut self,
        requests: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> HashMap<usize, Response> {
        let mut bytes = Vec::new();
        let mut streams = Vec::new();
        for (path, token) in requests {
            let stream = self.http2.next_stream();
            bytes.extend(get(stream, path, &[("authorization", &format!("Bearer {token}"))]));
            streams.push(stream);
        }
        let mut open: HashSet<u32> = streams.iter().copied().collect();
        let mut answers = HashMap::new();
        let mut begun: HashMap<u32, Response> = HashMap::new();
        if let Err(error) = self.http2.send(&bytes) {
            // What came before still stands to be read.
            self.broken = Some(error.kind());
        }
        while !open.is_empty() {
            let frame = match self.http2.read() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.broken = Some(ErrorKind::UnexpectedEof);
                    break;
                }
                Err(error) => {
                    self.broken = Some(error.kind());
                    break;
                }
            };
            match frame.kind {
                kind::HEADERS => {
                    let (headers, raw_head) = (Headers::default(), Vec::new());
                    let (status, body) = (frame.status().unwrap_or(0), Vec::new());
                    begun.insert(frame.stream, Response { status, headers, body, raw_head });
                }
                kind::DATA => {
                    if let Some(response) = begun.get_mut(&frame.stream) {
                        response.body.extend(&frame.payload);
                    }
                }
                kind::RST_STREAM => {
                    open.remove(&frame.stream);
                }
                kind::GOAWAY => {
                    self.is_leaving = true;
                    let last = frame.payload.first_chunk();
                    let last = last.map_or(0, |stream| u32::from_be_bytes(*stream));
                    open.retain(|stream| *stream <= last);
                }
                _ => {}
            }
            if matches!(frame.kind, kind::HEADERS | kind::DATA)
                && frame.flags & END_STREAM != 0
                && let Some(response) = begun.remove(&frame.stream)
                && let Some(at) = streams.iter().position(|stream| *stream == frame.stream)
            {
                answers.insert(at, response);
                open.remove(&frame.stream);
            }
        }
        answers
    }
}
