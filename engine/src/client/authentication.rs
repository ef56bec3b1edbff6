//! How a client authenticates at the introspection endpoint.

use super::assertions::ASSERTION_PARAMS;

/// A way to authenticate (RFC 6749 §2.3.1, RFC 7523 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Basic credentials, form-urlencoded as RFC 6749 asks.
    Basic,
    /// The same, as they are.
    BasicRaw,
    /// Id and secret in the form.
    Post,
    /// Nothing of the client's but what the configuration adds.
    None,
    /// An assertion signed with a private key.
    PrivateKeyJwt,
    /// An assertion signed with the secret.
    ClientSecretJwt,
}

impl ClientAuth {
    /// All of them, by their words in a configuration.
    pub const WORDS: [(&'static str, ClientAuth); 6] = [
        ("basic", ClientAuth::Basic),
        ("basic_raw", ClientAuth::BasicRaw),
        ("post", ClientAuth::Post),
        ("none", ClientAuth::None),
        ("private_key_jwt", ClientAuth::PrivateKeyJwt),
        ("client_secret_jwt", ClientAuth::ClientSecretJwt),
    ];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, way)| *way == self).map_or("", |(word, _)| word)
    }

    /// Tells whether each call has an assertion.
    pub fn signs(self) -> bool {
        matches!(self, Self::PrivateKeyJwt | Self::ClientSecretJwt)
    }

    /// Returns the names of the form's parameters that it sets.
    pub fn own_params(self) -> &'static [&'static str] {
        match self {
            Self::Basic | Self::BasicRaw | Self::None => &[],
            Self::Post => &["client_id", "client_secret"],
            Self::PrivateKeyJwt | Self::ClientSecretJwt => ASSERTION_PARAMS,
        }
    }
}
