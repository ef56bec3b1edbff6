//! Client assertions as an authorization server judges them (RFC 7523 §3): who made one, for whom, when,
//! and that none is taken twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::Value;

/// The one type of them (RFC 7523 §2.2).
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How old one may be, and how far ahead of the server's clock, in seconds.
const OLD: i64 = 60;
const AHEAD: i64 = 15;

/// The client that introspects with assertions, and all that have come. Copies share them.
#[derive(Clone)]
pub struct Assertions(Arc<Shared>);

struct Shared {
    id: String,
    audience: String,
    verifiers: Mutex<Vec<Verifier>>,
    clock: AtomicI64,
    arrived: Mutex<Vec<Assertion>>,
}

struct Verifier {
    alg: &'static str,
    key: Vec<u8>,
}

/// One assertion, as it came.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The whole of it.
    pub jwt: String,
    /// Its header.
    pub header: Value,
    /// Its claims.
    pub claims: Value,
}

impl Assertions {
    /// Of this client, for a server that knows itself by this audience. No key is known yet.
    pub fn new(id: &str, audience: &str) -> Self {
        Self(Arc::new(Shared {
            id: id.to_owned(),
            audience: audience.to_owned(),
            verifiers: Mutex::default(),
            clock: AtomicI64::new(0),
            arrived: Mutex::default(),
        }))
    }

    /// Takes what this key signs, and nothing else.
    ///
    /// # Panics
    /// Where it is a key of another kind than P-256, P-384 and Ed25519.
    pub fn with_key(self, key: &KeyPair) -> Self {
        self.know_key(key);
        self
    }

    /// Takes what this key signs from now on, and nothing else.
    ///
    /// # Panics
    /// Where it is a key of another kind than P-256, P-384 and Ed25519.
    pub fn know_key(&self, key: &KeyPair) {
        let algs = [
            (&PKCS_ECDSA_P256_SHA256, "ES256"),
            (&PKCS_ECDSA_P384_SHA384, "ES384"),
            (&PKCS_ED25519, "EdDSA"),
        ];
        let alg = algs.iter().find(|(of, _)| key.algorithm() == *of).expect("a kind of key").1;
        *self.0.verifiers.lock() = vec![Verifier { alg, key: key.public_key_raw().to_vec() }];
    }

    /// Takes what is signed with this secret (`client_secret_jwt`), and nothing else.
    pub fn with_secret(self, secret: &str) -> Self {
        let key = secret.as_bytes().to_vec();
        *self.0.verifiers.lock() = vec![Verifier { alg: "HS256", key }];
        self
    }

    /// Sets the server's clock so many seconds ahead.
    pub fn set_clock(&self, seconds_ahead: i64) {
        self.0.clock.store(seconds_ahead, Ordering::Release);
    }

    /// All that have come, good or not, in their order.
    pub fn arrived(&self) -> Vec<Assertion> {
        self.0.arrived.lock().clone()
    }

    /// How many came whose `jti` had come before, or that had none.
    pub fn repeated(&self) -> usize {
        let arrived = self.0.arrived.lock();
        let mut seen = std::collections::HashSet::new();
        arrived.iter().filter(|one| one.jti().is_none_or(|jti| !seen.insert(jti))).count()
    }

    /// Keeps what stands in a form, where an assertion does.
    pub(super) fn arrive(&self, value: &str) {
        if let Some(assertion) = Assertion::parse(value) {
            self.0.arrived.lock().push(assertion);
        }
    }

    /// Whether the one that came with this form is good; `get` gives the form's values.
    pub(super) fn accept<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        let Shared { id, audience, verifiers, clock, arrived } = &*self.0;
        let is_of_client = get("client_assertion_type") == Some(TYPE)
            && get("client_id") == Some(id)
            && get("client_secret").is_none();
        let Some(one) = get("client_assertion").and_then(Assertion::parse) else { return false };
        // It has arrived, and none like it before.
        let again = arrived.lock().iter().filter(|other| other.jti() == one.jti()).count() != 1;
        let now = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as i64)
            + clock.load(Ordering::Acquire);
        let time = |name: &str| one.claims[name].as_i64();
        is_of_client
            && !again
            && one.jti().is_some()
            && one.claims["iss"] == **id
            && one.claims["sub"] == **id
            && one.claims["aud"] == **audience
            && time("exp").is_some_and(|exp| exp > now)
            && time("iat").is_some_and(|iat| (now - OLD..=now + AHEAD).contains(&iat))
            && verifiers.lock().iter().any(|verifier| verifier.takes(&one))
    }
}

impl Assertion {
    fn parse(jwt: &str) -> Option<Self> {
        let mut parts = jwt.split('.');
        let mut object = || -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()
        };
        let (header, claims) = (object()?, object()?);
        Some(Self { jwt: jwt.to_owned(), header, claims })
    }

    /// What makes it different from every other.
    pub fn jti(&self) -> Option<String> {
        self.claims["jti"].as_str().filter(|jti| !jti.is_empty()).map(str::to_owned)
    }
}

impl Verifier {
    fn takes(&self, one: &Assertion) -> bool {
        let Some((text, signature)) = one.jwt.rsplit_once('.') else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let verifies = |algorithm: &'static dyn VerificationAlgorithm| {
            let key = UnparsedPublicKey::new(algorithm, &self.key);
            key.verify(text.as_bytes(), &signature).is_ok()
        };
        one.header["alg"] == self.alg
            && match self.alg {
                "ES256" => verifies(&ECDSA_P256_SHA256_FIXED),
                "ES384" => verifies(&ECDSA_P384_SHA384_FIXED),
                "EdDSA" => verifies(&ED25519),
                _ => {
                    let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
                    hmac::verify(&key, text.as_bytes(), &signature).is_ok()
                }
            }
    }
}
