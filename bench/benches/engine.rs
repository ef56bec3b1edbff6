//! What single steps of the engine cost.

use std::alloc::{Layout, alloc_zeroed};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use phantom_token_engine::answer::claims::{self, Wanted};
use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::answer::grant::Grant;
use phantom_token_engine::answer::scope;
use phantom_token_engine::answer::subjects::{Subject, Subjects};
use phantom_token_engine::answer::{self, Forward};
use phantom_token_engine::http::cache_control::Caching;
use phantom_token_engine::http::response::Response;
use phantom_token_engine::jose::assertion::Assertion;
use phantom_token_engine::jose::key::SigningKey;
use phantom_token_engine::jose::mint::{self, Claims, Terms};
use phantom_token_engine::lifetime::Life;
use phantom_token_engine::local::{Cached, Local};
use phantom_token_engine::shared::purges::{self, Purges, wall_ms};
use phantom_token_engine::shared::state::{self, State};
use phantom_token_engine::store::keys::FleetKeys;
use phantom_token_engine::store::names::Names;
use phantom_token_engine::store::{
    Epoch, Identity, InSync, Looked, Nodes, Pipeline, Question, Reply, SignedBy, Store, StoreError,
    StoreOptions, Stored,
};
use phantom_token_engine::token::bearer::{self, TokenSyntax};
use phantom_token_engine::token::key::{HashKey, Key};
use zeroize::Zeroizing;

#[path = "../src/jwt.rs"]
#[allow(dead_code, unused_imports)]
mod jwt;

const HEADER: &[u8] = b"Bearer 0000002a-4b1f-4c6e-9a2d-000000051382";

fn main() {
    divan::main();
}

/// Reading the header of a hit.
#[divan::bench]
fn read_bearer_token() -> bool {
    matches!(
        bearer::from_authorization(Some(black_box(HEADER)), TokenSyntax::B64token),
        bearer::Credentials::Token(_)
    )
}

/// Hashing its token.
#[divan::bench]
fn hash_token(bencher: Bencher<'_, '_>) {
    let key = HashKey([7; 16]);
    bencher.bench_local(|| key.token(black_box(&HEADER[7..])));
}

/// Judging its scope.
#[divan::bench]
fn judge_scope() -> bool {
    scope::covers(black_box(b"openid profile read write"), black_box(b"read write"))
}

/// Finding it in the worker's own cache.
#[divan::bench(args = [1, 1024])]
fn find_in_worker_cache(bencher: Bencher<'_, '_>, entries: u32) {
    let state = state();
    let key_of = |n: u32| {
        let hash = HashKey([7; 16]);
        Key { token: hash.token(&n.to_le_bytes()), identity: hash.identity([&b"i"[..]]) }
    };
    let jwt = jwt::of_length(1024);
    let life = Life { stored: 1, until: None, exp: None, may_stale: false };
    let facts =
        Facts { jwt: jwt.as_bytes(), scope: b"read", claims: b"", life, ..Facts::default() };
    let mut local = Local::new(1024, 16 << 20);
    for n in 0..entries {
        let key = key_of(n);
        let entry = Cached::new(&facts, state.generation(&key.token), 1).expect("memory");
        local.insert(key, &entry);
    }
    let keys: Vec<Key> = (0..entries).map(key_of).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        let key = &keys[next % keys.len()];
        next += 1;
        local.get(key, state.generation(&key.token)).is_some()
    });
}

/// Comparing it with what was purged: where nothing was since the last time, and where each of its five
/// words is looked at.
#[divan::bench(args = ["nothing purged", "purged since"])]
fn compare_with_purges(bencher: Bencher<'_, '_>, what: &str) {
    let (state, purges, key) = (state(), purges(), HashKey([7; 16]));
    let entries: Vec<_> = (0..1024_u32)
        .map(|n| {
            let token = key.token(&n.to_le_bytes());
            let names = Subject::ALL.map(|subject| Some(subject.hash(&key, &n.to_le_bytes())));
            let (subjects, asked) = (Subjects(names), purges.now());
            let facts = Facts { subjects, asked, ..Facts::default() };
            (Cached::new(&facts, state.generation(&token), 1).expect("memory"), token)
        })
        .collect();
    let mut next = 0;
    let mut turn = || {
        next += 1;
        &entries[next % entries.len()]
    };
    if what == "nothing purged" {
        bencher.bench_local(|| {
            let (entry, token) = turn();
            black_box(entry).standing(black_box(Some(purges)), token)
        });
    } else {
        bencher.bench_local(|| {
            let (entry, token) = turn();
            purges.standing(token, black_box(&entry.subjects), entry.asked)
        });
    }
}

