//! Keys in PEM files, as operators make them, and key sets, as APIs use them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

/// A private key in PKCS #8 and its public half, both as PEM.
#[derive(Clone)]
pub struct PemKey {
    /// `openssl genpkey`
    pub private: String,
    /// `openssl pkey -pubout`
    pub public: String,
}

impl PemKey {
    /// A new key for ES256.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    pub fn p256() -> Self {
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair"))
    }

    /// A new key for ES384.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    pub fn p384() -> Self {
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key pair"))
    }

    /// A new key for EdDSA.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    pub fn ed25519() -> Self {
        Self::of(KeyPair::generate_for(&PKCS_ED25519).expect("a key pair"))
    }

    /// The one RSA key of the tests, with 2048 bits.
    pub fn rsa() -> Self {
        Self {
            private: include_str!("../../engine/src/jose/tests/keys/rsa2048.pem").to_owned(),
            public: include_str!("../../engine/src/jose/tests/keys/rsa2048.pub.pem").to_owned(),
        }
    }

    fn of(pair: KeyPair) -> Self {
        Self { private: pair.serialize_pem(), public: pair.public_key_pem() }
    }
}

/// The key of a JWK Set (RFC 7517 §5) that has this `kid`.
pub fn find<'a>(set: &'a Value, kid: &str) -> Option<&'a Value> {
    set["keys"].as_array()?.iter().find(|key| key["kid"] == *kid)
}

/// The header of a compact JWS, unchecked; `None` for what is none.
pub fn header(jwt: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').next()?).ok()?).ok()
}

/// Whether the key of a JWK Set that a JWT names by its `kid` signed it, by the algorithm of both.
pub fn verifies(set: &Value, jwt: &str) -> bool {
    try_verify(set, jwt).is_some()
}

fn try_verify(set: &Value, jwt: &str) -> Option<()> {
    let header = header(jwt)?;
    let key = find(set, header["kid"].as_str()?)?;
    let member = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
    let (signed, signature) = jwt.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let alg = header["alg"].as_str()?;
    if key["alg"] != *alg {
        return None;
    }
    let algorithm: &dyn VerificationAlgorithm = match alg {
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        "EdDSA" => &ED25519,
        "RS256" => {
            let key = RsaPublicKeyComponents { n: member("n")?, e: member("e")? };
            let algorithm = &RSA_PKCS1_2048_8192_SHA256;
            return key.verify(algorithm, signed.as_bytes(), &signature).ok();
        }
        _ => return None,
    };
    let public = match alg {
        "EdDSA" => member("x")?,
        _ => [vec![4], member("x")?, member("y")?].concat(),
    };
    UnparsedPublicKey::new(algorithm, public).verify(signed.as_bytes(), &signature).ok()
}
