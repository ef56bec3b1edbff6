//! The fixed words of the metrics' labels.

/// Defines an enum whose variants are words, numbered from 0 in the order of `ALL`.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order they are shown.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Returns the word, as the label shows it.
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }
    };
}
pub(super) use words;

words! {
    /// How a request that met the module came out.
    RequestResult {
        /// The cache answered.
        Hit = "hit",
        /// A call of its own answered.
        Miss = "miss",
        /// Another request's call answered.
        Wait = "wait",
        /// The store of the fleet answered.
        Store = "store",
        /// An entry that had run out served, because the server could not be asked.
        Stale = "stale",
        /// No authentication was asked for.
        Bypass = "bypass",
        /// The token is not active.
        Inactive = "inactive",
        /// No usable token, one of another kind, or a scope is missing.
        Denied = "denied",
        /// The token could not be judged.
        Error = "error",
    }
}

impl RequestResult {
    /// Returns the word of `$phantom_token_status`.
    pub const fn status(self) -> &'static str {
        match self {
            RequestResult::Hit => "HIT",
            RequestResult::Miss => "MISS",
            RequestResult::Wait => "WAIT",
            RequestResult::Store => "STORE",
            RequestResult::Stale => "STALE",
            RequestResult::Bypass => "BYPASS",
            RequestResult::Inactive => "INACTIVE",
            RequestResult::Denied => "DENIED",
            RequestResult::Error => "ERROR",
        }
    }
}

words! {
    /// How a call to the authorization server ended.
    CallResult {
        /// The token is active.
        Active = "active",
        /// The token is not active.
        Inactive = "inactive",
        /// There was no answer that says either.
        Failed = "failed",
    }
}

words! {
    /// What became of asking anew for an entry before it ended.
    RefreshResult {
        /// A new answer has taken its place.
        Active = "active",
        /// The token is not active any more.
        Inactive = "inactive",
        /// There was no answer that says either.
        Failed = "failed",
        /// No call was made, or its answer came after a purge or another answer.
        Dropped = "dropped",
    }
}

words! {
    /// How a call of the gateway's own ended, about a random token.
    OwnResult {
        /// The server answered.
        Good = "good",
        /// It refused the client's credentials.
        Refused = "refused",
        /// There was no answer, or a 502, 503 or 504.
        Failed = "failed",
    }
}

words! {
    /// What a connection to the authorization server is doing.
    ConnectionState {
        /// It is kept for the next call.
        Idle = "idle",
        /// It serves a call.
        Busy = "busy",
    }
}

words! {
    /// Why there was no answer that says whether a token is active.
    FailureReason {
        /// No connection could be made, or it was lost before the answer was complete.
        Connect = "connect",
        /// The TLS handshake or the server's certificate failed.
        Tls = "tls",
        /// The time was up.
        Timeout = "timeout",
        /// The status says nothing about the token.
        Status = "status",
        /// Our own credentials were refused, or the gate is shut because they had been.
        Credentials = "credentials",
        /// The answer could not be understood.
        Answer = "answer",
        /// The endpoint rests.
        Resting = "resting",
        /// Too many calls were pending or requests waiting.
        Overflow = "overflow",
    }
}

words! {
    /// Why an active answer was not kept, or no longer.
    UncachedReason {
        /// `phantom_token_cache off`.
        CacheOff = "cache_off",
        /// `phantom_token_cache_valid 0`.
        CacheValidZero = "cache_valid_zero",
        /// `no-store` was obeyed.
        NoStore = "no_store",
        /// `no-cache` was obeyed.
        NoCache = "no_cache",
        /// `private` was obeyed.
        Private = "private",
        /// `max-age` or `s-maxage` is used up.
        MaxAge = "max_age",
        /// The token has expired.
        Expired = "expired",
        /// It is larger than the zone can hold.
        TooLarge = "too_large",
        /// The token was purged while the call ran.
        Purged = "purged",
        /// One was purged whose hash begins alike.
        Neighbour = "neighbour",
        /// The zone's lock could not be had.
        ZoneLocked = "zone_locked",
        /// The zone had no room.
        NoRoom = "no_room",
    }
}
