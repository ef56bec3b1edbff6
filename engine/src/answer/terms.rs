//! What an answer is read for.

/// What the location sends upstream (`phantom_token_forward`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Forward {
    /// The phantom token: an active answer without one is a failure.
    #[default]
    Jwt,
    /// Nothing: active is enough.
    None,
}

/// What an answer is read for, as far as its meaning depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What the location sends upstream.
    pub forward: Forward,
    /// Another token type hint than `access_token` was sent.
    pub(super) other_hint: bool,
}

impl Terms {
    /// What the location sends upstream, and the `token_type_hint` that was sent.
    pub fn new(forward: Forward, hint: Option<&[u8]>) -> Terms {
        Terms { forward, other_hint: hint.is_some_and(|hint| hint != b"access_token") }
    }
}

impl From<Forward> for Terms {
    /// Without a hint.
    fn from(forward: Forward) -> Terms {
        Terms::new(forward, None)
    }
}
