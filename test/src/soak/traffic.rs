//! One HTTP/1.1 client: it asks with tokens of all kinds and knows what each must come to.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::authorization_server::{AuthorizationServer, Mint, Token};
use crate::client::{Client, Response};
use crate::jwt::random_text;
use crate::random::Random;

use super::Tokens;
use super::field::{Expected, Field, OPAQUE, body_name, name_of};

/// Short-lived tokens a client has at a time.
const SHORT: usize = 8;

/// A gateway as clients know it.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) port: u16,
    pub(super) http2_port: u16,
    /// Its workers are killed.
    pub(super) stormy: bool,
}

impl Target {
    /// Its place among the two.
    pub(super) fn at(self) -> usize {
        usize::from(!self.stormy)
    }
}

/// A request, and what it must come to.
struct Ask<'a> {
    what: &'static str,
    bytes: Vec<u8>,
    expected: Expected<'a>,
}

/// One client.
pub(super) struct Visitor<'a> {
    field: &'a Field,
    server: &'a AuthorizationServer,
    target: Target,
    tokens: &'a Tokens,
    random: Random,
    connection: Option<Client>,
    short: Vec<Token>,
}

impl<'a> Visitor<'a> {
    pub(super) fn new(
        field: &'a Field,
        server: &'a AuthorizationServer,
        target: Target,
        tokens: &'a Tokens,
        seed: u64,
    ) -> Self {
        let random = Random::new(seed);
        Self { field, server, target, tokens, random, connection: None, short: Vec::new() }
    }

    /// Asks until it is over.
    pub(super) fn run(mut self) {
        while !self.field.is_over() {
            match self.random.below(100) {
                0..40 => self.hit(),
                40..48 => self.upload(),
                48..58 => self.new_token(),
                58..64 => self.short_lived(),
                64..76 => self.inactive(),
                76..84 => self.malformed(),
                84..87 => self.scope(),
                87..89 => self.broken(),
                89..93 => self.pipelined(),
                93..95 => self.leaves(),
                95..97 => self.revoked(),
                97..99 => self.metrics(),
                _ => self.connection = None,
            }
        }
    }

    fn hit(&mut self) {
        let token = self.standing();
        let bytes = request("GET", &path(token), Some(&token.token), b"");
        self.ask(Ask { what: "a good token", bytes, expected: Expected::Pass(token) });
    }

    fn upload(&mut self) {
        let token = self.standing();
        let length = [1, 900, 20_000, 150_000][self.random.below(4)] + self.random.below(700);
        let body: Vec<u8> = (0..length).map(|_| self.random.below(256) as u8).collect();
        let target = format!("{}?body={}", path(token), body_name(&body));
        let bytes = request("POST", &target, Some(&token.token), &body);
        self.ask(Ask { what: "an upload", bytes, expected: Expected::Pass(token) });
    }

    /// A token never seen before: a miss, and then, most likely, a hit.
    fn new_token(&mut self) {
        let token = self.fresh(15);
        for _ in 0..2 {
            let bytes = request("GET", &path(&token), Some(&token.token), b"");
            self.ask(Ask { what: "a new token", bytes, expected: Expected::Pass(&token) });
        }
    }

    /// A token that runs out while it is used.
    fn short_lived(&mut self) {
        if self.short.len() < SHORT {
            let seconds = 1 + self.random.below(3) as i64;
            let token = self.fresh(seconds);
            self.short.push(token);
        }
        let at = self.random.below(self.short.len());
        let token = self.short[at].clone();
        let exp = token.exp.unwrap_or_default();
        let now = seconds();
        let bytes = request("GET", &path(&token), Some(&token.token), b"");
        let expected =
            if now > exp { Expected::Inactive } else { Expected::PassOrInactive(&token) };
        self.ask(Ask { what: "a short-lived token", bytes, expected });
        if now > exp + 2 {
            self.short.swap_remove(at);
        }
    }

