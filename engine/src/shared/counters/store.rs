//! What is counted of the fleet's store.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::labels::words;
use super::{Histogram, add};

words! {
    /// What a question about a token at the store came to.
    StoreResult {
        /// An answer was there, and serves.
        Hit = "hit",
        /// Nothing was there.
        Miss = "miss",
        /// An answer was there that is too old for the location, or was asked for before a purge.
        Stale = "stale",
        /// What was there does not open, or was made under another lease.
        Void = "void",
        /// Another gateway's call was waited for, and its answer serves.
        Wait = "wait",
        /// The store was not asked: it rests, or was not heard.
        Skipped = "skipped",
        /// The store did not answer, or not so that it could be understood.
        Failed = "failed",
    }
}

impl StoreResult {
    /// Returns the word of `$phantom_token_store_status`.
    pub const fn status(self) -> &'static str {
        match self {
            StoreResult::Hit => "HIT",
            StoreResult::Miss | StoreResult::Stale | StoreResult::Void => "MISS",
            StoreResult::Wait => "WAIT",
            StoreResult::Skipped => "SKIP",
            StoreResult::Failed => "FAIL",
        }
    }
}

words! {
    /// Why the store did not do what it was asked.
    StoreErrorReason {
        /// No connection could be made, or it was lost before the reply was complete.
        Connect = "connect",
        /// The TLS handshake or the store's certificate failed.
        Tls = "tls",
        /// The time was up.
        Timeout = "timeout",
        /// `NOAUTH`, `WRONGPASS`: the name or the password is refused.
        Auth = "auth",
        /// `NOPERM`: the user may not do what is asked.
        Acl = "acl",
        /// `READONLY`, `MASTERDOWN`: it is a replica.
        ReadOnly = "readonly",
        /// `MOVED`, `ASK`, `CROSSSLOT`, `CLUSTERDOWN`: it is a part of a Cluster.
        Moved = "moved",
        /// `LOADING`: it reads its data yet.
        Loading = "loading",
        /// `OOM`, `MISCONF`: it takes no writes.
        Full = "full",
        /// A reply that cannot be understood, is too large, or was not asked for.
        Protocol = "protocol",
        /// A value that does not open under the token and the fleet's key.
        Unsealed = "unsealed",
        /// A value that was asked for in the future: the gateways' clocks differ.
        Clock = "clock",
    }
}

words! {
    /// What became of an answer that was to be kept in the store.
    StoreWrite {
        /// The store has it.
        Ok = "ok",
        /// It was sent, and the connection was lost before the reply.
        Lost = "lost",
        /// The store refused it, or it could not be sent.
        Failed = "failed",
        /// It was not sent: the store rests, or was not heard, or the answer is over or too large.
        Skipped = "skipped",
    }
}

words! {
    /// Which way a purge went.
    StorePurge {
        /// This gateway told the store, which acknowledged it.
        Sent = "sent",
        /// Another gateway's, read from the store.
        Heard = "heard",
        /// This gateway's, which the store did not acknowledge.
        Refused = "refused",
    }
}

words! {
    /// Why purges may have been missed.
    StoreGap {
        /// The epoch is another, or gone: the store was flushed, or began empty.
        Epoch = "epoch",
        /// The last purge that was read is not in the stream any more.
        Trimmed = "trimmed",
        /// What the stream holds cannot be understood.
        Unreadable = "unreadable",
        /// Numbers of a gateway's purges are missing.
        Missing = "missing",
    }
}

words! {
    /// How the configurations of other gateways at the store compare with this one's.
    StorePeer {
        /// They have the same key and ask the same servers in the same way.
        Same = "same",
        /// They have the same key, and something else is not the same.
        OtherConfig = "other_config",
        /// What they say does not open: they have another key.
        OtherKey = "other_key",
    }
}

/// One worker's share of what is counted of the store.
#[repr(C)]
pub(crate) struct StoreShard {
    pub(crate) requests: [AtomicU64; StoreResult::ALL.len()],
    pub(crate) errors: [AtomicU64; StoreErrorReason::ALL.len()],
    pub(crate) writes: [AtomicU64; StoreWrite::ALL.len()],
    pub(crate) purges: [AtomicU64; StorePurge::ALL.len()],
    pub(crate) gaps: [AtomicU64; StoreGap::ALL.len()],
    pub(crate) questions: Histogram,
}

/// Any thread of a worker may count.
impl super::Shard {
    /// Counts a question about a token.
    pub fn count_store_request(&self, result: StoreResult) {
        add(&self.store.requests[result as usize]);
    }

    /// Counts what the store, or what it holds, failed by.
    pub fn count_store_error(&self, reason: StoreErrorReason) {
        add(&self.store.errors[reason as usize]);
    }

    /// Counts an answer that was to be kept in the store.
    pub fn count_store_write(&self, result: StoreWrite) {
        add(&self.store.writes[result as usize]);
    }

    /// Counts a purge.
    pub fn count_store_purge(&self, direction: StorePurge) {
        add(&self.store.purges[direction as usize]);
    }

    /// Counts a gap in what was heard of purges.
    pub fn count_store_gap(&self, reason: StoreGap) {
        add(&self.store.gaps[reason as usize]);
    }

    /// Counts how long a question at the store took, from when it was asked to its reply or failure.
    pub fn observe_store(&self, took: Duration) {
        self.store.questions.observe(took);
    }
}