/// A claim for a variable: read of the JWT, and as its entry remembers it.
#[divan::bench(args = ["read", "remembered"])]
fn give_claim(bencher: Bencher<'_, '_>, how: &str) {
    let jwt = jwt::of_length(1024);
    let facts = Facts { jwt: jwt.as_bytes(), ..Facts::default() };
    let entry =
        Cached::new(&facts, state().generation(&HashKey([7; 16]).token(b"t")), 1).expect("memory");
    let wanted = Wanted::Named(b"sub");
    if how == "read" {
        bencher.bench_local(|| claims::lookup(b"", black_box(jwt.as_bytes()), wanted));
    } else {
        bencher.bench_local(|| black_box(&entry).claim(wanted, Clone::clone));
    }
}

/// Taking an answer from the zone into the worker's own cache.
#[divan::bench(args = [512, 1024, 4096])]
fn copy_into_worker_cache(bencher: Bencher<'_, '_>, bytes: usize) {
    let state = state();
    let token = HashKey([7; 16]).token(b"t");
    let jwt = jwt::of_length(bytes);
    let life = Life { stored: 1, until: None, exp: None, may_stale: false };
    let facts =
        Facts { jwt: jwt.as_bytes(), scope: b"read", claims: b"", life, ..Facts::default() };
    bencher.bench_local(|| Cached::new(black_box(&facts), state.generation(&token), 1));
}

/// Reading an authorization server's answer.
#[divan::bench(args = [512, 1024, 4096])]
fn read_answer(bencher: Bencher<'_, '_>, bytes: usize) {
    let response = Response {
        status: 200,
        content_type: Some(b"application/jwt".to_vec()),
        caching: Caching::default(),
        retry_after: None,
        content_encoding: None,
        body: jwt::of_length(bytes).into_bytes(),
    };
    bencher.bench_local(|| answer::read(black_box(&response), Forward::Jwt, 1_700_000_000));
}

/// Making a JWT of an answer.
#[divan::bench(args = SIGNERS)]
fn mint(bencher: Bencher<'_, '_>, algorithm: &str) {
    let answer = br#"{"active":true,"sub":"248289761001","client_id":"app","scope":"read write"}"#;
    let terms = Terms {
        issuer: "https://gateway.example".into(),
        audience: vec!["https://api.example".into()],
        claims: Claims::default(),
        valid: 420,
    };
    let key = signing_key(algorithm);
    bencher.bench_local(|| mint::mint(&terms, &key, black_box(answer), b"", None, 1_700_000_000));
}

/// Making the assertion that authenticates a call.
#[divan::bench(args = SIGNERS)]
fn assertion(bencher: Bencher<'_, '_>, algorithm: &str) {
    let assertion = Assertion {
        client_id: "gateway".into(),
        audience: "https://as.example".into(),
        valid: 60,
        typ: None,
        kid: None,
    };
    let key = signing_key(algorithm).into();
    bencher.bench_local(|| assertion.sign(&key, black_box(1_700_000_000)));
}

