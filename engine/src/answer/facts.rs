//! What is known of an active token, in the one shape in which it goes from answer to request.

use std::fmt;

use crate::answer::nature::Nature;
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;

/// The first bytes of the thumbprint (RFC 7638) of a key that signs.
pub type Signer = [u8; 8];

/// An active token's facts, borrowed from whatever keeps them: the answer, the arena or a worker's
/// own cache.
///
/// Scope, kind and binding are judged anew on every request, because two locations may ask different
/// things of the same answer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The phantom token: a compact JWS or JWE. Empty where there is none to forward.
    pub jwt: &'a [u8],
    /// The granted scope, values joined by single spaces; empty where none was granted.
    pub scope: &'a [u8],
    /// The server's JSON answer as one JSON object, without the phantom token in it; empty where
    /// the answer was the JWT alone.
    pub claims: &'a [u8],
    /// What kind of token it is, and to what it is bound.
    pub nature: Nature,
    /// By which key the gateway signed the phantom token; `None` where the server did.
    pub signer: Option<Signer>,
    /// Whom it is about.
    pub subjects: Subjects,
    /// How long they may serve.
    pub life: Life,
}

impl<'a> Facts<'a> {
    /// Returns the texts, in the order in which they are kept.
    pub fn texts(&self) -> [&'a [u8]; 3] {
        [self.jwt, self.scope, self.claims]
    }
}

impl fmt::Debug for Facts<'_> {
    /// Writes everything but the texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("lens", &self.texts().map(<[u8]>::len))
            .field("nature", &self.nature)
            .field("signer", &self.signer)
            .field("subjects", &self.subjects)
            .field("life", &self.life)
            .finish()
    }
}
