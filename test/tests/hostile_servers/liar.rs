//! A server that answers some tokens rightly and breaks every rule in between: answers nobody asked
//! for, with another token's JWT, must never be taken for the next one's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use phantom_token_test::random::{Random, setting};
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::server::{After, Exchange};
use phantom_token_test::{Reply, Response};

use crate::support::*;

/// Whom the stolen answers would let in.
const STOLEN: &str = "stolen";

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// None: the right answer.
    Honest,
    /// A second answer in the same write.
    Surplus,
    /// One byte of a second answer.
    OneByteMore,
    /// The right answer without a body, by its status; the body is another's answer.
    NoContentWithBody,
    NotModifiedWithBody,
    /// A length that is too short: the rest is another's answer.
    ShortLength,
    /// Chunks that end early: the rest is another's answer.
    ShortChunks,
    CutAndClosed,
    CutAndReset,
    Closed,
    Reset,
    /// Interim answers before the right one.
    Interim,
    /// An interim answer with a body, which is another's answer.
    InterimWithBody,
    Dripped,
    /// Says that it closes, sends more, and does not close.
    SaysClose,
    /// An error whose body holds another's answer.
    Error,
    /// Only when the gateway has given up: this token's answer, and another's.
    Late,
}

use Lie::*;

const LIES: &[Lie] = &[
    Honest,
    Honest,
    Honest,
    Honest,
    Surplus,
    OneByteMore,
    NoContentWithBody,
    NotModifiedWithBody,
    ShortLength,
    ShortChunks,
    CutAndClosed,
    CutAndReset,
    Closed,
    Reset,
    Interim,
    InterimWithBody,
    Dripped,
    SaysClose,
    Error,
];

/// What may become of a request that is answered so.
#[derive(Debug, PartialEq)]
enum May {
    Pass,
    BeDenied,
    Fail,
    /// Pass or fail: the last bytes may not arrive, or the gateway may not like them.
    PassOrFail,
}

impl Lie {
    fn of(token: &str) -> Self {
        let (_, number) = token.rsplit_once('-').expect("a number");
        let mut random = Random::new(number.parse().expect("a number"));
        if random.one_in(150) { Late } else { random.of(LIES) }
    }

    fn may(self) -> May {
        match self {
            Honest | Surplus | OneByteMore | Interim | Dripped | SaysClose => May::Pass,
            NoContentWithBody => May::BeDenied,
            InterimWithBody => May::PassOrFail,
            _ => May::Fail,
        }
    }

    /// Plays it. `given_up` waits until the gateway has answered for this token.
    fn play(self, token: &str, to: &mut Exchange<'_>, given_up: &dyn Fn()) -> io::Result<After> {
        let jwt = jwt_of(token);
        let right = answer("application/jwt", &jwt);
        let stolen = answer("application/jwt", &jwt_of(STOLEN));
        let raw = |head: &str| [head.as_bytes(), b"\r\n", &stolen].concat();
        match self {
            Honest => to.write(&right)?,
            Surplus => to.write(&[right, stolen].concat())?,
            OneByteMore => to.write(&[right, b"H".to_vec()].concat())?,
            NoContentWithBody => to.write(&raw(&format!(
                "HTTP/1.1 204 No Content\r\nContent-Type: application/jwt\r\nContent-Length: {}\r\n",
                stolen.len()
            )))?,
            NotModifiedWithBody => to.write(&raw(&format!(
                "HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n",
                stolen.len()
            )))?,
            ShortLength => to.write(
                &[
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: 7\r\n\r\n",
                    jwt.as_bytes(),
                    &stolen,
                ]
                .concat(),
            )?,
            ShortChunks => to.write(&raw(
                "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\n\
                 Transfer-Encoding: chunked\r\n\r\n3\r\neyJ\r\n0\r\n",
            ))?,
            CutAndClosed => {
                to.write(&right[..right.len() - 3])?;
                return Ok(After::Close);
            }
            CutAndReset => {
                to.write(&right[..right.len() - 3])?;
                to.reset()?;
                return Ok(After::Close);
            }
            Closed => return Ok(After::Close),
            Reset => {
                to.reset()?;
                return Ok(After::Close);
            }
            Interim => to.write(
                &[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n", &*right]
                    .concat(),
            )?,
            InterimWithBody => {
                let interim = raw(&format!(
                    "HTTP/1.1 103 Early Hints\r\nContent-Length: {}\r\n",
                    stolen.len()
                ));
                // Whoever reads it rightly finds an answer behind it: the server's own, in truth.
                let interim = String::from_utf8_lossy(&interim).replace(&jwt_of(STOLEN), &jwt);
                to.write(&[interim.as_bytes(), &right].concat())?;
            }
            Dripped => {
                for byte in &right {
                    to.write(&[*byte])?;
                }
            }
            SaysClose => {
                let text = String::from_utf8_lossy(&right);
                let text = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                to.write(&[text.as_bytes(), &stolen].concat())?;
            }
            Error => {
                let text = String::from_utf8_lossy(&stolen);
                to.write(text.replacen("200 OK", "500 Error", 1).as_bytes())?;
            }
            Late => {
                given_up();
                to.write(&[right, stolen].concat())?;
            }
        }
        Ok(After::KeepAlive)
    }
}

/// The tokens whose requests were answered though their introspections were not.
#[derive(Default)]
struct GivenUp {
    tokens: Mutex<Vec<String>>,
    changed: Condvar,
}

impl GivenUp {
    fn note(&self, token: &str) {
        self.tokens.lock().push(token.to_owned());
        self.changed.notify_all();
    }