/// Asking the store about a token that it does not know, and leaving there what the server then says.
#[divan::bench(args = ["looked up", "and left there"])]
fn ask_store(bencher: Bencher<'_, '_>, what: &str) {
    let store = Arc::new(Store::new(StoreOptions {
        nodes: Arc::new(Echo),
        keys: Arc::new(FleetKeys::new(&[&[7; 32]]).expect("a key")),
        names: Names::new("phantom_token").expect("a prefix"),
        timeout: Duration::from_secs(1),
        lock_timeout: Duration::from_secs(1),
        longest: Duration::from_secs(3600),
    }));
    let now_ms = wall_ms();
    let known = purges().now();
    let question = || Question {
        store: store.clone(),
        token: Zeroizing::new(HEADER.to_vec()),
        hash: HashKey([7; 16]).token(HEADER),
        identity: Identity::of([&b"i"[..]]),
        in_sync: Some(InSync { epoch: Epoch([7; 16]), since_ms: 0, known }),
        purges: None,
        valid_ms: 3_600_000,
        inactive_ms: 0,
        signed_by: SignedBy::Server,
        bypass: false,
        newer_than: None,
        usual: Some(Duration::from_millis(5)),
        call: Duration::from_secs(1),
    };
    let mut grant = Grant::default();
    grant.jwt = jwt::of_length(1024).into_bytes();
    let stored = Stored { grant, asked_ms: now_ms, until_ms: None, may_stale: false };
    let question = black_box(question());
    let look = || match question.look(Instant::now() + Duration::from_secs(1)).0 {
        Looked::Lead(lead) => lead,
        _ => panic!("the store knows nothing"),
    };
    if what == "looked up" {
        bencher.bench_local(|| std::mem::forget(look()));
    } else {
        bencher.bench_local(|| look().write(black_box(&stored), now_ms));
    }
}

/// A store that takes what it is told, and says so.
struct Echo;

impl Nodes for Echo {
    fn ask(&self, question: &Pipeline, _: Instant) -> Result<Vec<Reply>, StoreError> {
        let bytes = question.as_bytes();
        let word = |nth: usize| {
            let mut at = 0;
            let mut seen = 0;
            loop {
                let end = at + bytes[at..].iter().position(|byte| *byte == b'\r').expect("a line");
                let (kind, rest) = (bytes[at], &bytes[at + 1..end]);
                at = end + 2;
                if kind == b'$' {
                    let len =
                        rest.iter().fold(0, |len, digit| 10 * len + usize::from(digit - b'0'));
                    if seen == nth {
                        return bytes[at..at + len].to_vec();
                    }
                    (at, seen) = (at + len + 2, seen + 1);
                }
            }
        };
        let ok = || Reply::Simple(b"OK".into());
        Ok(vec![ok(), ok(), Reply::Array(vec![Reply::Bulk(word(2)), Reply::Bulk(word(8))])])
    }

    fn tell(&self, commands: Pipeline) -> Result<(), StoreError> {
        black_box(commands.as_bytes());
        Ok(())
    }
}

const SIGNERS: [&str; 4] = ["ES256", "ES384", "EdDSA", "RS256"];

fn signing_key(algorithm: &str) -> SigningKey {
    let pem: &[u8] = match algorithm {
        "ES256" => include_bytes!("../../engine/src/jose/tests/keys/p256.pem"),
        "ES384" => include_bytes!("../../engine/src/jose/tests/keys/p384.pem"),
        "EdDSA" => include_bytes!("../../engine/src/jose/tests/keys/ed25519.pem"),
        _ => include_bytes!("../../engine/src/jose/tests/keys/rsa2048.pem"),
    };
    SigningKey::from_pem(pem).expect("a key")
}

/// A zone of purges that is never given back.
fn purges() -> Purges {
    let layout = Layout::from_size_align(purges::SIZE, 4096).expect("a size");
    // SAFETY: the size is not zero; the memory is aligned, as long as said, and leaked.
    unsafe {
        let base = NonNull::new(alloc_zeroed(layout)).expect("memory");
        Purges::create(base, purges::SIZE, 1_700_000_000_000).expect("a zone of purges")
    }
}

/// A state zone that is never given back.
fn state() -> State {
    let layout = Layout::from_size_align(state::SIZE, 4096).expect("a size");
    // SAFETY: the size is not zero; the memory is aligned, as long as said, and leaked.
    unsafe {
        let base = NonNull::new(alloc_zeroed(layout)).expect("memory");
        State::create(base, state::SIZE, [1; 16]).expect("a state zone")
    }
}
