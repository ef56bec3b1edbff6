//! The body of `POST` to `phantom_token_purge`.

use std::fmt;

use zeroize::Zeroizing;

use crate::memory::{self, NoMemory};
use crate::token::bearer::{self, Credentials, TokenSyntax};

/// What is to be forgotten.
#[derive(Clone, PartialEq, Eq)]
pub enum Purge {
    /// `token=…`: one token, for every identity.
    Token(Zeroizing<Vec<u8>>),
    /// `all=1`: everything.
    All,
}

/// Why a body is not taken as a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// Not a form, or a `%` that two hexadecimal digits do not follow.
    #[error("the body is not application/x-www-form-urlencoded")]
    Malformed,
    /// A name is there twice.
    #[error("a field is repeated")]
    Repeated,
    /// A name that has no meaning here.
    #[error("a field is neither \"token\" nor \"all\"")]
    Unknown,
    /// `token` is none in either syntax, or `all` is not `1`.
    #[error("a field has no usable value")]
    Value,
    /// `token` is a JOSE token that is not canonically spelt: none is kept under that spelling.
    #[error("\"token\" is not spelt as it was issued")]
    Respelt,
    /// Neither or both of `token` and `all`.
    #[error("one of \"token\" and \"all\" is needed")]
    NotOne,
    /// It could not be read.
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
}

impl fmt::Debug for Purge {
    /// Says everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purge::Token(token) => f.debug_tuple("Token").field(&token.len()).finish(),
            Purge::All => f.write_str("All"),
        }
    }
}

impl Purge {
    /// Reads a whole body, strictly: what is not understood must not look as if it was done.
    ///
    /// # Errors
    /// The first thing wrong with it, worded for whoever sent it; or the system gives no memory.
    pub fn parse(body: &[u8]) -> Result<Purge, PurgeError> {
        let mut token = None;
        let mut all = None;
        if body.is_empty() {
            return Err(PurgeError::NotOne);
        }
        for pair in body.split(|byte| *byte == b'&') {
            let at = pair.iter().position(|byte| *byte == b'=').ok_or(PurgeError::Malformed)?;
            let value = decode(&pair[at + 1..])?;
            let field = match decode(&pair[..at])?.as_slice() {
                b"token" => &mut token,
                b"all" => &mut all,
                _ => return Err(PurgeError::Unknown),
            };
            if field.replace(value).is_some() {
                return Err(PurgeError::Repeated);
            }
        }
        match (token, all) {
            (Some(token), None) => match bearer::from_bare(&token, TokenSyntax::Vschar) {
                Credentials::Token(_) => Ok(Purge::Token(token)),
                Credentials::Respelt => Err(PurgeError::Respelt),
                Credentials::Absent | Credentials::Unusable => Err(PurgeError::Value),
            },
            (None, Some(all)) if *all == b"1" => Ok(Purge::All),
            (None, Some(_)) => Err(PurgeError::Value),
            (None, None) | (Some(_), Some(_)) => Err(PurgeError::NotOne),
        }
    }
}

fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, PurgeError> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Zeroizing::new(memory::with_room(text.len())?);
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return Err(PurgeError::Malformed),
            },
            // A line end or another blank never stands in a form (what `curl -d` sends has none).
            _ if !byte.is_ascii_graphic() => return Err(PurgeError::Malformed),
            _ => byte,
        });
    }
    Ok(out)
}
