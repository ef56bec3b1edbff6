//! Keys as operators give them: one PEM file, one key.

pub(super) mod error;

use std::fmt;
use std::sync::Arc;

pub use self::error::KeyError;
use crate::jose::algorithm::{Algorithm, KeyKind};
use crate::jose::der;
use crate::jose::encoding::base64url;
use crate::jose::material::Material;
use crate::jose::pem::Block;
use crate::jose::primitives::{self, PrivateKey};
use crate::jose::sign::{Header, SignError, compact};

/// A key of either kind.
#[derive(Clone, Debug)]
pub enum Key {
    /// One that signs.
    Private(SigningKey),
    /// One that is published only.
    Public(PublicKey),
}

/// A private key that signs, with the algorithm it signs by. A clone shares the key.
#[derive(Clone)]
pub struct SigningKey {
    private: Arc<PrivateKey>,
    public: PublicKey,
}

/// A public key, with the algorithm it is published for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    material: Material,
    algorithm: Algorithm,
    thumbprint: [u8; 32],
}

/// Reads the one key of a PEM file: a private key in PKCS #8 (RFC 5958) that is not encrypted, or
/// a public key (RFC 5280 §4.1.2.7). RSA, P-256, P-384 or Ed25519.
///
/// # Errors
/// The text holds no such key; the words say what to write.
pub fn read(text: &[u8]) -> Result<Key, KeyError> {
    let block = Block::find(text)?;
    match block.label {
        b"PRIVATE KEY" => SigningKey::from_pkcs8(&block.der()?).map(Key::Private),
        b"PUBLIC KEY" => {
            // No secret; but what is read here by mistake may be one.
            der::public(&block.der()?).map(|material| Key::Public(PublicKey::new(material)))
        }
        b"ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
        // SEC 1 (RFC 5915), PKCS #1 (RFC 8017 §A.1.2).
        b"EC PRIVATE KEY" | b"RSA PRIVATE KEY" => Err(KeyError::NotPkcs8),
        b"RSA PUBLIC KEY" => Err(KeyError::Pkcs1Public),
        b"CERTIFICATE" | b"TRUSTED CERTIFICATE" | b"X509 CERTIFICATE" => Err(KeyError::Certificate),
        _ => Err(KeyError::Label),
    }
}

impl SigningKey {
    /// Reads a private key, as [`read`] does. The caller wipes the text.
    ///
    /// # Errors
    /// As [`read`]; a public key.
    pub fn from_pem(text: &[u8]) -> Result<SigningKey, KeyError> {
        match read(text)? {
            Key::Private(key) => Ok(key),
            Key::Public(_) => Err(KeyError::PrivateNeeded),
        }
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<SigningKey, KeyError> {
        let kind = der::private_kind(pkcs8)?;
        let private = PrivateKey::from_pkcs8(kind, pkcs8).map_err(|_| match kind {
            KeyKind::P256 | KeyKind::P384 => KeyError::Point,
            KeyKind::Rsa | KeyKind::Ed25519 => KeyError::Damaged,
        })?;
        let public = PublicKey::new(private.public());
        let key = SigningKey { private: Arc::new(private), public };
        key.is_sound().then_some(key).ok_or(KeyError::Damaged)
    }

    /// Signs once: not all parts of a key are looked at before.
    fn is_sound(&self) -> bool {
        let made = self.private.sign(self.algorithm(), b"");
        made.is_ok_and(|made| self.public.verifies(b"", &made))
    }

    /// Returns the key with another algorithm than its kind's own.
    ///
    /// # Errors
    /// The algorithm does not take keys of this kind.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<SigningKey, KeyError> {
        self.public = self.public.with_algorithm(algorithm)?;
        Ok(self)
    }

    /// Returns the algorithm it signs by.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm
    }

    /// Returns the SHA-256 thumbprint of its public key (RFC 7638).
    pub fn thumbprint(&self) -> [u8; 32] {
        self.public.thumbprint
    }

    /// Returns the thumbprint in base64url, which names the key in headers and in the key set.
    pub fn kid(&self) -> String {
        self.public.kid()
    }

    /// Returns its public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a payload: a compact JWS (RFC 7515 §7.1), whose header has `alg` and what is given.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, header: Header<'_>, payload: &[u8]) -> Result<Vec<u8>, SignError> {
        let algorithm = self.algorithm();
        compact(algorithm.name(), header, payload, |text| self.private.sign(algorithm, text))
    }
}

impl fmt::Debug for SigningKey {
    /// Says what is published of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl PublicKey {
    fn new(material: Material) -> PublicKey {
        let (algorithm, thumbprint) = (material.kind().algorithm(), material.thumbprint());
        PublicKey { material, algorithm, thumbprint }
    }

    /// Reads a public key, as [`read`] does.
    ///
    /// # Errors
    /// As [`read`]; a private key.
    pub fn from_pem(text: &[u8]) -> Result<PublicKey, KeyError> {
        match read(text)? {
            Key::Public(key) => Ok(key),
            Key::Private(_) => Err(KeyError::PublicNeeded),
        }
    }

    /// Returns the key with another algorithm than its kind's own.
    ///
    /// # Errors
    /// The algorithm does not take keys of this kind.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<PublicKey, KeyError> {
        if algorithm.kind() != self.material.kind() {
            return Err(KeyError::Algorithm);
        }
        self.algorithm = algorithm;
        Ok(self)
    }

    /// Whether a signature is this key's, made by its algorithm over this text.
    pub(crate) fn verifies(&self, text: &[u8], made: &[u8]) -> bool {
        primitives::verify(&self.material, self.algorithm, text, made)
    }

    /// Returns the algorithm it is published for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the SHA-256 thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> [u8; 32] {
        self.thumbprint
    }

    /// Returns the thumbprint in base64url.
    pub fn kid(&self) -> String {
        base64url(&self.thumbprint)
    }

    /// Writes the key as a JWK (RFC 7517 §4): its public members, `kid`, `alg`, `use`.
    pub fn jwk(&self) -> String {
        format!(
            r#"{{{},"kid":"{}","alg":"{}","use":"sig"}}"#,
            self.material.required_members(),
            self.kid(),
            self.algorithm.name(),
        )
    }
}
