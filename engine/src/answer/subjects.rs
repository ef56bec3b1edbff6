//! Whom a token is about: a user, a client, a session, the token itself. Purges name them.

use std::num::NonZeroU64;

/// By what a purge may name tokens (`phantom_token_purge`): a claim of the answer, or of its JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `sub` (RFC 7519 §4.1.2): the user.
    Sub,
    /// `client_id` (RFC 7662 §2.2), or `azp`: the client.
    ClientId,
    /// `sid` (OpenID Connect Back-Channel Logout 1.0 §2.1): the session.
    Sid,
    /// `jti` (RFC 7519 §4.1.7): the token.
    Jti,
}

impl Subject {
    /// All there are, in the order of their hashes.
    pub const ALL: [Subject; 4] = [Subject::Sub, Subject::ClientId, Subject::Sid, Subject::Jti];
}

/// A keyed hash of each subject of a token; `None` of one that it does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subjects(pub [Option<NonZeroU64>; 4]);

impl Subjects {
    /// Returns the hash of one subject.
    pub fn get(&self, subject: Subject) -> Option<NonZeroU64> {
        self.0[subject as usize]
    }
}
