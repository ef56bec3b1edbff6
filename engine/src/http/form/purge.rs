//! The body of `POST` to `phantom_token_purge`.

use std::fmt;

use zeroize::Zeroizing;

use crate::answer::subjects::Subject;
use crate::memory::{self, NoMemory};
use crate::token::bearer::{self, Credentials, MAX_TOKEN_LEN, TokenSyntax};

/// What is to be forgotten.
#[derive(Clone, PartialEq, Eq)]
pub enum Purge {
    /// `token=…`: one token, for every identity.
    Token(Zeroizing<Vec<u8>>),
    /// `all=1`: everything.
    All,
    /// `sub=…`, `client_id=…`, `sid=…` or `jti=…`: every token whose answer has this name there.
    Subject(Subject, Zeroizing<Vec<u8>>),
}

/// Why a body is not taken as a purge. The words go to whoever sent it and say what to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// Not a form, or a `%` that two hexadecimal digits do not follow.
    #[error(
        "the body is not application/x-www-form-urlencoded: send it with curl --data-urlencode"
    )]
    Malformed,
    /// A name is there twice.
    #[error("a field is repeated: send each purge by itself")]
    Repeated,
    /// A name that has no meaning here.
    #[error("a field has another name than token, all, sub, client_id, sid, jti, iss")]
    Unknown,
    /// Nothing says what to forget.
    #[error("nothing is named: send one of token, all, sub, client_id, sid, jti")]
    Nothing,
    /// More than one thing is to be forgotten.
    #[error("more than one of token, all, sub, client_id, sid, jti: send each by itself")]
    Several,
    /// `all` is not `1`.
    #[error("all has another value than 1: send all=1")]
    All,
    /// A value is empty.
    #[error("a field is empty: send what is to be forgotten")]
    Empty,
    /// A value holds a line end or another control character.
    #[error(
        "a value holds a line end or another control character, as a file's content does: \
         send it without (tr -d '[:cntrl:]' < FILE | curl --data-urlencode NAME@- URL)"
    )]
    Control,
    /// `token` has the scheme of an `Authorization` field in front.
    #[error("token begins with 'Bearer': send what follows it alone")]
    Scheme,
    /// `token` has a blank in it.
    #[error(
        "token has a blank in it, which no token has: send a + of its own as %2B \
         (curl --data-urlencode does)"
    )]
    Blank,
    /// `token` has another byte that is in no token, in either syntax, or is too long for one.
    #[error(
        "token is none: it has a comma, a quotation mark or a character outside visible ASCII, \
         or more than {} bytes",
        MAX_TOKEN_LEN
    )]
    NoToken,
    /// A name is not UTF-8, as each name in an answer is.
    #[error("a name is not UTF-8")]
    NoText,
    /// `token` is a JOSE token that is not canonically spelt: none is kept under that spelling.
    #[error(
        "token is not spelt as it was issued, and kept under that spelling alone: send it so, \
         in base64url without padding, or send its sub"
    )]
    Respelt,
    /// It could not be read.
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
}

impl fmt::Debug for Purge {
    /// Says everything but the token and the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purge::Token(token) => f.debug_tuple("Token").field(&token.len()).finish(),
            Purge::All => f.write_str("All"),
            Purge::Subject(subject, name) => {
                f.debug_tuple("Subject").field(subject).field(&name.len()).finish()
            }
        }
    }
}

/// The fields that are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Token,
    All,
    Subject(Subject),
    /// Who issued the subject: accepted, so that a sender need not leave it out, and not looked at. A
    /// needless purge costs a call.
    Iss,
}

impl Field {
    fn named(name: &[u8]) -> Option<Field> {
        Some(match name {
            b"token" => Field::Token,
            b"all" => Field::All,
            b"iss" => Field::Iss,
            _ => Field::Subject(*Subject::ALL.iter().find(|s| s.word().as_bytes() == name)?),
        })
    }

    fn bit(self) -> u8 {
        1 << match self {
            Field::Token => 0,
            Field::All => 1,
            Field::Iss => 2,
            Field::Subject(subject) => 3 + subject as u8,
        }
    }
}

impl Purge {
    /// Reads a whole body, strictly: what is not understood must not look as if it was done.
    ///
    /// # Errors
    /// The first thing wrong with it, worded for whoever sent it; or the system gives no memory.
    pub fn parse(body: &[u8]) -> Result<Purge, PurgeError> {
        let (mut named, mut seen, mut several) = (None, 0, false);
        if body.is_empty() {
            return Err(PurgeError::Nothing);
        }
        for pair in body.split(|byte| *byte == b'&') {
            let at = pair.iter().position(|byte| *byte == b'=').ok_or(PurgeError::Malformed)?;
            let value = decode(&pair[at + 1..])?;
            let field = Field::named(&decode(&pair[..at])?).ok_or(PurgeError::Unknown)?;
            if seen & field.bit() != 0 {
                return Err(PurgeError::Repeated);
            }
            seen |= field.bit();
            if field != Field::Iss {
                several |= named.replace((field, value)).is_some();
            }
        }
        match named {
            None | Some((Field::Iss, _)) => Err(PurgeError::Nothing),
            Some(_) if several => Err(PurgeError::Several),
            Some((Field::Token, token)) => check_token(&token).map(|()| Purge::Token(token)),
            Some((Field::All, all)) if *all == b"1" => Ok(Purge::All),
            Some((Field::All, _)) => Err(PurgeError::All),
            Some((Field::Subject(subject), name)) => {
                check_name(&name).map(|()| Purge::Subject(subject, name))
            }
        }
    }
}

/// Whether it can be a token in one of the syntaxes, in the one spelling it is kept under.
fn check_token(token: &[u8]) -> Result<(), PurgeError> {
    const SCHEME: &[u8] = b"bearer ";
    match bearer::from_bare(token, TokenSyntax::Vschar) {
        Credentials::Token(_) => Ok(()),
        Credentials::Respelt => Err(PurgeError::Respelt),
        Credentials::Absent => Err(PurgeError::Empty),
        Credentials::Unusable => Err(match token {
            _ if token.iter().any(u8::is_ascii_control) => PurgeError::Control,
            _ if token.get(..SCHEME.len()).is_some_and(|s| s.eq_ignore_ascii_case(SCHEME)) => {
                PurgeError::Scheme
            }
            _ if token.contains(&b' ') => PurgeError::Blank,
            _ => PurgeError::NoToken,
        }),
    }
}

/// Whether it can be a name that an answer has.
fn check_name(name: &[u8]) -> Result<(), PurgeError> {
    match name {
        [] => Err(PurgeError::Empty),
        _ if name.iter().any(u8::is_ascii_control) => Err(PurgeError::Control),
        _ => std::str::from_utf8(name).map(drop).map_err(|_| PurgeError::NoText),
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

#[cfg(test)]
mod tests;
