//! Which claims of an answer go into a minted JWT (`phantom_token_mint_claims`).

/// What the gateway writes itself, or leaves out: `cnf` is left out because the gateway has
/// checked it, and an API that checks it again would refuse the JWT it is sent as a bearer token.
const RESERVED: [&str; 8] = ["iss", "aud", "exp", "nbf", "iat", "jti", "cnf", "act"];

/// What makes a JWT an introspection answer (RFC 7662 §2.2, RFC 9701 §5).
const OF_ANSWERS: [&str; 2] = ["active", "token_introspection"];

/// Why a claim is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClaimError {
    /// No name, or nothing behind `=`.
    #[error("it must be NAME or NAME=FROM")]
    Empty,
    /// A name that is not plain.
    #[error("a claim's name must be of printable ASCII characters but \" and \\")]
    Characters,
    /// What it is taken from is not UTF-8, or holds a control byte.
    #[error("what a claim is taken from must be UTF-8 without control characters")]
    Source,
    /// A claim that the gateway writes itself, or leaves out.
    #[error(
        "\"iss\", \"aud\", \"exp\", \"nbf\", \"iat\", \"jti\", \"cnf\" and \"act\" cannot be \
             named, in no case: the gateway writes or checks them itself"
    )]
    Reserved,
    /// A member that only introspection answers have.
    #[error(
        "\"active\" and \"token_introspection\" cannot be named: a JWT with them is an \
             introspection answer"
    )]
    OfAnswers,
    /// `sub` in another case.
    #[error("it looks like \"sub\" in another case: write \"sub\"")]
    LikeSub,
    /// The same name again, perhaps in another case.
    #[error(
        "the claim is named twice; case makes no difference, since some readers of JWTs ignore \
             it"
    )]
    Twice,
}

/// Names of claims, each with what it is taken from; no two names are alike in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(Vec<(String, String)>);

impl Default for Claims {
    /// `sub client_id scope`.
    fn default() -> Claims {
        let same = |name: &str| (name.to_owned(), name.to_owned());
        Claims(["sub", "client_id", "scope"].map(same).to_vec())
    }
}

impl Claims {
    /// Begins with none.
    pub fn none() -> Claims {
        Claims(Vec::new())
    }

    /// Adds a claim as the directive names it: `NAME`, or `NAME=FROM` where the answer calls it
    /// otherwise.
    ///
    /// # Errors
    /// The name cannot be written, or is there.
    pub fn add(&mut self, argument: &[u8]) -> Result<(), ClaimError> {
        let equals = memchr::memchr(b'=', argument);
        let (name, source) = match equals {
            Some(at) => (&argument[..at], &argument[at + 1..]),
            None => (argument, argument),
        };
        if name.is_empty() || source.is_empty() {
            return Err(ClaimError::Empty);
        }
        let name = check_claim_name(name)?;
        let source = std::str::from_utf8(source).map_err(|_| ClaimError::Source)?;
        if source.chars().any(char::is_control) {
            return Err(ClaimError::Source);
        }
        if self.0.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(ClaimError::Twice);
        }
        self.0.push((name.to_owned(), source.to_owned()));
        Ok(())
    }

    /// Returns the names, each with what it is taken from, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, source)| (name.as_str(), source.as_str()))
    }

    /// Returns what a claim is taken from; `None` where it is not named.
    pub fn source_of(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, source)| source)
    }
}

/// Checks the name of a claim that is to be written, and returns it as text.
///
/// Case makes no difference, and nothing but ASCII is taken: there are readers of JSON that
/// take the last of the members whose names are equal in any case (Go's `encoding/json`, which
/// folds `ſ` to `s` as well), and to them `ISS` would be the issuer.
///
/// # Errors
/// A name that the gateway writes itself, one that looks like it, or one that is not plain.
pub fn check_claim_name(name: &[u8]) -> Result<&str, ClaimError> {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\".contains(byte);
    let text = std::str::from_utf8(name).map_err(|_| ClaimError::Characters)?;
    if name.is_empty() {
        return Err(ClaimError::Empty);
    }
    if !name.iter().all(is_plain) {
        return Err(ClaimError::Characters);
    }
    let is_one_of = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(text));
    if is_one_of(&RESERVED) {
        return Err(ClaimError::Reserved);
    }
    if is_one_of(&OF_ANSWERS) {
        return Err(ClaimError::OfAnswers);
    }
    if text != "sub" && is_one_of(&["sub"]) {
        return Err(ClaimError::LikeSub);
    }
    Ok(text)
}
