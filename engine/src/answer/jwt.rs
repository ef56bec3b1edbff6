//! Compact JWTs (RFC 7515 §7.1, RFC 7516 §7.1, RFC 7519), read as far as the gateway must.
//!
//! Signatures are the API's to check; here a JWT is only kept from being something else than an
//! access token: text with no structure, an unsigned one, or an introspection answer
//! (RFC 9701, and its early drafts, which answered with `application/jwt`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::answer::cause::Cause;
use crate::answer::json::Object;
use crate::answer::nature::Nature;
use crate::answer::registered;
use crate::answer::subjects::{Named, Places};

/// `typ` of an introspection answer (RFC 9701 §5).
const TOKEN_INTROSPECTION_TYP: &str = "token-introspection+jwt";

/// A compact JWS or JWE, taken apart but not yet judged.
pub struct Compact {
    header: Header,
    /// `None` for a JWE, which cannot be read.
    payload: Option<Payload>,
}

/// A JWT that may be forwarded as a phantom token.
pub struct Jwt {
    payload: Option<Payload>,
}

/// A JWS payload that is one JSON object, and what was found in it: it is read once.
struct Payload {
    text: Zeroizing<Vec<u8>>,
    /// It has a member `active`, and of which value.
    active: Option<Option<bool>>,
    /// It has a member `token_introspection`.
    has_token_introspection: bool,
    exp: Result<Option<u64>, Cause>,
    scope: Result<Option<Vec<u8>>, Cause>,
    nature: Result<Nature, Cause>,
    named: Places,
}

/// What is needed of a JOSE header (RFC 7515 §4).
struct Header {
    alg: String,
    typ: Option<String>,
}

impl Compact {
    /// Takes apart the three segments of a JWS (RFC 7515 §7.1) or the five of a JWE (RFC 7516
    /// §7.1), and reads the header and a JWS's payload.
    ///
    /// # Errors
    /// What keeps the text from being either: its segments, their base64url, or their JSON.
    pub fn decode(text: &[u8]) -> Result<Compact, Cause> {
        let mut segments: [&[u8]; 5] = [b""; 5];
        let mut count = 0;
        let mut rest = Some(text);
        while let Some(text) = rest {
            let dot = memchr::memchr(b'.', text);
            let segment = segments.get_mut(count).ok_or(Cause::Segments)?;
            (*segment, rest) = match dot {
                Some(dot) => (&text[..dot], Some(&text[dot + 1..])),
                None => (text, None),
            };
            count += 1;
        }
        let (header, payload) = match segments {
            [header, payload, signature, ..] if count == 3 => {
                check_segment(signature)?;
                (header, Some(payload))
            }
            [header, _, iv, ciphertext, tag] if count == 5 => {
                [iv, ciphertext, tag].into_iter().try_for_each(check_segment)?;
                (header, None)
            }
            _ => return Err(Cause::Segments),
        };
        let header = Header::parse(&decode_segment(header)?)?;
        if count == 5 && !(segments[1].is_empty() && header.has_no_encrypted_key()) {
            check_segment(segments[1])?;
        }
        Ok(Compact { header, payload: payload.map(Payload::parse).transpose()? })
    }

    /// Reads a JWT that is to be forwarded: [`Compact::decode`], then [`Compact::phantom_token`].
    ///
    /// # Errors
    /// As those two.
    pub fn parse(text: &[u8]) -> Result<Jwt, Cause> {
        Compact::decode(text)?.phantom_token()
    }

    /// Takes the JWT as a phantom token.
    ///
    /// # Errors
    /// The JWT is neither signed nor encrypted, or it is an introspection answer.
    pub fn phantom_token(self) -> Result<Jwt, Cause> {
        self.header.check_alg()?;
        if self.header.is_token_introspection() {
            return Err(Cause::Typ);
        }
        if let Some(payload) = &self.payload
            && (payload.has_token_introspection || payload.active.is_some())
        {
            return Err(Cause::IntrospectionPayload);
        }
        Ok(Jwt { payload: self.payload })
    }

    /// Tells whether this is an introspection answer, which the drafts before RFC 9701 sent as
    /// `application/jwt`: by its `typ`, or by a member `active` in it.
    pub fn is_introspection(&self) -> bool {
        self.header.is_token_introspection()
            || self.payload.as_ref().is_some_and(|payload| payload.active.is_some())
    }

    /// Returns what an introspection answer says: its `token_introspection`, or its own members.
    ///
    /// # Errors
    /// The payload cannot be read, or `token_introspection` is not an object.
    pub fn introspection(&self) -> Result<Object<'_>, Cause> {
        self.header.check_alg()?;
        let payload = self.payload.as_ref().ok_or(Cause::EncryptedAnswer)?;
        let members = Object::of_checked(&payload.text).ok_or(Cause::Payload)?;
        match members.get("token_introspection") {
            Some(answer) => answer.as_object().ok_or(Cause::NoTokenIntrospection),
            None => Ok(members),
        }
    }

    /// Tells whether the payload has `"active": false`: an introspection answer as the drafts
    /// before RFC 9701 had it.
    pub fn says_inactive(&self) -> bool {
        self.payload.as_ref().is_some_and(|payload| payload.active == Some(Some(false)))
    }

    /// Returns the object `token_introspection` of an answer (RFC 9701 §5).
    ///
    /// # Errors
    /// The JWT is not such an answer, or it has no such object.
    pub fn token_introspection(&self) -> Result<Object<'_>, Cause> {
        self.header.check_alg()?;
        // The content type has said already what this is; only a `typ` that denies it is refused.
        if self.header.typ.is_some() && !self.header.is_token_introspection() {
            return Err(Cause::Typ);
        }
        let payload = self.payload.as_ref().ok_or(Cause::EncryptedAnswer)?;
        Object::of_checked(&payload.text)
            .ok_or(Cause::Payload)?
            .get("token_introspection")
            .and_then(|answer| answer.as_object())
            .ok_or(Cause::NoTokenIntrospection)
    }
}

