//! What the gateway signs is read by other people's verifiers, from the keys it publishes.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use phantom_token_engine::jose::algorithm::Algorithm;
use phantom_token_engine::jose::assertion::{Assertion, AssertionKey};
use phantom_token_engine::jose::jwks;
use phantom_token_engine::jose::key::SigningKey;
use phantom_token_engine::jose::mint::{Claims, Terms, mint};
use phantom_token_test::jose::{Check, Verifier};
use serde_json::{Value, json};

const ISSUER: &str = "https://gateway.example";
const AUDIENCE: &str = "https://api.example";
/// Seconds: longer than all libraries take one after the other.
const VALID: u64 = 3_600;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs()
}

fn genpkey(arguments: &[&str]) -> SigningKey {
    let output = Command::new("openssl").arg("genpkey").args(arguments).output();
    let output = output.expect("openssl is installed");
    SigningKey::from_pem(&output.stdout).expect("a key")
}

/// Keys of every kind, new ones each time: so many on P-256, and on the other curves in proportion.
fn keys(many: usize) -> Vec<SigningKey> {
    let ec = |curve: &str| {
        genpkey(&["-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")])
    };
    let rsa = |bits: &str| {
        genpkey(&["-algorithm", "RSA", "-pkeyopt", &format!("rsa_keygen_bits:{bits}")])
    };
    let mut keys: Vec<_> = (0..many).map(|_| ec("P-256")).collect();
    keys.extend((0..many.div_ceil(4)).map(|_| ec("P-384")));
    keys.extend((0..many.div_ceil(2)).map(|_| genpkey(&["-algorithm", "ed25519"])));
    keys.extend(["2048", "3072"].map(rsa));
    keys
}

fn key_set<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Value {
    let document = jwks::published(keys.into_iter().map(SigningKey::public));
    serde_json::from_slice(&document).expect("JSON")
}

/// Whether a library knows an algorithm by this name.
fn knows(verifier: Verifier, algorithm: Algorithm) -> bool {
    // RFC 9864 is young.
    algorithm != Algorithm::Ed25519 || verifier != Verifier::PyJwt
}

fn minted(key: &SigningKey, audience: &[&str]) -> String {
    let terms = Terms {
        issuer: ISSUER.into(),
        audience: audience.iter().map(|one| (*one).to_owned()).collect(),
        claims: Claims::default(),
        valid: VALID,
    };
    let answer =
        br#"{"active":true,"sub":"me \u00e9\u0001","client_id":"app","scope":"read write"}"#;
    let made = mint(&terms, key, answer, b"", None, now()).expect("a JWT");
    String::from_utf8(made.jwt).expect("ASCII")
}

/// A JWT and the key that signed it.
struct Signed {
    token: String,
    key: SigningKey,
}

/// Signs with each key by each algorithm of its kind.
fn by_every_algorithm(keys: &[SigningKey], sign: impl Fn(&SigningKey) -> String) -> Vec<Signed> {
    let by = |key: &SigningKey, algorithm| key.clone().with_algorithm(algorithm).ok();
    let all = keys.iter().flat_map(|key| Algorithm::ALL.map(|algorithm| by(key, algorithm)));
    all.flatten().map(|key| Signed { token: sign(&key), key }).collect()
}

/// Verifies all that the library has an algorithm for, and returns the claims.
fn verified(verifier: Verifier, signed: &[Signed], typ: &str) -> Vec<Value> {
    // A set names one algorithm for a key.
    let known = Algorithm::ALL.into_iter().filter(|one| knows(verifier, *one));
    let of = known.map(|algorithm| {
        signed.iter().filter(move |one| one.key.algorithm() == algorithm).collect::<Vec<_>>()
    });
    let of: Vec<Vec<&Signed>> = of.collect();
    let sets = of.iter().map(|of| {
        let checks = of.iter().map(|one| Check { typ: Some(typ), ..one.check() }).collect();
        (key_set(of.iter().map(|one| &one.key)), checks)
    });
    let verdicts = verifier.verify_by_sets(&sets.collect::<Vec<_>>());
    let each = verdicts.into_iter().flatten().zip(of.into_iter().flatten());
    each.map(|(verdict, one)| {
        verdict.unwrap_or_else(|why| panic!("{verifier:?} {}: {why}", one.key.algorithm().name()))
    })
    .collect()
}

