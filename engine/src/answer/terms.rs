//! What an answer is read for.

use crate::answer::subjects::{Named, Subjects};
use crate::token::key::HashKey;

/// What the location sends upstream (`phantom_token_forward`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Forward {
    /// The phantom token: an active answer without one is a failure.
    #[default]
    Jwt,
    /// Nothing: active is enough.
    None,
    /// A JWT that the gateway signs: active is enough.
    Mint,
}

/// What an answer is read for, as far as its meaning depends on that.
#[derive(Clone, Copy)]
pub struct Terms {
    /// What the location sends upstream.
    pub forward: Forward,
    /// Another token type hint than `access_token` was sent.
    pub(super) other_hint: bool,
    /// What the names of a token's subjects are hashed with.
    pub(super) subject_key: Option<HashKey>,
}

impl Terms {
    /// What the location sends upstream, and the `token_type_hint` that was sent.
    pub fn new(forward: Forward, hint: Option<&[u8]>) -> Terms {
        let other_hint = hint.is_some_and(|hint| hint != b"access_token");
        Terms { forward, other_hint, subject_key: None }
    }

    /// Has the token's [`Subjects`] read too, hashed with this
    /// key: the same in all processes and zones, or a purge by subject would not find them.
    pub fn naming_subjects(self, key: HashKey) -> Terms {
        Terms { subject_key: Some(key), ..self }
    }
}

impl Terms {
    /// What is named, hashed; nothing where it is not to be read.
    pub(super) fn subjects(&self, answer: &Named<'_>, jwt: &Named<'_>) -> Subjects {
        let hash = |key: &HashKey| Subjects::hash(key, answer, jwt);
        self.subject_key.as_ref().map(hash).unwrap_or_default()
    }
}

impl From<Forward> for Terms {
    /// Without a hint.
    fn from(forward: Forward) -> Terms {
        Terms::new(forward, None)
    }
}
