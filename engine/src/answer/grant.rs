//! What an authorization server's "active" comes down to: all that is needed to judge a request.

use std::fmt;

use crate::answer::facts::{Facts, Signer};
use crate::answer::nature::Nature;
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;
use crate::shared::purges::Moment;
use crate::wipe::wipe_vec;

/// An active token's facts as read from an answer, before it is known how long they may serve.
/// Dropping it wipes the phantom token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The phantom token: a compact JWS or JWE. Empty where the server gave none and the location
    /// does not forward one (`phantom_token_forward none`).
    pub jwt: Vec<u8>,
    /// The granted scope, values joined by single spaces; empty where none was granted.
    pub scope: Vec<u8>,
    /// The server's JSON answer as one JSON object, without the phantom token in it; empty where
    /// the answer was the JWT alone.
    pub claims: Vec<u8>,
    /// When the token expires, in seconds since the Unix epoch: the earlier of what the answer and
    /// the JWT say.
    pub exp: Option<u64>,
    /// `exp` is the minted JWT's alone: the server does not say when the token ends.
    pub is_endless: bool,
    /// What kind of token it is, and to what it is bound.
    pub nature: Nature,
    /// By which key the gateway signed the phantom token; `None` where the server did.
    pub signer: Option<Signer>,
    /// Whom it is about.
    pub subjects: Subjects,
}

impl Grant {
    /// Returns the facts, which may serve for as long as `life` says. When the server was asked is for the
    /// caller to say.
    pub fn facts(&self, life: Life) -> Facts<'_> {
        let Grant { jwt, scope, claims, exp: _, is_endless: _, nature, signer, subjects } = self;
        let (nature, signer, subjects) = (*nature, *signer, *subjects);
        let asked = Moment::NEVER;
        Facts { jwt, scope, claims, nature, signer, subjects, life, asked }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        for secret in [&mut self.jwt, &mut self.scope, &mut self.claims] {
            wipe_vec(secret);
        }
    }
}

impl fmt::Debug for Grant {
    /// Says everything but the phantom token and the claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("jwt_len", &self.jwt.len())
            .field("scope_len", &self.scope.len())
            .field("claims_len", &self.claims.len())
            .field("exp", &self.exp)
            .field("is_endless", &self.is_endless)
            .field("nature", &self.nature)
            .field("signer", &self.signer)
            .field("subjects", &self.subjects)
            .finish()
    }
}

/// What the server says, before the clock is asked.
pub(super) enum Judged {
    Active(Grant),
    Inactive,
}
