//! What is known of an active token, in the one shape in which it goes from answer to request.

use std::fmt;

use crate::answer::nature::Nature;
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;
use crate::shared::purges::{Moment, Purges, Standing};
use crate::token::key::TokenHash;

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
    /// When the server was asked, in the order of purges.
    pub asked: Moment,
}

impl<'a> Facts<'a> {
    /// Returns the texts, in the order in which they are kept.
    pub fn texts(&self) -> [&'a [u8]; 3] {
        [self.jwt, self.scope, self.claims]
    }

    /// Tells whether they were purged since the server was asked about this token. What was asked for
    /// where there are purges is worth nothing where there are none, and the other way round.
    pub fn standing(&self, purges: Option<Purges>, token: &TokenHash) -> Standing {
        match purges {
            Some(purges) => purges.standing(token, &self.subjects, self.asked),
            None if self.asked == Moment::NEVER => Standing::Good,
            None => Standing::Unknown,
        }
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
            .field("asked", &self.asked)
            .finish()
    }
}
