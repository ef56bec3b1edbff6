//! Every answer of the fuzz corpus, over a real socket: each comes to what `outcomes.txt` says, what is
//! let in carries a JWT that stands in its answer, and whatever came before, the next token gets its
//! own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Rig, Script};

#[path = "../../../engine/tests/fuzz/input.rs"]
mod input;

use input::{answers, expand, split};

/// When the corpus' tokens are good, in seconds since the Unix epoch.
const THEN: i64 = 1_700_000_000;

/// The inputs kept for a fuzz target, by name.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = fs::read_dir(corpus).expect("a corpus");
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("an input"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// An input of the target `introspection`: status, header fields and body.
fn answer_of(input: &[u8]) -> Vec<u8> {
    let (head, body) = split(input, b"\n\n");
    let (first, fields) = split(head, b"\n");
    let status = String::from_utf8_lossy(first.split(|b| *b == b' ').next().unwrap_or_default())
        .parse::<u16>()
        .unwrap_or(200);
    let body = expand(body);
    let mut bytes = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    for field in fields.split(|b| *b == b'\n').filter(|field| !field.is_empty()) {
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
    bytes.extend(body);
    bytes
}

/// Whether a JWT stands in some bytes, or in a segment of a JWT there.
fn holds(bytes: &[u8], jwt: &[u8]) -> bool {
    let in_segment = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    bytes.windows(jwt.len()).any(|window| window == jwt)
        || bytes
            .split(|byte| !in_segment(byte))
            .filter(|segment| segment.len() > 40)
            .any(|segment| URL_SAFE_NO_PAD.decode(segment).is_ok_and(|inner| holds(&inner, jwt)))
}

/// What stands between the lengths of chunks.
fn without_chunks(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let is_length = |line: &&str| line.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split("\r\n").filter(|line| !is_length(line)).collect::<String>().into_bytes()
}

/// An input of the target `claims`: its JWT as the answer.
fn claims_of(input: &[u8]) -> Vec<u8> {
    let (_name, rest) = split(input, b"\n");
    let (_scope, jwt) = split(rest, b"\n");
    let jwt = expand(jwt);
    let length = jwt.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.into_bytes(), jwt].concat()
}

/// An input of the target `cache_control`: where to ask, and a good answer with its header fields.
fn kept_of(input: &[u8], jwt: &str) -> (&'static str, Vec<u8>) {
    let (first, rest) = split(input, b"\n");
    let (age, lines) = split(rest, b"\n");
    let target = match first.split(|byte| *byte == b' ').next() {
        Some(b"strict") => "/strict",
        Some(b"ignore") => "/ignore",
        _ => "/odd",
    };
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nAge: ".to_vec();
    bytes.extend_from_slice(age);
    for line in lines.split(|byte| *byte == b'\n') {
        bytes.extend_from_slice(b"\r\nCache-Control: ");
        bytes.extend_from_slice(line);
    }
    bytes.extend(format!("\r\nContent-Length: {}\r\n\r\n{jwt}", jwt.len()).bytes());
    (target, bytes)
}

/// Plays an answer, closes the connection or not, and sees what came of it: the status, and the
/// reason for it or for not keeping the answer.
fn play(rig: &Rig, name: &str, target: &str, answer: &[u8], then_close: bool) -> String {
    let token = name.replace('/', "-");
    let script = Script::raw(answer);
    rig.server.script(&token, if then_close { script.then_close() } else { script });
    let before = rig.api.count();
    let response = rig.gateway.get_as(&format!("{target}/echo"), &token);
    assert!(matches!(response.status, 200 | 401 | 500 | 503), "{name}: {response:?}");
    assert_eq!(rig.api.count() - before, usize::from(response.status == 200), "{name}");
    if response.status == 200 {
        let received = rig.api.last();
        let [value] = received.authorization()[..] else { panic!("{name}: one JWT") };
        let jwt = value.strip_prefix("Bearer ").expect("a bearer token").as_bytes();
        let whole = holds(answer, jwt) || holds(&without_chunks(answer), jwt);
        assert!(whole, "{name}: made up");
        assert!(jwt.iter().filter(|b| **b == b'.').count() >= 2 && jwt.len() > 4, "{name}: no JWT");
    }
    // After a 401 or 403 the server is not asked again for a second.
    let good = rig.server.issue();
    wait_until("a good token's turn", || {
        let status = rig.gateway.get_as("/api/echo", &good.token).status;
        assert!(status == 200 || is_refusal(answer), "after {name}: {status}");
        status == 200
    });
    assert_eq!(rig.api.last().authorization(), [good.phantom()], "after {name}");
    let reason = response.header("x-reason").filter(|reason| !reason.is_empty()).unwrap_or("-");
    format!("{} {reason}", response.status)
}

/// Whether these bytes refuse the gateway's own credentials.
fn is_refusal(answer: &[u8]) -> bool {
    [b"HTTP/1.1 401", b"HTTP/1.1 403"].iter().any(|start| answer.starts_with(&start[..]))
}

#[test]
fn every_kept_answer_over_a_real_socket() {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let location = |more: &str| {
        format!(
            "phantom_token on;\nadd_header X-Reason $phantom_token_reason always;\n{more}\nproxy_pass {};",
            api.url()
        )
    };
    let gateway = Gateway::builder()
        .protect(&server, &api)
        .endpoint(&format!("{} max_fails=0", server.introspection_url()))
        .own_clock()
        .log_level("error")
        .main("thread_pool phantom_token threads=1;")
        .location("/odd", &location(""))
        .location("/strict", &location("phantom_token_cache_control strict;"))
        .location("/ignore", &location("phantom_token_cache_control ignore;"))
        .start();
    let rig = Rig { gateway, server, api };
    let expected: BTreeMap<&str, &str> = include_str!("outcomes.txt")
        .lines()
        .map(|line| line.split_once(' ').expect("an input and its outcome"))
        .collect();
    let mut found = BTreeMap::<String, String>::new();
    let mut see = |name: String, target: &str, answer: &[u8], then_close| {
        // Anew for each: some are good for a minute.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        rig.gateway.set_clock(THEN - i64::try_from(now).expect("a time"));
        let outcome = play(&rig, &name, target, answer, then_close);
        found.insert(name, outcome);
    };
    for (name, input) in kept("introspection") {
        see(format!("introspection/{name}"), "/odd", &answer_of(&input), false);
    }
    for (name, input) in kept("claims") {
        see(format!("claims/{name}"), "/odd", &claims_of(&input), false);
    }
    let jwt = rig.server.issue().jwt;
    for (name, input) in kept("cache_control") {
        let (target, answer) = kept_of(&input, &jwt);
        see(format!("cache_control/{name}"), target, &answer, false);
    }
    let mut longest = 0;
    for (name, input) in kept("http") {
        let (_, first, second) = answers(&input);
        longest = longest.max(first.len());
        see(format!("http/{name}"), "/odd", &first, true);
        // As if the second were sent unasked.
        see(format!("http/{name}-both"), "/odd", &[first, second].concat(), true);
    }
    let mut statuses = BTreeMap::<&str, usize>::new();
    for outcome in found.values() {
        *statuses.entry(&outcome[..3]).or_default() += 1;
    }
    println!("answers of the fuzz corpus, of up to {longest} bytes: {statuses:?}; 0 wrong");
    assert!(longest > 64 << 10, "none is larger than what the gateway reads");
    let other: Vec<String> = found
        .iter()
        .filter(|(name, outcome)| expected.get(&***name) != Some(&&***outcome))
        .map(|(name, outcome)| format!("{name} {outcome}"))
        .collect();
    assert!(other.is_empty(), "not what outcomes.txt says:\n{}", other.join("\n"));
    assert_eq!(found.len(), expected.len(), "outcomes.txt names inputs that are gone");
}
