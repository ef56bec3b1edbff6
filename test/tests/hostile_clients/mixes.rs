//! Good and bad tokens mixed on one connection: each answer belongs to its own request.

use std::collections::HashMap;
use std::thread;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::http2::{END_STREAM, Http2, get, kind};
use phantom_token_test::nginx::Builder;
use phantom_token_test::random::{Random, setting};
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::{Reply, Rig, Script};

use crate::support::*;

/// What a request presents.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Good(usize),
    Unknown(usize),
    Missing,
    Malformed,
    Failing(usize),
    Busy(usize),
    /// Good, but the location needs another scope.
    Scope(usize),
}

const GOOD: usize = 30;

fn draw(random: &mut Random) -> Kind {
    let number = random.below(GOOD);
    match random.below(10) {
        0 => Kind::Unknown(random.below(1_000)),
        1 => Kind::Missing,
        2 => Kind::Malformed,
        3 => Kind::Failing(number),
        4 => Kind::Busy(number),
        5 => Kind::Scope(number),
        _ => Kind::Good(number),
    }
}

fn mixed(change: impl FnOnce(Builder) -> Builder) -> (Rig, Vec<Token>) {
    let rig = rig(|builder| {
        change(builder)
            .log_level("crit")
            .http("access_log off;\nphantom_token_cache_valid 20ms;")
            .http("phantom_token_cache_inactive_valid 10ms;")
            .location("/scoped", &format!("phantom_token_scope execute;\n{SHOWN}"))
    });
    let tokens = (0..GOOD).map(|_| rig.server.issue()).collect();
    for n in 0..GOOD {
        rig.server.script(&format!("failing-{n}"), Script::status(500));
        rig.server.script(&format!("busy-{n}"), Script::status(429));
    }
    (rig, tokens)
}

impl Kind {
    fn target(self) -> &'static str {
        if matches!(self, Kind::Scope(_)) { "/scoped" } else { "/shown" }
    }

    fn authorization(self, tokens: &[Token]) -> Option<String> {
        Some(match self {
            Kind::Good(n) | Kind::Scope(n) => tokens[n].bearer(),
            Kind::Unknown(n) => format!("Bearer unknown-{n}"),
            Kind::Missing => return None,
            Kind::Malformed => "Bearer a b".to_owned(),
            Kind::Failing(n) => format!("Bearer failing-{n}"),
            Kind::Busy(n) => format!("Bearer busy-{n}"),
        })
    }

    fn status(self) -> u16 {
        match self {
            Kind::Good(_) => 204,
            Kind::Unknown(_) | Kind::Missing | Kind::Malformed => 401,
            Kind::Scope(_) => 403,
            Kind::Failing(_) => 500,
            Kind::Busy(_) => 503,
        }
    }
}

#[test]
fn pipelined_mixes_are_answered_in_order() {
    let count = setting("PHANTOM_TOKEN_MIXES", 2_000) as usize;
    let seed = setting("PHANTOM_TOKEN_SEED", 1);
    println!("PHANTOM_TOKEN_SEED={seed}");
    let (rig, tokens) = mixed(|builder| builder);
    thread::scope(|scope| {
        for nth in 0..3 {
            let (rig, tokens) = (&rig, &tokens);
            scope.spawn(move || {
                let mut random = Random::new(seed * 100 + nth);
                let mut client = rig.gateway.client();
                let mut left = count / 3;
                while left > 0 {
                    let batch: Vec<_> =
                        (0..left.min(1 + random.below(60))).map(|_| draw(&mut random)).collect();
                    left -= batch.len();
                    let mut bytes = Vec::new();
                    let mut bodies = Vec::new();
                    for kind in &batch {
                        let (method, body) = random.of(&[("GET", 0), ("HEAD", 0), ("POST", 3_000)]);
                        bodies.push(method);
                        let value = kind.authorization(tokens);
                        let headers: Vec<_> =
                            value.iter().map(|value| ("Authorization", value.as_str())).collect();
                        let body = vec![b'x'; body];
                        let request = client.request_bytes(method, kind.target(), &headers, &body);
                        bytes.extend(request);
                    }
                    client.send(&bytes);
                    for (kind, method) in batch.into_iter().zip(bodies) {
                        let response = client.try_read(method == "HEAD").expect("a response");
                        let shown = response.header("x-shown").unwrap_or_default();
                        match kind {
                            Kind::Good(n) => assert_eq!(shown, tokens[n].phantom(), "{kind:?}"),
                            Kind::Scope(_) => assert_eq!(response.status, 403, "{kind:?}"),
                            _ => {
                                let reply = match kind {
                                    Kind::Missing => Reply::unauthorized(CHALLENGE),
                                    Kind::Failing(_) => Reply::failure(),
                                    Kind::Busy(_) => Reply::unavailable("1"),
                                    _ => Reply::unauthorized(INVALID_TOKEN),
                                };
                                let mut plain = response.clone();
                                plain.headers.0.retain(|(name, _)| !name.starts_with("X-"));
                                match method {
                                    "HEAD" => reply.assert_head(&plain),
                                    _ => reply.assert(&plain),
                                }
                            }
                        }
                        assert_eq!(response.status, kind.status(), "{kind:?}");
                    }
                }
                assert!(client.is_idle(), "an answer nobody asked for");
            });
        }
    });
    println!("{count} pipelined requests: each answer its own");
}

#[test]
fn streams_of_all_kinds_get_their_own_answers() {
    let count = setting("PHANTOM_TOKEN_MIXES", 2_000) as usize;
    let seed = setting("PHANTOM_TOKEN_SEED", 1);
    println!("PHANTOM_TOKEN_SEED={seed}");
    let (rig, tokens) = mixed(Builder::http2);
    let mut random = Random::new(seed);
    let mut connection = Http2::connect(rig.gateway.http2_port()).expect("connects");
    // What was asked on a stream, its status and its body so far.
    let mut asked: HashMap<u32, (Kind, Option<u16>, Vec<u8>)> = HashMap::new();
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        let mut batch = Vec::new();
        while sent < count && asked.len() < 100 {
            let drawn = draw(&mut random);
            let stream = connection.next_stream();
            let value = drawn.authorization(&tokens);
            let headers: Vec<_> =
                value.iter().map(|value| ("authorization", value.as_str())).collect();
            // The API shows the JWT it got in its body.
            let target = if matches!(drawn, Kind::Good(_)) { "/api" } else { drawn.target() };
            batch.extend(get(stream, target, &headers));
            asked.insert(stream, (drawn, None, Vec::new()));
            sent += 1;
        }
        connection.send(&batch).expect("an open connection");
        let frame = connection.read().expect("an open connection").expect("an answer");
        let (drawn, status, body) = asked.get_mut(&frame.stream).expect("a stream under way");
        match frame.kind {
            kind::HEADERS => *status = frame.status(),
            kind::DATA => body.extend_from_slice(&frame.payload),
            _ => panic!("{drawn:?}: {frame:?}"),
        }
        if frame.flags & END_STREAM == 0 {
            continue;
        }
        let body = String::from_utf8_lossy(body);
        match *drawn {
            Kind::Good(n) => {
                assert_eq!(*status, Some(200), "{body}");
                assert!(body.contains(&tokens[n].jwt), "another's JWT: {body}");
            }
            _ => assert_eq!(*status, Some(drawn.status()), "{drawn:?}: {body}"),
        }
        asked.remove(&frame.stream);
        answered += 1;
    }
    println!("{count} streams on one connection: each answer its own");
}