impl Jwt {
    /// Returns the payload of a JWS as sent, a JSON object; `None` for a JWE.
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.as_ref().map(|payload| payload.text.as_slice())
    }

    /// Returns `exp` (RFC 7519 §4.1.4) in seconds since the Unix epoch; `None` where there is none,
    /// and for a JWE.
    ///
    /// # Errors
    /// As [`registered::exp`].
    pub fn exp(&self) -> Result<Option<u64>, Cause> {
        self.payload.as_ref().map_or(Ok(None), |payload| payload.exp)
    }

    /// Returns `scope` (RFC 8693 §4.2), else `scp`, values joined by single spaces; `None` where
    /// there is neither, and for a JWE.
    ///
    /// # Errors
    /// As [`registered::scope`].
    pub fn scope(&self) -> Result<Option<Vec<u8>>, Cause> {
        self.payload.as_ref().map_or(Ok(None), |payload| payload.scope.clone())
    }

    /// Returns what kind of token its payload says it is, and to what it is bound; nothing of a
    /// JWE.
    ///
    /// # Errors
    /// As [`registered::nature`].
    pub fn nature(&self) -> Result<Nature, Cause> {
        self.payload.as_ref().map_or(Ok(Nature::default()), |payload| payload.nature)
    }

    /// Returns the names of the token's subjects; none of a JWE.
    pub(super) fn named(&self) -> Named<'_> {
        match &self.payload {
            Some(payload) => payload.named.in_document(&payload.text),
            None => Named::default(),
        }
    }
}

/// The payload of a JWS that was read before; `None` for a JWE or anything else.
pub fn payload_of_checked(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut segments = text.split(|byte| *byte == b'.');
    let (_, payload) = (segments.next()?, segments.next()?);
    if segments.count() != 1 {
        return None;
    }
    decode_segment(payload).ok()
}

impl Payload {
    fn parse(segment: &[u8]) -> Result<Payload, Cause> {
        let text = decode_segment(segment)?;
        let object = Object::parse(&text).map_err(|_| Cause::Payload)?;
        let active = object.get("active").map(|active| active.as_bool());
        let has_token_introspection = object.get("token_introspection").is_some();
        let exp = registered::exp(&object);
        let scope = registered::scope(&object);
        let nature = registered::nature(&object);
        let named = Named::read(&object).places(&text);
        Ok(Payload { text, active, has_token_introspection, exp, scope, nature, named })
    }
}

impl Header {
    fn parse(text: &[u8]) -> Result<Header, Cause> {
        let header = Object::parse(text).map_err(|_| Cause::Header)?;
        let string = |name| match header.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(|text| Some(text.into_owned())).ok_or(Cause::Header),
        };
        Ok(Header { alg: string("alg")?.ok_or(Cause::Alg)?, typ: string("typ")? })
    }

    fn check_alg(&self) -> Result<(), Cause> {
        let alg = self.alg.trim();
        if alg.is_empty() || alg.eq_ignore_ascii_case("none") { Err(Cause::Alg) } else { Ok(()) }
    }

    /// `typ` is a media type, compared in any case, its `application/` left out where it can be
    /// (RFC 7515 §4.1.9).
    fn is_token_introspection(&self) -> bool {
        let Some(typ) = &self.typ else { return false };
        let essence = typ.split(';').next().unwrap_or_default().trim();
        let prefix = "application/";
        let subtype = match essence.get(..prefix.len()) {
            Some(start) if start.eq_ignore_ascii_case(prefix) => &essence[prefix.len()..],
            _ => essence,
        };
        subtype.eq_ignore_ascii_case(TOKEN_INTROSPECTION_TYP)
    }

    /// Whether this JWE's key is agreed on and not sent (RFC 7516 §5.1, steps 4 and 5).
    fn has_no_encrypted_key(&self) -> bool {
        matches!(self.alg.as_str(), "dir" | "ECDH-ES")
    }
}

fn decode_segment(segment: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
    if segment.is_empty() {
        return Err(Cause::Segments);
    }
    URL_SAFE_NO_PAD.decode(segment).map(Zeroizing::new).map_err(|_| Cause::Segments)
}

/// The characters of base64url.
const ALPHABET: [bool; 256] = {
    let mut alphabet = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        alphabet[byte] =
            character.is_ascii_alphanumeric() || character == b'-' || character == b'_';
        byte += 1;
    }
    alphabet
};

/// One or more characters of base64url (RFC 4648 §5).
fn check_segment(segment: &[u8]) -> Result<(), Cause> {
    // Not `all`, which stops at the first: a fold over a table takes several bytes at once.
    let in_alphabet =
        segment.iter().fold(true, |so_far, byte| so_far & ALPHABET[usize::from(*byte)]);
    if in_alphabet && !segment.is_empty() { Ok(()) } else { Err(Cause::Segments) }
}

#[cfg(test)]
pub(crate) mod tests;
