//! The arithmetic: signatures, digests, ciphers, random numbers. The only file that names `ring`.
//!
//! `ring` does not wipe a private key when it is dropped, nor what it computes with on the stack.

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use ring::{aead, agreement, digest, hkdf, hmac};

use crate::jose::algorithm::{Algorithm, KeyKind};
use crate::jose::material::Material;
use crate::jose::sign::SignError;

/// A private key, ready to sign.
pub(super) enum PrivateKey {
    Rsa(RsaKeyPair),
    Ecdsa(KeyKind, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that the crate does not take.
#[derive(Debug)]
pub(super) struct Rejected;

impl PrivateKey {
    /// Reads a key in PKCS #8 (RFC 5958 §2). The kind is what its algorithm identifier says.
    pub(super) fn from_pkcs8(kind: KeyKind, der: &[u8]) -> Result<PrivateKey, Rejected> {
        let ecdsa = |algorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new());
            pair.map(|pair| PrivateKey::Ecdsa(kind, pair))
        };
        let key = match kind {
            KeyKind::Rsa => RsaKeyPair::from_pkcs8(der).map(PrivateKey::Rsa),
            KeyKind::P256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            KeyKind::P384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            // The form without the public key is what OpenSSL writes.
            KeyKind::Ed25519 => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(PrivateKey::Ed25519)
            }
        };
        key.map_err(|_| Rejected)
    }

    pub(super) fn public(&self) -> Material {
        match self {
            PrivateKey::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::from(pair.public());
                Material::Rsa { n, e }
            }
            PrivateKey::Ecdsa(kind, pair) => {
                Material::Ec { kind: *kind, point: pair.public_key().as_ref().to_vec() }
            }
            PrivateKey::Ed25519(pair) => Material::Ed25519(pair.public_key().as_ref().to_vec()),
        }
    }

    /// Signs a text in the form that JOSE gives the algorithm's signatures.
    ///
    /// # Errors
    /// The algorithm is another kind's, the system gives no random numbers, or the key's parts do
    /// not fit each other.
    pub(super) fn sign(&self, algorithm: Algorithm, text: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match (self, algorithm) {
            (PrivateKey::Rsa(pair), _) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
                    _ => return Err(SignError),
                };
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, text, &mut out).map_err(|_| SignError)?;
                Ok(out)
            }
            (PrivateKey::Ecdsa(kind, pair), _) if algorithm.kind() == *kind => {
                let made = pair.sign(&random, text).map_err(|_| SignError)?;
                Ok(made.as_ref().to_vec())
            }
            (PrivateKey::Ed25519(pair), Algorithm::EdDsa | Algorithm::Ed25519) => {
                Ok(pair.sign(text).as_ref().to_vec())
            }
            _ => Err(SignError),
        }
    }
}

/// Whether a signature is the key's, made by this algorithm over this text.
pub(super) fn verify(key: &Material, algorithm: Algorithm, text: &[u8], made: &[u8]) -> bool {
    let whole = |verifier: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
        UnparsedPublicKey::new(verifier, key).verify(text, made).is_ok()
    };
    match (key, algorithm) {
        (Material::Rsa { n, e }, _) => {
            let parameters = match algorithm {
                Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                _ => return false,
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, text, made).is_ok()
        }
        (Material::Ec { kind: KeyKind::P256, point }, Algorithm::Es256) => {
            whole(&signature::ECDSA_P256_SHA256_FIXED, point)
        }
        (Material::Ec { kind: KeyKind::P384, point }, Algorithm::Es384) => {
            whole(&signature::ECDSA_P384_SHA384_FIXED, point)
        }
        (Material::Ed25519(key), Algorithm::EdDsa | Algorithm::Ed25519) => {
            whole(&signature::ED25519, key)
        }
        _ => false,
    }
}

/// Whether these bytes are a point on the curve, not compressed (SEC 1 §2.3.3).
pub(super) fn is_on_curve(kind: KeyKind, point: &[u8]) -> bool {
    let curve = match kind {
        KeyKind::P256 => &agreement::ECDH_P256,
        KeyKind::P384 => &agreement::ECDH_P384,
        KeyKind::Rsa | KeyKind::Ed25519 => return false,
    };
    // An agreement looks at the point before anything else; what is agreed on is dropped.
    let own = agreement::EphemeralPrivateKey::generate(curve, &SystemRandom::new());
    own.is_ok_and(|own| {
        let point = agreement::UnparsedPublicKey::new(curve, point);
        agreement::agree_ephemeral(own, &point, |_| ()).is_ok()
    })
}

/// Returns random bytes of the system.
///
/// # Errors
/// The system gives none.
pub(crate) fn random<const LEN: usize>() -> Result<[u8; LEN], SignError> {
    let mut bytes = [0; LEN];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SignError)?;
    Ok(bytes)
}

pub(crate) fn sha256(text: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    out
}

/// HMAC with SHA-256 (RFC 2104) of what a text's parts make together.
pub(crate) fn hmac_sha256(secret: &[u8], text: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    text.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// Derives a key from a secret (HKDF with SHA-256, RFC 5869). `info` is taken as one text.
pub(crate) fn hkdf_sha256(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let filled = secret.expand(info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
    // It fails for more bytes than a digest has 255 times.
    debug_assert!(filled.is_ok());
    out
}

/// What AES-256-GCM puts behind a text, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// Encrypts a text in place, and returns the tag that is to stand behind it (AES-256-GCM, RFC 5116
/// §5.2). A nonce must not be used twice with one key.
///
/// # Errors
/// The text is longer than the cipher takes, 64 GB.
pub(crate) fn encrypt(
    key: &[u8; 32],
    nonce: [u8; 12],
    besides: &[u8],
    text: &mut [u8],
) -> Result<[u8; TAG_LEN], SignError> {
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let tag = aes(key)?.seal_in_place_separate_tag(nonce, aead::Aad::from(besides), text);
    tag.map_err(|_| SignError)?.as_ref().try_into().map_err(|_| SignError)
}

/// Decrypts in place what [`encrypt`] has made, and returns how long the text is that now stands at the
/// front; `None` where key, nonce, text or what stands `besides` is another.
pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: [u8; 12],
    besides: &[u8],
    sealed: &mut [u8],
) -> Option<usize> {
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let text = aes(key).ok()?.open_in_place(nonce, aead::Aad::from(besides), sealed);
    text.ok().map(|text| text.len())
}

fn aes(key: &[u8; 32]) -> Result<aead::LessSafeKey, SignError> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).map_err(|_| SignError)?;
    Ok(aead::LessSafeKey::new(key))
}
