//! The tokens an authorization server has issued.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::jwt::{SigningKey, random_text};

/// How many tokens are kept before those that ran out are forgotten.
const SWEEP_AT: usize = 10_000;

/// What an access token is to be like.
#[derive(Clone)]
pub struct Mint {
    token: Option<String>,
    client_id: String,
    expires_in: Option<i64>,
    claims: Map<String, Value>,
    answer: Map<String, Value>,
    jwt_size: usize,
}

impl Mint {
    /// A token of scope `read`, good for five minutes.
    pub fn new() -> Self {
        Self {
            token: None,
            client_id: super::CLIENT.0.to_owned(),
            expires_in: Some(300),
            claims: Map::new(),
            answer: Map::new(),
            jwt_size: 0,
        }
        .scope("read")
    }

    /// With this scope; empty for a token without one.
    pub fn scope(mut self, scope: &str) -> Self {
        match scope {
            "" => self.claims.remove("scope"),
            scope => self.claims.insert("scope".to_owned(), scope.into()),
        };
        self
    }

    /// Issued to this client.
    pub fn client(mut self, id: &str) -> Self {
        self.client_id = id.to_owned();
        self
    }

    /// Good for so many seconds; negative for one that has run out, which the server nevertheless
    /// says is active.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = Some(seconds);
        self
    }

    /// Without an expiry.
    pub fn without_expiry(mut self) -> Self {
        self.expires_in = None;
        self
    }

    /// With a claim, in the JWT and in JSON answers.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// With a member in JSON answers that is not in the JWT, or differs from it.
    pub fn answer(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.answer.insert(name.to_owned(), value.into());
        self
    }

    /// Bound to a DPoP key (RFC 9449 §6.2).
    pub fn dpop_bound(self) -> Self {
        self.claim("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}))
    }

    /// With a JWT of at least so many bytes, and at most three more.
    pub fn jwt_size(mut self, bytes: usize) -> Self {
        self.jwt_size = bytes;
        self
    }

    /// With this opaque token instead of a random one.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }
}

impl Default for Mint {
    fn default() -> Self {
        Self::new()
    }
}

/// An access token and what is behind it.
#[derive(Clone)]
pub struct Token {
    /// The opaque token, for the client.
    pub token: String,
    /// The JWT, for the API.
    pub jwt: String,
    /// When it runs out, in seconds since the Unix epoch.
    pub exp: Option<i64>,
    /// Its scope, where it has one.
    pub scope: Option<String>,
    /// The members of a JSON answer but `active` and the JWT.
    pub answer: Map<String, Value>,
}

impl Token {
    /// The value of an Authorization header with the opaque token.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// The value of the Authorization header the API is to get.
    pub fn phantom(&self) -> String {
        format!("Bearer {}", self.jwt)
    }

    /// How long it is still good, in seconds; 0 where it has run out.
    pub fn remaining(&self) -> Option<i64> {
        self.exp.map(|exp| (exp - now()).max(0))
    }
}

#[derive(Default)]
pub(super) struct Tokens {
    issued: HashMap<String, Token>,
    prefixes: Vec<(String, Token)>,
}

impl Tokens {
    pub(super) fn mint(&mut self, mint: Mint, key: &SigningKey, issuer: &str) -> Token {
        if self.issued.len() >= SWEEP_AT {
            self.issued.retain(|_, token| token.remaining() != Some(0));
        }
        let token = make(mint, key, issuer);
        self.issued.insert(token.token.clone(), token.clone());
        token
    }

    pub(super) fn accept_prefix(
        &mut self,
        prefix: &str,
        mint: Mint,
        key: &SigningKey,
        issuer: &str,
    ) -> Token {
        let token = make(mint.token(prefix), key, issuer);
        self.prefixes.push((prefix.to_owned(), token.clone()));
        token
    }

    pub(super) fn revoke(&mut self, token: &str) {
        self.issued.remove(token);
    }

    /// The token's facts where it is active. One minted as run out stays active: its JWT's `exp` is
    /// for the gateway to notice.
    pub(super) fn active(&self, token: &str) -> Option<Token> {
        self.issued.get(token).cloned().or_else(|| {
            self.prefixes
                .iter()
                .find(|(prefix, _)| token.starts_with(prefix))
                .map(|(_, t)| t.clone())
        })
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        let prefixes = self.prefixes.iter().map(|(_, token)| token);
        self.issued
            .values()
            .chain(prefixes)
            .flat_map(|t| [t.token.clone(), t.jwt.clone()])
            .collect()
    }
}

fn make(mint: Mint, key: &SigningKey, issuer: &str) -> Token {
    let now = now();
    let exp = mint.expires_in.map(|seconds| now + seconds);
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), issuer.into());
    claims.insert("sub".to_owned(), mint.client_id.clone().into());
    claims.insert("aud".to_owned(), "api".into());
    claims.insert("client_id".to_owned(), mint.client_id.into());
    claims.insert("iat".to_owned(), now.into());
    claims.insert("jti".to_owned(), random_text(16).into());
    if let Some(exp) = exp {
        claims.insert("exp".to_owned(), exp.into());
    }
    claims.extend(mint.claims);
    let mut answer = claims.clone();
    answer.insert("token_type".to_owned(), "bearer".into());
    answer.extend(mint.answer);
    Token {
        token: mint.token.unwrap_or_else(|| random_text(24)),
        jwt: sized(key, claims.clone(), mint.jwt_size),
        exp,
        scope: claims.get("scope").and_then(Value::as_str).map(str::to_owned),
        answer,
    }
}

/// A JWT padded to at least `size` bytes.
fn sized(key: &SigningKey, mut claims: Map<String, Value>, size: usize) -> String {
    let jwt = key.sign("at+jwt", &Value::Object(claims.clone()));
    if jwt.len() >= size {
        return jwt;
    }
    claims.insert("padding".to_owned(), "".into());
    let bare = key.sign("at+jwt", &Value::Object(claims.clone())).len();
    let padding = size.saturating_sub(bare).div_ceil(4) * 3;
    claims.insert("padding".to_owned(), "p".repeat(padding).into());
    key.sign("at+jwt", &Value::Object(claims))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jwts_have_the_size_asked_for() {
        let key = SigningKey::generate();
        for size in [1024, 8192, 32 * 1024, 50_001] {
            let jwt = make(Mint::new().jwt_size(size), &key, "i").jwt;
            assert!((size..size + 4).contains(&jwt.len()), "{size}: {}", jwt.len());
            assert!(key.verifies(&jwt));
        }
    }
}
