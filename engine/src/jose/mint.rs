//! The JWT that the gateway makes of an introspection answer (RFC 9068).

mod claims;

use std::borrow::Cow;
use std::fmt;

use zeroize::Zeroizing;

pub use self::claims::{ClaimError, Claims, check_claim_name};
use crate::answer::json::{Object, Value, write_string};
use crate::answer::jwt::payload_of_checked;
use crate::jose::encoding::base64url;
use crate::jose::key::SigningKey;
use crate::jose::primitives::random;
use crate::jose::sign::{Header, SignError};

/// `typ` (RFC 9068 §2.1).
const TYP: &str = "at+jwt";

/// The most bytes that a minted JWT may have: it goes upstream in a header field.
pub const MAX_LEN: usize = 16 * 1024;

/// What is minted, as the location has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `iss`.
    pub issuer: String,
    /// `aud`: a string where it is one, an array otherwise.
    pub audience: Vec<String>,
    /// What is taken from the answer.
    pub claims: Claims,
    /// The longest that a JWT is good for, in seconds.
    pub valid: u64,
}

/// A JWT that was made.
pub struct Minted {
    /// The compact JWS.
    pub jwt: Vec<u8>,
    /// Its `exp`, in seconds since the Unix epoch: never later than the token's.
    pub exp: u64,
    /// Which key signed: the first bytes of its thumbprint.
    pub signer: [u8; 8],
}

impl fmt::Debug for Minted {
    /// Says everything but the JWT.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Minted { jwt, exp, signer } = self;
        let mut out = f.debug_struct("Minted");
        out.field("jwt_len", &jwt.len()).field("exp", exp).field("signer", signer).finish()
    }
}

/// Why no JWT is made of an answer. Its words hold nothing of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MintError {
    /// A user name, and no `sub` to tell users apart by.
    #[error(
        "it has a \"username\" and no \"sub\": write \"sub=username\" in phantom_token_mint_claims \
         if no user can get another's name"
    )]
    Username,
    /// What is to be `sub` is not there, though the answer says who the user is.
    #[error("what phantom_token_mint_claims takes \"sub\" from is missing in it")]
    NoSubject,
    /// Not a string with something in it.
    #[error("what is to be \"sub\" is not a string, or an empty one")]
    Subject,
    /// Longer than [`MAX_LEN`].
    #[error(
        "the JWT made of it is longer than 16 kilobytes: name fewer claims in \
             phantom_token_mint_claims"
    )]
    TooLong,
    /// No signature.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Makes a JWT of an active answer.
///
/// `claims_json` is the server's JSON answer and `jwt` the JWT it gave; either may be empty, and
/// both were read by [`crate::answer::read`] before. A claim is looked for in the first, then in
/// the second, its name compared exactly; one that is `null` is taken as left out. `exp` is the
/// token's, `now` the time, both in seconds since the Unix epoch.
///
/// `sub` is always written: from `sub`, or from what [`Claims`] name for it; where the answer has
/// none, and neither `sub` nor `username`, from `client_id` (RFC 9068 §2.2).
///
/// # Errors
/// The answer does not say whose token it is, the result is too long, or nothing could be signed.
pub fn mint(
    terms: &Terms,
    key: &SigningKey,
    claims_json: &[u8],
    jwt: &[u8],
    exp: Option<u64>,
    now: u64,
) -> Result<Minted, MintError> {
    let payload = payload_of_checked(jwt);
    let said = Said {
        answer: Object::of_checked(claims_json),
        jwt: payload.as_deref().and_then(|payload| Object::of_checked(payload)),
    };
    let limit = now.saturating_add(terms.valid);
    let exp = exp.map_or(limit, |exp| exp.min(limit));

    let mut out = Zeroizing::new(Vec::with_capacity(1024 + claims_json.len()));
    out.extend_from_slice(b"{\"iss\":");
    write_string(&mut out, &terms.issuer);
    out.extend_from_slice(b",\"sub\":");
    said.subject(terms.claims.source_of("sub").unwrap_or("sub"))?.write_compact(&mut out);
    out.extend_from_slice(b",\"aud\":");
    write_audience(&mut out, &terms.audience);
    let jti = base64url(&random::<16>()?);
    out.extend_from_slice(format!(",\"iat\":{now},\"exp\":{exp},\"jti\":\"{jti}\"").as_bytes());
    for (name, source) in terms.claims.iter().filter(|(name, _)| *name != "sub") {
        if let Some(value) = said.get(source) {
            out.push(b',');
            write_string(&mut out, name);
            out.push(b':');
            value.write_compact(&mut out);
        }
    }
    out.push(b'}');

    // No need to sign what is too long already.
    if out.len() > MAX_LEN {
        return Err(MintError::TooLong);
    }
    let kid = key.kid();
    let jwt = key.sign(Header { typ: Some(TYP), kid: Some(&kid) }, &out)?;
    if jwt.len() > MAX_LEN {
        return Err(MintError::TooLong);
    }
    Ok(Minted { jwt, exp, signer: signer(&key.thumbprint()) })
}

/// Returns what an entry keeps of the key that signed: the first bytes of its thumbprint.
pub fn signer(thumbprint: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *thumbprint;
    [a, b, c, d, e, f, g, h]
}

fn write_audience(out: &mut Vec<u8>, audience: &[String]) {
    if let [one] = audience {
        return write_string(out, one);
    }
    out.push(b'[');
    for (index, one) in audience.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, one);
    }
    out.push(b']');
}

/// What the server said, in either form.
struct Said<'a> {
    answer: Option<Object<'a>>,
    jwt: Option<Object<'a>>,
}

impl<'a> Said<'a> {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        let of = |claims: &Option<Object<'a>>| {
            claims.as_ref()?.get(name).filter(|value| !value.is_null())
        };
        of(&self.answer).or_else(|| of(&self.jwt))
    }

    /// Whose token it is. Never a guess: another's name here is another's access.
    fn subject(&self, source: &str) -> Result<Value<'a>, MintError> {
        let value = match self.get(source) {
            Some(value) => value,
            // Somebody is named, but not by what was asked for.
            None if self.get("sub").is_some() => return Err(MintError::NoSubject),
            None if self.get("username").is_some() => {
                let unnamed = source == "sub";
                return Err(if unnamed { MintError::Username } else { MintError::NoSubject });
            }
            None => self.get("client_id").ok_or(MintError::NoSubject)?,
        };
        let text: Option<Cow<'_, str>> = value.as_str();
        text.filter(|text| !text.is_empty()).map(|_| value).ok_or(MintError::Subject)
    }
}
