//! Keys of OpenSSL's, and what is signed with them, read by other code than what wrote it.

mod assertions;
mod keys;
mod minting;
mod vectors;

use serde_json::Value;

use crate::jose::algorithm::KeyKind;
use crate::jose::key::{PublicKey, SigningKey};

/// One key of each kind and size that signs, as `openssl genpkey` writes them.
pub(super) const PRIVATE: [(&str, KeyKind, &[u8]); 6] = [
    ("p256", KeyKind::P256, include_bytes!("tests/keys/p256.pem")),
    ("p384", KeyKind::P384, include_bytes!("tests/keys/p384.pem")),
    ("ed25519", KeyKind::Ed25519, include_bytes!("tests/keys/ed25519.pem")),
    ("rsa2048", KeyKind::Rsa, include_bytes!("tests/keys/rsa2048.pem")),
    ("rsa3072", KeyKind::Rsa, include_bytes!("tests/keys/rsa3072.pem")),
    ("rsa4096", KeyKind::Rsa, include_bytes!("tests/keys/rsa4096.pem")),
];

/// A compact JWS: header, payload, text that was signed, signature.
pub(super) fn open(jws: &[u8]) -> (Value, Value, Vec<u8>, Vec<u8>) {
    let text = std::str::from_utf8(jws).expect("ASCII");
    let (signed, signature) = text.rsplit_once('.').expect("a signature");
    let (header, payload) = signed.split_once('.').expect("a payload");
    let read = |part| serde_json::from_slice(&decode(part)).expect("JSON");
    (read(header), read(payload), signed.as_bytes().to_vec(), decode(signature))
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Whether the key's signature is right, by its own algorithm.
pub(super) fn verifies(key: &PublicKey, jws: &[u8]) -> bool {
    let (_, _, text, signature) = open(jws);
    key.verifies(&text, &signature)
}

/// The key of one of [`PRIVATE`].
pub(super) fn key(name: &str) -> SigningKey {
    let (.., pem) = PRIVATE.into_iter().find(|(known, ..)| *known == name).expect("a name");
    SigningKey::from_pem(pem).expect("a key")
}
