//! `application/x-www-form-urlencoded`: what is sent to the authorization server, its Basic
//! credentials, and the body of a purge.

pub mod purge;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::memory::{self, NoMemory};

/// The content type of the introspection request.
pub const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// A form that is being written, wiped on drop.
///
/// Letters, digits and `-._~*` stay as they are, a space becomes `+`, everything else `%XX`: what
/// every reader of forms understands (RFC 6749 Appendix B), and as little of it as there can be,
/// for readers that do not.
#[derive(Default)]
pub struct Form {
    out: Zeroizing<Vec<u8>>,
}

impl Form {
    /// Begins an empty form.
    pub fn new() -> Form {
        Form::default()
    }

    /// Begins a form with what another has.
    ///
    /// # Errors
    /// The system gives no memory for it.
    pub fn beginning(other: &[u8]) -> Result<Form, NoMemory> {
        // An assertion is likely to follow.
        const MORE: usize = 1024;
        let mut form = Form::default();
        reserve(&mut form.out, other.len() + MORE)?;
        form.out.extend_from_slice(other);
        Ok(form)
    }

    /// Appends `name=value`.
    ///
    /// # Errors
    /// The system gives no memory for it.
    pub fn pair(mut self, name: &[u8], value: &[u8]) -> Result<Form, NoMemory> {
        let separator = usize::from(!self.out.is_empty());
        reserve(&mut self.out, separator + encoded_len(name) + 1 + encoded_len(value))?;
        if separator == 1 {
            self.out.push(b'&');
        }
        encode(&mut self.out, name);
        self.out.push(b'=');
        encode(&mut self.out, value);
        Ok(self)
    }

    /// Returns the bytes of the whole form, to be sent as a body.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.out
    }
}

/// Writes the body of an introspection request (RFC 7662 §2.1): `token`, then the configured
/// parameters, in order.
///
/// # Errors
/// The system gives no memory for it.
pub fn introspection_body<'a>(
    token: &[u8],
    params: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Zeroizing<Vec<u8>>, NoMemory> {
    let form = Form::new().pair(b"token", token)?;
    let whole = params.into_iter().try_fold(form, |form, (name, value)| form.pair(name, value))?;
    Ok(whole.finish())
}

/// Why Basic credentials cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BasicError {
    /// The first colon ends the id (RFC 7617 §2).
    #[error("a client id sent as it is must not hold a colon: use \"basic\" or \"post\"")]
    Colon,
}

/// Makes the value of `Authorization` with id and secret form-urlencoded, as RFC 6749 §2.3.1 asks.
pub fn basic(client_id: &[u8], client_secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let len = encoded_len(client_id) + 1 + encoded_len(client_secret);
    let mut pair = Zeroizing::new(Vec::with_capacity(len));
    encode(&mut pair, client_id);
    pair.push(b':');
    encode(&mut pair, client_secret);
    basic_of(&pair)
}

/// Makes the value of `Authorization` with id and secret as they are (RFC 7617 §2).
///
/// # Errors
/// [`BasicError`], where the id holds a colon.
pub fn basic_raw(client_id: &[u8], client_secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, BasicError> {
    if client_id.contains(&b':') {
        return Err(BasicError::Colon);
    }
    let mut pair = Zeroizing::new(Vec::with_capacity(client_id.len() + 1 + client_secret.len()));
    pair.extend_from_slice(client_id);
    pair.push(b':');
    pair.extend_from_slice(client_secret);
    Ok(basic_of(&pair))
}

/// Tells whether [`basic`] and [`basic_raw`] differ for this id and secret: a server that refuses
/// the one may accept the other.
pub fn encoding_changes(client_id: &[u8], client_secret: &[u8]) -> bool {
    !client_id.iter().chain(client_secret).all(|byte| is_plain(*byte))
}

fn basic_of(pair: &[u8]) -> Zeroizing<Vec<u8>> {
    let prefix = b"Basic ";
    let mut out = Zeroizing::new(vec![0; prefix.len() + pair.len().div_ceil(3) * 4]);
    out[..prefix.len()].copy_from_slice(prefix);
    // The buffer is as long as the text: this cannot fail.
    let written = STANDARD.encode_slice(pair, &mut out[prefix.len()..]).unwrap_or(0);
    out.truncate(prefix.len() + written);
    out
}

/// Makes room for `more` bytes; what moves is wiped where it was.
fn reserve(out: &mut Zeroizing<Vec<u8>>, more: usize) -> Result<(), NoMemory> {
    if out.capacity() - out.len() < more {
        let mut larger = Zeroizing::new(memory::with_room((out.len() + more).max(256))?);
        larger.extend_from_slice(out);
        *out = larger;
    }
    Ok(())
}

fn encoded_len(text: &[u8]) -> usize {
    text.iter().map(|byte| if is_plain(*byte) || *byte == b' ' { 1 } else { 3 }).sum()
}

fn encode(out: &mut Vec<u8>, text: &[u8]) {
    // As tokens and names are.
    if text.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        match byte {
            b' ' => out.push(b'+'),
            _ if is_plain(byte) => out.push(byte),
            _ => out.extend_from_slice(percent_encoding::percent_encode_byte(byte).as_bytes()),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte)
}

#[cfg(test)]
mod tests;
