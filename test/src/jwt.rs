//! JSON Web Tokens signed with ES256 (RFC 7515, RFC 7518 §3.4), and the key set to check them with.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Value, json};

/// A signing key, of an authorization server or of a client, made anew for each.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    id: String,
    random: SystemRandom,
}

impl SigningKey {
    /// Makes a key pair.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    pub fn generate() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("random bytes");
        Self::of_pkcs8(document.as_ref().to_vec())
    }

    /// One that was made before: see [`Self::pkcs8`].
    ///
    /// # Panics
    /// Where it is none.
    pub fn of_pkcs8(pkcs8: Vec<u8>) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random).expect("a key pair");
        let id = digest::digest(&digest::SHA256, pair.public_key().as_ref());
        Self { pair, pkcs8, id: URL_SAFE_NO_PAD.encode(&id.as_ref()[..8]), random }
    }

    /// The private key, in PKCS #8.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The private key, in PEM.
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(&self.pkcs8);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// A JWT with these claims; `typ` is its header's type.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    pub fn sign(&self, typ: &str, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "ES256", "kid": self.id, "typ": typ}), claims)
    }

    /// A proof that whoever sends a request has this key (RFC 9449 §4.2), good for this method and
    /// URL, now and once.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    pub fn dpop_proof(&self, method: &str, url: &str) -> String {
        let header = json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": self.jwk()});
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let id = random_text(12);
        self.sign_with(&header, &json!({"htm": method, "htu": url, "iat": now, "jti": id}))
    }

    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let mut jwt = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.pair.sign(&self.random, jwt.as_bytes()).expect("random bytes");
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        jwt
    }

    /// Whether this key signed `jwt`.
    pub fn verifies(&self, jwt: &str) -> bool {
        let Some((signed, signature)) = jwt.rsplit_once('.') else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .is_ok()
    }

    /// The public key as a JWK Set (RFC 7517 §5).
    pub fn jwks(&self) -> Value {
        let mut key = self.jwk();
        key["use"] = "sig".into();
        key["alg"] = "ES256".into();
        key["kid"] = self.id.as_str().into();
        json!({"keys": [key]})
    }

    /// The public key as a JWK (RFC 7517 §4) of the members that make it one.
    fn jwk(&self) -> Value {
        // An uncompressed point: 0x04, then x and y of 32 bytes each (RFC 5480 §2.2).
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        })
    }
}

/// A JWT with a signature that nobody has made: for those who only read it.
pub fn unsigned(claims: &Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = r#"{"alg":"ES256","typ":"JWT"}"#;
    format!("{}.{}.c2lnbmF0dXJl", part(header), part(&claims.to_string()))
}

/// The payload of a compact JWS, unchecked; `None` for what is none.
pub fn payload(jwt: &str) -> Option<Value> {
    let mut parts = jwt.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || signature.is_empty() {
        return None;
    }
    object(header)?.get("alg")?;
    object(payload)
}

fn object(part: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    value.is_object().then_some(value)
}

/// Whether a key of this JWK Set signed a JWT with RS256 (RFC 7518 §3.3), the algorithm that most
/// servers begin with.
pub fn verifies_rs256(keys: &Value, jwt: &str) -> bool {
    let part = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str()?).ok();
    let verifies = |key: &Value| {
        let (n, e) = (part(&key["n"])?, part(&key["e"])?);
        let (signed, signature) = jwt.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = RsaPublicKeyComponents { n, e };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).ok()
    };
    let keys = keys["keys"].as_array();
    keys.is_some_and(|keys| keys.iter().any(|key| verifies(key).is_some()))
}

/// Random text of `bytes` random bytes, in base64url's alphabet.
///
/// # Panics
/// Where the system gives no random bytes.
pub fn random_text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).expect("random bytes");
    URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_token_verifies_and_a_changed_one_does_not() {
        let key = SigningKey::generate();
        let jwt = key.sign("at+jwt", &json!({"sub": "alice"}));
        assert!(key.verifies(&jwt));
        assert_eq!(payload(&jwt).unwrap()["sub"], "alice");
        let other = SigningKey::generate().sign("at+jwt", &json!({"sub": "mallory"}));
        let (signed, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = jwt.rsplit_once('.').unwrap();
        assert!(!key.verifies(&format!("{signed}.{signature}")));
        assert!(!key.verifies(&other));
    }

    #[test]
    fn a_proof_is_signed_by_the_key_it_shows() {
        let key = SigningKey::generate();
        let proof = key.dpop_proof("POST", "https://as.example.com/token");
        assert!(key.verifies(&proof));
        let header = object(proof.split('.').next().unwrap()).unwrap();
        assert_eq!(header["typ"], "dpop+jwt");
        assert_eq!(header["jwk"]["x"], key.jwks()["keys"][0]["x"]);
        let claims = payload(&proof).unwrap();
        assert_eq!((&claims["htm"], claims["iat"].is_u64()), (&"POST".into(), true));
        assert_ne!(payload(&key.dpop_proof("POST", "x")).unwrap()["jti"], claims["jti"]);
    }

    #[test]
    fn what_is_no_token_has_no_payload() {
        for text in ["", "a.b", "a.b.c", "e30.e30.", "e30.e30.c2ln", "a.b.c.d.e"] {
            assert!(payload(text).is_none(), "{text}");
        }
    }
}
