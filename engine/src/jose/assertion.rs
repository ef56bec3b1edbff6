//! The JWT by which the gateway authenticates to the authorization server (RFC 7523 §2.2).

use std::fmt;

use zeroize::Zeroizing;

use crate::answer::json::write_string;
use crate::jose::encoding::base64url;
use crate::jose::key::{KeyError, PublicKey, SigningKey};
use crate::jose::primitives::{hmac_sha256, random};
use crate::jose::sign::{Header, SignError, compact};

/// The value of `client_assertion_type` (RFC 7523 §2.2).
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The least length of a secret, in bytes: that of the digest (RFC 7518 §3.2).
const LEAST_SECRET: usize = 32;

/// How far `iat` lies back, in seconds: the server's clock may be late, and some servers refuse
/// what was issued in their future.
const CLOCKS: u64 = 5;

/// What signs an assertion.
#[derive(Clone)]
pub enum AssertionKey {
    /// `private_key_jwt` (OpenID Connect Core 1.0 §9).
    Private(SigningKey),
    /// `client_secret_jwt`: HS256.
    Secret(Secret),
}

/// A client secret that is long enough to sign with. Wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl AssertionKey {
    /// Takes the client secret for `client_secret_jwt`.
    ///
    /// # Errors
    /// It has fewer than 32 bytes.
    pub fn from_secret(secret: &[u8]) -> Result<AssertionKey, KeyError> {
        if secret.len() < LEAST_SECRET {
            return Err(KeyError::ShortSecret);
        }
        Ok(AssertionKey::Secret(Secret(Zeroizing::new(secret.to_vec()))))
    }

    /// Returns the public key by which the server verifies; `None` for a secret.
    pub fn public(&self) -> Option<&PublicKey> {
        match self {
            AssertionKey::Private(key) => Some(key.public()),
            AssertionKey::Secret(_) => None,
        }
    }
}

impl From<SigningKey> for AssertionKey {
    fn from(key: SigningKey) -> AssertionKey {
        AssertionKey::Private(key)
    }
}

impl fmt::Debug for AssertionKey {
    /// Says nothing of a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssertionKey::Private(key) => key.fmt(f),
            AssertionKey::Secret(_) => f.write_str("Secret"),
        }
    }
}

/// What the assertions of one client to one server have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// `iss` and `sub`.
    pub client_id: String,
    /// `aud`: one string. Servers differ in whether they take a list, none needs one.
    pub audience: String,
    /// How long one is good for, in seconds.
    pub valid: u64,
    /// `typ`, where the server wants one.
    pub typ: Option<String>,
    /// `kid`, where the server finds the key by it.
    pub kid: Option<String>,
}

impl Assertion {
    /// Makes a new one, good for one call: a server that takes it once refuses it the second
    /// time. `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, key: &AssertionKey, now: u64) -> Result<Vec<u8>, SignError> {
        let mut claims = Vec::with_capacity(256);
        for (name, value) in [
            ("{\"iss\":", &self.client_id),
            (",\"sub\":", &self.client_id),
            (",\"aud\":", &self.audience),
        ] {
            claims.extend_from_slice(name.as_bytes());
            write_string(&mut claims, value);
        }
        let (iat, exp) = (now.saturating_sub(CLOCKS), now.saturating_add(self.valid));
        let jti = base64url(&random::<16>()?);
        claims.extend_from_slice(
            format!(",\"iat\":{iat},\"exp\":{exp},\"jti\":\"{jti}\"}}").as_bytes(),
        );
        let header = Header { typ: self.typ.as_deref(), kid: self.kid.as_deref() };
        match key {
            AssertionKey::Private(key) => key.sign(header, &claims),
            AssertionKey::Secret(Secret(secret)) => {
                compact("HS256", header, &claims, |text| Ok(hmac_sha256(secret, &[text]).to_vec()))
            }
        }
    }
}
