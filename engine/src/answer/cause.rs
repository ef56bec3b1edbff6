//! Why an answer of the authorization server is not understood, in fixed words.

use std::fmt;

use crate::answer::json::JsonError;

/// What is wrong with an answer. Its words hold nothing of the answer itself, so they can be
/// logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// `Content-Encoding` is not `identity`.
    ContentEncoding,
    /// Over 64 KiB.
    TooLarge,
    /// No `Content-Type`.
    NoContentType,
    /// A `Content-Type` that is not read.
    ContentType,
    /// Nothing in the body.
    Empty,
    /// The body is not JSON.
    Json,
    /// A member occurs twice in one object.
    Duplicate,
    /// JSON, but not an object.
    NotAnObject,
    /// No member `active`.
    NoActive,
    /// `active` is neither `true` nor `false`.
    ActiveType,
    /// Active, with no JWT to forward.
    NoJwt,
    /// Not a compact JWS or JWE.
    Segments,
    /// The JWT's header is not a JSON object, or a parameter in it has the wrong type.
    Header,
    /// No `alg`, or `none`.
    Alg,
    /// `typ` says that it is an introspection answer (RFC 9701), or, of an answer, that it is not.
    Typ,
    /// The JWT's payload is not a JSON object.
    Payload,
    /// Asked for the JWT, the server sent an introspection answer as `application/jwt`.
    IntrospectionAnswer,
    /// The JWT's payload is an introspection answer.
    IntrospectionPayload,
    /// An RFC 9701 answer that is encrypted.
    EncryptedAnswer,
    /// An RFC 9701 answer without the object `token_introspection`.
    NoTokenIntrospection,
    /// `exp` is neither a number nor digits, or negative.
    Exp,
    /// `scope` or `scp` is neither a string nor an array of strings, or holds a control byte.
    Scope,
    /// `cnf` is not an object.
    Cnf,
    /// The answer and the JWT in it have different `iss`.
    Issuers,
}

impl Cause {
    /// The words for a log line.
    pub fn words(self) -> &'static str {
        match self {
            Cause::ContentEncoding => "it has a content encoding, which was not asked for",
            Cause::TooLarge => "it is over 64 KiB",
            Cause::NoContentType => "it has no content type",
            Cause::ContentType => {
                "its content type is none of \"application/jwt\", \"application/json\" and \
                 \"application/token-introspection+jwt\""
            }
            Cause::Empty => "it is empty",
            Cause::Json => "it is not JSON",
            Cause::Duplicate => "a member of it occurs twice",
            Cause::NotAnObject => "it is not a JSON object",
            Cause::NoActive => "it has no member \"active\"",
            Cause::ActiveType => "its member \"active\" is not a boolean",
            Cause::NoJwt => {
                "the token is active, but no JWT came with it: let the server send one, or use \
                 \"phantom_token_forward none\" or \"phantom_token_forward mint\""
            }
            Cause::Segments => "what should be a JWT is not a compact JWS or JWE",
            Cause::Header => "the JWT's header is not understood",
            Cause::Alg => "the JWT's \"alg\" is missing or \"none\"",
            Cause::Typ => "the JWT's \"typ\" does not fit its place",
            Cause::Payload => "the JWT's payload is not an unambiguous JSON object",
            Cause::IntrospectionAnswer => {
                "the JWT is an introspection answer and not an access token: write \
                 \"phantom_token_introspection_accept application/json\""
            }
            Cause::IntrospectionPayload => {
                "the JWT is an introspection answer and not an access token"
            }
            Cause::EncryptedAnswer => "the introspection answer is encrypted",
            Cause::NoTokenIntrospection => "it has no object \"token_introspection\"",
            Cause::Exp => "\"exp\" is not a number of seconds",
            Cause::Scope => "the scope is neither a string nor an array of strings",
            Cause::Cnf => "\"cnf\" is not an object",
            Cause::Issuers => "it names one issuer, and the JWT in it another",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Cause {}

impl From<JsonError> for Cause {
    fn from(error: JsonError) -> Cause {
        match error {
            JsonError::Syntax => Cause::Json,
            JsonError::Duplicate => Cause::Duplicate,
            JsonError::NotAnObject => Cause::NotAnObject,
        }
    }
}