impl Signed {
    fn check(&self) -> Check<'_> {
        Check {
            token: &self.token,
            issuer: ISSUER,
            audience: AUDIENCE,
            algorithm: self.key.algorithm().name(),
            typ: Some("at+jwt"),
            secret: None,
        }
    }
}

#[test]
fn minted_jwts_verify_by_the_published_keys() {
    // Many, since zeros in front of a number are a matter of luck.
    let keys = keys(40);
    let signed = by_every_algorithm(&keys, |key| minted(key, &[AUDIENCE]));
    for verifier in Verifier::installed() {
        let verified = verified(verifier, &signed, "at+jwt");
        assert!(verified.len() > keys.len());
        for claims in &verified {
            assert_eq!(claims["sub"], "me \u{e9}\u{1}");
            assert_eq!(claims["client_id"], "app");
            assert_eq!(claims["scope"], "read write");
        }
        println!("{verifier:?}: {} minted JWTs verified", verified.len());
    }
}

#[test]
fn another_jwt_is_refused_by_each() {
    let keys = [
        genpkey(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        genpkey(&["-algorithm", "ed25519"]),
        genpkey(&["-algorithm", "RSA"]),
    ];
    for verifier in Verifier::installed() {
        for key in &keys {
            let signed =
                |audience: &[&str]| Signed { token: minted(key, audience), key: key.clone() };
            let good = signed(&["other", AUDIENCE]);
            let elsewhere = signed(&["other"]);
            let mut changed = signed(&[AUDIENCE]);
            // Before the last character, of which not all bits count.
            let at = changed.token.len() - 5;
            let other = if changed.token.as_bytes()[at] == b'A' { "B" } else { "A" };
            changed.token.replace_range(at..=at, other);
            let checks = [
                good.check(),
                elsewhere.check(),
                changed.check(),
                Check { issuer: "https://other.example", ..good.check() },
                Check { typ: Some("JWT"), ..good.check() },
                Check { algorithm: "ES384", ..good.check() },
            ];
            let verdicts = verifier.verify(&key_set([key]), &checks);
            let taken: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
            assert_eq!(taken, [true, false, false, false, false, false], "{verdicts:?}");
            // Keys of others do not verify it.
            let others = key_set(keys.iter().filter(|other| other.kid() != key.kid()));
            assert!(verifier.verify(&others, &[good.check()])[0].is_err());
        }
    }
}

#[test]
fn assertions_verify_by_the_client_s_key_or_secret() {
    const TYP: &str = "client-authentication+jwt";
    let sign = |key: &AssertionKey, kid| {
        let client = Assertion {
            client_id: ISSUER.into(),
            audience: AUDIENCE.into(),
            valid: VALID,
            typ: Some(TYP.into()),
            kid,
        };
        String::from_utf8(client.sign(key, now()).expect("an assertion")).expect("ASCII")
    };
    let keys = keys(8);
    let signed = by_every_algorithm(&keys, |key| sign(&key.clone().into(), Some(key.kid())));
    let unnamed = by_every_algorithm(&keys[..1], |key| sign(&key.clone().into(), None));
    let secret = "a secret that is long enough, \u{e9} and all";
    let by_secret = AssertionKey::from_secret(secret.as_bytes()).expect("a secret");
    let hs256 = sign(&by_secret, None);
    let check = Check {
        token: &hs256,
        issuer: ISSUER,
        audience: AUDIENCE,
        algorithm: "HS256",
        typ: Some(TYP),
        secret: Some(secret),
    };
    for verifier in Verifier::installed() {
        let mut verified = verified(verifier, &signed, TYP);
        // Where a server has one key of a client, it needs no name for it.
        verified.extend(self::verified(verifier, &unnamed, TYP));
        verified.push(
            verifier
                .verify(&json!({ "keys": [] }), std::slice::from_ref(&check))
                .remove(0)
                .expect("HS256"),
        );
        assert!(verified.len() > keys.len() + 2);
        for claims in &verified {
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!(ISSUER), &json!(ISSUER)));
            assert_eq!(claims["aud"], AUDIENCE);
        }
        println!("{verifier:?}: {} assertions verified", verified.len());
    }
}
