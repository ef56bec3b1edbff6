//! A question about a token, as it is put to the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Store;
use super::names::{Epoch, Identity};
use crate::answer::facts::Signer;
use crate::shared::purges::{Moment, Purges};
use crate::token::key::TokenHash;

/// A question about a token. Made where requests are handled, put by a pool thread.
pub struct Question {
    /// Who is asked.
    pub store: Arc<Store>,
    /// The opaque token: without it nothing can be opened.
    pub token: Zeroizing<Vec<u8>>,
    /// Its hash under the fleet's first key ([`FleetKey::hash_key`]).
    ///
    /// [`FleetKey::hash_key`]: super::keys::FleetKey::hash_key
    pub hash: TokenHash,
    /// As what it is asked about.
    pub identity: Identity,
    /// What was heard of the store; `None`: not enough, so it is not asked.
    pub in_sync: Option<InSync>,
    /// What was purged.
    pub purges: Option<Purges>,
    /// For how long the location keeps active answers, in milliseconds.
    pub valid_ms: u64,
    /// For how long the location keeps inactive answers, in milliseconds.
    pub inactive_ms: u64,
    /// Whose phantom tokens may go on.
    pub signed_by: SignedBy,
    /// What is there does not serve; the answer is to take its place (`phantom_token_cache_bypass`).
    pub bypass: bool,
    /// Only an answer serves that was asked for later than this, in milliseconds since the Unix epoch:
    /// the one that is there already is to be refreshed.
    pub newer_than: Option<u64>,
    /// How long the authorization server takes to answer; `None`: nobody knows.
    pub usual: Option<Duration>,
    /// How long the call may take that follows where nothing is found.
    pub call: Duration,
}

/// What the thread that hears the store knows, while it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InSync {
    /// What names and values are bound to.
    pub epoch: Epoch,
    /// From when on purges are known, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// A moment before the others were read: what gaps up to then have put in doubt is judged by them.
    pub known: Moment,
}

/// Who may have signed the phantom tokens of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// Not the gateway.
    Server,
    /// The gateway, by one of the keys that it publishes (`phantom_token_forward mint`).
    Gateway(Arc<[Signer]>),
}

impl Question {
    pub(super) fn may_forward(&self, signer: Option<Signer>) -> bool {
        match (&self.signed_by, signer) {
            (SignedBy::Server, signer) => signer.is_none(),
            (SignedBy::Gateway(keys), Some(signer)) => keys.contains(&signer),
            (SignedBy::Gateway(_), None) => false,
        }
    }
}

impl fmt::Debug for Question {
    /// Everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("hash", &self.hash)
            .field("in_sync", &self.in_sync)
            .field("bypass", &self.bypass)
            .field("newer_than", &self.newer_than)
            .finish_non_exhaustive()
    }
}