    fn inactive(&mut self) {
        let token = match self.random.below(2) {
            0 => format!("{OPAQUE}dead-{}", self.random.below(40)),
            _ => format!("{OPAQUE}made-up-{}", random_text(24)),
        };
        let bytes = request("GET", "/api/none", Some(&token), b"");
        self.ask(Ask { what: "an inactive token", bytes, expected: Expected::Inactive });
    }

    fn malformed(&mut self) {
        let values =
            ["Bearer", "Bearer ", "Bearer a b", "Bearer \"x\"", "Basic eDp5", "Bearer a=b"];
        let long = format!("Bearer {}", "x".repeat(32_769));
        let field = match self.random.below(values.len() + 2) {
            0 => String::new(),
            1 => format!("Authorization: {long}\r\n"),
            n => format!("Authorization: {}\r\n", values[n - 2]),
        };
        let head = format!("GET /api/none HTTP/1.1\r\nHost: gateway\r\n{field}\r\n");
        let expected = Expected::Refused(401);
        self.ask(Ask { what: "a malformed request", bytes: head.into_bytes(), expected });
    }

    fn scope(&mut self) {
        let token = &self.tokens.scopeless[self.random.below(self.tokens.scopeless.len())];
        // Before the scope is judged, the token must be known.
        let known = request("GET", &path(token), Some(&token.token), b"");
        self.ask(Ask { what: "another scope", bytes: known, expected: Expected::Pass(token) });
        let bytes = request("GET", "/scoped/none", Some(&token.token), b"");
        self.ask_scoped(bytes);
    }

    /// 403, or a failure where the token had to be asked for.
    fn ask_scoped(&mut self, bytes: Vec<u8>) {
        let what = "a token without the scope";
        let start = Instant::now();
        match self.exchange(&bytes) {
            Ok(response) if response.status == 403 => {
                self.field.judge(what, self.target.at(), start, &response, Expected::Refused(403));
            }
            Ok(response) if response.status == 401 => {
                self.field.wrong(format!("{what} got 401"));
            }
            Ok(response) => {
                self.field.judge(what, self.target.at(), start, &response, Expected::Inactive);
            }
            Err(error) => self.field.lost(what, start, self.target.stormy, error.kind()),
        }
    }

    fn broken(&mut self) {
        let name = ["500", "odd", "redirect", "no-jwt"][self.random.below(4)];
        let token = format!("{OPAQUE}broken-{name}");
        let bytes = request("GET", "/api/none", Some(&token), b"");
        self.ask(Ask { what: "an odd answer's token", bytes, expected: Expected::Failure });
    }