    fn wait_for(&self, token: &str) {
        let mut tokens = self.tokens.lock();
        let end = Instant::now() + Duration::from_secs(10);
        while !tokens.iter().any(|known| known == token) {
            if self.changed.wait_until(&mut tokens, end).timed_out() {
                return;
            }
        }
    }
}

fn check(lie: Lie, token: &str, response: &Response) -> bool {
    match lie.may() {
        May::BeDenied => {
            Reply::unauthorized(INVALID_TOKEN).assert(response);
            false
        }
        may => {
            let passed = passes(response, &jwt_of(token));
            let right = match may {
                May::Pass => passed,
                May::PassOrFail => true,
                _ => !passed,
            };
            assert!(right, "{lie:?} {token}: {response:?}");
            passed
        }
    }
}

#[test]
fn no_answer_is_taken_for_another_tokens() {
    let count = setting("PHANTOM_TOKEN_LIES", 1_500) as usize;
    let seed = setting("PHANTOM_TOKEN_SEED", 1).wrapping_mul(1_000_000);
    println!("PHANTOM_TOKEN_SEED={}", seed / 1_000_000);
    let given_up = Arc::new(GivenUp::default());
    let asked = Arc::new(AtomicU64::new(0));
    let service = {
        let (given_up, asked) = (given_up.clone(), asked.clone());
        Answering(move |token: &str, exchange: &mut Exchange<'_>| {
            asked.fetch_add(1, Ordering::Relaxed);
            Lie::of(token).play(token, exchange, &|| given_up.wait_for(token))
        })
    };
    // Few threads, so that their connections are used again and again.
    let custom = Custom::start(Arc::new(service), |builder, api| {
        let impatient =
            format!("phantom_token on;\nphantom_token_timeout 200ms;\nproxy_pass {};", api.url());
        builder
            .log_level("error")
            .main("thread_pool phantom_token threads=3;")
            .http("keepalive_requests 1000000;")
            .location("/late", &impatient)
    });
    let (next, faults) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = AtomicBool::new(false);
    let begin = Instant::now();
    let expected = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut expected) = (custom.gateway.client(), Vec::new());
                    loop {
                        let nth = next.fetch_add(1, Ordering::Relaxed);
                        if nth >= count || failed.load(Ordering::Relaxed) {
                            return expected;
                        }
                        let token = format!("token-{}", seed + nth as u64);
                        let lie = Lie::of(&token);
                        let target = if lie == Late { "/late" } else { "/api" };
                        let response = client.get_as(target, &token);
                        given_up.note(&token);
                        faults.fetch_add(usize::from(lie != Honest), Ordering::Relaxed);
                        let told = std::panic::catch_unwind(|| check(lie, &token, &response));
                        match told {
                            Ok(true) => expected.push(jwt_of(&token)),
                            Ok(false) => {}
                            Err(panic) => {
                                failed.store(true, Ordering::Relaxed);
                                std::panic::resume_unwind(panic);
                            }
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("no lie believed")).collect()
    });
    let expected: Vec<String> = expected;
    assert_received(&custom.api, &expected);
    println!(
        "{count} requests to a lying server, {:.1?}: {} let in, each with its own JWT; {} lies, 0 \
         believed; {} calls on {} connections",
        begin.elapsed(),
        expected.len(),
        faults.into_inner(),
        asked.load(Ordering::Relaxed),
        custom.server.accepted(),
    );
    assert_eq!(custom.honest.connections(), 0);
}

#[test]
fn what_comes_when_nobody_asked_answers_nobody() {
    let given_up = Arc::new(GivenUp::default());
    let sent = Arc::new(GivenUp::default());
    let unasked = [
        answer("application/jwt", &jwt_of(STOLEN)),
        answer("application/json", &format!(r#"{{"active":true,"jwt":"{}"}}"#, jwt_of(STOLEN))),
        b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\n".to_vec(),
        b"\r\n".to_vec(),
        b"H".to_vec(),
    ];
    let service = {
        let (given_up, sent, unasked) = (given_up.clone(), sent.clone(), unasked.clone());
        Answering(move |token: &str, exchange: &mut Exchange<'_>| {
            let (_, number) = token.rsplit_once('-').expect("a number");
            let number: usize = number.parse().expect("a number");
            exchange.write(&answer("application/jwt", &jwt_of(token)))?;
            // Once the gateway has taken the answer for whole, and before it asks again.
            given_up.wait_for(token);
            if number % 7 < unasked.len() {
                exchange.write(&unasked[number % 7])?;
            }
            sent.note(token);
            Ok(After::KeepAlive)
        })
    };
    let custom = Custom::start(Arc::new(service), |builder, _| {
        builder.log_level("error").main("thread_pool phantom_token threads=1;")
    });
    let (mut client, mut expected) = (custom.gateway.client(), Vec::new());
    for n in 0..210 {
        let token = format!("unasked-{n}");
        let response = client.get_as("/api", &token);
        assert!(passes(&response, &jwt_of(&token)), "{token}: {response:?}");
        given_up.note(&token);
        sent.wait_for(&token);
        expected.push(jwt_of(&token));
    }
    assert_received(&custom.api, &expected);
    let connections = custom.server.accepted();
    println!("210 tokens, 180 answers nobody asked for: 0 believed; {connections} connections");
    // A connection is left where something came; the seventh answer brought nothing.
    assert_eq!(connections, 181);
}
