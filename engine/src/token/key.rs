//! Under what an answer is kept: a keyed hash of the token and one of the identity that asked.
//!
//! Hashes are SipHash-2-4 with 128 bits of output. The key is secret: random and made by the master
//! process, or derived from the fleet's key, so nobody outside can search for two tokens that meet;
//! the opaque token itself is never stored.
//! Each part is tagged and length-prefixed: no two different lists of parts feed the hash the same
//! bytes.

use std::fmt;
use std::hash::Hasher as _;
use std::num::NonZeroU64;

use siphasher::sip::SipHasher24 as SipHasher64;
use siphasher::sip128::{Hasher128, SipHasher24};

/// The secret key of token and identity hashes: 16 bytes that nobody can guess.
///
/// ```
/// use phantom_token_engine::token::key::HashKey;
///
/// let key = HashKey([7; 16]);
/// assert_eq!(key.token(b"opaque"), key.token(b"opaque"));
/// assert_ne!(key.token(b"opaque"), HashKey([8; 16]).token(b"opaque"));
/// ```
#[derive(Clone, Copy)]
pub struct HashKey(pub [u8; 16]);

/// The hash of an opaque token, H(token). It finds every entry of that token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 16]);

/// What log lines call a token: they show which lines belong together, and not which token it is.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TokenHash {
    /// Returns what access logs call the token: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        self.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The hash of an identity, H(identity): all of a location's settings that may change what the
/// server answers, such as endpoint, client, headers and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdentityHash(pub [u8; 16]);

/// The whole key of an entry: H(token) ‖ H(identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Hash of the opaque token.
    pub token: TokenHash,
    /// Hash of the asking location's identity.
    pub identity: IdentityHash,
}

impl Key {
    /// A number of the key's own, even over all keys, the same in all workers: what is to happen once for
    /// each of many entries is spread by it.
    pub fn spread(&self) -> u32 {
        // Keyed hashes: any bytes of them will do. Not those that choose a token's stripe.
        let word = |hash: &[u8; 16]| u32::from_le_bytes([hash[12], hash[13], hash[14], hash[15]]);
        word(&self.token.0) ^ word(&self.identity.0)
    }
}

/// How a worker hashes what answers are kept under.
#[derive(Clone, Copy)]
pub struct Hashing {
    /// The key of all hashes.
    pub key: HashKey,
    /// What is kept in another one is not found ([`State::era`](crate::shared::state::State::era)).
    pub era: u16,
}

impl Hashing {
    /// Hashes the bytes of an opaque token: the same in every era.
    pub fn token(&self, token: &[u8]) -> TokenHash {
        self.key.token(token)
    }

    /// Hashes the parts that make an identity, in a fixed order.
    pub fn identity<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> IdentityHash {
        IdentityHash(self.key.hash(u64::from(b'I') | u64::from(self.era) << 8, parts))
    }
}

impl HashKey {
    /// Hashes the bytes of an opaque token.
    pub fn token(&self, token: &[u8]) -> TokenHash {
        TokenHash(self.hash(b'T'.into(), [token]))
    }

    /// Hashes the parts that make an identity, in a fixed order.
    pub fn identity<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> IdentityHash {
        IdentityHash(self.hash(b'I'.into(), parts))
    }

    /// Hashes a name of one kind in 64 bits; names of two kinds have nothing in common.
    pub fn name(&self, kind: u64, name: &[u8]) -> NonZeroU64 {
        let mut hasher = SipHasher64::new_with_key(&self.0);
        hasher.write_u64(kind);
        hasher.write(name);
        NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN)
    }

    fn hash<'a>(&self, tag: u64, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        // Whole words are hashed faster than odd bytes.
        hasher.write_u64(tag);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish128().as_bytes()
    }
}

/// Hashes configured words (a label, a client id) for the tables of the state zone: the same in
/// every worker, never 0. Each part is length-prefixed. The key is fixed, because none of these
/// words come from a client.
pub fn hash_of(parts: &[&[u8]]) -> u64 {
    short_hash(SipHasher64::new(), parts.iter().copied())
}

/// Hashes as [`hash_of`] does, under a random key: for parts that may be secret.
pub(crate) fn keyed_hash_of<'a>(key: [u64; 2], parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    short_hash(SipHasher64::new_with_keys(key[0], key[1]), parts)
}

fn short_hash<'a>(mut hasher: SipHasher64, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part);
    }
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = HashKey([7; 16]);
        let split = |parts: &[&'static [u8]]| key.identity(parts.iter().copied());
        assert_ne!(split(&[b"ab", b"c"]), split(&[b"a", b"bc"]));
        assert_ne!(split(&[b"abc"]), split(&[b"abc", b""]));
        assert_ne!(key.token(b"abc").0, split(&[b"abc"]).0);
    }

    #[test]
    fn another_era_finds_the_same_token_and_no_identity() {
        let key = HashKey([7; 16]);
        let [one, other] = [1, 258].map(|era| Hashing { key, era });
        assert_eq!(one.token(b"t"), other.token(b"t"));
        assert_eq!(one.token(b"t"), key.token(b"t"));
        let all =
            [one.identity([&b"i"[..]]), other.identity([&b"i"[..]]), key.identity([&b"i"[..]])];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
        assert_ne!(one.identity([&b"i"[..]]).0, one.token(b"i").0);
    }

    #[test]
    fn log_lines_show_the_beginning_of_a_hash() {
        let hash: [u8; 16] = std::array::from_fn(|n| 5 * n as u8);
        assert_eq!(TokenHash(hash).to_string(), "00050a0f");
        assert_eq!(TokenHash(hash).id(), "00050a0f14191e23");
    }

    #[test]
    fn another_key_gives_another_hash() {
        assert_ne!(HashKey([1; 16]).token(b"t"), HashKey([2; 16]).token(b"t"));
        assert_eq!(HashKey([1; 16]).token(b"t"), HashKey([1; 16]).token(b"t"));
    }
}