    /// Several requests at once on one connection: each answer must be its own.
    fn pipelined(&mut self) {
        self.connection = None;
        let tokens: Vec<&Token> = (0..3).map(|_| self.standing()).collect();
        let (first, rest) = (tokens[0], &tokens[1..]);
        let dead = format!("{OPAQUE}dead-{}", self.random.below(40));
        let mut bytes = request("GET", &path(first), Some(&first.token), b"");
        bytes.extend(request("GET", "/api/none", Some(&dead), b""));
        for token in rest {
            bytes.extend(request("GET", &path(token), Some(&token.token), b""));
        }
        let expected = [Expected::Pass(first), Expected::Inactive]
            .into_iter()
            .chain(rest.iter().map(|token| Expected::Pass(token)));
        let start = Instant::now();
        let lost = |what: &str, error: io::Error| {
            self.field.lost(what, start, self.target.stormy, error.kind());
        };
        let mut client = match Client::try_connect(self.target.port) {
            Ok(client) => client,
            Err(error) => return lost("a connection", error),
        };
        let mut sent = client.try_send(&bytes);
        for expected in expected {
            match sent.and_then(|()| client.try_read(false)) {
                Ok(response) => {
                    self.field.judge(
                        "a pipelined request",
                        self.target.at(),
                        start,
                        &response,
                        expected,
                    );
                    sent = Ok(());
                    // A worker that ends closes after what it has begun (RFC 9112 §9.6).
                    if response.headers.lists("connection", "close") {
                        self.field.counts.repeated.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
                Err(error) => return lost("a pipelined request", error),
            }
        }
    }

    /// Asks and does not wait for the answer.
    fn leaves(&mut self) {
        let token = self.fresh(5);
        let bytes = request("GET", &path(&token), Some(&token.token), b"");
        if let Ok(mut client) = Client::try_connect(self.target.port)
            && client.try_send(&bytes).is_ok()
        {
            self.field.counts.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A token that is good, then revoked and purged: from then on it must not be let in.
    fn revoked(&mut self) {
        let token = self.fresh(60);
        let bytes = request("GET", &path(&token), Some(&token.token), b"");
        let what = "a token to be revoked";
        self.ask(Ask { what, bytes: bytes.clone(), expected: Expected::Pass(&token) });
        self.server.revoke(&token.token);
        let form = format!("token={}", token.token);
        let purge = request("POST", "/purge", None, form.as_bytes());
        let start = Instant::now();
        match self.exchange(&purge) {
            Ok(response) if response.status == 204 => {}
            // The zone's lock could not be had: nothing is promised.
            Ok(response) if response.status == 503 => return,
            Ok(response) => return self.field.wrong(format!("a purge got {}", response.status)),
            Err(error) => {
                return self.field.lost("a purge", start, self.target.stormy, error.kind());
            }
        }
        self.field.counts.purged.fetch_add(1, Ordering::Relaxed);
        self.ask(Ask { what: "a purged token", bytes, expected: Expected::Inactive });
    }

    fn metrics(&mut self) {
        let start = Instant::now();
        match self.exchange(&request("GET", "/metrics", None, b"")) {
            Ok(response) if response.status == 200 => {}
            Ok(response) => self.field.wrong(format!("the numbers got {}", response.status)),
            Err(error) => self.field.lost("the numbers", start, self.target.stormy, error.kind()),
        }
    }

    fn ask(&mut self, ask: Ask<'_>) {
        let start = Instant::now();
        match self.exchange(&ask.bytes) {
            Ok(response) => self.field.judge(
                &format!("{} at the {} gateway", ask.what, self.target.name),
                self.target.at(),
                start,
                &response,
                ask.expected,
            ),
            Err(error) => self.field.lost(ask.what, start, self.target.stormy, error.kind()),
        }
    }

    /// Sends a request on the kept connection. Where workers come and go it may have been closed
    /// meanwhile: what may be repeated is sent once more on a new one, as every HTTP client does
    /// (RFC 9112 §9.3.1), and what may not has a new one from the start.
    fn exchange(&mut self, bytes: &[u8]) -> io::Result<Response> {
        let may_be_lost = self.target.stormy && bytes.starts_with(b"POST ");
        if let Some(mut client) = self.connection.take().filter(|_| !may_be_lost) {
            match client.try_send(bytes).and_then(|()| client.try_read(false)) {
                Ok(response) => return Ok(self.keep(client, response)),
                Err(error) if !self.target.stormy || error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(error);
                }
                Err(_) => self.field.counts.repeated.fetch_add(1, Ordering::Relaxed),
            };
        }
        let mut client = Client::try_connect(self.target.port)?;
        client.try_send(bytes)?;
        let response = client.try_read(false)?;
        Ok(self.keep(client, response))
    }

    fn keep(&mut self, client: Client, response: Response) -> Response {
        if !response.headers.lists("connection", "close") {
            self.connection = Some(client);
        }
        response
    }

    fn standing(&mut self) -> &'a Token {
        // Some are asked for far more often than others.
        let bound = [10, self.tokens.standing.len()][self.random.below(2)];
        &self.tokens.standing[self.random.below(bound)]
    }

    fn fresh(&mut self, seconds: i64) -> Token {
        let token = format!("{OPAQUE}{}", random_text(24));
        let size = [0, 0, 2_000][self.random.below(3)];
        self.server.mint(Mint::new().token(&token).expires_in(seconds).jwt_size(size))
    }
}

/// The path that lets the API know which JWT it must get.
pub(super) fn path(token: &Token) -> String {
    format!("/api/{}", name_of(&token.jwt))
}

fn request(method: &str, target: &str, token: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: gateway\r\n");
    if let Some(token) = token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if !body.is_empty() {
        head.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64)
}
