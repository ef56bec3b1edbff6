//! A file that is to hold a key: as it is, and as the DER inside a PEM block of either kind.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::jose::algorithm::Algorithm;
use crate::jose::jwks;
use crate::jose::key::{Key, PublicKey, SigningKey, read};
use crate::jose::primitives::sha256;
use crate::jose::sign::Header;

/// What is taken as a private key signs by every algorithm of its kind, and what it publishes
/// verifies that; a key's name is the digest of what it publishes, and that reads back as a key.
pub fn jose_key(input: &[u8]) {
    file(input);
    for label in ["PRIVATE KEY", "PUBLIC KEY"] {
        file(pem(label, input).as_bytes());
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn file(text: &[u8]) {
    match read(text) {
        Ok(Key::Private(key)) => {
            assert!(memchr::memmem::find(text, b"-----BEGIN PRIVATE KEY-----").is_some());
            signs(&key);
            published(key.public());
        }
        Ok(Key::Public(key)) => {
            assert!(memchr::memmem::find(text, b"-----BEGIN PUBLIC KEY-----").is_some());
            published(&key);
        }
        Err(error) => {
            // One line for a log.
            assert!(error.to_string().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
    }
}

fn signs(key: &SigningKey) {
    for algorithm in Algorithm::ALL {
        let Ok(key) = key.clone().with_algorithm(algorithm) else { continue };
        let jws = key.sign(Header::default(), b"{}").expect("a JWS");
        let text = std::str::from_utf8(&jws).expect("ASCII");
        let (text, made) = text.rsplit_once('.').expect("a signature");
        let made = URL_SAFE_NO_PAD.decode(made).expect("base64url");
        assert!(verifies(&jwk(key.public()), text.as_bytes(), &made));
        assert!(key.public().verifies(text.as_bytes(), &made));
        assert!(!key.public().verifies(&text.as_bytes()[1..], &made));
    }
}

fn jwk(key: &PublicKey) -> Value {
    let set: Value = serde_json::from_slice(&jwks::published([key])).expect("JSON");
    set["keys"][0].clone()
}

fn bytes(jwk: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect(name)).expect("base64url")
}

fn published(key: &PublicKey) {
    let jwk = jwk(key);
    // RFC 7638 §3.2: in the order of their names, which is that of serde_json's maps.
    let mut required = jwk.clone();
    let extra = ["kid", "alg", "use"].map(|name| required[name].take());
    let members = required.as_object_mut().expect("an object");
    members.retain(|_, value| !value.is_null());
    let names: Vec<_> = members.keys().cloned().collect();
    let thumbprint = sha256(required.to_string().as_bytes());
    assert_eq!(key.thumbprint(), thumbprint);
    assert_eq!(extra[0], URL_SAFE_NO_PAD.encode(thumbprint));
    assert_eq!(extra[1], key.algorithm().name());
    match jwk["kty"].as_str() {
        Some("RSA") => {
            assert_eq!(names, ["e", "kty", "n"]);
            let (e, n) = (bytes(&jwk, "e"), bytes(&jwk, "n"));
            assert!((256..=1024).contains(&n.len()) && n[0] != 0 && e[0] != 0);
        }
        Some("EC") => {
            assert_eq!(names, ["crv", "kty", "x", "y"]);
            let len = if jwk["crv"] == "P-256" { 32 } else { 48 };
            assert_eq!([bytes(&jwk, "x").len(), bytes(&jwk, "y").len()], [len; 2]);
        }
        _ => {
            assert_eq!(names, ["crv", "kty", "x"]);
            assert_eq!(bytes(&jwk, "x").len(), 32);
        }
    }
    let spki = pem("PUBLIC KEY", &spki(&jwk));
    assert_eq!(PublicKey::from_pem(spki.as_bytes()).as_ref(), Ok(key));
}

/// Whether a signature is right, as the TLS library sees it by the published members alone.
fn verifies(jwk: &Value, text: &[u8], made: &[u8]) -> bool {
    let made = if jwk["kty"] == "EC" {
        let (r, s) = made.split_at(made.len() / 2);
        element(0x30, &[number(r), number(s)].concat())
    } else {
        made.to_vec()
    };
    let key = subject_public_key(jwk);
    let provider = rustls::crypto::ring::default_provider();
    let known = provider.signature_verification_algorithms.all;
    known.iter().any(|known| known.verify_signature(&key, text, &made).is_ok())
}

/// The content of the bit string (RFC 5480 §2.2, RFC 8017 §A.1.1, RFC 8410 §4).
fn subject_public_key(jwk: &Value) -> Vec<u8> {
    match jwk["kty"].as_str() {
        Some("RSA") => {
            element(0x30, &[number(&bytes(jwk, "n")), number(&bytes(jwk, "e"))].concat())
        }
        Some("EC") => [&[4][..], &bytes(jwk, "x"), &bytes(jwk, "y")].concat(),
        _ => bytes(jwk, "x"),
    }
}

/// The key as OpenSSL writes it.
fn spki(jwk: &Value) -> Vec<u8> {
    let algorithm: &[u8] = match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
        (Some("RSA"), _) => b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
        (_, Some("P-256")) => {
            b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
        }
        (_, Some("P-384")) => b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22",
        _ => b"\x06\x03\x2b\x65\x70",
    };
    let bits = [&[0][..], &subject_public_key(jwk)].concat();
    element(0x30, &[element(0x30, algorithm), element(0x03, &bits)].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let len = match len {
        ..0x80 => vec![len as u8],
        0x80..0x100 => vec![0x81, len as u8],
        _ => vec![0x82, (len >> 8) as u8, len as u8],
    };
    [&[tag], &len[..], content].concat()
}

/// An INTEGER that is not negative.
fn number(digits: &[u8]) -> Vec<u8> {
    let zeros = digits.iter().take_while(|byte| **byte == 0).count();
    let digits = &digits[zeros.min(digits.len() - 1)..];
    let sign: &[u8] = if digits[0] < 0x80 { b"" } else { b"\0" };
    element(0x02, &[sign, digits].concat())
}
